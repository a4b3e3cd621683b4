/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The first four bytes are the last four of a pack, and its size. */
#include "fuzz.h"
#include "repo/pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GArray) blobs = NULL;
    uint32_t length, size;
    if (len < 4)
        return 0;
    memcpy(&size, data, 4);
    if (fuzz_settled(vms_pack_header_length(data, size, &length, &error), &error))
        g_assert_cmpuint(length, <=, size);
    bool ok = vms_pack_header_parse(data + 4, len - 4, size, &blobs, &error);
    uint64_t end = 0;
    if (!fuzz_settled(ok, &error))
        return 0;
    for (guint i = 0; i < blobs->len; i++) {
        const VmsPackBlob *blob = &g_array_index(blobs, VmsPackBlob, i);
        g_assert_cmpuint(blob->offset, ==, end);
        end += blob->length;
        vms_pack_blob_size(blob);
    }
    g_assert_cmpuint(end, ==, size);
    return 0;
}
