/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A token bucket told as a time: `due` is when all that was taken will have been paid for. Who
 * takes moves it on and waits for what it was before; the threads queue up by that alone. */
#include "base/rate.h"

#include "base/error.h"

#define BURST_US (G_USEC_PER_SEC / 4)

struct VmsRate {
    uint64_t bytes_per_s;
    GMutex mutex; /* guards due */
    int64_t due;  /* monotonic time */
};

VmsRate *vms_rate_new(uint64_t bytes_per_s)
{
    VmsRate *rate = g_new0(VmsRate, 1);
    g_mutex_init(&rate->mutex);
    rate->bytes_per_s = bytes_per_s;
    return rate;
}

void vms_rate_free(VmsRate *rate)
{
    if (!rate)
        return;
    g_mutex_clear(&rate->mutex);
    g_free(rate);
}

static int64_t book(VmsRate *rate, uint64_t bytes)
{
    double cost = (double)bytes * G_USEC_PER_SEC / (double)rate->bytes_per_s;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&rate->mutex);
    int64_t begin = MAX(rate->due, g_get_monotonic_time() - BURST_US);
    rate->due = begin + (int64_t)MIN(cost, (double)(G_MAXINT64 / 4));
    return begin;
}

bool vms_rate_sleep_until(int64_t when, GCancellable *cancellable, GError **error)
{
    GPollFD fd = {.fd = -1};
    bool pollable = cancellable && g_cancellable_make_pollfd(cancellable, &fd);
    for (int64_t left; (left = when - g_get_monotonic_time()) > 0;) {
        int ms = (int)MIN((left + 999) / 1000, 60000);
        if (g_poll(&fd, pollable ? 1 : 0, ms) > 0)
            break;
    }
    if (pollable)
        g_cancellable_release_fd(cancellable);
    return vms_check_cancelled(cancellable, error);
}

bool vms_rate_take(VmsRate *rate, uint64_t bytes, GCancellable *cancellable, GError **error)
{
    return !rate || vms_rate_sleep_until(book(rate, bytes), cancellable, error);
}
