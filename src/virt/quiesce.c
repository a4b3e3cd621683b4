/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guest agent answers one command after the other, and a freeze may hang in the guest for as
 * long as it likes (a hook, a dead NFS server). So every command has a time limit, which libvirt
 * keeps per domain (virDomainAgentSetResponseTimeout), and a thaw is tried again until it is
 * answered or patience ends: a freeze that came back too late for us is still in force in the
 * guest.
 *
 * Threads: the watchdog is started before the freeze and waits for the deadline or for "stop"; it
 * alone thaws at the deadline, and is joined before anybody else thaws. Both use the same
 * virDomainPtr, which libvirt allows. One lock, `lock`; it is never held while libvirt is called.
 *
 * A guest that was frozen by somebody else before is left to them: the freeze is refused, not
 * undone. */
#include "virt/quiesce.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "virt/guard.h"
#include "virt/rescue.h"

#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>
#include <string.h>

#define ANSWER_S 5                         /* for commands that have nothing to do */
#define THAW_PATIENCE_S 60                 /* tries go on for so long */
#define THAW_PAUSE_US (G_USEC_PER_SEC / 5) /* between two tries */

struct VmsQuiesce {
    VmsRescue *rescue; /* the watchdog's, and the caller's once it is joined */
    VmsGuard *guard;   /* nullable; should this process be killed */
    GThread *watchdog; /* NULL once joined */
    GMutex lock;
    GCond wake;
    int64_t deadline; /* monotonic µs */
    bool stop;        /* under lock: nothing left to watch */
    bool expired;     /* under lock: the deadline passed first, the watchdog thaws */
    bool thawed;      /* the watchdog's until it is joined */
    bool frozen;      /* the caller's */
};

/* Whatever libvirt calls it: the guest is in a state in which this cannot be done. */
static bool fail_agent(GError **error, const char *what)
{
    g_autoptr(GError) cause = NULL;
    vms_virt_fail(&cause, "%s", what);
    return vms_fail(error, VMS_ERROR_REFUSED, "%s", cause->message);
}

bool vms_quiesce_ping(virDomainPtr domain, int timeout_s, GError **error)
{
    char *answer = virDomainQemuAgentCommand(domain, "{\"execute\":\"guest-ping\"}", timeout_s, 0);
    if (!answer)
        return fail_agent(error, "guest agent");
    free(answer);
    return true;
}

bool vms_quiesce_is_frozen(virDomainPtr domain, int timeout_s, bool *ret_frozen, GError **error)
{
    char *answer =
        virDomainQemuAgentCommand(domain, "{\"execute\":\"guest-fsfreeze-status\"}", timeout_s, 0);
    if (!answer)
        return fail_agent(error, "guest agent");
    *ret_frozen = strstr(answer, "\"frozen\"") != NULL;
    free(answer);
    return true;
}

/* Nothing is frozen in a domain that is off. */
static bool thaw_once(virDomainPtr domain, unsigned *ret_filesystems, GError **error)
{
    virDomainAgentSetResponseTimeout(domain, ANSWER_S, 0);
    vms_failpoint("freeze.thawing");
    int count = virDomainFSThaw(domain, NULL, 0, 0);
    vms_failpoint("freeze.thawed");
    if (count < 0)
        fail_agent(error, "thaw");
    virDomainAgentSetResponseTimeout(domain, VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK, 0);
    bool ok = count >= 0 || virDomainIsActive(domain) == 0;
    if (ok) {
        g_clear_error(error);
        *ret_filesystems = (unsigned)MAX(count, 0);
    }
    return ok;
}

/* Tries until the agent answers, also through a libvirtd that is restarted meanwhile. */
static bool thaw(VmsRescue *rescue, int patience_s, unsigned *ret_filesystems, GError **error)
{
    int64_t end = g_get_monotonic_time() + patience_s * G_USEC_PER_SEC;
    for (;;) {
        g_autoptr(GError) cause = NULL;
        virDomainPtr domain = vms_rescue_domain(rescue);
        if (domain && thaw_once(domain, ret_filesystems, &cause))
            return true;
        if (!domain)
            fail_agent(&cause, "thaw");
        if (g_get_monotonic_time() >= end) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return false;
        }
        g_usleep(THAW_PAUSE_US);
    }
}

