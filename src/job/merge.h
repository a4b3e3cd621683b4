/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ending a snapshot on this host: merging its overlays back (commit, drop). */
#pragma once

#include "job/catalog.h"
#include "job/context.h"
#include "job/record.h"

/* snapshot: id prefix or NULL for the domain's newest one with overlays. Commit: only where the
 * snapshot is exported (else REFUSED: export or drop it). Returns the record afterwards. */
VmsRecord *vms_merge_commit(VmsContext *context, const char *domain, const char *snapshot,
                            GError **error);

/* Drop: thaws a guest that an interrupted create left frozen, merges the overlays, removes the
 * memory file, forgets the snapshot (status abandoned, or done where it was exported). Works on
 * captured, failed and interrupted ones. */
VmsRecord *vms_merge_drop(VmsContext *context, const char *domain, const char *snapshot,
                          GError **error);

/* Its drop was begun, and interrupted: it is no snapshot any more, recover or another drop ends it.
 */
bool vms_merge_is_dropped(const VmsRecord *record);

/* The merge of one that is exported was begun, or may have been: its frozen image is no snapshot
 * any more, and cannot be exported once more. The note "merge-begun" keeps that in the catalog. */
bool vms_merge_is_begun(const VmsRecord *record);
void vms_merge_set_begun(VmsRecord *record);

/* For vms_overlays_merge that has failed: may something have been written to a frozen image? */
bool vms_merge_may_have_written(const VmsRecord *record, const GError *cause);

/* What both do, for a caller that has claimed the record: of one that was interrupted while it was
 * taken, also what its vmsnap could not do any more (cancel QEMU's background snapshot, resume,
 * thaw). Status done afterwards where it was exported, else otherwise, with reason. On failure the
 * status is as before. */
bool vms_merge_end(VmsContext *context, VmsCatalog *catalog, VmsRecord *record, VmsStatus otherwise,
                   const char *reason, GError **error);
