/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Freeing what no snapshot of a repository needs. */
#pragma once

#include "job/context.h"
#include "job/location.h"
#include "repo/prune.h"

typedef struct {
    char *location;
    bool dry_run;
    VmsPruneStats stats;
    int64_t duration_us;
} VmsPruneResult;

void vms_prune_result_free(VmsPruneResult *result);

/* repository: name, URL or path; NULL: the only configured one. As vms_prune; a dry run takes a
 * shared lock. */
VmsPruneResult *vms_prune_run(VmsContext *context, const char *repository,
                              const VmsPruneLimit *max_unused, bool dry_run, GError **error);

/* The same for one that is open and not locked. ignored: see VmsPruneOptions. */
VmsPruneResult *vms_prune_run_at(VmsContext *context, VmsLocation *location,
                                 const VmsPruneLimit *max_unused, bool dry_run,
                                 const GPtrArray *ignored, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsPruneResult, vms_prune_result_free)
