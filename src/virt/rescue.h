/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A domain that must be reached even if libvirtd is restarted meanwhile: to thaw and to resume it
 * (P1). */
#pragma once

#include "virt/conn.h"

typedef struct VmsRescue VmsRescue;

/* While the connection is alive: remembers how to come back. Keeps a reference to domain. */
VmsRescue *vms_rescue_new(virDomainPtr domain);
void vms_rescue_free(VmsRescue *rescue);

/* The domain over a connection that is alive, made anew where needed; NULL if that fails for now.
 * Owned by rescue, good until the next call. Not for two threads at once. */
virDomainPtr vms_rescue_domain(VmsRescue *rescue);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsRescue, vms_rescue_free)
