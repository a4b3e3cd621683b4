/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Watches the overlays that a guest runs on while a job keeps it there (P8): says so at
 * VMS_GROWTH_WARN percent, at VMS_GROWTH_STOP ends the job, so that they can be merged while there
 * is room. A guest that QEMU has paused all the same for want of room is given some, and resumed.
 */
#pragma once

#include "job/catalog.h"
#include "job/context.h"

typedef struct VmsOverlayGuard VmsOverlayGuard;

/* From here until vms_overlay_guard_rest(), context->cancellable is the guard's: Ctrl-C cancels it,
 * and so does the guard. It is good until vms_overlay_guard_free(). */
VmsOverlayGuard *vms_overlay_guard_new(VmsContext *context);

/* The overlays of record are in use: begins to watch, by a thread of its own, as context->growth
 * says. Where they are too full for the job to begin, NO_SPACE; refuse unset: it stops the job at
 * once. */
bool vms_overlay_guard_watch(VmsOverlayGuard *guard, virDomainPtr domain, const VmsRecord *record,
                             bool refuse, GError **error);

/* Did the guard end the job (and not Ctrl-C)? Then *error, whatever it was, becomes NO_SPACE with
 * what was found, and the record gets the note. Nothing is ended any more. */
bool vms_overlay_guard_stopped(VmsOverlayGuard *guard, VmsRecord *record, GError **error);

/* The job has ended or failed: nothing is ended any more, the room that was held back is given up,
 * context->cancellable is what it was. Only the guest is seen to; merging: the overlays are merged
 * from here on, and a guest that takes the room that this needs is paused until it is over. */
void vms_overlay_guard_rest(VmsOverlayGuard *guard, bool merging);

/* Merging has failed with *error: was it for want of room that there is now? Once; clears *error.
 */
bool vms_overlay_guard_again(VmsOverlayGuard *guard, GError **error);

/* Notes in the record what had to be said since it was called last. */
void vms_overlay_guard_note(VmsOverlayGuard *guard, VmsRecord *record);

/* Of a stopped export: merges, and gives the snapshot up (failed; done where it is stored in
 * another place). Returns false with *error, which says what became of it. */
bool vms_overlay_guard_give_up(VmsOverlayGuard *guard, VmsCatalog *catalog, VmsRecord *record,
                               GError **error);

/* NULL is fine. */
void vms_overlay_guard_free(VmsOverlayGuard *guard);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsOverlayGuard, vms_overlay_guard_free)
