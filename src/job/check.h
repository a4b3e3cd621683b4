/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What create would do with a domain, without doing it. */
#pragma once

#include "job/context.h"
#include "job/create.h"
#include "virt/check.h"

/* How the export after the next would know what changed of a disk, as far as it can be said now. */
typedef enum {
    VMS_OUTLOOK_NONE,    /* all of it is read each time, unless overlays are kept */
    VMS_OUTLOOK_BEGINS,  /* the next snapshot begins a bitmap, the export of it reads all */
    VMS_OUTLOOK_BITMAP,  /* a bitmap knows what changed since an earlier export */
    VMS_OUTLOOK_OVERLAYS /* the disk runs on an overlay of ours */
} VmsOutlook;

/* "none", "begins", "bitmap", "overlay". */
const char *vms_outlook_name(VmsOutlook outlook);

typedef struct {
    char *domain, *uuid;
    bool active;
    VmsCheck *findings;
    GArray *outlooks;   /* of VmsOutlook, as findings->disks */
    GPtrArray *waiting; /* of VmsRecord*: the guest runs on their overlays, nobody watches them */
} VmsCheckResult;

/* Changes nothing; the domain's lock is held for a moment (virt/check-cow). A refusal is a result,
 * not an error. */
VmsCheckResult *vms_check(VmsContext *context, const char *domain, const VmsCreateOptions *options,
                          GError **error);
void vms_check_result_free(VmsCheckResult *result);

/* The question as create asks it, of facts just read. locked: the caller has the domain's lock. */
VmsCheck *vms_check_facts(VmsContext *context, virDomainPtr domain, const VmsFacts *facts,
                          const VmsCreateOptions *options, bool locked, GError **error);

/* Enters the findings as notes, but for those that the record has already. */
void vms_check_note(const VmsCheck *check, VmsRecord *record);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsCheckResult, vms_check_result_free)