static void *watch(void *data)
{
    VmsQuiesce *quiesce = data;
    g_mutex_lock(&quiesce->lock);
    while (!quiesce->stop && !quiesce->expired)
        quiesce->expired = !g_cond_wait_until(&quiesce->wake, &quiesce->lock, quiesce->deadline);
    bool expired = quiesce->expired;
    g_mutex_unlock(&quiesce->lock);
    unsigned count;
    if (expired)
        quiesce->thawed = thaw(quiesce->rescue, THAW_PATIENCE_S, &count, NULL);
    return NULL;
}

static void join(VmsQuiesce *quiesce)
{
    if (!quiesce->watchdog)
        return;
    g_mutex_lock(&quiesce->lock);
    quiesce->stop = true;
    g_cond_signal(&quiesce->wake);
    g_mutex_unlock(&quiesce->lock);
    g_thread_join(g_steal_pointer(&quiesce->watchdog));
    if (quiesce->thawed)
        quiesce->frozen = false;
}

static VmsQuiesce *start(virDomainPtr domain, int deadline_s, GError **error)
{
    VmsQuiesce *quiesce = g_new0(VmsQuiesce, 1);
    g_autoptr(GError) cause = NULL;
    quiesce->rescue = vms_rescue_new(domain);
    quiesce->deadline = g_get_monotonic_time() + deadline_s * G_USEC_PER_SEC;
    g_mutex_init(&quiesce->lock);
    g_cond_init(&quiesce->wake);
    quiesce->watchdog = g_thread_try_new("thaw-watchdog", watch, quiesce, &cause);
    if (quiesce->watchdog)
        return quiesce;
    vms_fail(error, VMS_ERROR_FAILED, "watchdog: %s", cause->message);
    vms_quiesce_free(quiesce);
    return NULL;
}

VmsQuiesce *vms_quiesce_freeze(virDomainPtr domain, int deadline_s, unsigned *ret_filesystems,
                               GError **error)
{
    bool frozen = false;
    if (!vms_quiesce_is_frozen(domain, ANSWER_S, &frozen, error))
        return NULL;
    if (frozen)
        return vms_fail_null(error, VMS_ERROR_REFUSED,
                             "somebody else has frozen the guest's file systems");
    g_autoptr(VmsQuiesce) quiesce = start(domain, deadline_s, error);
    if (!quiesce)
        return NULL;
    quiesce->guard = vms_guard_new(domain, VMS_GUARD_THAW);
    quiesce->frozen = true; /* from the moment the command is on its way */
    virDomainAgentSetResponseTimeout(domain, MAX(deadline_s, 1), 0);
    vms_failpoint("freeze.asking");
    int count = virDomainFSFreeze(domain, NULL, 0, 0);
    vms_failpoint("freeze.answered");
    if (count < 0)
        fail_agent(error, "freeze");
    virDomainAgentSetResponseTimeout(domain, VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK, 0);
    if (count < 0) {
        g_autoptr(GError) cause = NULL;
        if (!vms_quiesce_thaw(quiesce, &frozen, &cause))
            vms_prefix(error, "%s, so the guest may still be frozen", cause->message);
        return NULL;
    }
    *ret_filesystems = (unsigned)count;
    return g_steal_pointer(&quiesce);
}

bool vms_quiesce_thaw(VmsQuiesce *quiesce, bool *ret_expired, GError **error)
{
    unsigned count;
    join(quiesce);
    if (quiesce->frozen && !thaw(quiesce->rescue, THAW_PATIENCE_S, &count, error))
        return false;
    quiesce->frozen = false;
    *ret_expired = quiesce->expired;
    return true;
}

void vms_quiesce_free(VmsQuiesce *quiesce)
{
    unsigned count;
    if (!quiesce)
        return;
    join(quiesce);
    if (quiesce->frozen)
        quiesce->frozen = !thaw(quiesce->rescue, THAW_PATIENCE_S, &count, NULL);
    g_mutex_clear(&quiesce->lock);
    g_cond_clear(&quiesce->wake);
    if (quiesce->frozen)
        vms_guard_release(quiesce->guard); /* it may have more luck */
    else
        vms_guard_dismiss(quiesce->guard);
    vms_rescue_free(quiesce->rescue);
    g_free(quiesce);
}

bool vms_quiesce_thaw_all(virDomainPtr domain, int timeout_s, unsigned *ret_filesystems,
                          GError **error)
{
    g_autoptr(VmsRescue) rescue = vms_rescue_new(domain);
    return thaw(rescue, timeout_s, ret_filesystems, error);
}
