/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Each step is given options->patience_s; as long as half of the rest is merged in that time, none
 * is taken. Then: the limit on the job's bandwidth is lifted; the guest's writes are limited to a
 * quarter of what the job copies, so that three quarters go into the rest; the guest is paused for
 * at most PAUSE_US, and again after BETWEEN_US. The limit on its writes stays until the end, so
 * what is left shrinks with every round. It is never below LEAST: a SATA disk has 32 requests under
 * way, of half a MiB say, and its guest gives up on one after half a minute.
 *
 * Crash gaps: what is about to be done to the guest is kept before, with the limits as they were,
 * and forgotten after it is undone. Guards undo it should this process be killed; where there are
 * none, or the host's virsh fails, whoever finds what was kept does (vms_commit_undo). */
#include "virt/press.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "virt/guard.h"
#include "virt/pause.h"
#include "virt/rescue.h"
#include "virt/throttle.h"

#include <string.h>

#define PAUSE_US (30 * G_USEC_PER_SEC)
#define BETWEEN_US                                                                                 \
    (10 * G_USEC_PER_SEC) /* at first; half of it after each pause, a second at least */
#define UNDO_PATIENCE_US (60 * G_USEC_PER_SEC) /* for libvirt to come back */
#define UNDO_POLL_US (G_USEC_PER_SEC / 4)
#define LEAST (UINT64_C(2) << 20) /* bytes a second that a guest may always write */
#define PAUSED "paused "          /* before the plan of the throttle in what is kept */
#define SHARE 4                   /* of what the job copies the guest may write one part */

struct VmsPress {
    virDomainPtr domain; /* the caller's */
    const char *target;
    const VmsCommitOptions *options;
    int64_t deadline; /* monotonic µs; 0 until the first pass is over */
    uint64_t backlog; /* bytes that were left when it was set */
    int64_t since; /* monotonic µs; from when on, and from which byte, the job is timed; 0: not */
    uint64_t copied;
    int64_t between_us; /* from the end of a pause to the next one */
    bool lifted, throttle_tried;
    char *plan;        /* nullable: the guest's writes are limited */
    VmsRescue *rescue; /* with plan */
    VmsGuard *guard;   /* with plan; nullable */
    bool pausing;
    VmsPause *pause; /* nullable */
};

VmsPress *vms_press_new(virDomainPtr domain, const char *target, const VmsCommitOptions *options)
{
    VmsPress *press = g_new0(VmsPress, 1);
    press->domain = domain;
    press->target = target;
    press->options = options;
    press->between_us = BETWEEN_US;
    return press;
}

/* Said to the operator and entered in the record. */
static void tell(const VmsPress *press, const char *code, const char *text)
{
    vms_progress_message(press->options->progress, "disk %s: %s", press->target, text);
    if (press->options->note)
        press->options->note(press->options->data, code, text);
}

/* What is to be undone now. */
static bool keep(const VmsPress *press, GError **error)
{
    g_autofree char *text = NULL;
    if (press->plan || press->pausing)
        text =
            g_strdup_printf("%s%s", press->pausing ? PAUSED : "", press->plan ? press->plan : "");
    return !press->options->keep || press->options->keep(press->options->data, text, error);
}

static void arm(VmsPress *press, int64_t patience_us, uint64_t left)
{
    press->deadline = g_get_monotonic_time() + patience_us;
    press->backlog = left;
}

static int64_t patience(const VmsPress *press)
{
    return press->options->patience_s * G_USEC_PER_SEC;
}

static void time_from_here(VmsPress *press, const virDomainBlockJobInfo *info)
{
    press->since = g_get_monotonic_time();
    press->copied = info->cur;
}

/* Bytes a second. */
static uint64_t speed(const VmsPress *press, const virDomainBlockJobInfo *info)
{
    int64_t us = MAX(g_get_monotonic_time() - press->since, 1);
    uint64_t bytes = info->cur > press->copied ? info->cur - press->copied : 0;
    return (uint64_t)((double)bytes * G_USEC_PER_SEC / (double)us);
}

static bool is_running(virDomainPtr domain)
{
    int state = VIR_DOMAIN_NOSTATE;
    return virDomainGetState(domain, &state, NULL, 0) == 0 && state == VIR_DOMAIN_RUNNING;
}

static void lift(VmsPress *press, const virDomainBlockJobInfo *info)
{
    press->lifted = true;
    tell(press, "commit-limit-lifted",
         "the guest writes faster than the merge may copy; the limit on the merge is lifted");
    virDomainBlockJobSetSpeed(press->domain, press->target, 0, 0);
    time_from_here(press, info);
}

static bool set_throttle(VmsPress *press, uint64_t limit, GError **error)
{
    press->plan = vms_throttle_plan(press->domain, press->target, limit, error);
    if (!press->plan || !keep(press, error)) {
        g_clear_pointer(&press->plan, g_free);
        return false;
    }
    g_autofree char *command = vms_throttle_undo_command(press->target, press->plan);
    press->rescue = vms_rescue_new(press->domain);
    press->guard = vms_guard_new(press->domain, (const char *const[]){command, NULL});
    vms_failpoint("merge.throttling");
    bool ok = vms_throttle_set(press->domain, press->target, press->plan, error);
    vms_failpoint("merge.throttled");
    return ok;
}

