/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading all chunks of a file at once: restore. */
#pragma once

#include "repo/content.h"

/* One verified chunk. Called from several threads at once, in any order, once per chunk (data is
 * the callee's to read until it returns). Return false with *error to stop. */
typedef bool (*VmsRepoReaderFunc)(void *user, uint64_t at, const void *data, size_t len,
                                  GError **error);

typedef struct {
    const VmsId *zero_id; /* nullable: chunks of this id are left out */
    unsigned threads;     /* 0: one per processor, 4 to 10 */
    uint64_t first;       /* chunks first … first + count - 1 only */
    uint64_t count;       /* 0: to the end */
} VmsRepoReaderOptions;

typedef struct {
    uint64_t chunks;  /* delivered */
    uint64_t skipped; /* of zero_id */
    uint64_t bytes;   /* delivered, plaintext */
    uint64_t fetched; /* from the store */
    uint64_t requests;
    uint64_t fetch_us, open_us, deliver_us; /* busy time, summed over threads */
} VmsRepoReaderStats;

/* Delivers every chunk of content. Blobs near each other in a pack are fetched by one request.
 * Memory: threads * (16 MiB + one chunk). options and ret_stats are nullable. CORRUPT names pack
 * and blob; NOT_FOUND a blob no index lists; then nothing more is delivered. */
bool vms_reader_run(VmsRepo *repo, const VmsContent *content, const VmsRepoReaderOptions *options,
                    VmsRepoReaderFunc func, void *user, VmsRepoReaderStats *ret_stats,
                    GCancellable *cancellable, GError **error);
