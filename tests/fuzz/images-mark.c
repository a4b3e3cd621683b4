/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmsnap-images.json, the mark of a place of plain images. */
#include "fuzz.h"
#include "job/plain.h"
#include "store/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    g_autoptr(VmsStore) store = vms_mem_new();
    g_autoptr(GBytes) bytes = g_bytes_new(data, len);
    g_autoptr(GError) error = NULL;
    g_autofree char *id = NULL;
    g_assert_true(vms_store_put(store, VMS_PLAIN_MARK, bytes, true, NULL, NULL));
    if (fuzz_settled(vms_plain_find(store, &id, NULL, &error), &error))
        g_assert_cmpuint(strlen(id), ==, 64);
    return 0;
}
