/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/durable.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* Writes a temporary file beside path; its name in *ret_temp (transfer full). */
static bool write_temporary(const char *path, const void *data, size_t len, mode_t mode,
                            char **ret_temp, GError **error)
{
    g_autofree char *temp = g_strdup_printf("%s.tmp-XXXXXX", path);
    int fd = g_mkstemp_full(temp, O_RDWR | O_CLOEXEC, (int)mode);
    if (fd < 0)
        return vms_fail_errno(error, errno, "%s", path);
    bool ok = vms_durable_write_all(fd, data, len, error);
    if (ok && fdatasync(fd) < 0)
        ok = vms_fail_errno(error, errno, "sync");
    if (close(fd) < 0 && ok)
        ok = vms_fail_errno(error, errno, "close");
    if (!ok) {
        unlink(temp);
        return vms_prefix(error, "%s", path);
    }
    *ret_temp = g_steal_pointer(&temp);
    return true;
}

bool vms_durable_write(const char *path, const void *data, size_t len, mode_t mode, GError **error)
{
    g_autofree char *temp = NULL;
    if (!write_temporary(path, data, len, mode, &temp, error))
        return false;
    if (rename(temp, path) < 0) {
        int saved = errno;
        unlink(temp);
        return vms_fail_errno(error, saved, "%s", path);
    }
    return vms_durable_sync_parent(path, error);
}

bool vms_durable_create(const char *path, const void *data, size_t len, mode_t mode, GError **error)
{
    g_autofree char *temp = NULL;
    if (!write_temporary(path, data, len, mode, &temp, error))
        return false;
    bool ok = link(temp, path) == 0;
    int saved = errno;
    unlink(temp);
    if (!ok)
        return vms_fail_errno(error, saved, "%s", path);
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
