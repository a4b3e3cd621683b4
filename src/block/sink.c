/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A restored disk under construction.
 *
 * The image grows as PATH.vmsnap-partial and gets its name only when whole and on disk. While we
 * work on it the partial file is locked (flock), so that a second run on the same target is refused
 * and a partial file without a lock is known to be left by a run that was killed; that one is
 * replaced. The lock hangs on the inode, so after taking it the name must still lead to that inode.
 *
 * Without replace the final step is renameat2(RENAME_NOREPLACE): what somebody put there meanwhile
 * stays. With replace only a regular file is ever replaced, never a device or a directory. */
#include "block/sink.h"

#include "base/durable.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "block/sink-backend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PARTIAL ".vmsnap-partial"

struct VmsSink {
    char *path;
    char *partial;
    uint64_t size;
    bool replace;
    int fd; /* of the partial file, locked */
    VmsSinkBackend *backend;
    bool finished;
};

/* --- the partial file --- */

static bool is_ours(int fd, const char *path)
{
    struct stat by_fd, by_name;
    return fstat(fd, &by_fd) == 0 && lstat(path, &by_name) == 0 && by_fd.st_dev == by_name.st_dev &&
           by_fd.st_ino == by_name.st_ino;
}

/* Removes the partial file of a run that was killed; LOCKED if that run is alive. */
static bool remove_stale(const char *partial, GError **error)
{
    int fd = open(partial, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return true;
    struct stat status;
    bool ok = false;
    if (fd < 0)
        vms_fail_errno(error, errno, "%s is in the way", partial);
    else if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_nlink > 1 ||
             status.st_uid != geteuid())
        vms_fail(error, VMS_ERROR_EXISTS, "%s is in the way and not from us: move it away",
                 partial);
    else if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        vms_fail(error, VMS_ERROR_LOCKED, "another run is writing %s", partial);
    else if (is_ours(fd, partial) && unlink(partial) < 0)
        vms_fail_errno(error, errno, "remove %s", partial);
    else
        ok = true;
    if (fd >= 0)
        close(fd);
    return ok;
}

static int create_partial(const char *partial, GError **error)
{
    if (!remove_stale(partial, error))
        return -1;
    int fd = open(partial, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        vms_fail_errno(error, errno, "create %s", partial);
        return -1;
    }
    /* whoever came between create and lock took the file for a stale one */
    if (flock(fd, LOCK_EX | LOCK_NB) < 0 || !is_ours(fd, partial)) {
        close(fd);
        vms_fail(error, VMS_ERROR_LOCKED, "another run is writing %s", partial);
        return -1;
    }
    return fd;
}

static bool check_target(const char *path, bool replace, GError **error)
{
    struct stat status;
    if (lstat(path, &status) < 0)
        return errno == ENOENT || vms_fail_errno(error, errno, "%s", path);
    if (!replace)
        return vms_fail(error, VMS_ERROR_EXISTS, "%s exists already", path);
    if (!S_ISREG(status.st_mode))
        return vms_fail(error, VMS_ERROR_EXISTS, "%s is not a regular file and is left alone",
                        path);
    return true;
}

/* --- public --- */

static VmsSinkBackend *open_backend(VmsSink *sink, const char *format, GCancellable *cancellable,
                                    GError **error)
{
    if (strcmp(format, "raw") == 0)
        return vms_sink_raw_new(sink->fd, sink->size, error);
    if (strcmp(format, "qcow2") == 0)
        return vms_sink_qcow2_new(sink->fd, sink->partial, sink->size, cancellable, error);
    return vms_fail_null(error, VMS_ERROR_UNSUPPORTED, "format %s: only raw and qcow2", format);
}

