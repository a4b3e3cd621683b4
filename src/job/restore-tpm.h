/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The TPM's state back to where libvirt looks for it. Private to job/. */
#pragma once

#include "job/restore-journal.h"
#include "job/stored.h"

typedef struct {
    VmsContext *context;
    const VmsStored *stored;
    const char *xml; /* of the domain to be */
    VmsRestoreJournal *journal;
} VmsRestoreTpm;

/* Before the domain is defined. EXISTS where there is a TPM state already. */
bool vms_restore_tpm(const VmsRestoreTpm *restore, GError **error);

/* Is there a state of a TPM where the domain's would be? */
bool vms_restore_tpm_exists(const char *xml);
