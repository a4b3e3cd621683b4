/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A selection of a disk's chunks, and the disk that would be left of it: the selected chunks one
 * after the other. 24 bytes for each run of neighbours. Private to job/. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint64_t first, count; /* chunks of the disk */
    uint64_t before;       /* selected chunks in front of these */
} VmsChunkRun;

typedef struct {
    uint64_t disk_size, chunk_size; /* bytes */
    GArray *runs;                   /* of VmsChunkRun, in order */
} VmsChunkRuns;

VmsChunkRuns *vms_chunk_runs_new(uint64_t disk_size, uint64_t chunk_size);
void vms_chunk_runs_free(VmsChunkRuns *runs);

/* Selects all chunks that the bytes touch; in ascending order of offset. */
void vms_chunk_runs_add(VmsChunkRuns *runs, uint64_t offset, uint64_t length);

uint64_t vms_chunk_runs_chunks(const VmsChunkRuns *runs);
uint64_t vms_chunk_runs_size(const VmsChunkRuns *runs); /* bytes */
/* The run that holds the selected chunk of that number (< chunks). */
const VmsChunkRun *vms_chunk_runs_find(const VmsChunkRuns *runs, uint64_t at);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsChunkRuns, vms_chunk_runs_free)
