/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The socket is bound in a fresh 0700 directory. An O_PATH descriptor of it is kept, name and
 * directory are removed at once, and connections go through /proc/self/fd. So nobody else can
 * connect, and a process that is killed leaves nothing behind; killed right in between, it leaves a
 * directory with its process id, which the next one removes. */
#include "block/nbd-socket.h"

#include "base/error.h"
#include "base/failpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BASE "/run/vmsnap" /* root's: nobody else can put anything there */
#define PREFIX "nbd-"

static bool is_of_the_dead(const char *entry)
{
    char *end = NULL;
    if (!g_str_has_prefix(entry, PREFIX))
        return false;
    guint64 pid = g_ascii_strtoull(entry + strlen(PREFIX), &end, 10);
    return pid > 0 && pid <= G_MAXINT && *end == '-' && kill((pid_t)pid, 0) < 0 && errno == ESRCH;
}

void vms_nbd_socket_remove_dead(void)
{
    g_autoptr(GDir) entries = geteuid() == 0 ? g_dir_open(BASE, 0, NULL) : NULL;
    for (const char *entry; entries && (entry = g_dir_read_name(entries));) {
        g_autofree char *dir = g_build_filename(BASE, entry, NULL);
        g_autofree char *name = g_build_filename(dir, "nbd", NULL);
        if (!is_of_the_dead(entry))
            continue;
        unlink(name);
        rmdir(dir);
    }
}

static char *make_directory(GError **error)
{
    const char *base = BASE;
    if (geteuid() != 0 || (mkdir(base, 0700) < 0 && errno != EEXIST))
        base = g_getenv("XDG_RUNTIME_DIR");
    if (!base || access(base, W_OK | X_OK) < 0)
        base = "/tmp";
    vms_nbd_socket_remove_dead();
    g_autofree char *unique = g_strdup_printf(PREFIX "%d-XXXXXX", (int)getpid());
    g_autofree char *dir = g_build_filename(base, unique, NULL);
    if (!mkdtemp(dir)) {
        vms_fail_errno(error, errno, "make a directory in %s", base);
        return NULL;
    }
    return g_steal_pointer(&dir);
}

static bool set_address(struct sockaddr_un *address, const char *path, GError **error)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (g_strlcpy(address->sun_path, path, sizeof(address->sun_path)) >= sizeof(address->sun_path))
        return vms_fail(error, VMS_ERROR_FAILED, "path of a socket is too long: %s", path);
    return true;
}

/* Binds and listens at name; both descriptors are the caller's. */
static bool bind_at(const char *name, int *ret_listen, int *ret_path, GError **error)
{
    struct sockaddr_un address;
    if (!set_address(&address, name, error))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return vms_fail_errno(error, errno, "make a socket");
    int path = -1;
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
        if (listen(fd, 64) == 0)
            path = open(name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (path < 0)
            vms_fail_errno(error, errno, "listen at %s", name);
        vms_failpoint("nbd.socket-bound");
        unlink(name);
    } else {
        vms_fail_errno(error, errno, "bind %s", name);
    }
    if (path < 0) {
        close(fd);
        return false;
    }
    *ret_listen = fd;
    *ret_path = path;
    return true;
}

bool vms_nbd_socket_make(int *ret_listen, int *ret_path, GError **error)
{
    g_autofree char *dir = make_directory(error);
    if (!dir)
        return false;
    g_autofree char *name = g_build_filename(dir, "nbd", NULL);
    bool ok = bind_at(name, ret_listen, ret_path, error);
    rmdir(dir);
    return ok;
}

int vms_nbd_socket_connect(int path, GError **error)
{
    struct sockaddr_un address;
    g_autofree char *name = g_strdup_printf("/proc/self/fd/%d", path);
    if (!set_address(&address, name, error))
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        vms_fail_errno(error, errno, "make a socket");
        return -1;
    }
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        vms_fail_errno(error, errno, "connect");
        close(fd);
        return -1;
    }
    return fd;
}
