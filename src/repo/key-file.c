/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/key-file.h"

#include "base/error.h"
#include "base/json-writer.h"
#include "base/json.h"
#include "base/text.h"

#include <string.h>

#define MAX_TEXT (64u << 10)
#define SALT_LEN 64

void vms_key_file_free(VmsKeyFile *file)
{
    if (file != NULL) {
        g_clear_pointer(&file->salt, g_bytes_unref);
        g_clear_pointer(&file->data, g_bytes_unref);
        g_free(file);
    }
}

static bool base64(VmsJson *object, const char *member, GBytes **ret_bytes, GError **error)
{
    const char *text = NULL;
    gsize len = 0;

    if (!vms_json_string(object, member, &text, error))
        return false;
    guchar *data = g_base64_decode(text, &len);
    *ret_bytes = g_bytes_new_take(data, len);
    return true;
}

static bool parse(VmsJson *root, VmsKeyFile *file, GError **error)
{
    const char *kdf = NULL;

    if (!vms_json_string(root, "kdf", &kdf, error))
        return false;
    if (strcmp(kdf, "scrypt") != 0)
        return vms_fail(error, VMS_ERROR_UNSUPPORTED, "key derivation \"%.40s\" is not known", kdf);
    return vms_json_uint64(root, "N", &file->params.n, error) &&
           vms_json_uint64(root, "r", &file->params.r, error) &&
           vms_json_uint64(root, "p", &file->params.p, error) &&
           base64(root, "salt", &file->salt, error) && base64(root, "data", &file->data, error);
}

/* What is malformed inside a stored object is damage. */
static void *to_corrupt(GError **error, GError *local)
{
    VmsErrorCode code =
        vms_error_is(local, VMS_ERROR_UNSUPPORTED) ? VMS_ERROR_UNSUPPORTED : VMS_ERROR_CORRUPT;

    return vms_fail_null(error, code, "%s", local->message);
}

VmsKeyFile *vms_key_file_parse(const char *text, size_t len, GError **error)
{
    g_autoptr(GError) local = NULL;
    g_autoptr(VmsKeyFile) file = g_new0(VmsKeyFile, 1);
    g_autoptr(VmsJson) root = NULL;

    if (len > MAX_TEXT)
        return vms_fail_null(error, VMS_ERROR_CORRUPT, "too large for a key file");
    root = vms_json_parse(text, len, &local);
    if (root == NULL || !parse(root, file, &local))
        return to_corrupt(error, local);
    return g_steal_pointer(&file);
}

static bool copy_part(VmsJson *object, const char *member, uint8_t *out, size_t len, GError **error)
{
    g_autoptr(GBytes) bytes = NULL;

    if (!base64(object, member, &bytes, error))
        return false;
    if (g_bytes_get_size(bytes) != len)
        return vms_fail(error, VMS_ERROR_CORRUPT, "the master key's part \"%s\" has a wrong size",
                        member);
    memcpy(out, g_bytes_get_data(bytes, NULL), len);
    return true;
}

static VmsSealKey *parse_master(const char *text, size_t len, GError **error)
{
    g_autoptr(VmsSealKey) master = g_new0(VmsSealKey, 1);
    g_autoptr(VmsJson) root = vms_json_parse(text, len, error);
    VmsJson *mac = NULL;

    if (root == NULL || !vms_json_object(root, "mac", &mac, error) ||
        !copy_part(mac, "k", master->mac_k, sizeof(master->mac_k), error) ||
        !copy_part(mac, "r", master->mac_r, sizeof(master->mac_r), error) ||
        !copy_part(root, "encrypt", master->encrypt, sizeof(master->encrypt), error))
        return NULL;
    if (!vms_seal_key_valid(master))
        return vms_fail_null(error, VMS_ERROR_CORRUPT, "the master key is all zero");
    return g_steal_pointer(&master);
}

static VmsSealKey *derive(const VmsKdfParams *params, GBytes *salt, const VmsSecret *password,
                          GError **error)
{
    uint8_t bytes[VMS_SEAL_KEY_LEN];
    VmsSealKey *key = NULL;
    size_t salt_len = 0;
    const void *salt_data = g_bytes_get_data(salt, &salt_len);

    if (vms_kdf_scrypt(password, salt_data, salt_len, params, bytes, sizeof(bytes), error))
        key = vms_seal_key_new(bytes);
    vms_secret_wipe(bytes, sizeof(bytes));
    return key;
}

