/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The arithmetic of the heartbeat: arrivals and marks in, widest gaps out. No clock and no socket,
 * for tests. Private to virt/. */
#pragma once

#include "virt/heartbeat.h"

typedef struct {
    int64_t marks[VMS_HEARTBEAT_DONE + 1]; /* when each phase began, µs; 0: it has not */
    int64_t last;                          /* the last arrival; 0: none yet */
    uint64_t beats;
    int64_t widest[VMS_HEARTBEAT_DONE]; /* µs, of the gaps that are closed; -1: none */
} VmsHeartbeatTally;

void vms_heartbeat_tally_init(VmsHeartbeatTally *tally);
void vms_heartbeat_tally_arrival(VmsHeartbeatTally *tally, int64_t now);
void vms_heartbeat_tally_mark(VmsHeartbeatTally *tally, VmsHeartbeatPhase phase, int64_t now);

/* The silence that lasts until now is counted too, unless now is 0. */
bool vms_heartbeat_tally_gaps(const VmsHeartbeatTally *tally, int64_t now,
                              VmsHeartbeatGaps *ret_gaps);
