/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Guests that an overlay guard kept paused when it was killed, and its helper with it (P1). */
#pragma once

#include "job/catalog.h"
#include "job/context.h"

/* One that is still paused: it is resumed. */
typedef struct {
    char *domain;
    char *uuid;
    char *sentence; /* what was found, and what is done */
    GError *error;  /* nullable: why it was not done; LOCKED: another vmsnap works on it */
} VmsRecoverGuest;

void vms_recover_guest_free(VmsRecoverGuest *entry);

/* Of domain (name or UUID, NULL: all): GPtrArray of VmsRecoverGuest*. What runs again, or is gone,
 * is only forgotten. dry_run: nothing is changed. NULL with *error where the catalog cannot be
 * read, libvirt cannot be reached, or the user interrupts. */
GPtrArray *vms_recover_guests(VmsContext *context, const char *domain, bool dry_run,
                              GError **error);

/* Of one domain whose lock is held, before a job works on it: resumes it, and says so. What goes
 * wrong is left to the job, or to recover. */
void vms_recover_guest_claimed(VmsContext *context, VmsCatalog *catalog, const char *uuid);
