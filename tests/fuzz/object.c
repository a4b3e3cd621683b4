/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is behind the seal of an index or snapshot file: a byte that tells the encoding, then
 * Zstandard or JSON. */
#include "repo/object.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const VmsSealKey key = {.encrypt = {1}, .mac_k = {2}, .mac_r = {3}};
    g_autofree uint8_t *sealed = g_malloc(len + VMS_SEAL_OVERHEAD);
    g_autoptr(GError) error = NULL;
    g_assert_true(vms_seal(&key, data, len, sealed, NULL));
    g_autoptr(GBytes) plain = vms_object_decode(&key, sealed, len + VMS_SEAL_OVERHEAD, &error);
    fuzz_settled(plain != NULL, &error);
    g_autoptr(GBytes) unsealed = vms_object_decode(&key, data, len, &error);
    fuzz_settled(unsealed != NULL, &error);
    return 0;
}
