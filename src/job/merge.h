/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ending a snapshot on this host: merging its overlays back (commit, drop). */
#pragma once

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
