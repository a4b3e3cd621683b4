/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The cache is disposable: everything in it can be read again from the store. So nothing in it is
 * ever repaired. Where it is found damaged, it is removed and filled again, at open, in a sync or
 * in the middle of a run; the operator is not bothered. What it does not know while a backup is
 * read is believed only of a cache that this process has filled itself.
 *
 * Another process may have the file open when it is removed: it goes on with what it has, which
 * stays whole, and only its additions are lost to others. A lock file lets one process at a time
 * open or remove, since SQLite finds the two companions of a database by name.
 *
 * Where its file system has no room it is made anew in a temporary folder, for this run: that is
 * slower, but no reason to fail.
 *
 * One mutex serializes the one SQLite handle. It is the last lock taken, and not held while an
 * index file is fetched, so look-ups go on during a sync. Each rebuild counts up the generation: a
 * sync that sees it change starts over, because what it knew of the cache is no longer so. */
#include "repo/index.h"

#include "base/error.h"
#include "base/spool.h"
#include "repo/index-private.h"
#include "repo/repo-private.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* A descriptor that ends the lock when it is closed; -1. */
static int lock_file(VmsIndex *index, GError **error)
{
    g_autofree char *path = g_strconcat(index->path, ".lock", NULL);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int rc = -1;

    if (fd >= 0) {
        do
            rc = flock(fd, LOCK_EX);
        while (rc != 0 && errno == EINTR);
    }
    if (rc == 0)
        return fd;
    vms_fail_errno(error, errno, "index cache %s", path);
    if (fd >= 0)
        close(fd);
    return -1;
}

static ino_t inode_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? st.st_ino : 0;
}

static bool open_db(VmsIndex *index, GError **error)
{
    index->db = vms_index_db_open(index->path, error);
    index->inode = inode_of(index->path);
    return index->db != NULL;
}

/* Under the lock file. */
static bool remove_and_open(VmsIndex *index, const char *why, GError **error)
{
    static const char *const suffixes[] = {"-shm", "-wal", ""};

    g_debug("%s: made anew: %s", index->path, why);
    for (size_t i = 0; i < G_N_ELEMENTS(suffixes); i++) {
        g_autofree char *path = g_strconcat(index->path, suffixes[i], NULL);

        if (g_unlink(path) != 0 && errno != ENOENT)
            return vms_fail_errno(error, errno, "index cache %s", path);
    }
    index->fresh = true;
    return open_db(index, error);
}

bool vms_index_rebuild(VmsIndex *index, const char *why, GError **error)
{
    bool ok;

    index->generation++;
    index->complete = false;
    g_clear_pointer(&index->db, vms_index_db_free);
    int fd = lock_file(index, error);
    if (fd < 0)
        return false;
    if (index->inode != inode_of(index->path) && inode_of(index->path) != 0)
        ok = open_db(index, error); /* another process has done it */
    else
        ok = remove_and_open(index, why, error);
    close(fd);
    return ok;
}

/* Nobody else knows of that one: no lock. */
static bool move_out(VmsIndex *index, const GError *cause, GError **error)
{
    g_autoptr(GError) second = NULL;
    g_autofree char *folder = index->full != NULL ? NULL : vms_spool_folder(&second);

    if (folder == NULL)
        return vms_fail(error, VMS_ERROR_NO_SPACE,
                        "%s%s%s; make room there, or name another folder as [paths] cache",
                        cause->message, second ? "; " : "", second ? second->message : "");
    index->generation++;
    index->complete = false;
    g_clear_pointer(&index->db, vms_index_db_free);
    index->full = index->path;
    index->path = g_build_filename(folder, "index.db", NULL);
    index->fresh = true;
    return open_db(index, error);
}

bool vms_index_repaired(VmsIndex *index, GError *local, GError **error)
{
    g_autoptr(GError) owned = local;

    if (vms_error_is(owned, VMS_ERROR_CORRUPT))
        return vms_index_rebuild(index, owned->message, error);
    if (vms_error_is(owned, VMS_ERROR_NO_SPACE))
        return move_out(index, owned, error);
    g_propagate_error(error, g_steal_pointer(&owned));
    return false;
}

bool vms_index_has_db(VmsIndex *index, GError **error)
{
    return index->db != NULL ||
           vms_fail(error, VMS_ERROR_FAILED, "index cache %s is gone", index->path);
}

