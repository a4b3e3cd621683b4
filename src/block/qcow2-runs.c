/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "block/qcow2-runs.h"

#include "base/error.h"
#include "base/spool.h"

#include <unistd.h>

#define BATCH 4096 /* runs: 64 KiB */

typedef struct {
    uint64_t first;
    uint64_t count : 63, zero : 1;
} Run;

struct VmsQcow2Runs {
    Run last;         /* may still grow; count 0: none */
    guint used;       /* of batch */
    uint64_t spooled; /* runs in the file, in front of those in batch */
    int fd;           /* -1: all are in batch */
    Run batch[BATCH];
};

VmsQcow2Runs *vms_qcow2_runs_new(void)
{
    VmsQcow2Runs *runs = g_new0(VmsQcow2Runs, 1);
    runs->fd = -1;
    return runs;
}

void vms_qcow2_runs_free(VmsQcow2Runs *runs)
{
    if (!runs)
        return;
    if (runs->fd >= 0)
        close(runs->fd);
    g_free(runs);
}

static bool spool_batch(VmsQcow2Runs *runs, GError **error)
{
    if (runs->fd < 0 && (runs->fd = vms_spool_open(NULL, error)) < 0)
        return false;
    if (!vms_spool_write(runs->fd, runs->spooled * sizeof(Run), runs->batch,
                         runs->used * sizeof(Run), error))
        return false;
    runs->spooled += runs->used;
    runs->used = 0;
    return true;
}

static bool flush_last(VmsQcow2Runs *runs, GError **error)
{
    if (runs->last.count == 0)
        return true;
    if (runs->used == BATCH && !spool_batch(runs, error))
        return false;
    runs->batch[runs->used++] = runs->last;
    runs->last.count = 0;
    return true;
}

bool vms_qcow2_runs_add(VmsQcow2Runs *runs, uint64_t first, uint64_t count, bool zero,
                        GError **error)
{
    Run *last = &runs->last;
    if (last->count > 0 && last->first + last->count == first && last->zero == zero) {
        last->count += count;
        return true;
    }
    if (!flush_last(runs, error))
        return false;
    *last = (Run){.first = first, .count = count, .zero = zero};
    return true;
}

bool vms_qcow2_runs_end(VmsQcow2Runs *runs, GError **error)
{
    return flush_last(runs, error) && (runs->fd < 0 || spool_batch(runs, error));
}

static bool each_of(const Run *batch, uint64_t n, VmsQcow2RunFunc func, void *user, GError **error)
{
    for (uint64_t i = 0; i < n; i++)
        if (!func(user, batch[i].first, batch[i].count, batch[i].zero, error))
            return false;
    return true;
}

bool vms_qcow2_runs_each(VmsQcow2Runs *runs, VmsQcow2RunFunc func, void *user, GError **error)
{
    if (runs->fd < 0)
        return each_of(runs->batch, runs->used, func, user, error);
    for (uint64_t at = 0; at < runs->spooled; at += BATCH) {
        uint64_t n = MIN(BATCH, runs->spooled - at);
        if (!vms_spool_read(runs->fd, at * sizeof(Run), runs->batch, n * sizeof(Run), error) ||
            !each_of(runs->batch, n, func, user, error))
            return false;
    }
    return true;
}
