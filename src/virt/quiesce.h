/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Freezing a guest's file systems through its agent, and never leaving them frozen (P1). */
#pragma once

#include "virt/conn.h"

typedef struct VmsQuiesce VmsQuiesce;

typedef enum {
    VMS_FREEZE_HELD,    /* until the thaw */
    VMS_FREEZE_EXPIRED, /* the watchdog had thawed before */
    VMS_FREEZE_LOST     /* the guest had thawed, by itself or for somebody else */
} VmsFreezeEnd;

/* Does the agent answer within timeout_s seconds? REFUSED with the reason if not. */
bool vms_quiesce_ping(virDomainPtr domain, int timeout_s, GError **error);

/* Are the guest's file systems frozen, by whomever? REFUSED as above. */
bool vms_quiesce_is_frozen(virDomainPtr domain, int timeout_s, bool *ret_frozen, GError **error);

/* Freezes; gives the number of file systems. From here a watchdog thread of its own thaws after
 * deadline_s seconds even if the caller hangs. REFUSED (agent missing, silent, refused, or found
 * nothing to freeze: what it said; frozen already by somebody else, and left so); in every other
 * failure the guest is thawed before the call returns, or the message says that this is not known:
 * then a helper outside of this process goes on trying (virt/guard.h). */
VmsQuiesce *vms_quiesce_freeze(virDomainPtr domain, int deadline_s, unsigned *ret_filesystems,
                               GError **error);

/* Thaws. What was cut since the freeze is quiesced only where it was held. */
bool vms_quiesce_thaw(VmsQuiesce *quiesce, VmsFreezeEnd *ret_end, GError **error);

/* Thaws if still frozen; also from autoptr. */
void vms_quiesce_free(VmsQuiesce *quiesce);

/* Thaws whatever is frozen, for restore of a memory captured frozen and for recovery. Gives how
 * many file systems were. */
bool vms_quiesce_thaw_all(virDomainPtr domain, int timeout_s, unsigned *ret_filesystems,
                          GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsQuiesce, vms_quiesce_free)
