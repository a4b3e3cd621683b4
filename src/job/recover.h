/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What commands that were killed, or a host that went down, have left: found and put right. */
#pragma once

#include "job/context.h"
#include "job/record.h"
#include "job/recover-guest.h"
#include "job/recover-restore.h"

typedef enum {
    VMS_RECOVER_NONE,    /* nothing to do: it waits for its export or its commit */
    VMS_RECOVER_UNDO,    /* interrupted while it was taken: the guest goes back on its own disks */
    VMS_RECOVER_RELEASE, /* interrupted in its export: it can be exported again */
    VMS_RECOVER_MERGE    /* exported, interrupted in the merge of its overlays: they are merged */
} VmsRecoverAction;

/* "none", "undo", "release", "merge". */
const char *vms_recover_action_name(VmsRecoverAction action);

/* One snapshot of which something is left on this host. */
typedef struct {
    VmsRecord *record; /* afterwards; of a dry run as found */
    VmsStatus found;   /* before */
    VmsRecoverAction action;
    char *sentence; /* what was found, and what is done or has to be */
    GError *error;  /* nullable: why the action did not succeed; LOCKED: somebody works on it */
} VmsRecoverEntry;

typedef struct {
    bool dry_run;
    GPtrArray *entries;  /* of VmsRecoverEntry*, newest first */
    GPtrArray *restores; /* of VmsRecoverRestore*, oldest first */
    GPtrArray *guests;   /* of VmsRecoverGuest* */
    unsigned recovered;  /* actions that were done, or would be */
    unsigned failed;     /* that did not succeed */
    unsigned waiting;    /* without an action */
} VmsRecoverResult;

/* domains: names or UUIDs, NULL-terminated; NULL or empty for all. dry_run: nothing is changed. One
 * that cannot be recovered does not keep others from it: its entry says why. Error: NOT_FOUND where
 * neither libvirt nor the catalog knows a domain, and what keeps it from all of them. */
VmsRecoverResult *vms_recover(VmsContext *context, const char *const *domains, bool dry_run,
                              GError **error);
void vms_recover_result_free(VmsRecoverResult *result);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsRecoverResult, vms_recover_result_free)
