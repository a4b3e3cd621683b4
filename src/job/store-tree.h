/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A captured snapshot as a tree in a repository (DESIGN §5). Private to job/. */
#pragma once

#include "job/context.h"
#include "job/manifest.h"
#include "job/record.h"
#include "job/tracking.h"
#include "job/transfer.h"

typedef struct {
    VmsId tree;
    uint64_t bytes_total; /* of disks and memory */
    uint64_t bytes_zero;  /* of these never read or found zero */
    uint64_t read_us;     /* time spent on reading */
} VmsStoredTree;

typedef struct {
    VmsRepo *repo; /* its index is in sync */
    VmsRepoWriter *writer;
    const VmsTrackingScope *scope;
    const VmsTransfer *transfer;
} VmsStoreTreeOptions;

/* Reads the frozen images and the memory file and stores them with manifest and domain.xml. Fills
 * manifest->disks and full_reason and what is said there of memory, notes too. The writer is not
 * flushed. */
bool vms_store_tree(VmsContext *context, const VmsRecord *record, VmsManifest *manifest,
                    const VmsStoreTreeOptions *options, VmsStoredTree *ret_stored, GError **error);

/* Sets manifest->full_reason by its disks. */
void vms_store_tree_full_reason(VmsManifest *manifest);
