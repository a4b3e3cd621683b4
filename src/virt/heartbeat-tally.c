/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Gaps are folded as they close, not kept as a list, because writing memory out may take long. What
 * a gap is counted for is known only when it ends: it is held against the marks then. */
#include "virt/heartbeat-tally.h"

void vms_heartbeat_tally_init(VmsHeartbeatTally *tally)
{
    *tally = (VmsHeartbeatTally){.widest = {-1, -1, -1}};
}

static VmsHeartbeatPhase phase_at(const VmsHeartbeatTally *tally, int64_t when)
{
    VmsHeartbeatPhase phase = VMS_HEARTBEAT_BASELINE;
    for (int i = VMS_HEARTBEAT_PAUSE; i <= VMS_HEARTBEAT_DONE; i++)
        if (tally->marks[i] && when >= tally->marks[i])
            phase = (VmsHeartbeatPhase)i;
    return phase;
}

/* A gap that touches the pause is the guest's pause, from its last beat before to the first after
 * it, and must not be taken for a stall of what comes next. */
static VmsHeartbeatPhase phase_of(const VmsHeartbeatTally *tally, int64_t begin, int64_t end)
{
    VmsHeartbeatPhase first = phase_at(tally, begin), last = phase_at(tally, end);
    return first <= VMS_HEARTBEAT_PAUSE && last >= VMS_HEARTBEAT_PAUSE ? VMS_HEARTBEAT_PAUSE
                                                                       : first;
}

static void count_gap(const VmsHeartbeatTally *tally, int64_t end, int64_t *widest)
{
    int64_t done = tally->marks[VMS_HEARTBEAT_DONE];
    if (done)
        end = MIN(end, done);
    if (tally->last == 0 || end <= tally->last)
        return;
    VmsHeartbeatPhase phase = phase_of(tally, tally->last, end);
    if (phase < VMS_HEARTBEAT_DONE)
        widest[phase] = MAX(widest[phase], end - tally->last);
}

void vms_heartbeat_tally_arrival(VmsHeartbeatTally *tally, int64_t now)
{
    count_gap(tally, now, tally->widest);
    /* How long the pause was is not known without a beat before it; the rest is left then too. */
    if (tally->beats == 0 && tally->marks[VMS_HEARTBEAT_PAUSE])
        return;
    tally->last = now;
    if (!tally->marks[VMS_HEARTBEAT_DONE])
        tally->beats++;
}

void vms_heartbeat_tally_mark(VmsHeartbeatTally *tally, VmsHeartbeatPhase phase, int64_t now)
{
    if (phase_at(tally, now) < phase)
        tally->marks[phase] = now;
}

bool vms_heartbeat_tally_gaps(const VmsHeartbeatTally *tally, int64_t now,
                              VmsHeartbeatGaps *ret_gaps)
{
    int64_t widest[VMS_HEARTBEAT_DONE];
    if (tally->beats == 0)
        return false;
    for (int i = 0; i < VMS_HEARTBEAT_DONE; i++)
        widest[i] = tally->widest[i];
    if (now)
        count_gap(tally, now, widest);
    *ret_gaps = (VmsHeartbeatGaps){.beats = tally->beats,
                                   .baseline_us = widest[VMS_HEARTBEAT_BASELINE],
                                   .pause_us = widest[VMS_HEARTBEAT_PAUSE],
                                   .write_us = widest[VMS_HEARTBEAT_WRITE]};
    return true;
}
