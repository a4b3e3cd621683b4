/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making and opening a repository, and reading single blobs.
 *
 * Everything that comes from the store is untrusted until it is authenticated: sizes are asked
 * before a document is fetched whole, key derivation is bounded, and a blob's bytes are
 * authenticated, expanded to exactly the size that the (authenticated) index names, and hashed
 * again. */
#include "repo/repo.h"

#include "base/durable.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "base/spool.h"
#include "codec/hash.h"
#include "repo/config.h"
#include "repo/key-file.h"
#include "repo/object.h"
#include "repo/repo-private.h"

#define MAX_KEY_FILE (64u << 10)
#define MAX_KEYS 100 /* each costs a key derivation */

static bool refuse_existing(VmsStore *store, GCancellable *cancellable, GError **error)
{
    bool exists = false;

    if (!vms_store_has(store, "config", &exists, NULL, cancellable, error))
        return false;
    if (exists)
        return vms_fail(error, VMS_ERROR_EXISTS,
                        "a repository exists in %s already; it is left as it is", store->location);
    g_autoptr(GArray) keys = vms_object_list(store, "keys", cancellable, error);
    if (keys == NULL)
        return false;
    if (keys->len > 0)
        return vms_fail(error, VMS_ERROR_EXISTS,
                        "%s has keys but no config: what is left of a repository, or of an "
                        "interrupted init; look, and remove keys/ if nothing else is there",
                        store->location);
    return true;
}

static bool put_key(VmsStore *store, const VmsSealKey *master, const VmsSecret *password,
                    char **ret_name, GCancellable *cancellable, GError **error)
{
    g_autofree char *text = vms_key_file_build(master, password, &vms_kdf_default, error);
    VmsId id;

    if (text == NULL)
        return false;
    size_t len = strlen(text);
    vms_hash(text, len, id.bytes);
    g_autofree char *name = vms_object_name("keys", &id);
    g_autoptr(GBytes) bytes = g_bytes_new_take(g_steal_pointer(&text), len);
    if (!vms_store_put(store, name, bytes, true, cancellable, error))
        return false;
    *ret_name = g_steal_pointer(&name);
    return true;
}

bool vms_repo_init(VmsStore *store, const VmsSecret *password, VmsId *ret_id,
                   GCancellable *cancellable, GError **error)
{
    g_autofree char *key_name = NULL;
    VmsId id;

    if (password->len == 0)
        return vms_fail(error, VMS_ERROR_INVALID, "an empty password is not accepted");
    if (!refuse_existing(store, cancellable, error))
        return false;

    g_autoptr(VmsSealKey) master = vms_seal_key_generate(error);
    g_autofree char *config = master != NULL ? vms_config_build(&id, error) : NULL;
    if (config == NULL)
        return false;
    g_autoptr(GBytes) sealed = vms_object_encode(master, config, strlen(config), false, error);
    if (sealed == NULL || !put_key(store, master, password, &key_name, cancellable, error))
        return false;
    vms_failpoint("init.key-stored");
    if (!vms_store_put(store, "config", sealed, true, cancellable, error)) {
        /* Somebody else's config may have come first; our key would open with the password and
         * fit nothing. */
        vms_store_remove(store, key_name, NULL, NULL);
        return vms_prefix(error, "init");
    }
    if (ret_id != NULL)
        *ret_id = id;
    return true;
}

/* NULL with AUTH where the password is not this key's. */
static VmsSealKey *try_key(VmsStore *store, const VmsObjectEntry *entry, const VmsSecret *password,
                           GCancellable *cancellable, GError **error)
{
    g_autofree char *name = vms_object_name("keys", &entry->id);
    VmsSealKey *master = NULL;
    VmsId actual;

    if (entry->size > MAX_KEY_FILE)
        return vms_fail_null(error, VMS_ERROR_CORRUPT, "%s: too large for a key file", name);
    g_autoptr(GBytes) bytes = vms_store_get(store, name, 0, UINT64_MAX, cancellable, error);
    if (bytes == NULL)
        return NULL;

    size_t len = 0;
    const char *text = g_bytes_get_data(bytes, &len);
    vms_hash(text, len, actual.bytes);
    if (!vms_id_equal(&actual, &entry->id))
        return vms_fail_null(error, VMS_ERROR_CORRUPT,
                             "%s: damaged: its bytes have another SHA-256 than its name", name);
    g_autoptr(VmsKeyFile) file = vms_key_file_parse(text, len, error);
    if (file != NULL)
        master = vms_key_file_unlock(file, password, error);
    if (master == NULL)
        vms_prefix(error, "%s", name);
    return master;
}

