/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The steps of taking a snapshot and their undoing. Private to job/. */
#pragma once

#include "job/catalog.h"
#include "job/context.h"
#include "job/create.h"
#include "job/overlay-guard.h"
#include "job/side-files.h"
#include "virt/facts.h"

typedef struct {
    VmsContext *context;
    VmsCatalog *catalog;
    virDomainPtr domain;
    const VmsFacts *facts;
    const VmsCreateOptions *options; /* as asked for */
    bool quiesce, quiesce_required;
    int freeze_deadline_s;
    VmsCow *cow;             /* of that engine, while it is at work */
    VmsHeartbeat *heartbeat; /* nullable */
    VmsSideFiles *side;      /* while it is taken */
    VmsOverlayGuard *guard;  /* likewise */
    VmsRecord *record;       /* planned: paths are set, nothing is made yet */
} VmsCapture;

/* Brings the record to captured, or undoes everything and leaves it failed with the reason. */
bool vms_capture_run(VmsCapture *capture, GError **error);
