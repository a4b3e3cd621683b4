/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Copy-on-write memory: QEMU's background snapshot. The guest is stopped while its disks are
 * switched and its memory is write-protected; then it runs on, and QEMU writes the memory of that
 * instant behind it. Needs QEMU 8.1 (virt/check says so).
 *
 * The order: prepare; freeze, if wanted; cut (the pause is in it); thaw; finish. */
#pragma once

#include "base/progress.h"
#include "virt/facts.h"

/* How long each part took, in µs as seen from here. */
typedef struct {
    int64_t
        warmup_us; /* before the pause: populating shared memory, swapping in; 0 where not needed */
    int64_t suspend_us; /* the pause: stopping the guest, with the flush of its disks */
    int64_t start_us;   /* until QEMU had accepted the background snapshot */
    int64_t disks_us;   /* the overlay transaction */
    int64_t side_us;    /* what the caller did inside */
    int64_t pages_us;   /* from then until the first pages were written */
    int64_t resume_us;
    int64_t pause_us; /* the whole pause; 0: the guest was paused already */
    int64_t write_us; /* from the end of the pause until memory was on disk */
    int64_t huge_us;  /* after that: putting the guest's huge pages together again */
} VmsCowTimes;

typedef struct VmsCow VmsCow;

/* Called in the pause. */
typedef bool (*VmsCowInsideFunc)(void *user, GError **error);

/* Bytes that the memory file takes at most. */
uint64_t vms_cow_memory_need(const VmsFacts *facts);

/* Makes the memory file at path (0600, never over another: EXISTS), reserves its space (NO_SPACE),
 * writes libvirt's header, and readies QEMU. The guest runs as before. domain, facts: kept by the
 * caller. From here until finish or free, a guard outside this process undoes it if we are killed.
 * *ret_unchanged, of an error: QEMU or libvirt would not do it, all is proven to be as it was
 * before, and so another engine may be tried. Never where the file is what failed, nor where
 * cancelled. progress: nullable, kept by the caller. */
VmsCow *vms_cow_prepare(virDomainPtr domain, const VmsFacts *facts, const char *path,
                        VmsProgress *progress, GCancellable *cancellable, bool *ret_unchanged,
                        GError **error);

/* The pause. overlays: VmsOverlay*, switched in it. inside: nullable. On return the guest runs, or
 * is paused as it was before; on error too, but the disks may have been switched. */
bool vms_cow_cut(VmsCow *cow, GPtrArray *overlays, VmsCowInsideFunc inside, void *user,
                 GError **error);

/* Waits until all memory is on disk and is sure that it is of the instant of the cut. REFUSED if
 * somebody stopped or resumed the guest in a way that makes that unsure. */
bool vms_cow_finish(VmsCow *cow, GError **error);

/* After finish, the guest runs: QEMU has taken its huge pages apart, which makes it slower, and the
 * next pause longer. Puts them together again; takes at most as long as writing did, or a second.
 * An error says why it could not be done: the snapshot is whole without. */
bool vms_cow_restore_huge(VmsCow *cow, GError **error);

const VmsCowTimes *vms_cow_times(const VmsCow *cow);

/* What is not finished is undone: the background snapshot cancelled, capabilities put back, the
 * file removed. */
void vms_cow_free(VmsCow *cow);

/* After a kill -9 without a guard: cancels a background snapshot and switches the capability off.
 * Harmless where there is none. */
bool vms_cow_clean(virDomainPtr domain, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsCow, vms_cow_free)
