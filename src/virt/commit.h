/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Merging an overlay back into its base (P2). */
#pragma once

#include "base/progress.h"
#include "virt/overlay.h"

/* How, and who is told what is done to the guest. The functions are called on the caller's thread;
 * each may be NULL. */
typedef struct {
    uint64_t bandwidth; /* bytes a second; 0: no limit */
    int patience_s;     /* for a guest that writes faster than the job copies, before each step */
    VmsProgress *progress;
    GCancellable *cancellable;
    /* true: the base is written to from here on; false: that came to nothing. */
    bool (*begin)(void *data, bool begun, GError **error);
    /* Something that the operator should know; codes: commit-limit-lifted, commit-throttled,
     * commit-throttle-failed, commit-paused. */
    void (*note)(void *data, const char *code, const char *text);
    /* Keeps text where it outlives this process; NULL: it is needed no more. Who finds one in the
     * beginning gives it to vms_commit_undo(). */
    bool (*keep)(void *data, const char *text, GError **error);
    void *data;
} VmsCommitOptions;

/* Active domain: active layer block commit of overlay into base, wait for ready, pivot, check that
 * the live and the persistent XML are back on base; also goes on with a commit job that is already
 * running. A guest that writes faster than it copies is waited for, throttled, paused for moments.
 * Shut-off domain: qemu-img commit, then the persistent definition is set back to base.
 * Idempotent: a disk already on base is done. Does NOT remove the overlay file. On cancel the job
 * is aborted without pivot: the guest stays on the overlay. */
bool vms_commit_disk(virDomainPtr domain, const VmsOverlay *overlay,
                     const VmsCommitOptions *options, GError **error);

/* What a merge that was killed has done to the guest, from what was kept: it runs, and its writes
 * are limited as before. */
bool vms_commit_undo(virDomainPtr domain, const char *target, const char *kept, GError **error);
