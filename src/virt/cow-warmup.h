/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside of virt/: memory that QEMU would populate within the pause. */
#pragma once

#include "virt/facts.h"

/* Is guest memory a shared mapping (memfd, hugepages shared with vhost-user …)? */
bool vms_cow_warmup_needed(const VmsFacts *facts);

/* Populates all of the guest's memory while it runs, with a background snapshot to nowhere that is
 * cancelled as soon as it has begun. Takes host memory for every page the guest has not touched. */
bool vms_cow_warmup(virDomainPtr domain, const VmsFacts *facts, GCancellable *cancellable,
                    GError **error);

/* Time within which QEMU must have populated memory and written a first page, in µs. */
int64_t vms_cow_warmup_patience_us(const VmsFacts *facts);
