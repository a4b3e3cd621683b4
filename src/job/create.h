/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Taking a snapshot: freeze, cut disks and memory at one instant, thaw. */
#pragma once

#include "job/context.h"
#include "job/record.h"

/* AUTO: the first of the others that is possible; what was not, and why, is in the notes. */
typedef enum { VMS_MEMORY_AUTO, VMS_MEMORY_COW, VMS_MEMORY_LIVE, VMS_MEMORY_NONE } VmsMemoryMode;
typedef enum { VMS_QUIESCE_AUTO, VMS_QUIESCE_REQUIRE, VMS_QUIESCE_OFF } VmsQuiesceMode;

typedef struct {
    VmsMemoryMode memory;
    VmsQuiesceMode quiesce;
    int freeze_deadline_s; /* 0: the configured one */
} VmsCreateOptions;

/* Ends in status captured, or undone: guest running on its original disks, no file left. REFUSED by
 * check, LOCKED, CANCELLED … */
VmsRecord *vms_create(VmsContext *context, const char *domain, const VmsCreateOptions *options,
                      GError **error);
