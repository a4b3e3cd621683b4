/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/error.h"
#include "block/sink-backend.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

typedef struct {
    VmsSinkBackend base;
    int fd; /* the sink's */
} Raw;

static bool write_all(int fd, uint64_t offset, const uint8_t *data, size_t length, GError **error)
{
    while (length > 0) {
        ssize_t wrote = pwrite(fd, data, length, (off_t)offset);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return vms_fail_errno(error, errno, "write at %" G_GUINT64_FORMAT, offset);
        data += wrote;
        offset += (uint64_t)wrote;
        length -= (size_t)wrote;
    }
    return true;
}

static bool raw_write(VmsSinkBackend *backend, uint64_t offset, const void *data, size_t length,
                      bool zero, GError **error)
{
    Raw *raw = (Raw *)backend;
    /* punched, not skipped: the range may have been written before. Costs nothing in a hole. */
    if (zero && fallocate(raw->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                          (off_t)length) == 0)
        return true;
    if (!write_all(raw->fd, offset, data, length, error))
        return false;
    /* The disk begins now, not at the fsync in the end; a file system that cannot is no error. */
    sync_file_range(raw->fd, (off_t)offset, (off_t)length, SYNC_FILE_RANGE_WRITE);
    return true;
}

static bool raw_close(VmsSinkBackend *backend, GError **error)
{
    return true;
}

static void raw_free(VmsSinkBackend *backend)
{
    g_free(backend);
}

VmsSinkBackend *vms_sink_raw_new(int fd, uint64_t size, GError **error)
{
    static const VmsSinkOps ops = {raw_write, raw_close, raw_free};
    if (ftruncate(fd, (off_t)size) < 0) {
        vms_fail_errno(error, errno, "make a file of %" G_GUINT64_FORMAT " bytes", size);
        return NULL;
    }
    Raw *raw = g_new0(Raw, 1);
    raw->base.ops = &ops;
    raw->fd = fd;
    return &raw->base;
}