/* Any key may open. A damaged key is reported only if no other one does. */
static VmsSealKey *find_key(VmsStore *store, const VmsSecret *password, GCancellable *cancellable,
                            GError **error)
{
    g_autoptr(GArray) keys = vms_object_list(store, "keys", cancellable, error);
    g_autoptr(GError) damaged = NULL;

    if (keys == NULL)
        return NULL;
    if (keys->len == 0 || keys->len > MAX_KEYS)
        return vms_fail_null(error, VMS_ERROR_CORRUPT, "%s: %u keys", store->location, keys->len);
    for (guint i = 0; i < keys->len; i++) {
        g_autoptr(GError) local = NULL;
        VmsSealKey *master = NULL;

        if (!vms_check_cancelled(cancellable, error))
            return NULL;
        master =
            try_key(store, &g_array_index(keys, VmsObjectEntry, i), password, cancellable, &local);
        if (master != NULL)
            return master;
        if (!vms_error_is(local, VMS_ERROR_AUTH) && !vms_error_is(local, VMS_ERROR_CORRUPT) &&
            !vms_error_is(local, VMS_ERROR_UNSUPPORTED) &&
            !vms_error_is(local, VMS_ERROR_NOT_FOUND)) {
            g_propagate_error(error, g_steal_pointer(&local));
            return NULL;
        }
        if (!vms_error_is(local, VMS_ERROR_AUTH) && damaged == NULL)
            damaged = g_steal_pointer(&local);
    }
    if (damaged != NULL) {
        g_propagate_error(error, g_steal_pointer(&damaged));
        return NULL;
    }
    return vms_fail_null(error, VMS_ERROR_AUTH, "%s: no key opens with this password",
                         store->location);
}

static bool read_config(VmsRepo *repo, GCancellable *cancellable, GError **error)
{
    VmsStore *store = repo->store;
    g_autoptr(GError) local = NULL;
    g_autoptr(GBytes) sealed = vms_store_get(store, "config", 0, UINT64_MAX, cancellable, error);
    size_t len = 0;
    VmsId id;

    if (sealed == NULL)
        return false;
    const void *data = g_bytes_get_data(sealed, &len);
    g_autoptr(GBytes) plain = vms_object_decode(repo->key, data, len, &local);
    if (plain == NULL)
        return vms_fail(error, VMS_ERROR_CORRUPT, "%s: config: %s", store->location,
                        local->message);
    const char *text = g_bytes_get_data(plain, &len);
    if (!vms_config_parse(text, len, &id, error))
        return vms_prefix(error, "%s", store->location);
    char hex[VMS_ID_HEX_LEN + 1];
    vms_id_hex(&id, hex);
    repo->id = g_strdup(hex);
    return true;
}

/* Where there is no room for the directory either, a temporary one does. */
static bool open_cache(VmsRepo *repo, const char *cache_dir, GError **error)
{
    g_autoptr(GError) cause = NULL;

    if (cache_dir != NULL && vms_durable_mkdir(cache_dir, 0700, &cause)) {
        repo->cache_dir = g_strdup(cache_dir);
    } else if (cause != NULL && !vms_error_is(cause, VMS_ERROR_NO_SPACE)) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    } else {
        repo->cache_dir = vms_spool_folder(error);
        if (repo->cache_dir == NULL)
            return false;
        repo->cache_is_temporary = true;
    }
    g_autofree char *path = g_strdup_printf("%s/index-%s.db", repo->cache_dir, repo->id);
    repo->index = vms_index_open(path, error);
    return repo->index != NULL;
}

VmsRepo *vms_repo_open_with_key(VmsStore *store, VmsSealKey *key, const char *cache_dir,
                                GCancellable *cancellable, GError **error)
{
    g_autoptr(VmsRepo) repo = g_new0(VmsRepo, 1);

    repo->store = store;
    repo->key = key;
    if (!read_config(repo, cancellable, error) || !open_cache(repo, cache_dir, error))
        return NULL;
    return g_steal_pointer(&repo);
}

VmsRepo *vms_repo_open(VmsStore *store, const VmsSecret *password, const char *cache_dir,
                       GCancellable *cancellable, GError **error)
{
    bool exists = false;
    uint64_t size = 0;

    if (!vms_store_has(store, "config", &exists, &size, cancellable, error))
        return NULL;
    if (!exists)
        return vms_fail_null(error, VMS_ERROR_NOT_FOUND,
                             "%s is not a repository (no config): \"vmsnap init\" makes one",
                             store->location);
    if (size > MAX_KEY_FILE)
        return vms_fail_null(error, VMS_ERROR_CORRUPT, "%s: config is too large", store->location);
    VmsSealKey *key = find_key(store, password, cancellable, error);
    if (key == NULL)
        return NULL;
    return vms_repo_open_with_key(store, key, cache_dir, cancellable, error);
}

