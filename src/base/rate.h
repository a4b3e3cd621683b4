/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A limit of bytes per second, shared by all threads that take from it. */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct VmsRate VmsRate;

/* bytes_per_s > 0. */
VmsRate *vms_rate_new(uint64_t bytes_per_s);
void vms_rate_free(VmsRate *rate);

/* Waits until bytes more may pass: what was taken before is paid for first, so the first one passes
 * at once, and time without takers is not saved up beyond a quarter of a second. rate nullable: no
 * limit. CANCELLED. */
bool vms_rate_take(VmsRate *rate, uint64_t bytes, GCancellable *cancellable, GError **error);

/* Returns at the monotonic time (µs). CANCELLED, at once. */
bool vms_rate_sleep_until(int64_t when, GCancellable *cancellable, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsRate, vms_rate_free)
