/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One operation per domain at a time: flock on a file under the run directory, gone with the
 * process. */
#pragma once

#include "job/config.h"

typedef struct VmsDomainLock VmsDomainLock;

/* Waits for a second at most. LOCKED names the process that holds it. name is for the message. */
VmsDomainLock *vms_domain_lock(const VmsConfig *config, const char *uuid, const char *name,
                               GError **error);
void vms_domain_lock_free(VmsDomainLock *lock);
/* Frees it and removes its file, which otherwise stays: of a name that is never used again. */
void vms_domain_lock_remove(VmsDomainLock *lock);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsDomainLock, vms_domain_lock_free)
