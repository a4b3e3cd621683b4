/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Merging an overlay back into its base (P2). */
#pragma once

#include "base/progress.h"
#include "virt/overlay.h"

/* Active domain: active layer block commit of overlay into base, wait for ready, pivot, check that
 * the live and the persistent XML are back on base; also goes on with a commit job that is already
 * running. Shut-off domain: qemu-img commit, then the persistent definition is set back to base.
 * Idempotent: a disk already on base is done. Does NOT remove the overlay file. On cancel the job
 * is aborted without pivot: the guest stays on the overlay. bandwidth in bytes/s, 0: no limit. */
bool vms_commit_disk(virDomainPtr domain, const VmsOverlay *overlay, uint64_t bandwidth,
                     VmsProgress *progress, GCancellable *cancellable, GError **error);
