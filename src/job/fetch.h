/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A stored file's chunks, verified, for restore and verify. Private to job/. */
#pragma once

#include "base/progress.h"
#include "repo/tree.h"

typedef struct {
    VmsRepo *repo;
    VmsProgress *progress;    /* nullable */
    const char *phase, *item; /* for progress */
    uint64_t progress_before; /* bytes done before this file */
    uint64_t progress_total;  /* bytes of all files */
    GCancellable *cancellable;
} VmsFetchOptions;

typedef struct {
    uint64_t chunks;     /* fetched and verified */
    uint64_t bytes;      /* of these */
    uint64_t bytes_zero; /* known to be zero by their id, not fetched */
} VmsFetchStats;

/* Called for every chunk that is not all zeroes, from several threads, in any order. offset in
 * bytes. */
typedef bool (*VmsFetchFunc)(void *user, uint64_t offset, const void *data, size_t len,
                             GError **error);

/* chunk_size: of a file cut every so many bytes; 0: cut anyhow, the index says how long each chunk
 * is. CORRUPT where the content list does not fit the size, or a chunk is damaged or of a wrong
 * length. */
bool vms_fetch_file(const VmsFetchOptions *options, const VmsNode *node, uint64_t chunk_size,
                    VmsFetchFunc func, void *user, VmsFetchStats *ret_stats, GError **error);

/* The bytes of the chunks that are not zero: what a sparse copy will take. chunk_size > 0. */
bool vms_fetch_data_size(const VmsNode *node, uint64_t chunk_size, uint64_t *ret_bytes,
                         GError **error);
