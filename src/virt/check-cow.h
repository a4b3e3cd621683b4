/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the host says about copy-on-write memory; only for check-cow.c. */
#pragma once

#include "virt/check-private.h"

/* Bytes of memory that QEMU has resident, and that the host could give. False where unknown. */
bool vms_check_cow_memory(const VmsFacts *facts, uint64_t *ret_resident, uint64_t *ret_available);

/* Why QEMU has no userfaultfd with write protection, as far as can be seen from here, and what to
 * do about it (both transfer full). */
char *vms_check_cow_userfaultfd(const VmsFacts *facts, char **ret_remedy);
