/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/domain-lock.h"

#include "base/durable.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATIENCE_US G_USEC_PER_SEC
#define POLL_US 20000

struct VmsDomainLock {
    int fd;
    char *path;
};

static bool held(int fd, const char *name, GError **error)
{
    char pid[32] = "";
    ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
    pid[n > 0 ? n : 0] = '\0';
    g_strchomp(pid);
    return vms_fail(error, VMS_ERROR_LOCKED,
                    "%s: another vmsnap%s%s works on this domain; wait for it and run again", name,
                    *pid ? ", process " : "", pid);
}

/* "check" holds it for some milliseconds: not worth an error. */
static bool take(int fd)
{
    int64_t end = g_get_monotonic_time() + PATIENCE_US;
    for (;;) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return true;
        if (errno != EWOULDBLOCK || g_get_monotonic_time() > end)
            return false;
        g_usleep(POLL_US);
    }
}

static int open_locked(const char *path, const char *name, GError **error)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        vms_fail_errno(error, errno, "%s", path);
        return -1;
    }
    if (take(fd))
        return fd;
    if (errno == EWOULDBLOCK)
        held(fd, name, error);
    else
        vms_fail_errno(error, errno, "%s", path);
    close(fd);
    return -1;
}

/* Who held it before us may have removed the file: then others lock another one. */
static bool is_at(int fd, const char *path)
{
    struct stat by_fd, by_name;
    return fstat(fd, &by_fd) == 0 && stat(path, &by_name) == 0 && by_fd.st_dev == by_name.st_dev &&
           by_fd.st_ino == by_name.st_ino;
}

VmsDomainLock *vms_domain_lock(const VmsConfig *config, const char *uuid, const char *name,
                               GError **error)
{
    if (!vms_durable_mkdir(config->run_dir, 0700, error)) {
        vms_prefix(error, "run directory");
        return NULL;
    }
    g_autofree char *path = g_strdup_printf("%s/%s.lock", config->run_dir, uuid);
    int fd = open_locked(path, name, error);
    while (fd >= 0 && !is_at(fd, path)) {
        close(fd);
        fd = open_locked(path, name, error);
    }
    if (fd < 0)
        return NULL;
    /* The pid is a courtesy for the message above: a failure to write it does not matter. */
    if (ftruncate(fd, 0) == 0)
        dprintf(fd, "%d\n", (int)getpid());
    VmsDomainLock *lock = g_new0(VmsDomainLock, 1);
    lock->fd = fd;
    lock->path = g_steal_pointer(&path);
    return lock;
}

void vms_domain_lock_free(VmsDomainLock *lock)
{
    if (!lock)
        return;
    close(lock->fd);
    g_free(lock->path);
    g_free(lock);
}

void vms_domain_lock_remove(VmsDomainLock *lock)
{
    if (lock) /* still held: nobody else has taken this very file */
        unlink(lock->path);
    vms_domain_lock_free(lock);
}
