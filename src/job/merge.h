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

/* Something was written to one of its frozen images, or may have been, and not all are merged: it
 * is no snapshot any more. The note "merge-begun" keeps that in the catalog. */
bool vms_merge_is_begun(const VmsRecord *record);
void vms_merge_set_begun(VmsRecord *record, bool begun);

/* What both do, for a caller that has claimed the record: of one that was interrupted while it was
 * taken, also what its vmsnap could not do any more (cancel QEMU's background snapshot, resume,
 * thaw). Status done afterwards where it was exported, else otherwise, with reason. On failure the
 * status is as before; vms_merge_is_begun says whether it is a snapshot still. */
bool vms_merge_end(VmsContext *context, VmsCatalog *catalog, VmsRecord *record, VmsStatus otherwise,
                   const char *reason, GError **error);
