/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Choosing the snapshot that a command means and having it for oneself. Private to job/. */
#pragma once

#include "job/catalog.h"
#include "job/context.h"
#include "job/domain-lock.h"

typedef struct {
    VmsCatalog *catalog;
    VmsDomainLock *lock;
    VmsRecord *record; /* read under the lock */
} VmsClaim;

/* snapshot: id prefix; NULL: the domain's newest one that wanted() accepts. domain: name or UUID;
 * NULL: of whatever domain, as long as it is only one. NOT_FOUND; USAGE where several domains fit;
 * LOCKED. */
VmsClaim *vms_claim(VmsContext *context, const char *domain, const char *snapshot,
                    bool (*wanted)(const VmsRecord *record), GError **error);
void vms_claim_free(VmsClaim *claim);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsClaim, vms_claim_free)
