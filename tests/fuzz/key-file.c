/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Once as the file; once as what is behind the seal of a file, which a holder of a password wrote.
 */
#include "repo/key-file.h"
#include "fuzz.h"

static const VmsKdfParams cheap = {.n = 2, .r = 1, .p = 1};

static void outside(const char *text, size_t len)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsKeyFile) file = vms_key_file_parse(text, len, &error);
    if (!fuzz_settled(file != NULL, &error) || file->params.n > 16 || file->params.r > 2 ||
        file->params.p > 2)
        return; /* the bounds of more have a test: /codec/scrypt-bounds */
    g_autoptr(VmsSecret) password = vms_secret_new_string("x");
    g_autoptr(VmsSealKey) key = vms_key_file_unlock(file, password, &error);
    fuzz_settled(key != NULL, &error);
}

static void inside(const uint8_t *data, size_t len)
{
    uint8_t bytes[VMS_SEAL_KEY_LEN];
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsSecret) password = vms_secret_new_string("x");
    g_autofree uint8_t *sealed = g_malloc(len + VMS_SEAL_OVERHEAD);
    g_assert_true(vms_kdf_scrypt(password, "salt", 4, &cheap, bytes, sizeof bytes, NULL));
    g_autoptr(VmsSealKey) key = vms_seal_key_new(bytes);
    g_assert_true(vms_seal(key, data, len, sealed, NULL));
    VmsKeyFile file = {.params = cheap,
                       .salt = g_bytes_new_static("salt", 4),
                       .data = g_bytes_new(sealed, len + VMS_SEAL_OVERHEAD)};
    g_autoptr(VmsSealKey) master = vms_key_file_unlock(&file, password, &error);
    fuzz_settled(master != NULL, &error);
    g_bytes_unref(file.salt);
    g_bytes_unref(file.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    g_autofree char *text = fuzz_text(data, len);
    outside(text, len);
    inside(data, len);
    return 0;
}
