/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/chunk-runs.h"

VmsChunkRuns *vms_chunk_runs_new(uint64_t disk_size, uint64_t chunk_size)
{
    VmsChunkRuns *runs = g_new0(VmsChunkRuns, 1);
    runs->disk_size = disk_size;
    runs->chunk_size = chunk_size;
    runs->runs = g_array_new(FALSE, FALSE, sizeof(VmsChunkRun));
    return runs;
}

void vms_chunk_runs_free(VmsChunkRuns *runs)
{
    if (!runs)
        return;
    g_array_unref(runs->runs);
    g_free(runs);
}

static VmsChunkRun *last_run(const VmsChunkRuns *runs)
{
    guint n = runs->runs->len;
    return n > 0 ? &g_array_index(runs->runs, VmsChunkRun, n - 1) : NULL;
}

void vms_chunk_runs_add(VmsChunkRuns *runs, uint64_t offset, uint64_t length)
{
    if (offset >= runs->disk_size || length == 0)
        return;
    length = MIN(length, runs->disk_size - offset);
    uint64_t first = offset / runs->chunk_size;
    uint64_t end = (offset + length - 1) / runs->chunk_size + 1;
    VmsChunkRun *last = last_run(runs);
    if (last && first <= last->first + last->count) {
        last->count = MAX(last->count, end - last->first);
        return;
    }
    VmsChunkRun run = {.first = first, .count = end - first};
    run.before = last ? last->before + last->count : 0;
    g_array_append_val(runs->runs, run);
}

uint64_t vms_chunk_runs_chunks(const VmsChunkRuns *runs)
{
    const VmsChunkRun *last = last_run(runs);
    return last ? last->before + last->count : 0;
}

uint64_t vms_chunk_runs_size(const VmsChunkRuns *runs)
{
    const VmsChunkRun *last = last_run(runs);
    if (!last)
        return 0;
    uint64_t begin = last->first * runs->chunk_size;
    uint64_t end = MIN((last->first + last->count) * runs->chunk_size, runs->disk_size);
    return last->before * runs->chunk_size + (end - begin);
}

const VmsChunkRun *vms_chunk_runs_find(const VmsChunkRuns *runs, uint64_t at)
{
    guint low = 0, high = runs->runs->len;
    while (low + 1 < high) { /* the last run that begins at or before at */
        guint middle = low + (high - low) / 2;
        if (g_array_index(runs->runs, VmsChunkRun, middle).before <= at)
            low = middle;
        else
            high = middle;
    }
    return &g_array_index(runs->runs, VmsChunkRun, low);
}
