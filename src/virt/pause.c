/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "virt/pause.h"

#include "base/failpoint.h"
#include "virt/guard.h"
#include "virt/rescue.h"

#define POLL_US 10000
#define PATIENCE_US (60 * G_USEC_PER_SEC) /* for libvirt to come back */

struct VmsPause {
    bool ours;
    int64_t begun_us;
    VmsRescue *rescue;
    VmsGuard *guard;
};

VmsPause *vms_pause_new(virDomainPtr domain, GError **error)
{
    int state = VIR_DOMAIN_NOSTATE;
    if (virDomainGetState(domain, &state, NULL, 0) < 0) {
        vms_virt_fail(error, "reading the state");
        return NULL;
    }
    VmsPause *pause = g_new0(VmsPause, 1);
    pause->begun_us = g_get_monotonic_time();
    if (state == VIR_DOMAIN_PAUSED)
        return pause;
    pause->rescue = vms_rescue_new(domain);
    pause->guard = vms_guard_new(domain, VMS_GUARD_RESUME);
    pause->ours = true; /* also where the answer is lost */
    pause->begun_us = g_get_monotonic_time();
    vms_failpoint("pause.suspending");
    bool suspended = virDomainSuspend(domain) == 0;
    vms_failpoint("pause.suspended");
    if (suspended)
        return pause;
    vms_virt_fail(error, "pause");
    vms_pause_end(pause, NULL);
    return NULL;
}

bool vms_pause_is_ours(const VmsPause *pause)
{
    return pause->ours;
}

int64_t vms_pause_begun_us(const VmsPause *pause)
{
    return pause->begun_us;
}

/* It runs, or it is gone. */
static bool is_over(virDomainPtr domain)
{
    int state = VIR_DOMAIN_NOSTATE;
    return virDomainResume(domain) == 0 || vms_virt_is_off(domain) ||
           (virDomainGetState(domain, &state, NULL, 0) == 0 && state != VIR_DOMAIN_PAUSED);
}

bool vms_pause_end(VmsPause *pause, GError **error)
{
    int64_t end = g_get_monotonic_time() + PATIENCE_US;
    bool over = !pause || !pause->ours;
    vms_failpoint("pause.resuming");
    while (!over) {
        virDomainPtr domain = vms_rescue_domain(pause->rescue);
        over = domain && is_over(domain);
        if (!over && g_get_monotonic_time() > end) {
            vms_virt_fail(error, "the guest is paused and cannot be resumed");
            break;
        }
        if (!over)
            g_usleep(POLL_US);
    }
    if (!pause)
        return true;
    vms_failpoint("pause.resumed");
    if (over)
        vms_guard_dismiss(pause->guard);
    else
        vms_guard_release(pause->guard); /* it goes on trying */
    vms_rescue_free(pause->rescue);
    g_free(pause);
    return over;
}

/* One that was paused for an error of I/O, say, is not ours to run. */
static bool is_by_command(int state, int reason)
{
    return state == VIR_DOMAIN_PAUSED && reason == VIR_DOMAIN_PAUSED_USER;
}

bool vms_pause_is_left(virDomainPtr domain)
{
    int state = VIR_DOMAIN_NOSTATE, reason = 0;
    return virDomainGetState(domain, &state, &reason, 0) == 0 && is_by_command(state, reason);
}

bool vms_pause_undo(virDomainPtr domain, GError **error)
{
    int state = VIR_DOMAIN_NOSTATE, reason = 0;
    if (virDomainGetState(domain, &state, &reason, 0) < 0)
        return vms_virt_fail(error, "state of the domain");
    return !is_by_command(state, reason) || virDomainResume(domain) == 0 ||
           vms_virt_fail(error, "the guest is still paused and cannot be resumed");
}
