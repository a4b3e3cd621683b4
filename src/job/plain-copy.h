/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From an input into an object: several reads at once, one thread that hashes and uploads in
 * order behind them. Private to job/. */
#pragma once

#include "base/progress.h"
#include "base/rate.h"
#include "job/plain-object.h"

typedef struct {
    VmsInput *input;
    VmsPlainObject *object;
    VmsPlainStats *stats;     /* added to; of no other thread meanwhile */
    VmsRate *read_rate;       /* nullable */
    VmsProgress *progress;    /* nullable */
    const char *item;         /* for progress */
    uint64_t progress_before; /* bytes: the place in the input is added */
    uint64_t progress_total;
    GCancellable *cancellable;
} VmsPlainCopyOptions;

typedef struct VmsPlainCopy VmsPlainCopy;

/* Borrows all that options name. */
VmsPlainCopy *vms_plain_copy_new(const VmsPlainCopyOptions *options);
void vms_plain_copy_free(VmsPlainCopy *copy);

/* copy: a VmsPlainCopy; a VmsQcow2DataFunc. Appends these bytes of the input; what lies beyond its
 * end is zeroes. */
bool vms_plain_copy_range(void *copy, uint64_t offset, uint64_t length, GError **error);

/* Waits until the object has all of it. Needed also after an error, which it returns (another than
 * range did, where the uploading failed first). */
bool vms_plain_copy_end(VmsPlainCopy *copy, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsPlainCopy, vms_plain_copy_free)
