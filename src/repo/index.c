/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The cache is disposable: everything in it can be read again from the store. So nothing in it is
 * ever repaired. Where SQLite calls the file damaged, it is removed and filled again, at open, in a
 * sync or in the middle of a run; the operator is not bothered.
 *
 * One mutex serializes the one SQLite handle. It is the last lock taken, and not held while an
 * index file is fetched, so look-ups go on during a sync. Each rebuild counts up the generation: a
 * sync that sees it change starts over, because what it knew of the cache is no longer so. */
#include "repo/index.h"

#include "base/error.h"
#include "repo/index-db.h"
#include "repo/object.h"
#include "repo/repo-private.h"

#include <errno.h>
#include <glib/gstdio.h>

struct VmsIndex {
    char *path;
    GMutex mutex;
    VmsIndexDb *db; /* NULL only after a rebuild failed */
    unsigned generation;
    bool complete; /* false from a rebuild to the end of the next sync */
};

static bool rebuild(VmsIndex *index, const GError *why, GError **error)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};

    g_debug("%s: made anew: %s", index->path, why->message);
    index->generation++;
    index->complete = false;
    g_clear_pointer(&index->db, vms_index_db_free);
    for (size_t i = 0; i < G_N_ELEMENTS(suffixes); i++) {
        g_autofree char *path = g_strconcat(index->path, suffixes[i], NULL);

        if (g_unlink(path) != 0 && errno != ENOENT)
            return vms_fail_errno(error, errno, "index cache %s", path);
    }
    index->db = vms_index_db_open(index->path, error);
    return index->db != NULL;
}

VmsIndex *vms_index_open(const char *path, GError **error)
{
    g_autoptr(VmsIndex) index = g_new0(VmsIndex, 1);
    g_autoptr(GError) first = NULL;

    g_mutex_init(&index->mutex);
    index->path = g_strdup(path);
    index->complete = true; /* callers sync after open */
    index->db = vms_index_db_open(path, &first);
    if (index->db != NULL)
        return g_steal_pointer(&index);
    /* FAILED: a valid database that is not ours. */
    if (!vms_error_is(first, VMS_ERROR_CORRUPT) && !vms_error_is(first, VMS_ERROR_UNSUPPORTED) &&
        !vms_error_is(first, VMS_ERROR_FAILED)) {
        g_propagate_error(error, g_steal_pointer(&first));
        return NULL;
    }
    return rebuild(index, first, error) ? g_steal_pointer(&index) : NULL;
}

void vms_index_free(VmsIndex *index)
{
    if (index != NULL) {
        vms_index_db_free(index->db);
        g_mutex_clear(&index->mutex);
        g_free(index->path);
        g_free(index);
    }
}

/* After a call on db failed with local: true where a rebuild repaired it and the call is worth
 * repeating, else *error is set. The mutex is held. */
static bool repaired(VmsIndex *index, GError *local, GError **error)
{
    g_autoptr(GError) owned = local;

    if (vms_error_is(owned, VMS_ERROR_CORRUPT))
        return rebuild(index, owned, error);
    g_propagate_error(error, g_steal_pointer(&owned));
    return false;
}

static bool has_db(VmsIndex *index, GError **error)
{
    return index->db != NULL ||
           vms_fail(error, VMS_ERROR_FAILED, "index cache %s is gone", index->path);
}

static bool add_text(VmsIndex *index, const VmsId *id, GBytes *text, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&index->mutex);
    size_t len = 0;
    const void *data = g_bytes_get_data(text, &len);
    GError *local = NULL;
    char hex[VMS_ID_HEX_LEN + 1];

    if (!has_db(index, error))
        return false;
    if (vms_index_db_add_file(index->db, id, data, len, &local))
        return true;
    if (!vms_error_is(local, VMS_ERROR_INVALID))
        return repaired(index, local, error);
    vms_id_hex(id, hex);
    vms_fail(error, VMS_ERROR_CORRUPT, "index/%s: %s", hex, local->message);
    g_error_free(local);
    return false;
}

