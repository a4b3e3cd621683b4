/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From an image to a content list: read, find zeroes, hash, compress, seal, upload (DESIGN §7). */
#pragma once

#include "base/progress.h"
#include "base/rate.h"
#include "repo/content.h"
#include "repo/writer.h"

#define VMS_CHUNK_SIZE (1u << 20) /* bytes */

typedef struct VmsInput VmsInput;

/* Called for each extent in order without gaps; zero: need not be read. */
typedef bool (*VmsInputExtentFunc)(void *user, uint64_t offset, uint64_t length, bool zero,
                                   GError **error);

typedef void (*VmsInputDoneFunc)(void *user);

/* Something to read from: a frozen disk or the memory file. Used by one thread, unless it has
 * announce. Either it is cut every chunk_size bytes, and has extents and read, and start and drain
 * where several reads can be under way at once, or announce where several threads can read; or it
 * is cut where it says itself, and has chunks, chunk_max and next. */
struct VmsInput {
    uint64_t size; /* bytes */
    uint64_t chunks;
    size_t chunk_max; /* bytes of the longest */
    /* Called chunks times: the next chunk (1 to chunk_max bytes) into buffer. */
    bool (*next)(VmsInput *input, void *buffer, size_t *ret_length, GError **error);
    bool (*extents)(VmsInput *input, VmsInputExtentFunc func, void *user, GCancellable *cancellable,
                    GError **error);
    bool (*read)(VmsInput *input, uint64_t offset, void *buffer, size_t length, GError **error);
    /* As vms_source_read_start and vms_source_read_drain. */
    bool (*start)(VmsInput *input, uint64_t offset, void *buffer, size_t length, unsigned most,
                  VmsInputDoneFunc done, void *user, GError **error);
    bool (*drain)(VmsInput *input, GError **error);
    /* This will be read soon. With it, read is called by several threads at once, extents by
     * another one meanwhile. */
    void (*announce)(VmsInput *input, uint64_t offset, size_t length);
};

typedef struct {
    VmsRepoWriter *writer;
    VmsProgress *progress;    /* nullable */
    const char *item;         /* disk target or "memory", for progress */
    uint64_t chunk_size;      /* bytes */
    unsigned workers;         /* 0: one per processor, as many as memory is planned for */
    VmsRate *read_rate;       /* nullable: reads no faster than this */
    uint64_t *read_us;        /* nullable: added to, time spent on reading */
    uint64_t progress_before; /* bytes done before this input */
    uint64_t progress_total;  /* bytes of all inputs */
    GCancellable *cancellable;
} VmsPipelineOptions;

/* Stores the whole input as chunks. Of chunks of chunk_size the last may be shorter, and those that
 * are all zeroes are one blob. *ret_zero: bytes never read or found to be zeroes. */
VmsContent *vms_pipeline_run(VmsInput *input, const VmsPipelineOptions *options, uint64_t *ret_zero,
                             GError **error);

/* The number of chunks of size bytes. */
uint64_t vms_pipeline_chunks(uint64_t size, uint64_t chunk_size);
