/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qemu-nbd as a child.
 *
 * It gets its listening socket from us (systemd's socket activation protocol: LISTEN_PID,
 * LISTEN_FDS, descriptor 3). So there is nothing to wait for and no time window: connections queue
 * in the socket from the first moment, and a server that could not open its image closes them by
 * dying.
 *
 * Threads: each server has one keeper. It forks qemu-nbd, drains its stderr and reaps it. It is the
 * forking thread on purpose: PR_SET_PDEATHSIG fires when the thread that forked ends, and this one
 * lives exactly as long as its child. kill -9 of our process ends the thread and so qemu-nbd.
 *
 * Lock: server->lock guards pid, exited, status and words. */
#include "block/server.h"

#include "base/error.h"
#include "block/launch.h"
#include "block/nbd-socket.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEEP_WORDS 4096 /* bytes of stderr */
#define STOP_DEADLINE_US (20 * G_USEC_PER_SEC)
#define BLAME_DEADLINE_US (3 * G_USEC_PER_SEC)

struct VmsServer {
    char *path;      /* of the image */
    int socket_path; /* O_PATH descriptor of the listening socket's name */
    GThread *keeper;
    VmsLaunch *launch; /* the keeper's from its start on */
    GMutex lock;
    GCond changed;
    pid_t pid;      /* 0: not forked (yet) */
    int fork_errno; /* set with started */
    bool started;
    bool exited;
    int status;     /* of waitpid, once exited */
    GString *words; /* the end of stderr */
};

/* --- the keeper --- */

static void drain_words(VmsServer *server, int fd)
{
    char buffer[1024];
    for (;;) {
        ssize_t got = read(fd, buffer, sizeof(buffer));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return;
        g_mutex_lock(&server->lock);
        g_string_append_len(server->words, buffer, got);
        if (server->words->len > KEEP_WORDS)
            g_string_erase(server->words, 0, (gssize)(server->words->len - KEEP_WORDS));
        g_mutex_unlock(&server->lock);
    }
}

static void *keeper(void *user)
{
    VmsServer *server = user;
    g_autoptr(VmsLaunch) launch = g_steal_pointer(&server->launch);
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0)
        vms_launch_child(launch, parent);
    g_mutex_lock(&server->lock);
    server->fork_errno = pid < 0 ? errno : 0;
    server->pid = pid < 0 ? 0 : pid;
    server->started = true;
    server->exited = pid < 0;
    g_cond_broadcast(&server->changed);
    g_mutex_unlock(&server->lock);
    close(launch->listen_fd); /* qemu-nbd has the only one: its death is seen by who connects */
    close(launch->stderr_pipe[1]);
    launch->listen_fd = launch->stderr_pipe[1] = -1;
    if (pid < 0)
        return NULL;
    drain_words(server, launch->stderr_pipe[0]);
    siginfo_t info; /* not reaped yet: until exited is set, kill(pid) hits the right process */
    while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
        continue;
    g_mutex_lock(&server->lock);
    while (waitpid(pid, &server->status, 0) < 0 && errno == EINTR)
        continue;
    server->exited = true;
    g_cond_broadcast(&server->changed);
    g_mutex_unlock(&server->lock);
    return NULL;
}

/* --- starting and ending --- */

int vms_server_socket(VmsServer *server, GError **error)
{
    int fd = vms_nbd_socket_connect(server->socket_path, error);
    if (fd >= 0)
        return fd;
    vms_prefix(error, "qemu-nbd of %s", server->path);
    vms_server_blame(server, error);
    return -1;
}

static VmsServer *start(const char *path, const char *format, int image_fd, const char *const *more,
                        GCancellable *cancellable, GError **error)
{
    if (!vms_check_cancelled(cancellable, error))
        return NULL;
    if (!g_path_is_absolute(path)) /* "nbd:…" and the like are QEMU's own addresses */
        return vms_fail_null(error, VMS_ERROR_INVALID, "image path %s is not absolute", path);
    g_autoptr(VmsServer) server = g_new0(VmsServer, 1);
    g_mutex_init(&server->lock);
    g_cond_init(&server->changed);
    server->path = g_strdup(path);
    server->words = g_string_new(NULL);
    server->socket_path = -1;
    server->launch = vms_launch_new(path, format, image_fd, more, &server->socket_path, error);
    if (!server->launch)
        return NULL;
    server->keeper = g_thread_new("qemu-nbd", keeper, server);
    g_mutex_lock(&server->lock);
    while (!server->started)
        g_cond_wait(&server->changed, &server->lock);
    int fork_errno = server->fork_errno;
    g_mutex_unlock(&server->lock);
    if (fork_errno) {
        vms_fail_errno(error, fork_errno, "start qemu-nbd");
        return NULL;
    }
    g_autoptr(VmsSource) probe = vms_source_open(server, error); /* did it open the image? */
    if (!probe)
        return NULL;
    return g_steal_pointer(&server);
}

