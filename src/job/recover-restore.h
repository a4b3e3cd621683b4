/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Restores that were killed: what they made is removed, or kept where it is whole. */
#pragma once

#include "job/context.h"
#include "job/restore-record.h"

typedef enum {
    VMS_RECOVER_RESTORE_REMOVE, /* what it made, its domain too; it can be run again */
    VMS_RECOVER_RESTORE_KEEP    /* it is whole, or its guest has run */
} VmsRecoverRestoreAction;

/* "remove", "keep". */
const char *vms_recover_restore_action_name(VmsRecoverRestoreAction action);

typedef struct {
    VmsRestoreRecord *record;
    VmsRecoverRestoreAction action;
    char *sentence; /* what was found, and what is done or has to be */
    GError *error;  /* nullable: why it was not done; LOCKED: it is at work */
} VmsRecoverRestore;

void vms_recover_restore_free(VmsRecoverRestore *entry);

/* Of all restores of domain (name or UUID, NULL: all): GPtrArray of VmsRecoverRestore*. dry_run:
 * nothing is changed. NULL with *error only where the catalog cannot be read or the user
 * interrupts. */
GPtrArray *vms_recover_restores(VmsContext *context, const char *domain, bool dry_run,
                                GError **error);

/* Before a restore of a domain of that name begins: clears what an earlier one that was killed has
 * left, and says so. LOCKED where that one is at work. */
bool vms_recover_restores_before(VmsContext *context, const char *domain, GError **error);
