/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside of virt/: memory that QEMU would populate, or have swapped in, within the pause. */
#pragma once

#include "virt/facts.h"

/* Is guest memory a shared mapping (memfd, hugepages shared with vhost-user …)? */
bool vms_cow_warmup_is_shared(const VmsFacts *facts);

/* Bytes of QEMU's memory that the host has swapped out; 0 where that is not known. */
uint64_t vms_cow_warmup_swapped(const VmsFacts *facts);

/* Either is so: QEMU reads every page before it protects it, with the guest stopped. */
bool vms_cow_warmup_needed(const VmsFacts *facts);

/* Populates all of the guest's memory while it runs, with a background snapshot to nowhere that is
 * cancelled as soon as it has begun; QEMU stops the guest for a moment at its end. Takes host
 * memory for every page that is swapped out, and of shared memory for those the guest has not
 * touched. */
bool vms_cow_warmup(virDomainPtr domain, const VmsFacts *facts, GCancellable *cancellable,
                    GError **error);

/* Time within which QEMU must have populated memory and written a first page, in µs. */
int64_t vms_cow_warmup_patience_us(const VmsFacts *facts);
