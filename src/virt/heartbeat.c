/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guest's clock stops with the guest, so only the time of arrival counts, and what arrives does
 * not: any bytes are a beat. They are read and thrown away, at most once in a millisecond, so that
 * a guest that sends as fast as it can costs no more than one that beats.
 *
 * Threads: the listener reads the socket and notes arrivals; the job's thread sets marks and asks.
 * One lock, `lock`, for the tally. The descriptors do not change after the start. The listener
 * waits for the socket and for `wake`, which tells it to end. */
#include "virt/heartbeat.h"

#include "virt/heartbeat-tally.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define REST_US 1000 /* between two reads: the resolution */

struct VmsHeartbeat {
    int socket, wake;
    GThread *listener;
    GMutex lock;
    VmsHeartbeatTally tally; /* under lock */
    bool gone;               /* under lock: QEMU has closed the connection */
};

/* False at the end of the connection. */
static bool take(VmsHeartbeat *heartbeat)
{
    char bytes[16384];
    int64_t now = g_get_monotonic_time();
    ssize_t len = read(heartbeat->socket, bytes, sizeof bytes);
    if (len == 0 || (len < 0 && errno != EAGAIN && errno != EINTR))
        return false;
    if (len > 0) {
        g_mutex_lock(&heartbeat->lock);
        vms_heartbeat_tally_arrival(&heartbeat->tally, now);
        g_mutex_unlock(&heartbeat->lock);
    }
    return true;
}

static void *listen_to_it(void *data)
{
    VmsHeartbeat *heartbeat = data;
    struct pollfd fds[] = {{.fd = heartbeat->wake, .events = POLLIN},
                           {.fd = heartbeat->socket, .events = POLLIN}};
    for (;;) {
        int ready = poll(fds, G_N_ELEMENTS(fds), -1);
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready < 0 || fds[0].revents)
            return NULL;
        if (!take(heartbeat))
            break;
        g_usleep(REST_US);
    }
    /* The silence of a QEMU that has ended is not the guest's. */
    g_mutex_lock(&heartbeat->lock);
    heartbeat->gone = true;
    g_mutex_unlock(&heartbeat->lock);
    return NULL;
}

/* Does QEMU serve somebody there? The connection would be taken all the same, and wait in the queue
 * for its turn, in the way of others. An accepted socket has the listener's path and state 03. */
static bool is_taken(const char *path)
{
    g_autofree char *text = NULL;
    if (!g_file_get_contents("/proc/self/net/unix", &text, NULL, NULL))
        return false;
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        int at = 0;
        char state[3] = "";
        if (sscanf(*line, "%*s %*s %*s %*s %*s %2s %*s %n", state, &at) == 1 && at &&
            g_str_equal(state, "03") && g_str_equal(*line + at, path))
            return true;
    }
    return false;
}

/* -1 where nobody listens there, or others are served or wait already. */
static int connect_now(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path || is_taken(path))
        return -1;
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    g_debug("heartbeat %s: %s", path, g_strerror(errno));
    close(fd);
    return -1;
}

VmsHeartbeat *vms_heartbeat_open(const VmsFacts *facts)
{
    int fd = facts->heartbeat_socket ? connect_now(facts->heartbeat_socket) : -1;
    if (fd < 0)
        return NULL;
    VmsHeartbeat *heartbeat = g_new0(VmsHeartbeat, 1);
    g_mutex_init(&heartbeat->lock);
    vms_heartbeat_tally_init(&heartbeat->tally);
    heartbeat->socket = fd;
    heartbeat->wake = eventfd(0, EFD_CLOEXEC);
    if (heartbeat->wake >= 0)
        heartbeat->listener = g_thread_try_new("heartbeat", listen_to_it, heartbeat, NULL);
    if (heartbeat->listener)
        return heartbeat;
    vms_heartbeat_free(heartbeat);
    return NULL;
}

void vms_heartbeat_mark(VmsHeartbeat *heartbeat, VmsHeartbeatPhase phase)
{
    if (!heartbeat)
        return;
    g_mutex_lock(&heartbeat->lock);
    vms_heartbeat_tally_mark(&heartbeat->tally, phase, g_get_monotonic_time());
    g_mutex_unlock(&heartbeat->lock);
}

bool vms_heartbeat_gaps(VmsHeartbeat *heartbeat, VmsHeartbeatGaps *ret_gaps)
{
    if (!heartbeat)
        return false;
    g_mutex_lock(&heartbeat->lock);
    bool ok = vms_heartbeat_tally_gaps(&heartbeat->tally,
                                       heartbeat->gone ? 0 : g_get_monotonic_time(), ret_gaps);
    g_mutex_unlock(&heartbeat->lock);
    return ok;
}

void vms_heartbeat_free(VmsHeartbeat *heartbeat)
{
    if (!heartbeat)
        return;
    if (heartbeat->listener) {
        eventfd_write(heartbeat->wake, 1);
        g_thread_join(heartbeat->listener);
    }
    if (heartbeat->wake >= 0)
        close(heartbeat->wake);
    close(heartbeat->socket);
    g_mutex_clear(&heartbeat->lock);
    g_free(heartbeat);
}