static bool take_up(VmsIndex *index, VmsRepo *repo, const VmsId *id, GCancellable *cancellable,
                    GError **error)
{
    g_autoptr(GError) local = NULL;
    g_autoptr(GBytes) text = vms_object_load(repo, "index", id, cancellable, &local);

    if (text != NULL)
        return add_text(index, id, text, error);
    if (vms_error_is(local, VMS_ERROR_NOT_FOUND)) /* pruned since it was listed */
        return true;
    g_propagate_error(error, g_steal_pointer(&local));
    return false;
}

static GHashTable *known_files(VmsIndex *index, unsigned *ret_generation, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&index->mutex);
    GHashTable *known = NULL;

    while (known == NULL) {
        GError *local = NULL;

        if (!has_db(index, error))
            return NULL;
        known = vms_index_db_files(index->db, &local);
        if (known == NULL && !repaired(index, local, error))
            return NULL;
    }
    *ret_generation = index->generation;
    return known;
}

static bool forget(VmsIndex *index, GHashTable *files, unsigned generation, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&index->mutex);
    GError *local = NULL;

    if (generation != index->generation || g_hash_table_size(files) == 0)
        return true;
    return vms_index_db_forget(index->db, files, &local) || repaired(index, local, error);
}

/* One pass; *ret_generation is of its beginning. */
static bool sync_once(VmsIndex *index, VmsRepo *repo, unsigned *ret_generation,
                      GCancellable *cancellable, GError **error)
{
    unsigned generation = 0;
    g_autoptr(GHashTable) known = known_files(index, &generation, error);
    g_autoptr(GArray) listed = NULL;

    if (known == NULL)
        return false;
    listed = vms_object_list(repo->store, "index", cancellable, error);
    if (listed == NULL)
        return false;
    for (guint i = 0; i < listed->len; i++) {
        const VmsObjectEntry *entry = &g_array_index(listed, VmsObjectEntry, i);

        if (!vms_check_cancelled(cancellable, error))
            return false;
        if (!g_hash_table_remove(known, &entry->id) &&
            !take_up(index, repo, &entry->id, cancellable, error))
            return false;
    }
    *ret_generation = generation;
    return forget(index, known, generation, error);
}

bool vms_index_sync(VmsIndex *index, VmsRepo *repo, GCancellable *cancellable, GError **error)
{
    for (int attempt = 0; attempt < 3; attempt++) {
        unsigned generation = 0;

        if (!sync_once(index, repo, &generation, cancellable, error))
            return false;
        g_mutex_lock(&index->mutex);
        bool settled = index->generation == generation;
        index->complete = settled;
        g_mutex_unlock(&index->mutex);
        if (settled)
            return true;
    }
    return vms_fail(error, VMS_ERROR_FAILED,
                    "index cache %s is found damaged again and again: is the disk failing?",
                    index->path);
}

bool vms_index_add(VmsIndex *index, VmsRepo *repo, const VmsId *id, GBytes *text,
                   GCancellable *cancellable, GError **error)
{
    g_mutex_lock(&index->mutex);
    unsigned before = index->generation;
    g_mutex_unlock(&index->mutex);

    if (!add_text(index, id, text, error))
        return false;
    g_mutex_lock(&index->mutex);
    bool rebuilt = index->generation != before;
    g_mutex_unlock(&index->mutex);
    return !rebuilt || vms_index_sync(index, repo, cancellable, error);
}

/* False with *ret_again where the cache was made anew and knows nothing yet. */
static bool find(VmsIndex *index, VmsBlobType type, const VmsId *id,
                 VmsIndexPlace ret_places[VMS_INDEX_MAX_PLACES], size_t *ret_count, bool *ret_again,
                 GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&index->mutex);
    GError *local = NULL;

    if (!has_db(index, error))
        return false;
    *ret_again = !index->complete;
    if (*ret_again)
        return false;
    if (vms_index_db_find(index->db, type, id, ret_places, ret_count, &local))
        return true;
    *ret_again = repaired(index, local, error);
    return false;
}

bool vms_index_find(VmsIndex *index, VmsRepo *repo, VmsBlobType type, const VmsId *id,
                    VmsIndexPlace ret_places[VMS_INDEX_MAX_PLACES], size_t *ret_count,
                    GError **error)
{
    bool again = false;

    if (find(index, type, id, ret_places, ret_count, &again, error))
        return true;
    return again && vms_index_sync(index, repo, NULL, error) &&
           find(index, type, id, ret_places, ret_count, &again, error);
}
