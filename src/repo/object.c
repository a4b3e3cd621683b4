/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/object.h"

#include "base/error.h"
#include "codec/compress.h"
#include "codec/hash.h"
#include "repo/repo-private.h"

#include <string.h>

#define ENCODING_ZSTD 2

char *vms_object_name(const char *dir, const VmsId *id)
{
    char hex[VMS_ID_HEX_LEN + 1];

    vms_id_hex(id, hex);
    return g_strdup_printf("%s/%s", dir, hex);
}

char *vms_object_pack_name(const VmsId *id)
{
    char hex[VMS_ID_HEX_LEN + 1];

    vms_id_hex(id, hex);
    return g_strdup_printf("data/%.2s/%s", hex, hex);
}

GBytes *vms_object_encode(const VmsSealKey *key, const void *text, size_t len, bool compressed,
                          GError **error)
{
    g_autofree uint8_t *plain = NULL;

    if (compressed) {
        size_t capacity = vms_compress_bound(len);
        size_t stored = 0;

        plain = g_malloc(capacity + 1);
        plain[0] = ENCODING_ZSTD;
        if (!vms_compress(VMS_COMPRESS_LEVEL_AUTO, text, len, plain + 1, capacity, &stored, error))
            return NULL;
        text = plain;
        len = stored + 1;
    }

    g_autofree uint8_t *sealed = g_malloc(len + VMS_SEAL_OVERHEAD);
    if (!vms_seal(key, text, len, sealed, error))
        return NULL;
    return g_bytes_new_take(g_steal_pointer(&sealed), len + VMS_SEAL_OVERHEAD);
}

/* Takes the seal off: *ret_plain (transfer full) is JSON, or the encoding and its bytes. */
static bool open_seal(const VmsSealKey *key, const void *sealed, size_t len, uint8_t **ret_plain,
                      size_t *ret_len, GError **error)
{
    size_t plain_len = len - VMS_SEAL_OVERHEAD;

    if (len <= VMS_SEAL_OVERHEAD || plain_len > VMS_OBJECT_MAX_PLAIN)
        return vms_fail(error, VMS_ERROR_CORRUPT, "%zu bytes are no sealed document", len);
    g_autofree uint8_t *plain = g_malloc(plain_len);
    if (!vms_seal_open(key, sealed, len, plain, error))
        return false;
    if (plain[0] != '{' && plain[0] != '[' && plain[0] != ENCODING_ZSTD)
        return vms_fail(error, VMS_ERROR_CORRUPT, "unknown encoding %u", plain[0]);
    *ret_plain = g_steal_pointer(&plain);
    *ret_len = plain_len;
    return true;
}

GBytes *vms_object_decode(const VmsSealKey *key, const void *sealed, size_t len, GError **error)
{
    g_autofree uint8_t *plain = NULL;
    size_t plain_len = 0;

    if (!open_seal(key, sealed, len, &plain, &plain_len, error))
        return NULL;
    if (plain[0] != ENCODING_ZSTD)
        return g_bytes_new_take(g_steal_pointer(&plain), plain_len);
    return vms_compress_expand_bounded(plain + 1, plain_len - 1, VMS_OBJECT_MAX_PLAIN, error);
}

bool vms_object_save(VmsRepo *repo, const char *dir, const void *text, size_t len, VmsId *ret_id,
                     uint64_t *ret_size, GCancellable *cancellable, GError **error)
{
    g_autoptr(GBytes) sealed = vms_object_encode(repo->key, text, len, true, error);
    VmsId id;

    if (sealed == NULL)
        return false;
    vms_hash(g_bytes_get_data(sealed, NULL), g_bytes_get_size(sealed), id.bytes);
    g_autofree char *name = vms_object_name(dir, &id);
    if (!vms_store_put(repo->store, name, sealed, false, cancellable, error))
        return false;
    *ret_id = id;
    if (ret_size != NULL)
        *ret_size = g_bytes_get_size(sealed);
    return true;
}

