/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/prune.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "store/upload.h"

#define STALE_S (24 * 60 * 60) /* without a byte: nobody works on it any more */

/* What writers that were killed have left, of objects that they had not finished: it costs room,
 * but harms nobody, so an error is no failure. */
static void drop_unfinished(VmsContext *context, VmsLocation *location)
{
    g_autoptr(GError) cause = NULL;
    unsigned count = 0;
    if (!vms_store_abort_uploads(location->store, STALE_S, &count, context->cancellable, &cause))
        g_info("unfinished uploads stay: %s", cause->message);
    else if (count > 0)
        vms_progress_message(context->progress, "%u uploads that never ended were dropped", count);
}

void vms_prune_result_free(VmsPruneResult *result)
{
    if (!result)
        return;
    g_free(result->location);
    g_free(result);
}

VmsPruneResult *vms_prune_run_at(VmsContext *context, VmsLocation *location,
                                 const VmsPruneLimit *max_unused, bool dry_run,
                                 const GPtrArray *ignored, GError **error)
{
    int64_t begin = g_get_monotonic_time();
    VmsPruneOptions options = {
        .max_unused = *max_unused,
        .dry_run = dry_run,
        .ignored = ignored,
        .progress = context->progress,
    };
    g_autoptr(VmsRepoLock) lock =
        vms_repo_lock(location->repo, !dry_run, context->cancellable, error);
    if (!lock)
        return NULL;
    vms_failpoint("prune.locked");
    g_autoptr(VmsPruneResult) result = g_new0(VmsPruneResult, 1);
    if (!vms_prune(location->repo, lock, &options, &result->stats, context->cancellable, error))
        return NULL;
    if (!dry_run)
        drop_unfinished(context, location);
    vms_failpoint("prune.done");
    result->location = g_strdup(location->store->location);
    result->dry_run = dry_run;
    result->duration_us = g_get_monotonic_time() - begin;
    return g_steal_pointer(&result);
}

VmsPruneResult *vms_prune_run(VmsContext *context, const char *repository,
                              const VmsPruneLimit *max_unused, bool dry_run, GError **error)
{
    g_autoptr(VmsLocation) location = vms_location_open(context, repository, error);
    return location ? vms_prune_run_at(context, location, max_unused, dry_run, NULL, error) : NULL;
}
