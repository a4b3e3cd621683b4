/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One disk of a snapshot as a qcow2 image: all of it, or what has changed since the snapshot whose
 * image it stands on. Private to job/. */
#pragma once

#include "base/rate.h"
#include "job/context.h"
#include "job/plain-object.h"
#include "job/plain-parent.h"

typedef struct {
    VmsContext *context;
    const VmsRecord *record;
    const VmsTrackingScope *scope;
    VmsPlainPlace *place;
    VmsManifest *manifest; /* its notes and disks are added to */
    VmsRate *read_rate;    /* nullable */
    VmsPlainStats *stats;
    uint64_t progress_before, progress_total; /* bytes */
} VmsPlainDisk;

/* *ret_zero: bytes never read because they are zeroes. */
bool vms_plain_disk_store(const VmsPlainDisk *plain, const VmsRecordDisk *disk, uint64_t *ret_zero,
                          GError **error);