/* Where it cannot be done, the next step is taken. */
static bool throttle(VmsPress *press, const virDomainBlockJobInfo *info)
{
    g_autoptr(GError) cause = NULL;
    uint64_t limit = MAX(speed(press, info) / SHARE, LEAST);
    press->throttle_tried = true;
    bool ok = set_throttle(press, limit, &cause);
    g_autofree char *text =
        ok ? g_strdup_printf("the guest writes faster than the merge copies; its writes were "
                             "throttled to %" G_GUINT64_FORMAT " KiB/s until the disk is merged",
                             limit >> 10)
           : g_strdup_printf("the guest writes faster than the merge copies, and its writes cannot "
                             "be throttled: %s",
                             cause->message);
    tell(press, ok ? "commit-throttled" : "commit-throttle-failed", text);
    return ok;
}

static bool end_pause(VmsPress *press, GError **error)
{
    if (!press->pause)
        return true;
    int64_t us = g_get_monotonic_time() - vms_pause_begun_us(press->pause);
    if (!vms_pause_end(g_steal_pointer(&press->pause), error))
        return false;
    g_autofree char *text = g_strdup_printf("the guest was paused for %" G_GINT64_FORMAT
                                            " ms, because it wrote faster than the merge copied",
                                            us / 1000);
    tell(press, "commit-paused", text);
    press->pausing = false;
    return keep(press, error);
}

static bool begin_pause(VmsPress *press, GError **error)
{
    vms_progress_message(press->options->progress,
                         "disk %s: the guest still writes faster than the merge copies; it is "
                         "paused for at most %d s",
                         press->target, (int)(PAUSE_US / G_USEC_PER_SEC));
    press->pausing = true;
    if (!keep(press, error))
        return false;
    press->pause = vms_pause_new(press->domain, error);
    vms_failpoint("merge.paused");
    return press->pause != NULL;
}

static bool take_step(VmsPress *press, const virDomainBlockJobInfo *info, uint64_t left,
                      GError **error)
{
    if (press->pause) {
        arm(press, press->between_us, left);
        press->between_us = MAX(press->between_us / 2, G_USEC_PER_SEC);
        return end_pause(press, error);
    }
    bool again = left <= press->backlog / 2;
    arm(press, patience(press), left);
    if (again || !is_running(press->domain)) {
        vms_progress_message(press->options->progress,
                             "disk %s: the guest writes on while it is merged; waiting for the "
                             "last %" G_GUINT64_FORMAT " KiB",
                             press->target, left >> 10);
        return true;
    }
    if (info->bandwidth && !press->lifted) { /* also one that somebody else has set */
        lift(press, info);
        return true;
    }
    if (!press->throttle_tried && throttle(press, info))
        return true;
    arm(press, PAUSE_US, left);
    return begin_pause(press, error);
}

bool vms_press_look(VmsPress *press, const virDomainBlockJobInfo *info, bool passed, GError **error)
{
    uint64_t left = info->end > info->cur ? info->end - info->cur : 0;
    if (press->since == 0)
        time_from_here(press, info);
    if (!passed)
        return true;
    if (press->deadline == 0)
        arm(press, patience(press), left);
    return g_get_monotonic_time() < press->deadline || take_step(press, info, left, error);
}

/* Until it is done or patience ends. */
static bool undo_throttle(VmsPress *press, GError **error)
{
    int64_t end = g_get_monotonic_time() + UNDO_PATIENCE_US;
    for (;;) {
        g_autoptr(GError) cause = NULL;
        virDomainPtr domain = vms_rescue_domain(press->rescue);
        if (domain && vms_throttle_undo(domain, press->target, press->plan, &cause))
            return true;
        if (!domain)
            vms_virt_fail(&cause, "connect");
        if (g_get_monotonic_time() > end) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return vms_prefix(error, "the guest's writes are still throttled (\"virsh "
                                     "blkdeviotune\" shows it, \"vmsnap recover\" ends it)");
        }
        g_usleep(UNDO_POLL_US);
    }
}

bool vms_press_end(VmsPress *press, GError **error)
{
    g_autoptr(GError) cause = NULL;
    bool kept = press->plan || press->pausing;
    bool runs = end_pause(press, error);
    bool undone = !press->plan || undo_throttle(press, runs ? error : &cause);
    if (undone)
        vms_guard_dismiss(press->guard);
    else
        vms_guard_release(press->guard); /* it goes on trying */
    bool ok = runs && undone;
    if (kept)
        vms_failpoint("merge.pressed");
    if (ok && kept) { /* a pause of which it is not known how it ended is not forgotten */
        g_clear_pointer(&press->plan, g_free);
        ok = keep(press, error);
    }
    vms_rescue_free(press->rescue);
    g_free(press->plan);
    g_free(press);
    return ok;
}

bool vms_commit_undo(virDomainPtr domain, const char *target, const char *kept, GError **error)
{
    bool paused = g_str_has_prefix(kept, PAUSED);
    const char *plan = kept + (paused ? strlen(PAUSED) : 0);
    return (!paused || vms_pause_undo(domain, error)) &&
           (*plan == '\0' || vms_throttle_undo(domain, target, plan, error));
}
