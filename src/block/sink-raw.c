/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whole pages that lie on a page in memory too go to the disk past the page cache, through a second
 * descriptor: a copy in it costs more than decrypting and hashing, and pushes out what guests and
 * host have there. The rest, and all of it where the file system cannot, goes through the cache. */
#include "base/durable.h"
#include "base/error.h"
#include "block/sink-backend.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define DIRECT_MIN (64u << 10)
#define DIRECT_ALIGN 4096u

typedef struct {
    VmsSinkBackend base;
    int fd;     /* the sink's */
    int direct; /* the same file past the page cache; -1: not here */
} Raw;

/* How much of it may be written so. */
static size_t direct_part(const Raw *raw, uint64_t offset, const void *data, size_t length)
{
    bool aligned = offset % DIRECT_ALIGN == 0 && (uintptr_t)data % DIRECT_ALIGN == 0;
    return raw->direct >= 0 && aligned && length >= DIRECT_MIN ? length - length % DIRECT_ALIGN : 0;
}

static bool raw_write(VmsSinkBackend *backend, uint64_t offset, const void *data, size_t length,
                      bool zero, GError **error)
{
    Raw *raw = (Raw *)backend;
    /* punched, not skipped: the range may have been written before. Costs nothing in a hole. */
    if (zero && fallocate(raw->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                          (off_t)length) == 0)
        return true;
    const uint8_t *from = data;
    size_t direct = direct_part(raw, offset, from, length);
    if (direct > 0) {
        /* what fails, or is left over, is written below: its error is the one to tell */
        ssize_t wrote = pwrite(raw->direct, from, direct, (off_t)offset);
        if (wrote > 0) {
            from += wrote;
            offset += (uint64_t)wrote;
            length -= (size_t)wrote;
        }
    }
    if (length == 0)
        return true;
    if (!vms_durable_write_at(raw->fd, from, length, offset, error))
        return vms_prefix(error, "at %" G_GUINT64_FORMAT, offset);
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
    Raw *raw = (Raw *)backend;
    if (raw->direct >= 0)
        close(raw->direct);
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
    g_autofree char *same = g_strdup_printf("/proc/self/fd/%d", fd);
    raw->direct = open(same, O_WRONLY | O_DIRECT | O_CLOEXEC);
    return &raw->base;
}
