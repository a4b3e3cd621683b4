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
 * undone.
 *
 * Whether the freeze held until the thaw is said by the agent's answer to that: how many file
 * systems were still frozen. Windows thaws itself after ten seconds and then answers the thaw with
 * an error; other agents answer 0. Its status says "frozen" all the same. Where that answer was
 * lost with the connection to libvirt, the next one says nothing: then the freeze held if the thaw
 * was asked for before any guest thaws itself. An agent that is not heard proves nothing: the guest
 * may have been reset. */
#include "virt/quiesce.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "virt/guard.h"
#include "virt/rescue.h"

#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>
#include <string.h>

#define ANSWER_S 5                         /* for commands that have nothing to do */
#define THAW_S 30                          /* for one that has: hooks, many file systems */
#define THAW_SHARE 3                       /* as long as the freeze might last, up to THAW_S */
#define SELF_THAW_US (10 * G_USEC_PER_SEC) /* Windows'; others do not */
#define THAW_PAUSE_US (G_USEC_PER_SEC / 5) /* between two tries */

struct VmsQuiesce {
    VmsRescue *rescue; /* the watchdog's, and the caller's once it is joined */
    VmsGuard *guard;   /* nullable; should this process be killed */
    GThread *watchdog; /* NULL once joined */
    GMutex lock;
    GCond wake;
    int64_t asked_us;     /* monotonic; the caller's: when the freeze was asked for */
    int64_t deadline;     /* monotonic µs */
    bool stop;            /* under lock: nothing left to watch */
    bool expired;         /* under lock: the deadline passed first, the watchdog thaws */
    bool thawed;          /* the watchdog's until it is joined */
    bool frozen;          /* the caller's */
    unsigned filesystems; /* the caller's: that were frozen */
    int patience_s;       /* for the next thaw; 0, by the caller, once it was waited for in vain */
    char *name;           /* of the domain */
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

/* Some agents answer a thaw with an error where nothing is frozen any more. One that does not
 * answer at all is not asked this too. */
static bool is_thawed(virDomainPtr domain, int code)
{
    bool frozen = true;
    return code != VIR_ERR_AGENT_UNRESPONSIVE && code != VIR_ERR_AGENT_UNSYNCED &&
           code != VIR_ERR_OPERATION_TIMEOUT &&
           vms_quiesce_is_frozen(domain, ANSWER_S, &frozen, NULL) && !frozen;
}

static bool is_connected(virDomainPtr domain)
{
    return virConnectIsAlive(virDomainGetConnect(domain)) == 1;
}

/* Nothing is frozen in a domain that is off. Sets *ret_lost where the agent may have thawed and
 * that was not heard. */
static bool thaw_once(virDomainPtr domain, int timeout_s, unsigned *ret_filesystems, bool *ret_lost,
                      GError **error)
{
    virDomainAgentSetResponseTimeout(domain, timeout_s, 0);
    vms_failpoint("freeze.thawing");
    int count = virDomainFSThaw(domain, NULL, 0, 0);
    int code = virGetLastErrorCode();
    vms_failpoint("freeze.thawed");
    if (count < 0)
        fail_agent(error, "thaw");
    bool off = count < 0 && vms_virt_is_off(domain);
    *ret_lost = *ret_lost || off || (count < 0 && !is_connected(domain));
    bool ok = count >= 0 || off || is_thawed(domain, code);
    if (ok) {
        g_clear_error(error);
        *ret_filesystems = (unsigned)MAX(count, 0);
    }
    return ok;
}

/* As libvirt has it, for whoever comes next. */
static void reset_timeout(VmsRescue *rescue)
{
    virDomainPtr domain = vms_rescue_domain(rescue);
    if (domain)
        virDomainAgentSetResponseTimeout(domain, VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK, 0);
}

/* Tries until the agent answers, also through a libvirtd that is restarted meanwhile; after
 * patience_s the guard goes on. */
static bool thaw(VmsRescue *rescue, int patience_s, unsigned *ret_filesystems, bool *ret_lost,
                 GError **error)
{
    int64_t end = g_get_monotonic_time() + patience_s * G_USEC_PER_SEC;
    *ret_lost = false;
    for (;;) {
        g_autoptr(GError) cause = NULL;
        virDomainPtr domain = vms_rescue_domain(rescue);
        if (domain && thaw_once(domain, MAX(patience_s, 1), ret_filesystems, ret_lost, &cause))
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
    bool lost;
    if (expired)
        quiesce->thawed = thaw(quiesce->rescue, quiesce->patience_s, &count, &lost, NULL);
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
    else if (quiesce->expired)
        quiesce->patience_s = 0;
}

/* Once the watchdog is joined. */
static bool end_freeze(VmsQuiesce *quiesce, unsigned *ret_filesystems, GError **error)
{
    bool lost = false;
    bool soon = g_get_monotonic_time() - quiesce->asked_us < SELF_THAW_US;
    *ret_filesystems = 0;
    if (quiesce->frozen &&
        !thaw(quiesce->rescue, quiesce->patience_s, ret_filesystems, &lost, error)) {
        quiesce->patience_s = 0;
        return vms_prefix(error,
                          "whether file systems of the guest are still frozen is not known "
                          "(\"virsh domfsthaw %s\")",
                          quiesce->name);
    }
    quiesce->frozen = false;
    if (lost && soon)
        *ret_filesystems = quiesce->filesystems;
    return true;
}

static VmsQuiesce *start(virDomainPtr domain, int deadline_s, GError **error)
{
    VmsQuiesce *quiesce = g_new0(VmsQuiesce, 1);
    g_autoptr(GError) cause = NULL;
    quiesce->rescue = vms_rescue_new(domain);
    quiesce->name = g_strdup(virDomainGetName(domain));
    quiesce->patience_s = CLAMP(THAW_SHARE * deadline_s, ANSWER_S, THAW_S);
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

/* Frozen from the moment the command is on its way. */
static bool send_freeze(VmsQuiesce *quiesce, virDomainPtr domain, int deadline_s, GError **error)
{
    quiesce->guard = vms_guard_new(domain, VMS_GUARD_THAW);
    quiesce->frozen = true;
    quiesce->asked_us = g_get_monotonic_time();
    virDomainAgentSetResponseTimeout(domain, MAX(deadline_s, 1), 0);
    vms_failpoint("freeze.asking");
    int count = virDomainFSFreeze(domain, NULL, 0, 0);
    vms_failpoint("freeze.answered");
    if (count < 0)
        return fail_agent(error, "freeze");
    quiesce->filesystems = (unsigned)count;
    return count > 0 ||
           vms_fail(error, VMS_ERROR_REFUSED, "the guest agent found no file system to freeze");
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
    if (!send_freeze(quiesce, domain, deadline_s, error)) {
        g_autoptr(GError) cause = NULL;
        VmsFreezeEnd unused;
        if (!vms_quiesce_thaw(quiesce, &unused, &cause))
            vms_prefix(error, "%s", cause->message);
        return NULL;
    }
    *ret_filesystems = quiesce->filesystems;
    return g_steal_pointer(&quiesce);
}

bool vms_quiesce_thaw(VmsQuiesce *quiesce, VmsFreezeEnd *ret_end, GError **error)
{
    unsigned count;
    join(quiesce);
    if (!end_freeze(quiesce, &count, error))
        return false;
    *ret_end = quiesce->expired               ? VMS_FREEZE_EXPIRED
               : count < quiesce->filesystems ? VMS_FREEZE_LOST
                                              : VMS_FREEZE_HELD;
    return true;
}

void vms_quiesce_free(VmsQuiesce *quiesce)
{
    unsigned count;
    if (!quiesce)
        return;
    join(quiesce);
    if (quiesce->patience_s > 0)
        end_freeze(quiesce, &count, NULL);
    reset_timeout(quiesce->rescue);
    g_mutex_clear(&quiesce->lock);
    g_cond_clear(&quiesce->wake);
    if (quiesce->frozen)
        vms_guard_release(quiesce->guard); /* it may have more luck */
    else
        vms_guard_dismiss(quiesce->guard);
    vms_rescue_free(quiesce->rescue);
    g_free(quiesce->name);
    g_free(quiesce);
}

bool vms_quiesce_thaw_all(virDomainPtr domain, int timeout_s, unsigned *ret_filesystems,
                          GError **error)
{
    g_autoptr(VmsRescue) rescue = vms_rescue_new(domain);
    bool lost;
    bool ok = thaw(rescue, timeout_s, ret_filesystems, &lost, error);
    reset_timeout(rescue);
    return ok;
}
