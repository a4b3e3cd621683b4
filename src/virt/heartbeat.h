/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How long a guest stood still, as its own heartbeat tells: it writes to a virtio-serial port of
 * this name in short intervals, and the widest silence at our end is the pause that the guest saw,
 * and what the writing of its memory costs it afterwards (docs/operations.md). */
#pragma once

#include "virt/facts.h"

#define VMS_HEARTBEAT_PORT "org.vmsnap.heartbeat.0"

typedef struct VmsHeartbeat VmsHeartbeat;

/* What is done to the guest; each lasts until the next one's mark. */
typedef enum {
    VMS_HEARTBEAT_BASELINE, /* from the opening on: nothing */
    VMS_HEARTBEAT_PAUSE,    /* from before it is suspended until it is resumed */
    VMS_HEARTBEAT_WRITE,    /* it runs, and QEMU writes its memory out */
    VMS_HEARTBEAT_DONE      /* nothing is measured any more */
} VmsHeartbeatPhase;

typedef struct {
    uint64_t beats;      /* arrivals from the opening until DONE */
    int64_t baseline_us; /* the widest gap of each phase; -1 where there was none */
    int64_t pause_us;
    int64_t write_us;
} VmsHeartbeatGaps;

/* Connects to the heartbeat of a running guest and listens on a thread of its own. NULL where it
 * has none, where its socket does not take the connection at once, or where somebody else is
 * connected (QEMU serves one): nothing here may delay or fail a snapshot. */
VmsHeartbeat *vms_heartbeat_open(const VmsFacts *facts);

/* From now on it is that phase; phases only go forward and may be left out. NULL is fine. */
void vms_heartbeat_mark(VmsHeartbeat *heartbeat, VmsHeartbeatPhase phase);

/* False where nothing can be said: no listener (NULL), or no beat before the pause. A gap that
 * touches the pause is the pause's alone, any other is of the phase in which it began, and a
 * silence that still lasts counts up to DONE or to now. */
bool vms_heartbeat_gaps(VmsHeartbeat *heartbeat, VmsHeartbeatGaps *ret_gaps);

/* Stops listening. NULL is fine. */
void vms_heartbeat_free(VmsHeartbeat *heartbeat);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsHeartbeat, vms_heartbeat_free)
