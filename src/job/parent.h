/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The content list of a disk in the snapshot that an export builds upon. Private to job/. */
#pragma once

#include "job/record.h"
#include "repo/snapshot.h"
#include "repo/tree.h"

typedef struct {
    VmsId subtree;       /* the disk's folder */
    VmsTree *tree;       /* its contents */
    VmsContent *content; /* of disk.raw; the tree's */
} VmsParentDisk;

/* Reads it and makes sure that all of it is there: the manifest is of that record, the disk has
 * that size, and each blob is known to the index, which is in sync. *ret_reason is a code where it
 * cannot be built upon: "parent-damaged", "size-changed", "chunk-size-changed"; *ret_text (transfer
 * full) then says more. Errors are of the store alone. */
bool vms_parent_disk_load(VmsRepo *repo, const VmsRepoSnapshot *snapshot, const VmsRecord *record,
                          const VmsRecordDisk *disk, uint64_t chunk_size, GCancellable *cancellable,
                          VmsParentDisk *ret_parent, const char **ret_reason, char **ret_text,
                          GError **error);
void vms_parent_disk_clear(VmsParentDisk *parent);

/* True where the stored parent is at fault, not the way to it. */
bool vms_parent_is_damage(const GError *cause);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VmsParentDisk, vms_parent_disk_clear)
