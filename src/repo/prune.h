/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Removing what no snapshot refers to. */
#pragma once

#include "base/progress.h"
#include "repo/lock.h"

/* How much that nobody uses may stay: bytes, or percent of what is stored then. */
typedef struct {
    bool is_percent;
    double percent; /* 0 … 100; 100: any amount */
    uint64_t bytes;
} VmsPruneLimit;

/* "5%", "512M", "0", "unlimited". INVALID. */
bool vms_prune_limit_parse(const char *text, VmsPruneLimit *ret_limit, GError **error);

typedef struct {
    VmsPruneLimit max_unused;
    bool dry_run;             /* look, and change nothing in the repository */
    const GPtrArray *ignored; /* VmsRepoSnapshot*, taken as forgotten; dry runs only; nullable */
    int64_t unindexed_age_us; /* 0: 30 minutes */
    VmsProgress *progress;    /* nullable */
} VmsPruneOptions;

typedef struct {
    uint64_t snapshots;
    uint64_t blobs;             /* used */
    uint64_t bytes;             /* of all packs, before */
    uint64_t bytes_used;        /* of blobs in use */
    uint64_t bytes_unused;      /* of blobs that an index lists and nobody uses, before */
    uint64_t bytes_unused_left; /* of these, tolerated */
    uint64_t bytes_removed;     /* of packs that went, copied ones included */
    uint64_t bytes_written;     /* of packs that took up what was copied out of these */
    uint64_t packs;             /* before */
    uint64_t packs_removed;     /* held nothing in use */
    uint64_t packs_repacked;    /* removed after what is in use was copied */
    uint64_t packs_written;
    uint64_t packs_unindexed; /* listed by no index, left for the next run */
    uint64_t bytes_unindexed;
    uint64_t packs_missing; /* an index listed them; they held nothing in use */
    uint64_t indexes_removed, indexes_written;
} VmsPruneStats;

/* lock: exclusive. Nothing is deleted before everything that is in use is known to be there:
 * CORRUPT names what is damaged or missing. LOCKED where somebody wrote in spite of the lock;
 * nothing is lost then either. In a dry run ret_stats says what would be. */
bool vms_prune(VmsRepo *repo, VmsRepoLock *lock, const VmsPruneOptions *options,
               VmsPruneStats *ret_stats, GCancellable *cancellable, GError **error);
