/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/durable.h"

#include "base/error.h"
#include "base/failpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIRECT_MIN (1u << 20)
#define DIRECT_ALIGN 4096u /* what every block device and file system is content with */

/* Large data that begins on a page goes to the disk without a copy in the page cache, which costs
 * as much processor time as encrypting it, and would push out what guests and host have there.
 * What is left (all of it where the file system cannot) is to be written as usual. */
static bool write_direct(int fd, const uint8_t *data, size_t len, size_t *ret_done, GError **error)
{
    int flags = fcntl(fd, F_GETFL);
    size_t end = len - len % DIRECT_ALIGN;
    bool ok = true;

    *ret_done = 0;
    if (len < DIRECT_MIN || (uintptr_t)data % DIRECT_ALIGN != 0 || flags < 0 ||
        fcntl(fd, F_SETFL, flags | O_DIRECT) < 0)
        return true;
    while (ok && *ret_done < end) {
        ssize_t n = write(fd, data + *ret_done, end - *ret_done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EINVAL)
            break;
        if (n < 0)
            ok = vms_fail_errno(error, errno, "write");
        else
            *ret_done += (size_t)n;
        if (n % DIRECT_ALIGN != 0)
            break;
    }
    fcntl(fd, F_SETFL, flags);
    return ok;
}

bool vms_durable_write_all(int fd, const void *data, size_t len, GError **error)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n = write(fd, at, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vms_fail_errno(error, errno, "write");
        at += n;
        len -= (size_t)n;
    }
    return true;
}

bool vms_durable_write_at(int fd, const void *data, size_t len, uint64_t offset, GError **error)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n = pwrite(fd, at, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return vms_fail_errno(error, n < 0 ? errno : EIO, "write");
        at += n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return true;
}

bool vms_durable_sync_parent(const char *path, GError **error)
{
    g_autofree char *dir = g_path_get_dirname(path);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return vms_fail_errno(error, errno, "%s", dir);
    /* Some file systems cannot sync a directory and say EINVAL: nothing more can be done there. */
    bool ok = fsync(fd) == 0 || errno == EINVAL;
    int saved = errno;
    close(fd);
    return ok || vms_fail_errno(error, saved, "sync %s", dir);
}

struct VmsDurableFile {
    char *path, *temp; /* temp: NULL once the file is finished */
    int fd;
};

/* Takes the space, so that a lack of it is known before the work. */
static bool reserve(int fd, uint64_t size, GError **error)
{
    if (size == 0 || fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)size) == 0 ||
        errno == EOPNOTSUPP || errno == ENOSYS || errno == EINTR)
        return true;
    return vms_fail_errno(error, errno, "%" G_GUINT64_FORMAT " bytes of space", size);
}

VmsDurableFile *vms_durable_open(const char *path, uint64_t size, mode_t mode, GError **error)
{
    g_autofree char *temp = g_strdup_printf("%s.tmp-XXXXXX", path);
    int fd = g_mkstemp_full(temp, O_RDWR | O_CLOEXEC, (int)mode);
    if (fd < 0) {
        vms_fail_errno(error, errno, "%s", path);
        return NULL;
    }
    VmsDurableFile *file = g_new0(VmsDurableFile, 1);
    *file = (VmsDurableFile){g_strdup(path), g_steal_pointer(&temp), fd};
    vms_failpoint("file.made");
    if (reserve(fd, size, error))
        return file;
    vms_prefix(error, "%s", path);
    vms_durable_free(file);
    return NULL;
}

int vms_durable_fd(const VmsDurableFile *file)
{
    return file->fd;
}

static bool sync_and_close(VmsDurableFile *file, GError **error)
{
    if (fdatasync(file->fd) < 0)
        return vms_fail_errno(error, errno, "%s: sync", file->path);
    int fd = file->fd;
    file->fd = -1;
    return close(fd) == 0 || vms_fail_errno(error, errno, "%s: close", file->path);
}

bool vms_durable_finish(VmsDurableFile *file, GError **error)
{
    if (!sync_and_close(file, error))
        return false;
    vms_failpoint("file.written");
    if (rename(file->temp, file->path) < 0)
        return vms_fail_errno(error, errno, "%s", file->path);
    vms_failpoint("file.named");
    g_clear_pointer(&file->temp, g_free);
    return vms_durable_sync_parent(file->path, error);
}

void vms_durable_free(VmsDurableFile *file)
{
    if (!file)
        return;
    if (file->fd >= 0)
        close(file->fd);
    if (file->temp)
        unlink(file->temp);
    g_free(file->temp);
    g_free(file->path);
    g_free(file);
}

static VmsDurableFile *write_temporary(const char *path, const void *data, size_t len, mode_t mode,
                                       GError **error)
{
    g_autoptr(VmsDurableFile) file = vms_durable_open(path, 0, mode, error);
    if (!file)
        return NULL;
    size_t done = 0;
    if (write_direct(file->fd, data, len, &done, error) &&
        vms_durable_write_all(file->fd, (const uint8_t *)data + done, len - done, error))
        return g_steal_pointer(&file);
    vms_prefix(error, "%s", path);
    return NULL;
}

bool vms_durable_write(const char *path, const void *data, size_t len, mode_t mode, GError **error)
{
    g_autoptr(VmsDurableFile) file = write_temporary(path, data, len, mode, error);
    return file && vms_durable_finish(file, error);
}

bool vms_durable_create(const char *path, const void *data, size_t len, mode_t mode, GError **error)
{
    g_autoptr(VmsDurableFile) file = write_temporary(path, data, len, mode, error);
    if (!file || !sync_and_close(file, error))
        return false;
    if (link(file->temp, path) < 0)
        return vms_fail_errno(error, errno, "%s", path);
    vms_failpoint("file.linked");
    vms_durable_free(g_steal_pointer(&file)); /* one name less, before the directory is synced */
    return vms_durable_sync_parent(path, error);
}

bool vms_durable_mkdir(const char *path, mode_t mode, GError **error)
{
    if (g_file_test(path, G_FILE_TEST_IS_DIR))
        return true;
    g_autofree char *parent = g_path_get_dirname(path);
    if (g_strcmp0(parent, path) != 0 && !vms_durable_mkdir(parent, mode, error))
        return false;
    if (mkdir(path, mode) < 0 && errno != EEXIST)
        return vms_fail_errno(error, errno, "%s", path);
    if (!g_file_test(path, G_FILE_TEST_IS_DIR))
        return vms_fail(error, VMS_ERROR_EXISTS, "%s: exists and is not a directory", path);
    return vms_durable_sync_parent(path, error);
}