VmsSealKey *vms_key_file_unlock(const VmsKeyFile *file, const VmsSecret *password, GError **error)
{
    g_autoptr(GError) local = NULL;
    g_autoptr(VmsSealKey) user_key = derive(&file->params, file->salt, password, &local);
    size_t len = 0;
    const uint8_t *sealed = g_bytes_get_data(file->data, &len);

    if (user_key == NULL)
        return to_corrupt(error, local);
    if (len <= VMS_SEAL_OVERHEAD || len > MAX_TEXT)
        return vms_fail_null(error, VMS_ERROR_CORRUPT, "the sealed key has an impossible size");

    size_t plain_len = len - VMS_SEAL_OVERHEAD;
    g_autoptr(VmsSecret) plain = vms_secret_new(sealed, plain_len);
    if (!vms_seal_open(user_key, sealed, len, plain->data, &local))
        return vms_fail_null(error, VMS_ERROR_AUTH, "wrong password");
    VmsSealKey *master = parse_master((const char *)plain->data, plain_len, &local);
    return master != NULL ? master : to_corrupt(error, local);
}

static void append_base64(GString *text, const void *data, size_t len)
{
    g_autofree char *encoded = g_base64_encode(data, len);

    g_string_append_printf(text, "\"%s\"", encoded);
    vms_secret_wipe(encoded, strlen(encoded));
}

/* Sealed with user_key, in base64 (transfer full). */
static char *seal_master(const VmsSealKey *master, const VmsSealKey *user_key, GError **error)
{
    GString *text = g_string_sized_new(512); /* never moves: nothing is left behind unwiped */
    char *encoded = NULL;

    g_string_append(text, "{\"mac\":{\"k\":");
    append_base64(text, master->mac_k, sizeof(master->mac_k));
    g_string_append(text, ",\"r\":");
    append_base64(text, master->mac_r, sizeof(master->mac_r));
    g_string_append(text, "},\"encrypt\":");
    append_base64(text, master->encrypt, sizeof(master->encrypt));
    g_string_append_c(text, '}');

    g_autofree uint8_t *sealed = g_malloc(text->len + VMS_SEAL_OVERHEAD);
    if (vms_seal(user_key, text->str, text->len, sealed, error))
        encoded = g_base64_encode(sealed, text->len + VMS_SEAL_OVERHEAD);
    vms_secret_wipe(text->str, text->len);
    g_string_free(text, TRUE);
    return encoded;
}

char *vms_key_file_build(const VmsSealKey *master, const VmsSecret *password,
                         const VmsKdfParams *params, GError **error)
{
    uint8_t salt_data[SALT_LEN];

    if (!vms_seal_random(salt_data, sizeof(salt_data), error))
        return NULL;
    g_autoptr(GBytes) salt = g_bytes_new(salt_data, sizeof(salt_data));
    g_autoptr(VmsSealKey) user_key = derive(params, salt, password, error);
    if (user_key == NULL)
        return NULL;
    g_autofree char *data = seal_master(master, user_key, error);
    if (data == NULL)
        return NULL;

    g_autofree char *created = vms_text_time(g_get_real_time());
    g_autofree char *salt_text = g_base64_encode(salt_data, sizeof(salt_data));
    g_autoptr(VmsJsonWriter) writer = vms_json_writer_new(false);
    vms_json_writer_begin_object(writer);
    vms_json_writer_member_string(writer, "created", created);
    vms_json_writer_member_string(writer, "username", g_get_user_name());
    vms_json_writer_member_string(writer, "hostname", g_get_host_name());
    vms_json_writer_member_string(writer, "kdf", "scrypt");
    vms_json_writer_member_uint64(writer, "N", params->n);
    vms_json_writer_member_uint64(writer, "r", params->r);
    vms_json_writer_member_uint64(writer, "p", params->p);
    vms_json_writer_member_string(writer, "salt", salt_text);
    vms_json_writer_member_string(writer, "data", data);
    vms_json_writer_end_object(writer);
    return vms_json_writer_finish(writer);
}
