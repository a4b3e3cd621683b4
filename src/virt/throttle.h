/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A limit on what the guest may write to a disk for a while; of the running domain only. A plan is
 * text to be kept until it is undone: the disk's limits as they were, and as we set them. */
#pragma once

#include "virt/conn.h"

#include <stdint.h>

/* For bytes_per_s at most, and as many requests as QEMU can copy then; lower limits stay. */
char *vms_throttle_plan(virDomainPtr domain, const char *target, uint64_t bytes_per_s,
                        GError **error);

bool vms_throttle_set(virDomainPtr domain, const char *target, const char *plan, GError **error);

/* The limits are as before, unless somebody has changed them since: then they are left alone, as is
 * a domain that does not run or has no such disk any more. CORRUPT: no plan of ours. */
bool vms_throttle_undo(virDomainPtr domain, const char *target, const char *plan, GError **error);

/* The same for a guard (virt/guard.h), which asks nobody. */
char *vms_throttle_undo_command(const char *target, const char *plan);
