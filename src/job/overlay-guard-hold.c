/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Until the merge begins the guest cannot have the room that is held back for it: at worst QEMU
 * pauses the guest. From then on the guest, which writes on, and the merge want the same room. A
 * guest may wait, a merge that fails would leave no way out: so the guest is paused where it gets
 * tight, and only then what was held back is given up.
 *
 * Crash gap: that it is paused is in the catalog before, and until it runs again; recover looks
 * there (job/recover-guest.c), for the helper that resumes it may die with this process. */
#include "job/overlay-guard-private.h"

#include "base/failpoint.h"
#include "job/holds.h"
#include "virt/stall.h"

#define MIB (UINT64_C(1) << 20)
#define LEAST_SPARE (256 * MIB) /* what a guest may write between two looks */

/* The catalog, by a handle of this thread's own, as well as it can. */
static void keep(const VmsOverlayGuard *guard, bool held)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsCatalog) catalog = vms_catalog_open(guard->context->config, &error);
    if (!catalog || !(held ? vms_holds_add(catalog, guard->uuid, guard->name, &error)
                           : vms_holds_remove(catalog, guard->uuid, &error)))
        g_info("%s: %s", guard->name, error->message);
}

/* No longer can it take any room. One that is paused already is not ours to keep; one that we keep
 * may have been resumed, by somebody or by a merge that had paused it at the same moment. */
static bool stand(VmsOverlayGuard *guard, virDomainPtr domain)
{
    if (virDomainIsActive(domain) == 0)
        return true;
    int state = VIR_DOMAIN_NOSTATE;
    if (virDomainGetState(domain, &state, NULL, 0) < 0)
        return false;
    if (state == VIR_DOMAIN_PAUSED)
        return true;
    if (guard->held)
        return virDomainSuspend(domain) == 0;
    vms_failpoint("guard.pausing");
    /* Where the catalog has no room for it, the merge needs room all the more. */
    keep(guard, true);
    vms_failpoint("guard.kept");
    VmsPause *pause = vms_pause_new(domain, NULL);
    if (!pause) /* what became of it is not known: it stays kept */
        return false;
    if (!vms_pause_is_ours(pause)) { /* somebody was faster */
        keep(guard, false);
        return vms_pause_end(pause, NULL);
    }
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

void vms_overlay_guard_let_go(VmsOverlayGuard *guard)
{
    g_autoptr(GError) cause = NULL;
    if (guard->held && vms_pause_end(g_steal_pointer(&guard->held), &cause)) {
        vms_failpoint("guard.let-go");
        keep(guard, false);
        vms_failpoint("guard.forgotten");
    }
    if (cause)
        vms_progress_message(guard->context->progress,
                             "%s: %s; \"vmsnap recover\" resumes it where that is possible again",
                             guard->name, cause->message);
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

static void set_tight(VmsOverlayGuard *guard, bool tight)
{
    g_mutex_lock(&guard->mutex);
    guard->tight = tight;
    g_mutex_unlock(&guard->mutex);
}

/* What the merge needs is not the guest's. True where it needs any, or would if the guest wrote:
 * that it needs none at the moment, in the middle of a merge, is no reason to let the guest take
 * all. */
static bool see_to_merge(VmsOverlayGuard *guard, virDomainPtr domain)
{
    g_auto(VmsGrowth) now = {0};
    shrink(guard);
    bool known = vms_growth_measure(guard->disks, VMS_GROWTH_AUTO, NULL, &now, NULL);
    if (!known || now.thin == 0 || (now.merge == 0 && now.least >= LEAST_SPARE)) {
        vms_overlay_guard_let_go(guard);
        set_tight(guard, false);
        return known && now.thin > 0;
    }
    bool enough = !guard->held && now.spare >= LEAST_SPARE;
    if (enough || !domain || !stand(guard, domain))
        return true;
    g_clear_pointer(&guard->reserve, vms_reserve_free);
    vms_failpoint("guard.room-given-up");
    set_tight(guard, true);
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
        vms_overlay_guard_let_go(guard);
    else if (guard->reserve && guard->runs)
        vms_growth_hold_back(guard->disks, guard->reserve);
    g_mutex_lock(&guard->mutex);
    bool tight = guard->tight && merging && closely;
    g_mutex_unlock(&guard->mutex);
    if (domain && guard->runs)
        see_to_guest(guard, domain, tight);
    return closely;
}
