/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Getting rid of a snapshot's overlays and files, safely (P2, P3). Private to job/. */
#pragma once

#include "job/catalog.h"
#include "job/context.h"
#include "virt/overlay.h"

/* VmsOverlay* for each disk of the record that is not merged yet, same order. */
GPtrArray *vms_overlays_of(const VmsRecord *record);

/* Merges every overlay that is in use back into its base and removes the overlay files; a disk that
 * was never switched just loses its file. Saves each disk as merged. REFUSED where a newer overlay
 * sits on top. cancellable: Ctrl-C stops between and inside merges, leaving the rest as it is.
 * A disk that cannot be merged keeps none of the others from it, and is tried again where they made
 * room; *error is the first one. REFUSED where only disks are left that the domain has no more.
 * *domain is another one afterwards where libvirtd was restarted meanwhile. vms_merge_is_begun()
 * from the first byte on that is written to a frozen image. Not cancellable: the undo of a snapshot
 * that was not taken, which goes on where the catalog cannot be written. */
bool vms_overlays_merge(VmsContext *context, VmsCatalog *catalog, virDomainPtr *domain,
                        VmsRecord *record, bool cancellable, GError **error);

/* Removes the memory file, if it is still ours, and the copies of UEFI variables and TPM state. */
bool vms_overlays_remove_side_files(VmsRecord *record, GError **error);

/* The frozen images are still what was cut: each disk's active layer is our overlay, or stands on
 * it. CORRUPT where somebody merged or replaced them. domain NULL: cannot be asked, true. */
bool vms_overlays_frozen(virDomainPtr domain, const VmsRecord *record, GError **error);
