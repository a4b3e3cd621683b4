/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Object names are file names; there is no state but the files. base/durable.h makes a file whole
 * or absent under its own name; the temporary file it writes first, NAME.tmp-XXXXXX, may be left
 * behind by a crash, so such names are no objects here: never listed, never accepted, and removed
 * only as unfinished uploads.
 *
 * The directory is remembered by device and inode: where a mount goes away, the empty directory
 * below it is not the repository, and nothing may be written there.
 *
 * Lock: mkdir_lock, so that no put returns before the parents it relies on are on disk too, whoever
 * made them. */
#include "store/dir.h"

#include "base/durable.h"
#include "base/error.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_DEPTH 16
#define SUFFIX_LEN strlen(".tmp-XXXXXX")
#define READ_PIECE (8u << 20)
#define MAX_GET (1u << 30)

typedef struct {
    VmsStore store;
    char *path;
    dev_t device;
    ino_t inode;
    GMutex mkdir_lock;
} Dir;

static bool is_temporary(const char *name)
{
    size_t len = strlen(name);
    return len > SUFFIX_LEN && strncmp(name + len - SUFFIX_LEN, ".tmp-", 5) == 0 &&
           !strchr(name + len - 6, '/');
}

/* An object's name, or one that base/durable.h made of it: with letters that no object has. */
static bool is_ours(const char *name)
{
    if (!is_temporary(name))
        return vms_store_valid_name(name);
    g_autofree char *object = g_strndup(name, strlen(name) - SUFFIX_LEN);
    return vms_store_valid_name(object);
}

static bool check_root(Dir *dir, GError **error)
{
    struct stat st;
    if (stat(dir->path, &st) < 0)
        return vms_fail_errno(error, errno, "directory %s", dir->path);
    if (st.st_dev != dir->device || st.st_ino != dir->inode)
        return vms_fail(error, VMS_ERROR_NOT_FOUND,
                        "another directory is at %s now: was a file system unmounted?", dir->path);
    return true;
}

static bool make_parent(Dir *dir, const char *path, GError **error)
{
    g_autofree char *parent = g_path_get_dirname(path);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&dir->mkdir_lock);
    return vms_durable_mkdir(parent, 0700, error);
}

/* The path that name is written to (transfer full); its directory is there. */
static char *path_to_write(Dir *dir, const char *name, GError **error)
{
    if (is_temporary(name))
        return vms_fail_null(error, VMS_ERROR_INVALID,
                             "names like NAME.tmp-XXXXXX are kept for temporary files");
    g_autofree char *path = g_build_filename(dir->path, name, NULL);
    if (!check_root(dir, error) || !make_parent(dir, path, error))
        return NULL;
    return g_steal_pointer(&path);
}

static bool dir_put(VmsStore *store, const char *name, GBytes *data, bool only_new,
                    GCancellable *cancellable, GError **error)
{
    Dir *dir = (Dir *)store;
    g_autofree char *path = path_to_write(dir, name, error);
    if (!path)
        return false;
    size_t len;
    const void *bytes = g_bytes_get_data(data, &len);
    if (only_new)
        return vms_durable_create(path, bytes, len, 0600, error);
    return vms_durable_write(path, bytes, len, 0600, error);
}

static bool read_at(int fd, uint8_t *to, size_t len, uint64_t offset, GCancellable *cancellable,
                    GError **error)
{
    while (len > 0) {
        if (!vms_check_cancelled(cancellable, error))
            return false;
        ssize_t n = pread(fd, to, MIN(len, READ_PIECE), (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vms_fail_errno(error, errno, "read");
        if (n == 0)
            return vms_fail(error, VMS_ERROR_CORRUPT, "ends at byte %" G_GUINT64_FORMAT, offset);
        to += n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return true;
}

static GBytes *read_range(int fd, uint64_t offset, uint64_t length, GCancellable *cancellable,
                          GError **error)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        vms_fail_errno(error, errno, "stat");
        return NULL;
    }
    if (!S_ISREG(st.st_mode))
        return vms_fail_null(error, VMS_ERROR_NOT_FOUND, "is not a file");
    uint64_t size = (uint64_t)st.st_size;
    if (length == UINT64_MAX && offset <= size)
        length = size - offset;
    if (offset > size || length > size - offset)
        return vms_fail_null(error, VMS_ERROR_CORRUPT, "ends at byte %" G_GUINT64_FORMAT, size);
    if (length > MAX_GET)
        return vms_fail_null(error, VMS_ERROR_FAILED,
                             "%" G_GUINT64_FORMAT " bytes at once, more than %u", length, MAX_GET);
    uint8_t *to = g_try_malloc(length > 0 ? (size_t)length : 1);
    if (!to)
        return vms_fail_null(error, VMS_ERROR_FAILED, "no memory for %" G_GUINT64_FORMAT " bytes",
                             length);
    if (!read_at(fd, to, (size_t)length, offset, cancellable, error)) {
        g_free(to);
        return NULL;
    }
    return g_bytes_new_take(to, (size_t)length);
}

static GBytes *dir_get(VmsStore *store, const char *name, uint64_t offset, uint64_t length,
                       GCancellable *cancellable, GError **error)
{
    Dir *dir = (Dir *)store;
    g_autofree char *path = g_build_filename(dir->path, name, NULL);
    /* without O_NONBLOCK a FIFO that somebody put there would hold us for ever */
    int fd = is_temporary(name) ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        vms_fail_errno(error, is_temporary(name) ? ENOENT : errno, "%s", path);
        return NULL;
    }
    GBytes *data = read_range(fd, offset, length, cancellable, error);
    close(fd);
    return data;
}

