/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside of virt/: QEMU's migration capabilities for the time of a background snapshot. */
#pragma once

#include "virt/conn.h"

/* QEMU's name for the memory file's descriptor: one at a time per domain. */
#define VMS_COW_FD_NAME "vmsnap-memory"

typedef struct VmsCowSetup VmsCowSetup;

/* Switches background-snapshot on, and off what does not go with it. A guard puts that back if we
 * are killed. FAILED with QEMU's words, and all as it was. */
VmsCowSetup *vms_cow_setup_new(virDomainPtr domain, GError **error);

/* Proof that QEMU is as it was: the capabilities of before (vms_qmp_capabilities()) are on and no
 * others, and nothing is being migrated. False also where it cannot be asked. */
bool vms_cow_setup_unchanged(virDomainPtr domain, const char *const *before);

/* Cancels what is being written and waits for the end of it. */
bool vms_cow_cancel(virDomainPtr domain, GError **error);

/* Puts all back as it was found, over domain, which may be of a newer connection. */
bool vms_cow_setup_undo(VmsCowSetup *setup, virDomainPtr domain, GError **error);

/* What could not be undone is left to the guard. */
void vms_cow_setup_free(VmsCowSetup *setup);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsCowSetup, vms_cow_setup_free)
