/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Threads: the guard's own, the job's, and libvirt's events, which only wake. Lock: mutex, of all
 * that is below it in the struct; never held while libvirt is called. */
#pragma once

#include "job/growth.h"
#include "job/overlay-guard.h"
#include "virt/pause.h"
#include "virt/rescue.h"
#include "virt/threshold.h"

struct VmsOverlayGuard {
    VmsContext *context;
    GCancellable *outer; /* nullable; owned */
    GCancellable *inner; /* what context has meanwhile */
    gulong handler;
    char *name; /* of the domain */
    char *uuid;
    GPtrArray *disks; /* of VmsGrowthDisk*; NULL until it watches */
    char **images;    /* overlays and what is below them */
    bool mergeable;   /* nothing newer stands on the overlays */
    bool tried_again; /* the merge; the job's thread only */
    VmsRescue *rescue;
    GThread *thread;

    /* The guard's thread only: */
    VmsReserve *reserve;     /* nullable */
    VmsThreshold *threshold; /* nullable; of followed */
    virDomainPtr followed;
    bool runs;      /* the guest, at the last look, or nobody knows */
    uint64_t armed; /* what was left when thresholds were set; 0: none are */
    VmsPause *held; /* until the merge is over; nullable */
    bool told_stuck;
    bool shrunk; /* reserve, as the merge begins */

    GMutex mutex;
    GCond wake, looked;
    bool watching; /* levels count */
    bool resting;  /* the job is over */
    bool merging;
    bool poked, ending;
    unsigned asked, answered; /* looks that the job waits for */
    bool warned;
    char *stopped;    /* nullable: why */
    const char *code; /* of stopped */
    unsigned resumed; /* how often the guest was */
    bool paused;      /* by the guard; to be noted */
    bool tight;       /* the merge has all the room that there is */
};

/* The job is ended, so that the overlays can be merged; once. Text taken. */
void vms_overlay_guard_stop(VmsOverlayGuard *guard, const char *code, char *text);

/* Sees to what is held back and to the guest, which may be paused here. On the guard's thread. True
 * where that is urgent enough to look again soon. domain: NULL while libvirt cannot be reached. */
bool vms_overlay_guard_hold(VmsOverlayGuard *guard, virDomainPtr domain);

/* On the guard's thread, in the end: the guest is paused no more. */
void vms_overlay_guard_let_go(VmsOverlayGuard *guard);
