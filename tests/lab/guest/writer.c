/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Record n goes to disk A and is synced, then to disk B and is synced, then comes n + 1: whoever
 * cuts both disks at one instant finds B equal to A or one behind, and equal when the cut was made
 * between two records, which is where writer_hold() stops. A failed write is counted and the same
 * record is tried again at its own offset, so an error leaves no gap behind.
 *
 * Lock: `lock` guards holds and busy; the disks are written without it. */
#include "record.h"
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned holds;
static bool busy;

bool writer_hold(bool hold)
{
    struct timespec deadline;
    int error = 0;

    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 10;
    pthread_mutex_lock(&lock);
    if (hold)
        holds++;
    else if (holds > 0)
        holds--;
    pthread_cond_broadcast(&changed);
    while (hold && busy && error != ETIMEDOUT)
        error = pthread_cond_timedwait(&changed, &lock, &deadline);
    pthread_mutex_unlock(&lock);
    return error != ETIMEDOUT;
}

bool writer_is_held(void)
{
    pthread_mutex_lock(&lock);
    bool held = holds > 0;
    pthread_mutex_unlock(&lock);
    return held;
}

static bool append(int fd, uint64_t seq, char disk)
{
    uint8_t buf[RECORD_SIZE];
    off_t offset = (off_t)((seq - 1) * RECORD_SIZE);

    record_make(buf, seq, lab.nonce, disk);
    return pwrite(fd, buf, RECORD_SIZE, offset) == RECORD_SIZE && fsync(fd) == 0;
}

/* Opens one disk's file and cuts off a record that the last power loss left half written. */
static int open_disk(const char *path, char disk, uint64_t *ret_last)
{
    RecordSummary s;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

    if (fd < 0)
        return -1;
    if (!record_verify(fd, disk, &s) || s.gaps || s.bad ||
        (s.tail && ftruncate(fd, (off_t)(s.last * RECORD_SIZE)) < 0) || fsync(fd) < 0) {
        close(fd);
        return -1;
    }
    *ret_last = s.last;
    return fd;
}

/* Number of the last record on both disks. False if what is there cannot be continued. */
static bool open_disks(int fd[2], uint64_t *ret_seq)
{
    uint64_t last[2] = {0, 0};

    fd[0] = open_disk("/mnt/a/records", 'A', &last[0]);
    fd[1] = open_disk("/mnt/b/records", 'B', &last[1]);
    if (fd[0] < 0 || fd[1] < 0)
        return false;
    if (last[0] != last[1] && last[0] != last[1] + 1)
        return false;
    if (last[0] != last[1] && !append(fd[1], last[0], 'B'))
        return false;
    *ret_seq = last[0];
    return true;
}

static void write_next(const int fd[2])
{
    uint64_t seq = lab.seq + 1;

    pthread_mutex_lock(&lock);
    while (holds > 0)
        pthread_cond_wait(&changed, &lock);
    busy = true;
    pthread_mutex_unlock(&lock);

    if (append(fd[0], seq, 'A') && append(fd[1], seq, 'B'))
        lab.seq = seq;
    else
        lab.errors++;

    pthread_mutex_lock(&lock);
    busy = false;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

void *writer_run(void *arg)
{
    uint64_t rate = lab_option("lab.writer", 20);
    uint64_t seq = 0;
    struct timespec next;
    int fd[2];

    (void)arg;
    if (!open_disks(fd, &seq)) {
        lab.errors++;
        return NULL;
    }
    lab.seq = seq;
    if (rate == 0)
        return NULL;
    long period = rate > 1 ? 1000000000L / (long)rate : 999999999L;
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (;;) {
        write_next(fd);
        next.tv_nsec += period;
        if (next.tv_nsec >= 1000000000L) {
            next.tv_nsec -= 1000000000L;
            next.tv_sec++;
        }
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec > next.tv_sec + 1)
            next = now; /* after a hold: go on at the rate, do not catch up */
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
}