static bool check_name(const VmsId *id, GBytes *sealed, GError **error)
{
    VmsId actual;

    vms_hash(g_bytes_get_data(sealed, NULL), g_bytes_get_size(sealed), actual.bytes);
    return vms_id_equal(&actual, id) ||
           vms_fail(error, VMS_ERROR_CORRUPT,
                    "damaged: its bytes have another SHA-256 than its name");
}

/* Its bytes, which are what its name says. Once more where they are not: they may have been damaged
 * on their way. */
static GBytes *get_checked(VmsRepo *repo, const char *name, const VmsId *id,
                           GCancellable *cancellable, GError **error)
{
    for (bool again = false;; again = true) {
        g_autoptr(GBytes) sealed =
            vms_store_get(repo->store, name, 0, UINT64_MAX, cancellable, error);

        if (sealed == NULL)
            return NULL;
        if (check_name(id, sealed, again ? error : NULL))
            return g_steal_pointer(&sealed);
        if (again) {
            vms_prefix(error, "%s", name);
            return NULL;
        }
    }
}

GBytes *vms_object_load(VmsRepo *repo, const char *dir, const VmsId *id, GCancellable *cancellable,
                        GError **error)
{
    g_autofree char *name = vms_object_name(dir, id);
    g_autoptr(GBytes) sealed = get_checked(repo, name, id, cancellable, error);

    if (sealed == NULL)
        return NULL;
    GBytes *plain = vms_object_decode(repo->key, g_bytes_get_data(sealed, NULL),
                                      g_bytes_get_size(sealed), error);
    if (plain == NULL)
        vms_prefix(error, "%s", name);
    return plain;
}

static bool expand(uint8_t *plain, size_t len, VmsCompressFunc func, void *user, GError **error)
{
    if (plain[0] != ENCODING_ZSTD)
        return func(user, plain, len, error);
    g_autoptr(VmsExpandStream) stream = vms_expand_stream_new(VMS_OBJECT_MAX_PLAIN, func, user);
    return vms_expand_stream_feed(stream, plain + 1, len - 1, error) &&
           vms_expand_stream_finish(stream, error);
}

bool vms_object_read(VmsRepo *repo, const char *dir, const VmsId *id, VmsCompressFunc func,
                     void *user, GCancellable *cancellable, GError **error)
{
    g_autofree char *name = vms_object_name(dir, id);
    g_autoptr(GBytes) sealed = get_checked(repo, name, id, cancellable, error);
    g_autofree uint8_t *plain = NULL;
    size_t len = 0;

    if (sealed == NULL)
        return false;
    if (!open_seal(repo->key, g_bytes_get_data(sealed, NULL), g_bytes_get_size(sealed), &plain,
                   &len, error))
        return vms_prefix(error, "%s", name);
    g_clear_pointer(&sealed, g_bytes_unref);
    return expand(plain, len, func, user, error) || vms_prefix(error, "%s", name);
}

static bool add_entry(void *user, const char *name, uint64_t size, GError **error)
{
    GArray *entries = user;
    const char *base = strrchr(name, '/');
    VmsObjectEntry entry = {.size = size};

    if (base == NULL || !vms_id_parse(base + 1, &entry.id, NULL)) {
        g_debug("%s: not named as an object, passed over", name);
        return true;
    }
    g_array_append_val(entries, entry);
    return true;
}

GArray *vms_object_list(VmsStore *store, const char *dir, GCancellable *cancellable, GError **error)
{
    g_autoptr(GArray) entries = g_array_new(FALSE, FALSE, sizeof(VmsObjectEntry));
    g_autofree char *prefix = g_strdup_printf("%s/", dir);

    if (!vms_store_list(store, prefix, add_entry, entries, cancellable, error))
        return NULL;
    return g_steal_pointer(&entries);
}
