/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The dirty bitmaps that snapshots begin, so that the next export knows what has changed: planned
 * and entered in the catalog before they are made, and removed when no export can need them any
 * more. Others' are never touched. Private to job/. */
#pragma once

#include "job/catalog.h"
#include "virt/facts.h"

#include <gio/gio.h>

/* Names a bitmap for each disk that can have one: qcow2 of version 3, without internal snapshots,
 * and not an overlay of ours, whose own allocation does better. */
void vms_bitmaps_plan(VmsCatalog *catalog, VmsRecord *record, GCancellable *cancellable);

/* Just before the cut: what the guest writes in between is entered too, which is harmless. A disk
 * of which it fails gets none, and a note. */
void vms_bitmaps_begin(virDomainPtr domain, VmsRecord *record, GCancellable *cancellable);

/* Removes all of a snapshot that is given up, as far as that goes. Images that are still frozen
 * under an overlay keep theirs. */
void vms_bitmaps_drop(virDomainPtr domain, VmsRecord *record);

/* After an export: removes those that are older than the newest one for each repository. */
void vms_bitmaps_expire(VmsCatalog *catalog, virDomainPtr domain, const VmsRecord *record);
