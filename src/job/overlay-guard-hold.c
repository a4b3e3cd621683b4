/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Until the merge begins the guest cannot have the room that is held back for it: at worst QEMU
 * pauses the guest. From then on the guest, which writes on, and the merge want the same room. A
 * guest may wait, a merge that fails would leave no way out: so the guest is paused where it gets
 * tight, and only then what was held back is given up. */
#include "job/overlay-guard-private.h"

#include "base/failpoint.h"
#include "virt/stall.h"

#define MIB (UINT64_C(1) << 20)
#define LEAST_SPARE (256 * MIB) /* what a guest may write between two looks */

/* No longer can it take any room. */
static bool stand(VmsOverlayGuard *guard, virDomainPtr domain)
{
    if (guard->held || virDomainIsActive(domain) == 0)
        return true;
    VmsPause *pause = vms_pause_new(domain, NULL);
    if (!pause)
        return false;
    if (!vms_pause_is_ours(pause)) /* and so not ours to keep */
        return vms_pause_end(pause, NULL);
    guard->held = pause;
    vms_failpoint("guard.paused");
    g_mutex_lock(&guard->mutex);
    guard->paused = true;
    g_mutex_unlock(&guard->mutex);
    vms_progress_message(guard->context->progress,
                         "%s: the guest takes the room that the merge needs; it is paused until "
                         "that is over",
                         guard->name);
    return true;
}

static void let_go(VmsOverlayGuard *guard)
{
    vms_pause_end(g_steal_pointer(&guard->held), NULL);
    g_clear_pointer(&guard->reserve, vms_reserve_free);
}

/* At first all is left to the merge but what there is beyond it and its spare. */
static void shrink(VmsOverlayGuard *guard)
{
    g_auto(VmsGrowth) all = {0};
    if (guard->shrunk)
        return;
    guard->shrunk = true;
    vms_growth_begin_merge(guard->disks);
    if (vms_growth_measure(guard->disks, VMS_GROWTH_AUTO, guard->reserve, &all, NULL) &&
        all.spare > LEAST_SPARE)
        vms_reserve_shrink(guard->reserve, (all.spare - LEAST_SPARE) / 2);
}

/* What the merge needs is not the guest's. True where it needs any. */
static bool see_to_merge(VmsOverlayGuard *guard, virDomainPtr domain)
{
    g_auto(VmsGrowth) now = {0};
    shrink(guard);
    if (!vms_growth_measure(guard->disks, VMS_GROWTH_AUTO, NULL, &now, NULL) || now.merge == 0) {
        let_go(guard);
        return false;
    }
    if (guard->held || now.spare >= LEAST_SPARE || !domain || !stand(guard, domain))
        return true;
    g_clear_pointer(&guard->reserve, vms_reserve_free);
    vms_failpoint("guard.room-given-up");
    g_mutex_lock(&guard->mutex);
    guard->tight = true;
    g_mutex_unlock(&guard->mutex);
    return true;
}

/* Not where a merge needs the room: it goes on after that. Where there is room, only too much was
 * held back for the merge. */
static void see_to_guest(VmsOverlayGuard *guard, virDomainPtr domain, bool tight)
{
    if (!vms_stall_is(domain, (const char *const *)guard->images))
        return;
    if (!guard->mergeable)
        g_clear_pointer(&guard->reserve, vms_reserve_free);
    bool room = !tight && vms_growth_has_room(guard->disks, guard->reserve);
    if (!room)
        vms_overlay_guard_stop(
            guard, "overlay-stalled",
            g_strdup("the guest was paused by QEMU, for there is no room for its overlays"));
    if (!room || !vms_stall_end(domain, NULL))
        return;
    vms_failpoint("guard.resumed");
    g_mutex_lock(&guard->mutex);
    guard->resumed++;
    g_mutex_unlock(&guard->mutex);
    vms_progress_message(guard->context->progress,
                         "%s: the guest had been paused for want of room; there is some again, and "
                         "it runs on",
                         guard->name);
}

bool vms_overlay_guard_hold(VmsOverlayGuard *guard, virDomainPtr domain)
{
    g_mutex_lock(&guard->mutex);
    bool resting = guard->resting, merging = guard->merging, stopped = guard->stopped;
    g_mutex_unlock(&guard->mutex);
    bool closely = stopped && !resting;
    if (merging)
        closely = see_to_merge(guard, domain);
    else if (resting)
        let_go(guard);
    else if (guard->reserve)
        vms_growth_hold_back(guard->disks, guard->reserve);
    g_mutex_lock(&guard->mutex);
    bool tight = guard->tight && merging && closely;
    g_mutex_unlock(&guard->mutex);
    if (domain)
        see_to_guest(guard, domain, tight);
    return closely;
}