VmsIndex *vms_index_open(const char *path, GError **error)
{
    g_autoptr(VmsIndex) index = g_new0(VmsIndex, 1);
    g_autoptr(GError) first = NULL;

    g_mutex_init(&index->mutex);
    index->path = g_strdup(path);
    int fd = lock_file(index, &first);
    /* FAILED: a valid database that is not ours. */
    if (fd < 0) {
        if (vms_error_is(first, VMS_ERROR_NO_SPACE))
            move_out(index, first, error);
        else
            g_propagate_error(error, g_steal_pointer(&first));
    } else if (!open_db(index, &first)) {
        if (vms_error_is(first, VMS_ERROR_CORRUPT) || vms_error_is(first, VMS_ERROR_UNSUPPORTED) ||
            vms_error_is(first, VMS_ERROR_FAILED))
            remove_and_open(index, first->message, error);
        else if (vms_error_is(first, VMS_ERROR_NO_SPACE))
            move_out(index, first, error);
        else
            g_propagate_error(error, g_steal_pointer(&first));
    }
    if (fd >= 0)
        close(fd);
    index->complete = true; /* callers sync after open */
    return index->db != NULL ? g_steal_pointer(&index) : NULL;
}

void vms_index_free(VmsIndex *index)
{
    if (index != NULL) {
        vms_index_db_free(index->db);
        if (index->full != NULL) {
            g_autofree char *folder = g_path_get_dirname(index->path);

            vms_spool_remove_folder(folder);
        }
        g_mutex_clear(&index->mutex);
        g_free(index->full);
        g_free(index->path);
        g_free(index);
    }
}

void vms_index_set_progress(VmsIndex *index, VmsProgress *progress)
{
    index->progress = progress;
}

/* False with *ret_again where the cache was made anew and knows nothing yet. */
static bool find(VmsIndex *index, VmsBlobType type, const VmsId *id,
                 VmsIndexPlace ret_places[VMS_INDEX_MAX_PLACES], size_t *ret_count, bool *ret_again,
                 GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&index->mutex);
    GError *local = NULL;

    if (!vms_index_has_db(index, error))
        return false;
    *ret_again = !index->complete;
    if (*ret_again)
        return false;
    if (vms_index_db_find(index->db, type, id, ret_places, ret_count, &local))
        return true;
    *ret_again = vms_index_repaired(index, local, error);
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

/* Makes a cache anew that others filled. */
static bool distrust(VmsIndex *index, const char *why, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&index->mutex);

    return index->fresh || vms_index_rebuild(index, why, error);
}

bool vms_index_locate(VmsIndex *index, VmsRepo *repo, VmsBlobType type, const VmsId *id,
                      VmsIndexPlace ret_places[VMS_INDEX_MAX_PLACES], size_t *ret_count,
                      GError **error)
{
    char hex[VMS_ID_HEX_LEN + 1];

    if (!vms_index_find(index, repo, type, id, ret_places, ret_count, error))
        return false;
    if (*ret_count == 0 && (!distrust(index, "a blob that is needed is not in it", error) ||
                            !vms_index_find(index, repo, type, id, ret_places, ret_count, error)))
        return false;
    if (*ret_count > 0)
        return true;
    vms_id_hex(id, hex);
    return vms_fail(error, VMS_ERROR_NOT_FOUND, "%s: no index lists the %s blob %s",
                    repo->store->location, type == VMS_BLOB_TREE ? "tree" : "data", hex);
}

/* Another handle, so that func may use this one. */
static VmsIndexDb *open_second(VmsIndex *index, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&index->mutex);
    int fd = lock_file(index, error);
    VmsIndexDb *db = NULL;

    if (fd < 0)
        return NULL;
    if (index->inode == inode_of(index->path))
        db = vms_index_db_open(index->path, error);
    else
        vms_fail(error, VMS_ERROR_CORRUPT, "index cache %s was removed", index->path);
    close(fd);
    return db;
}

/* A handle on a cache that fits together, else NULL; *ret_again where it was made anew. */
static VmsIndexDb *open_checked(VmsIndex *index, bool *ret_again, GError **error)
{
    GError *local = NULL;
    g_autoptr(VmsIndexDb) db = open_second(index, &local);

    if (db != NULL && vms_index_db_check(db, &local))
        return g_steal_pointer(&db);
    g_clear_pointer(&db, vms_index_db_free);
    g_mutex_lock(&index->mutex);
    *ret_again = vms_index_repaired(index, local, error);
    g_mutex_unlock(&index->mutex);
    return NULL;
}

bool vms_index_foreach(VmsIndex *index, VmsRepo *repo, VmsIndexPackFunc func, void *user,
                       GCancellable *cancellable, GError **error)
{
    for (int attempt = 0; attempt < 3; attempt++) {
        bool again = false;
        g_autoptr(VmsIndexDb) db = open_checked(index, &again, error);

        if (db != NULL)
            return vms_index_db_each(db, func, user, error);
        if (!again || !vms_index_sync(index, repo, cancellable, error))
            return false;
    }
    return vms_fail(error, VMS_ERROR_FAILED,
                    "index cache %s is found damaged again and again: is the disk failing?",
                    index->path);
}
