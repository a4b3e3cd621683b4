/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Freezing a guest's file systems through its agent, and never leaving them frozen (P1). */
#pragma once

#include "virt/conn.h"

typedef struct VmsQuiesce VmsQuiesce;

/* Does the agent answer within timeout_s seconds? REFUSED with the reason if not. */
bool vms_quiesce_ping(virDomainPtr domain, int timeout_s, GError **error);

/* Are the guest's file systems frozen, by whomever? REFUSED as above. */
bool vms_quiesce_is_frozen(virDomainPtr domain, int timeout_s, bool *ret_frozen, GError **error);

/* Freezes; gives the number of file systems. From here a watchdog thread of its own thaws after
 * deadline_s seconds even if the caller hangs. REFUSED (agent missing, silent, refused: what it
 * said; frozen already by somebody else, and left so); in every other failure the guest is thawed
 * before the call returns. */
VmsQuiesce *vms_quiesce_freeze(virDomainPtr domain, int deadline_s, unsigned *ret_filesystems,
                               GError **error);

/* Thaws. *ret_expired: the watchdog had thawed before, so what was cut since may be not quiesced.
 */
bool vms_quiesce_thaw(VmsQuiesce *quiesce, bool *ret_expired, GError **error);

/* Thaws if still frozen; also from autoptr. */
void vms_quiesce_free(VmsQuiesce *quiesce);

/* Thaws whatever is frozen, for restore of a memory captured frozen and for recovery. Gives how
 * many file systems were. */
bool vms_quiesce_thaw_all(virDomainPtr domain, int timeout_s, unsigned *ret_filesystems,
                          GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsQuiesce, vms_quiesce_free)
