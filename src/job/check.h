/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What create would do with a domain, without doing it. */
#pragma once

#include "job/context.h"
#include "job/create.h"
#include "virt/check.h"

typedef struct {
    char *domain, *uuid;
    bool active;
    VmsCheck *findings;
} VmsCheckResult;

/* Changes nothing; the domain's lock is held for a moment (virt/check-cow). A refusal is a result,
 * not an error. */
VmsCheckResult *vms_check(VmsContext *context, const char *domain, const VmsCreateOptions *options,
                          GError **error);
void vms_check_result_free(VmsCheckResult *result);

/* The question as create asks it, of facts just read. locked: the caller has the domain's lock. */
VmsCheck *vms_check_facts(VmsContext *context, virDomainPtr domain, const VmsFacts *facts,
                          const VmsCreateOptions *options, bool locked, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsCheckResult, vms_check_result_free)
