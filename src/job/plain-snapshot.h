/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A captured snapshot as plain images in a store (docs/images.md). Private to job/. */
#pragma once

#include "job/plain-disk.h"
#include "job/transfer.h"

typedef struct {
    uint64_t bytes_total; /* of disks and memory */
    uint64_t bytes_zero;  /* of these never read */
    VmsPlainStats stats;
} VmsPlainStored;

/* Stores everything but the manifest, which it fills. What an export of the same snapshot that did
 * not end has left there is overwritten; what other uploads have left for more than a day is
 * dropped. records: all of the domain on this host. */
bool vms_plain_snapshot_store(VmsContext *context, const VmsRecord *record,
                              const GPtrArray *records, VmsPlainPlace *place,
                              const VmsTransfer *transfer, VmsManifest *manifest,
                              VmsPlainStored *ret_stored, GError **error);

/* The manifest: from now on the snapshot exists. Gives its id there (repository_id is set too). */
bool vms_plain_snapshot_commit(VmsPlainPlace *place, VmsManifest *manifest,
                               GCancellable *cancellable, GError **error);

/* The manifest of the snapshot of that record where it is in the place with everything it names
 * (*ret_manifest, the place's), else NULL: then what is left of it was made to be no snapshot. */
bool vms_plain_snapshot_find(VmsPlainPlace *place, const VmsRecord *record,
                             const VmsManifest **ret_manifest, GCancellable *cancellable,
                             GError **error);