static bool dir_has(VmsStore *store, const char *name, bool *ret_exists, uint64_t *ret_size,
                    GCancellable *cancellable, GError **error)
{
    Dir *dir = (Dir *)store;
    g_autofree char *path = g_build_filename(dir->path, name, NULL);
    struct stat st;
    if (stat(path, &st) < 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            return vms_fail_errno(error, errno, "%s", path);
        *ret_exists = false;
        return check_root(dir, error);
    }
    *ret_exists = S_ISREG(st.st_mode) && !is_temporary(name);
    *ret_size = *ret_exists ? (uint64_t)st.st_size : 0;
    return true;
}

typedef struct {
    VmsStoreListFunc func;
    void *user;
    GCancellable *cancellable;
    bool temporaries; /* these, instead of objects */
} Walk;

static bool walk_directory(const Walk *walk, const char *path, const char *prefix, unsigned depth,
                           GError **error);

/* What went away since readdir is left out. */
static bool walk_entry(const Walk *walk, const char *path, const char *name, unsigned depth,
                       GError **error)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return errno == ENOENT || vms_fail_errno(error, errno, "%s", path);
    if (S_ISREG(st.st_mode))
        return is_temporary(name) != walk->temporaries ||
               walk->func(walk->user, name, (uint64_t)st.st_size, error);
    if (!S_ISDIR(st.st_mode))
        return true;
    if (depth >= MAX_DEPTH)
        return vms_fail(error, VMS_ERROR_FAILED, "%s: directories are nested too deeply", path);
    g_autofree char *below = g_strconcat(name, "/", NULL);
    return walk_directory(walk, path, below, depth + 1, error);
}

static bool walk_open_directory(const Walk *walk, DIR *handle, const char *path, const char *prefix,
                                unsigned depth, GError **error)
{
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(handle);
        if (!entry)
            return errno == 0 || vms_fail_errno(error, errno, "%s", path);
        g_autofree char *name = g_strconcat(prefix, entry->d_name, NULL);
        if (!is_ours(name)) /* also . and .. and other programs' files */
            continue;
        g_autofree char *full = g_build_filename(path, entry->d_name, NULL);
        if (!vms_check_cancelled(walk->cancellable, error) ||
            !walk_entry(walk, full, name, depth, error))
            return false;
    }
}

static bool walk_directory(const Walk *walk, const char *path, const char *prefix, unsigned depth,
                           GError **error)
{
    DIR *handle = opendir(path);
    if (!handle)
        return errno == ENOENT || errno == ENOTDIR || vms_fail_errno(error, errno, "%s", path);
    bool ok = walk_open_directory(walk, handle, path, prefix, depth, error);
    closedir(handle);
    return ok;
}

static bool dir_list(VmsStore *store, const char *prefix, VmsStoreListFunc func, void *user,
                     GCancellable *cancellable, GError **error)
{
    Dir *dir = (Dir *)store;
    g_autofree char *path = g_build_filename(dir->path, prefix, NULL);
    Walk walk = {func, user, cancellable, false};
    return check_root(dir, error) && walk_directory(&walk, path, prefix, 0, error);
}

static bool dir_remove(VmsStore *store, const char *name, GCancellable *cancellable, GError **error)
{
    Dir *dir = (Dir *)store;
    g_autofree char *path = g_build_filename(dir->path, name, NULL);
    if (is_temporary(name))
        return true;
    if (unlink(path) < 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return check_root(dir, error);
        return vms_fail_errno(error, errno, "%s", path);
    }
    return vms_durable_sync_parent(path, error);
}