VmsSink *vms_sink_create(const char *path, const char *format, uint64_t size, bool replace,
                         GCancellable *cancellable, GError **error)
{
    g_autoptr(VmsSink) sink = g_new0(VmsSink, 1);
    sink->fd = -1;
    sink->path = g_canonicalize_filename(path, NULL);
    sink->partial = g_strconcat(sink->path, PARTIAL, NULL);
    sink->size = size;
    sink->replace = replace;
    if (size > G_MAXINT64)
        return vms_fail_null(error, VMS_ERROR_INVALID, "%s: size is out of range", path);
    if (!check_target(sink->path, replace, error))
        return NULL;
    sink->fd = create_partial(sink->partial, error);
    if (sink->fd < 0)
        return NULL;
    vms_failpoint("restore.file-made");
    sink->backend = open_backend(sink, format, cancellable, error);
    if (!sink->backend) {
        vms_prefix(error, "%s", path);
        return NULL;
    }
    return g_steal_pointer(&sink);
}

static bool is_zero(const uint8_t *data, size_t length)
{
    return length == 0 || (data[0] == 0 && memcmp(data, data + 1, length - 1) == 0);
}

/* Pieces of one kind that follow each other are written as one. */
bool vms_sink_write(VmsSink *sink, uint64_t offset, const void *data, size_t length, GError **error)
{
    if (offset > sink->size || length > sink->size - offset)
        return vms_fail(error, VMS_ERROR_INVALID, "%s: write past the end", sink->path);
    const uint8_t *from = data;
    size_t run = 0;
    bool run_zero = false;
    for (size_t at = 0; at < length;) {
        size_t piece = MIN(length - at, VMS_SINK_PIECE - (offset + at) % VMS_SINK_PIECE);
        bool zero = is_zero(from + at, piece);
        if (run < at && zero != run_zero) {
            if (!sink->backend->ops->write(sink->backend, offset + run, from + run, at - run,
                                           run_zero, error))
                return vms_prefix(error, "%s", sink->path);
            run = at;
        }
        run_zero = zero;
        at += piece;
    }
    if (run < length && !sink->backend->ops->write(sink->backend, offset + run, from + run,
                                                   length - run, run_zero, error))
        return vms_prefix(error, "%s", sink->path);
    return true;
}

static bool publish(VmsSink *sink, GError **error)
{
    if (!check_target(sink->path, sink->replace, error))
        return false;
    if (!is_ours(sink->fd, sink->partial))
        return vms_fail(error, VMS_ERROR_FAILED, "%s was replaced by somebody else", sink->partial);
    unsigned flags = sink->replace ? 0 : RENAME_NOREPLACE;
    int result = renameat2(AT_FDCWD, sink->partial, AT_FDCWD, sink->path, flags);
    if (result < 0 && errno == EINVAL && flags) { /* a file system without NOREPLACE: NFS */
        result = link(sink->partial, sink->path);
        if (result == 0)
            unlink(sink->partial);
    }
    if (result < 0 && errno == EEXIST)
        return vms_fail(error, VMS_ERROR_EXISTS, "%s exists already", sink->path);
    if (result < 0)
        return vms_fail_errno(error, errno, "rename to %s", sink->path);
    vms_failpoint("restore.file-named");
    sink->finished = true;
    return vms_durable_sync_parent(sink->path, error);
}

bool vms_sink_finish(VmsSink *sink, GError **error)
{
    if (!sink->backend->ops->close(sink->backend, error))
        return vms_prefix(error, "%s", sink->path);
    if (fsync(sink->fd) < 0)
        return vms_fail_errno(error, errno, "fsync %s", sink->partial);
    vms_failpoint("restore.file-whole");
    return publish(sink, error);
}

bool vms_sink_stat(const VmsSink *sink, struct stat *ret_st, GError **error)
{
    return fstat(sink->fd, ret_st) == 0 || vms_fail_errno(error, errno, "%s", sink->partial);
}

bool vms_sink_discard(const char *path, GError **error)
{
    g_autofree char *full = g_canonicalize_filename(path, NULL);
    g_autofree char *partial = g_strconcat(full, PARTIAL, NULL);
    return remove_stale(partial, error);
}

void vms_sink_free(VmsSink *sink)
{
    if (!sink)
        return;
    if (sink->backend)
        sink->backend->ops->free(sink->backend);
    if (sink->fd >= 0) {
        if (!sink->finished && is_ours(sink->fd, sink->partial))
            unlink(sink->partial);
        close(sink->fd); /* the lock goes last */
    }
    g_free(sink->path);
    g_free(sink->partial);
    g_free(sink);
}
