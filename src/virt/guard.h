/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside of virt/: what is done for a guest when this process is killed while it holds it frozen or
 * paused (P1), or has changed QEMU's settings. */
#pragma once

#include "virt/conn.h"

typedef struct VmsGuard VmsGuard;

/* From here on, if this process ends in whatever way, virsh runs the commands for the domain, and
 * tries again for a while until all of them work. commands: NULL-terminated, such as "domfsthaw" or
 * "resume", which do no harm where there is nothing to undo; words after the first are arguments
 * after the domain. One that begins with "{" is for QEMU's monitor; with "-" before that, its
 * failure is no reason to try again. NULL where virsh is not installed: it is a second line of
 * defence, not worth an error. */
VmsGuard *vms_guard_new(virDomainPtr domain, const char *const *commands);

#define VMS_GUARD_RESUME ((const char *const[]){"resume", NULL})
#define VMS_GUARD_THAW ((const char *const[]){"domfsthaw", NULL})

/* The guest is thawed or runs again: the guard goes, and does nothing. NULL is fine. */
void vms_guard_dismiss(VmsGuard *guard);

/* Lets go without saying that all is well: the guard acts. NULL is fine. */
void vms_guard_release(VmsGuard *guard);
