/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every 5 ms one line on the virtio-serial port org.vmsnap.heartbeat.0:
 *
 *     NONCE(hex) TICK SEQ ERRORS BAD_PAGES DIRTIED_PAGES\n
 *
 * There is no time in it: the guest's clock stops with the guest, so the host takes the time of
 * arrival. Never blocks: what nobody reads is dropped, and TICK shows how much that was. */
#include "state.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PERIOD_NS 5000000L

static int open_port(void)
{
    return open("/dev/virtio-ports/org.vmsnap.heartbeat.0", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
}

void *heartbeat_run(void *arg)
{
    const struct sched_param first = {.sched_priority = 10};
    struct timespec next, now;
    char line[128];
    int fd = open_port();
    unsigned long dropped = 0;

    (void)arg;
    sched_setscheduler(0, SCHED_FIFO, &first); /* this thread: before the writer and the dirtier */
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (;;) {
        uint64_t tick = ++lab.tick;
        int len = snprintf(line, sizeof line, "%016llx %llu %llu %llu %llu %llu\n",
                           (unsigned long long)lab.nonce, (unsigned long long)tick,
                           (unsigned long long)lab.seq, (unsigned long long)lab.errors,
                           (unsigned long long)lab.bad_pages, (unsigned long long)lab.dirty_seq);
        if (fd >= 0 && write(fd, line, (size_t)len) < 0)
            dropped++; /* nobody listens */
        next.tv_nsec += PERIOD_NS;
        if (next.tv_nsec >= 1000000000L) {
            next.tv_nsec -= 1000000000L;
            next.tv_sec++;
        }
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec > next.tv_sec ||
            (now.tv_sec == next.tv_sec && now.tv_nsec > next.tv_nsec + 4 * PERIOD_NS))
            next = now; /* late: go on from here, no burst of lines */
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
}
