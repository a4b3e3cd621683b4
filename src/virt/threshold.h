/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* QEMU's own word that a disk's active image is written beyond some offset, or that a write failed:
 * quicker than whoever looks now and then. */
#pragma once

#include "virt/conn.h"

#include <stdint.h>

typedef struct VmsThreshold VmsThreshold;

/* Calls crossed(user) on libvirt's event thread, never after vms_threshold_free(), and never with
 * what vms_threshold_free() waits for held. An error is no reason to give up: who looks now and
 * then as well only learns of it later. */
VmsThreshold *vms_threshold_new(virDomainPtr domain, void (*crossed)(void *user), void *user,
                                GError **error);

/* Once, when the active image of target (vda) is written beyond offset (bytes, of the file). Again
 * after each call of crossed. False where it cannot be had. */
bool vms_threshold_set(VmsThreshold *threshold, const char *target, uint64_t offset);

/* Takes back all that were set. NULL is fine. */
void vms_threshold_free(VmsThreshold *threshold);
