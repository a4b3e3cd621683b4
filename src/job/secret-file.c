/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/secret-file.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_SECRET 4096 /* bytes */

/* Everything up to the end; a pipe is fine. */
static bool read_all(int fd, char *buffer, size_t *ret_len)
{
    size_t len = 0;
    for (;;) {
        ssize_t n = read(fd, buffer + len, MAX_SECRET + 1 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        len += (size_t)n;
        if (n == 0 || len > MAX_SECRET) {
            *ret_len = len;
            return true;
        }
    }
}

static VmsSecret *trimmed(const char *text, size_t len)
{
    while (len > 0 && g_ascii_isspace(text[len - 1]))
        len--;
    while (len > 0 && g_ascii_isspace(*text)) {
        text++;
        len--;
    }
    return len > 0 ? vms_secret_new(text, len) : NULL;
}

static VmsSecret *read_fd(int fd, const char *path, GError **error)
{
    struct stat st;
    char buffer[MAX_SECRET + 1];
    size_t len = 0;
    if (fstat(fd, &st) < 0) {
        vms_fail_errno(error, errno, "%s", path);
        return NULL;
    }
    if (st.st_mode & (S_IRWXO | S_IWGRP))
        return vms_fail_null(error, VMS_ERROR_AUTH,
                             "%s: others can read or change it (mode %04o); run \"chmod 0600 %s\"",
                             path, st.st_mode & 07777, path);
    if (!read_all(fd, buffer, &len)) {
        vms_fail_errno(error, errno, "%s", path);
        return NULL;
    }
    VmsSecret *secret = len <= MAX_SECRET ? trimmed(buffer, len) : NULL;
    vms_secret_wipe(buffer, sizeof buffer);
    if (!secret)
        vms_fail(error, VMS_ERROR_AUTH, "%s: %s", path,
                 len > MAX_SECRET ? "longer than 4096 bytes" : "is empty");
    return secret;
}

VmsSecret *vms_secret_file_read(const char *path, const char *what, GError **error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    VmsSecret *secret = NULL;
    if (fd < 0)
        vms_fail_errno(error, errno, "%s", path);
    else
        secret = read_fd(fd, path, error);
    if (fd >= 0)
        close(fd);
    if (!secret)
        vms_prefix(error, "%s", what);
    return secret;
}