void vms_repo_free(VmsRepo *repo)
{
    if (repo == NULL)
        return;
    vms_index_free(repo->index);
    if (repo->cache_is_temporary)
        vms_spool_remove_folder(repo->cache_dir);
    vms_seal_key_free(repo->key);
    g_free(repo->cache_dir);
    g_free(repo->id);
    g_free(repo);
}

const char *vms_repo_id(const VmsRepo *repo)
{
    return repo->id;
}

const char *vms_repo_location(const VmsRepo *repo)
{
    return repo->store->location;
}

void vms_repo_set_progress(VmsRepo *repo, VmsProgress *progress)
{
    vms_index_set_progress(repo->index, progress);
}

bool vms_repo_sync_index(VmsRepo *repo, GCancellable *cancellable, GError **error)
{
    return vms_index_sync(repo->index, repo, cancellable, error);
}

bool vms_repo_has_blob(VmsRepo *repo, VmsBlobType type, const VmsId *id, bool *ret_found,
                       uint64_t *ret_size, GError **error)
{
    VmsIndexPlace places[VMS_INDEX_MAX_PLACES];
    size_t count = 0;

    if (!vms_index_find(repo->index, repo, type, id, places, &count, error))
        return false;
    *ret_found = count > 0;
    if (count > 0 && ret_size != NULL)
        *ret_size = vms_pack_blob_size(&places[0].blob);
    return true;
}

static GBytes *fetch_from(VmsRepo *repo, const VmsIndexPlace *place, GCancellable *cancellable,
                          GError **error)
{
    g_autofree char *pack = vms_object_pack_name(&place->pack);
    g_autoptr(GError) local = NULL;
    g_autoptr(GBytes) sealed = vms_store_get(repo->store, pack, place->blob.offset,
                                             place->blob.length, cancellable, &local);
    GBytes *plain = NULL;

    if (sealed != NULL) {
        VmsPackBuffers *buffers = vms_pack_buffers_new();

        plain = vms_pack_open_blob(repo->key, &place->blob, g_bytes_get_data(sealed, NULL),
                                   g_bytes_get_size(sealed), buffers, &local);
        vms_pack_buffers_unref(buffers);
    }
    if (plain == NULL) {
        char hex[VMS_ID_HEX_LEN + 1];

        vms_id_hex(&place->blob.id, hex);
        /* The index says it is there. */
        if (vms_error_is(local, VMS_ERROR_NOT_FOUND))
            vms_fail(error, VMS_ERROR_CORRUPT, "%s: blob %s: the pack is missing", pack, hex);
        else
            g_propagate_prefixed_error(error, g_steal_pointer(&local), "%s: blob %s: ", pack, hex);
    }
    return plain;
}

GBytes *vms_repo_fetch_blob(VmsRepo *repo, const VmsIndexPlace *places, size_t count,
                            GCancellable *cancellable, GError **error)
{
    /* once more at the end: it may have been damaged on its way */
    for (size_t i = 0; count > 0 && i <= count; i++) {
        g_autoptr(GError) local = NULL;
        GBytes *plain = fetch_from(repo, &places[i % count], cancellable, &local);

        if (plain != NULL)
            return plain;
        if (i == count || !vms_error_is(local, VMS_ERROR_CORRUPT)) {
            g_propagate_error(error, g_steal_pointer(&local));
            return NULL;
        }
        g_debug("%s; the blob is tried again, in another pack where there is one", local->message);
    }
    return NULL;
}

GBytes *vms_repo_read_blob(VmsRepo *repo, VmsBlobType type, const VmsId *id,
                           GCancellable *cancellable, GError **error)
{
    VmsIndexPlace places[VMS_INDEX_MAX_PLACES];
    size_t count = 0;
    char hex[VMS_ID_HEX_LEN + 1];

    if (!vms_index_locate(repo->index, repo, type, id, places, &count, error))
        return NULL;
    vms_id_hex(id, hex);
    for (size_t i = 0; i < count; i++) {
        if (vms_pack_blob_size(&places[i].blob) > VMS_REPO_MAX_BLOB)
            return vms_fail_null(error, VMS_ERROR_INVALID,
                                 "blob %s is too large to be read at once", hex);
    }
    return vms_repo_fetch_blob(repo, places, count, cancellable, error);
}