typedef struct {
    VmsStoreParts parts;
    VmsDurableFile *file;
} DirParts;

static VmsStoreParts *dir_begin_parts(VmsStore *store, const char *name, uint64_t size,
                                      uint64_t part_size, GCancellable *cancellable, GError **error)
{
    g_autofree char *path = path_to_write((Dir *)store, name, error);
    VmsDurableFile *file = path ? vms_durable_open(path, size, 0600, error) : NULL;
    if (!file)
        return NULL;
    DirParts *parts = g_new0(DirParts, 1);
    parts->parts = (VmsStoreParts){g_strdup(name), size, part_size};
    parts->file = file;
    return &parts->parts;
}

static bool dir_put_part(VmsStore *store, VmsStoreParts *parts, unsigned index, GBytes *data,
                         GCancellable *cancellable, GError **error)
{
    size_t len;
    const void *bytes = g_bytes_get_data(data, &len);
    return vms_check_cancelled(cancellable, error) &&
           vms_durable_write_at(vms_durable_fd(((DirParts *)parts)->file), bytes, len,
                                index * parts->part_size, error);
}

static bool dir_finish_parts(VmsStore *store, VmsStoreParts *parts, GCancellable *cancellable,
                             GError **error)
{
    return check_root((Dir *)store, error) && vms_durable_finish(((DirParts *)parts)->file, error);
}

static void dir_free_parts(VmsStore *store, VmsStoreParts *parts)
{
    vms_durable_free(((DirParts *)parts)->file);
    g_free(parts->name);
    g_free(parts);
}

typedef struct {
    Dir *dir;
    gint64 before_us;
    unsigned count;
} Stale;

static bool remove_stale(void *user, const char *name, uint64_t size, GError **error)
{
    Stale *stale = user;
    g_autofree char *path = g_build_filename(stale->dir->path, name, NULL);
    struct stat st;
    if (lstat(path, &st) < 0)
        return errno == ENOENT || vms_fail_errno(error, errno, "%s", path);
    if (!S_ISREG(st.st_mode) || st.st_mtime * G_USEC_PER_SEC > stale->before_us)
        return true;
    if (unlink(path) < 0)
        return errno == ENOENT || vms_fail_errno(error, errno, "%s", path);
    stale->count++;
    return true;
}

static bool dir_abort_parts(VmsStore *store, uint64_t older_than_s, unsigned *ret_count,
                            GCancellable *cancellable, GError **error)
{
    Dir *dir = (Dir *)store;
    gint64 age_us = (gint64)MIN(older_than_s, G_MAXINT32) * G_USEC_PER_SEC;
    Stale stale = {dir, g_get_real_time() - age_us, 0};
    Walk walk = {remove_stale, &stale, cancellable, true};
    bool ok = check_root(dir, error) && walk_directory(&walk, dir->path, "", 0, error);
    *ret_count += stale.count;
    return ok;
}

static void dir_free(VmsStore *store)
{
    Dir *dir = (Dir *)store;
    g_mutex_clear(&dir->mkdir_lock);
    g_free(dir->path);
    g_free(store->location);
    g_free(dir);
}

static const VmsStoreOps dir_ops = {
    .put = dir_put,
    .get = dir_get,
    .has = dir_has,
    .list = dir_list,
    .remove = dir_remove,
    .free = dir_free,
    .begin_parts = dir_begin_parts,
    .put_part = dir_put_part,
    .finish_parts = dir_finish_parts,
    .free_parts = dir_free_parts,
    .abort_parts = dir_abort_parts,
};

VmsStore *vms_dir_open(const char *path, bool create, GError **error)
{
    g_autofree char *full = g_canonicalize_filename(path, NULL);
    if (create && !vms_durable_mkdir(full, 0700, error))
        return NULL;
    struct stat st;
    if (stat(full, &st) < 0) {
        vms_fail_errno(error, errno, "directory %s", full);
        return NULL;
    }
    if (!S_ISDIR(st.st_mode))
        return vms_fail_null(error, VMS_ERROR_INVALID, "%s is not a directory", full);
    Dir *dir = g_new0(Dir, 1);
    dir->store.ops = &dir_ops;
    dir->store.location = g_strdup(full);
    dir->path = g_steal_pointer(&full);
    dir->device = st.st_dev;
    dir->inode = st.st_ino;
    g_mutex_init(&dir->mkdir_lock);
    return &dir->store;
}
