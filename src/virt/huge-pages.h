/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside of virt/: the huge pages of a guest's memory, which a background snapshot takes apart. */
#pragma once

#include "base/progress.h"
#include "virt/facts.h"

typedef struct {
    uint64_t restored; /* bytes of memory that are in huge pages again */
    uint64_t added;    /* at most so many bytes of the host's memory were taken for it */
} VmsHugePages;

/* Puts small pages together to huge ones again, while the guest runs; for at most limit_us. Only
 * where the host's settings and QEMU's own would make them huge too, and where next to all of a
 * huge page is the guest's already. Waits between any two of them as long as one took. Where there
 * is nothing to be done, or the time is up, or cancellable is cancelled, that is no error.
 *
 * UNSUPPORTED, AUTH or FAILED where the kernel or the host's memory is what prevents it; nothing is
 * lost by that but speed. */
bool vms_huge_pages_restore(const VmsFacts *facts, int64_t limit_us, VmsProgress *progress,
                            GCancellable *cancellable, VmsHugePages *ret_done, GError **error);
