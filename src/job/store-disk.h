/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One disk of a snapshot into a repository: whole, or what has changed since the snapshot it builds
 * upon. Private to job/. */
#pragma once

#include "base/rate.h"
#include "job/context.h"
#include "job/manifest.h"
#include "job/tracking.h"
#include "job/transfer.h"
#include "repo/tree.h"

typedef struct {
    VmsContext *context;
    const VmsRecord *record;
    const VmsTrackingScope *scope;
    VmsManifest *manifest; /* its notes and disks are added to */
    VmsRepo *repo;
    VmsRepoWriter *writer;
    const VmsTransfer *transfer;
    VmsRate *read_rate;                       /* nullable */
    uint64_t *read_us;                        /* added to */
    uint64_t progress_before, progress_total; /* bytes */
} VmsStoreDisk;

/* *ret_subtree is the disk's folder; that of the parent where nothing has changed. *ret_zero: bytes
 * never read or found to be zeroes. Says in the manifest how it was tracked. */
bool vms_store_disk(const VmsStoreDisk *store, const VmsRecordDisk *disk, VmsId *ret_subtree,
                    uint64_t *ret_zero, GError **error);

/* Adds the disk, whose image has size bytes, to the manifest, without tracking and chunk size.
 * CORRUPT where it had another size at the cut. */
VmsManifestDisk *vms_store_disk_describe(VmsManifest *manifest, const VmsRecordDisk *disk,
                                         uint64_t size, GError **error);
/* Says there that all of it is read, and, where text is given, why. */
void vms_store_disk_full(VmsManifest *manifest, VmsManifestDisk *stored, const char *reason,
                         const char *text);