VmsServer *vms_server_start(const char *path, const char *format, GCancellable *cancellable,
                            GError **error)
{
    return start(path, format, -1, NULL, cancellable, error);
}

VmsServer *vms_server_start_with(const char *path, const char *format, const char *const *more,
                                 GCancellable *cancellable, GError **error)
{
    return start(path, format, -1, more, cancellable, error);
}

VmsServer *vms_server_start_writable(int fd, const char *path, const char *format,
                                     GCancellable *cancellable, GError **error)
{
    return start(path, format, fd, NULL, cancellable, error);
}

/* With the lock held. */
static bool wait_exited(VmsServer *server, gint64 microseconds)
{
    gint64 deadline = g_get_monotonic_time() + microseconds;
    while (!server->exited) {
        if (!g_cond_wait_until(&server->changed, &server->lock, deadline))
            break;
    }
    return server->exited;
}

static VmsErrorCode code_of_words(const char *words)
{
    static const struct {
        const char *text;
        VmsErrorCode code;
    } known[] = {
        {"No such file", VMS_ERROR_NOT_FOUND}, {"Permission denied", VMS_ERROR_AUTH},
        {" lock", VMS_ERROR_LOCKED}, /* Failed to get "write" lock */
        {"No space left", VMS_ERROR_NO_SPACE}, {"quota exceeded", VMS_ERROR_NO_SPACE},
        {"not in ", VMS_ERROR_INVALID}, /* Image is not in qcow2 format */
        {"orrupt", VMS_ERROR_CORRUPT},         {"nknown driver", VMS_ERROR_UNSUPPORTED},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
        if (strstr(words, known[i].text))
            return known[i].code;
    }
    return VMS_ERROR_FAILED;
}

/* The first line that is about the failure: what follows are hints ("Is another process using …").
 */
static char *first_line(const char *words)
{
    const char *prefix = "qemu-nbd: ";
    const char *from = g_str_has_prefix(words, prefix) ? words + strlen(prefix) : words;
    return g_strndup(from, strcspn(from, "\n"));
}

bool vms_server_blame(VmsServer *server, GError **error)
{
    g_mutex_lock(&server->lock);
    bool exited = wait_exited(server, BLAME_DEADLINE_US);
    g_autofree char *words = g_strdup(server->words->str);
    int status = server->status;
    g_mutex_unlock(&server->lock);
    if (!exited)
        return false;
    g_clear_error(error);
    g_autofree char *line = first_line(words);
    if (*line)
        return vms_fail(error, code_of_words(words), "qemu-nbd: %s", line);
    if (WIFSIGNALED(status))
        return vms_fail(error, VMS_ERROR_FAILED, "qemu-nbd of %s was killed by signal %d",
                        server->path, WTERMSIG(status));
    return vms_fail(error, VMS_ERROR_FAILED, "qemu-nbd of %s ended with status %d", server->path,
                    WEXITSTATUS(status));
}

bool vms_server_stop(VmsServer *server, GError **error)
{
    if (!server->keeper)
        return true;
    g_mutex_lock(&server->lock);
    bool was_gone = server->exited;
    if (!server->exited)
        kill(server->pid, SIGTERM);
    bool ended = wait_exited(server, STOP_DEADLINE_US);
    if (!ended)
        kill(server->pid, SIGKILL);
    g_mutex_unlock(&server->lock);
    g_thread_join(server->keeper);
    server->keeper = NULL;
    if (!ended)
        return vms_fail(error, VMS_ERROR_FAILED, "qemu-nbd of %s did not end and was killed",
                        server->path);
    bool clean = WIFEXITED(server->status) && WEXITSTATUS(server->status) == 0;
    return (clean && !was_gone) || vms_server_blame(server, error);
}

void vms_server_free(VmsServer *server)
{
    if (!server)
        return;
    vms_server_stop(server, NULL);
    if (server->socket_path >= 0)
        close(server->socket_path);
    vms_launch_free(server->launch);
    g_string_free(server->words, TRUE);
    g_mutex_clear(&server->lock);
    g_cond_clear(&server->changed);
    g_free(server->path);
    g_free(server);
}
