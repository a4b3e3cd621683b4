/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The TPM's state back to where libvirt looks for it. Private to job/. */
#pragma once

#include "job/stored.h"

typedef struct {
    VmsContext *context;
    const VmsStored *stored;
    const char *xml; /* of the domain to be */
} VmsRestoreTpm;

/* Before the domain is defined. made: of char*, files and directories are appended as they are
 * made, each after the one it is in. EXISTS where there is a TPM state already. */
bool vms_restore_tpm(const VmsRestoreTpm *restore, GPtrArray *made, GError **error);

/* Is there a state of a TPM where the domain's would be? */
bool vms_restore_tpm_exists(const char *xml);
