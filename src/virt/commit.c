/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is so is asked of libvirt before every step, and again after it: the domain may be started,
 * stopped or killed in the middle, somebody else may have committed, and a run that was killed goes
 * on the same way.
 *
 *     live      persistent   next
 *     overlay   any          active commit, pivot
 *     base      overlay      set the definition back
 *     (off)     overlay      qemu-img commit, set the definition back
 *     base/off  base         done
 *
 * A domain that is started while qemu-img works cannot get the lock of the overlay, and the other
 * way round. Started in between, it runs on the overlay, of which the base then already has a part:
 * an active commit brings the rest. qemu-img leaves the overlay as it is (-d), so it stays valid
 * all the time.
 *
 * The job is "ready" when base and overlay were equal once; from then on QEMU writes to both. A
 * guest that writes faster than the job copies never gets there: after a first full pass and
 * PATIENCE_US more, the limit on bandwidth is lifted, and then the guest paused until the rest is
 * copied (P1: resumed on every path out). */
#include "virt/commit.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "base/process.h"
#include "virt/disk-xml.h"
#include "virt/guard.h"
#include "virt/rescue.h"

#include <libvirt/virterror.h>
#include <string.h>

#define STEPS 8 /* of the table above, before giving up */
#define POLL_MS 50
#define PATIENCE_US                                                                                \
    (60 * G_USEC_PER_SEC) /* after the first pass, and again after the limit is lifted */
#define RESUME_PATIENCE_US (60 * G_USEC_PER_SEC)
#define PAUSE_US (30 * G_USEC_PER_SEC) /* the guest is paused for no longer */

typedef struct {
    virDomainPtr domain;
    const VmsOverlay *overlay;
    uint64_t bandwidth;
    VmsProgress *progress;
    GCancellable *cancellable;
    uint64_t first_end; /* what there was to copy when the job was seen first */
    int64_t give_up;    /* monotonic µs; 0 until the first pass is over */
    bool paused;        /* by us */
    VmsRescue *rescue;  /* owned; NULL until we pause */
    VmsGuard *guard;    /* while we hold the guest paused; nullable */
} Commit;

/* False where cancelled. */
static bool wait_a_moment(GCancellable *cancellable)
{
    GPollFD fd;
    if (!cancellable || !g_cancellable_make_pollfd(cancellable, &fd)) {
        g_usleep(POLL_MS * 1000);
        return true;
    }
    g_poll(&fd, 1, POLL_MS);
    g_cancellable_release_fd(cancellable);
    return !g_cancellable_is_cancelled(cancellable);
}

/* The image below the active layer, and whether the job's mirror is ready; of the running domain.
 */
static bool look(const Commit *commit, char **ret_below, bool *ret_ready, GError **error)
{
    char *xml = virDomainGetXMLDesc(commit->domain, 0);
    if (!xml)
        return vms_virt_fail(error, "read the definition");
    g_autoptr(xmlDoc) doc = vms_xml_parse(xml, error);
    free(xml);
    if (!doc)
        return false;
    xmlNodePtr disk = vms_disk_xml_find(doc, commit->overlay->target);
    xmlNodePtr backing = disk ? vms_disk_xml_backing(disk) : NULL;
    g_autofree char *ready = disk ? vms_xml_string(doc, disk, "mirror/@ready") : NULL;
    if (ret_below)
        *ret_below = backing ? vms_disk_xml_source(backing) : NULL;
    if (ret_ready)
        *ret_ready = g_strcmp0(ready, "yes") == 0;
    return true;
}

/* The persistent definition names the base again. SECURE: see overlay.c. */
static bool set_definition_back(const Commit *commit, GError **error)
{
    const VmsOverlay *overlay = commit->overlay;
    char *before =
        virDomainGetXMLDesc(commit->domain, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);
    if (!before)
        return vms_virt_fail(error, "read the definition");
    g_autoptr(xmlDoc) doc = vms_xml_parse(before, error);
    free(before);
    if (!doc)
        return false;
    xmlNodePtr disk = vms_disk_xml_find(doc, overlay->target);
    g_autofree char *source = disk ? vms_disk_xml_source(disk) : NULL;
    if (g_strcmp0(source, overlay->overlay) != 0)
        return true;
    vms_disk_xml_pop(disk, overlay);
    g_autofree char *after = vms_xml_serialize(doc);
    vms_failpoint("merge.defining");
    g_autoptr(virDomain) defined =
        virDomainDefineXMLFlags(virDomainGetConnect(commit->domain), after, 0);
    vms_failpoint("merge.defined");
    return defined || vms_virt_fail(error, "redefine");
}

static bool commit_offline(const Commit *commit, GError **error)
{
    if (virDomainHasManagedSaveImage(commit->domain, 0) == 1)
        return vms_fail(
            error, VMS_ERROR_REFUSED,
            "libvirt keeps a saved memory of the domain that needs the overlay; start "
            "the domain, or give it up with \"virsh managedsave-remove\", and run again");
    const VmsOverlay *overlay = commit->overlay;
    g_autofree char *rate = g_strdup_printf("%" G_GUINT64_FORMAT, commit->bandwidth);
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    const char *const fixed[] = {"qemu-img", "commit", "-q", "-d",
                                 "-f",       "qcow2",  "-b", overlay->base};
    for (size_t i = 0; i < G_N_ELEMENTS(fixed); i++)
        g_ptr_array_add(argv, (void *)fixed[i]);
    if (commit->bandwidth) {
        g_ptr_array_add(argv, (void *)"-r");
        g_ptr_array_add(argv, rate);
    }
    g_ptr_array_add(argv, overlay->overlay);
    g_ptr_array_add(argv, NULL);
    vms_failpoint("merge.offline-next");
    if (!vms_process_run((const char *const *)argv->pdata, commit->cancellable, NULL, error))
        return false;
    vms_failpoint("merge.offline-committed");
    return set_definition_back(commit, error);
}

/* QEMU gives its images up when it has saved its memory, and takes them back when it runs again: a
 * guest that was paused before its memory was captured, and still is, cannot be merged. It is not
 * ours to run. QEMU 7.2 then calls them read-only, 10.0 inactive. */
static bool fail_start(const Commit *commit, GError **error)
{
    g_autoptr(GError) cause = NULL;
    int state = VIR_DOMAIN_NOSTATE;
    vms_virt_fail(&cause, "block commit");
    if (virDomainGetState(commit->domain, &state, NULL, 0) == 0 && state == VIR_DOMAIN_PAUSED &&
        (strstr(cause->message, "read-only") || strstr(cause->message, "Inactive")))
        return vms_fail(
            error, VMS_ERROR_REFUSED,
            "the domain was paused when its memory was captured; QEMU merges only after "
            "it has been resumed, or shut off; then run again");
    g_propagate_error(error, g_steal_pointer(&cause));
    return false;
}

/* Joins a commit job that runs already, else starts one. */
static bool start(const Commit *commit, GError **error)
{
    const VmsOverlay *overlay = commit->overlay;
    virDomainBlockJobInfo info;
    int running = virDomainGetBlockJobInfo(commit->domain, overlay->target, &info, 0);
    if (running < 0)
        return vms_virt_fail(error, "block job");
    if (running > 0 && info.type == VIR_DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT)
        return true;
    if (running > 0)
        return vms_fail(error, VMS_ERROR_REFUSED, "another block job runs on the disk");
    g_autofree char *below = NULL;
    if (!look(commit, &below, NULL, error))
        return false;
    if (g_strcmp0(below, overlay->base) != 0)
        return vms_fail(error, VMS_ERROR_REFUSED,
                        "the overlay stands on %s and no longer on %s; somebody changed the chain",
                        below ? below : "nothing", overlay->base);
    vms_failpoint("merge.job-next");
    if (virDomainBlockCommit(commit->domain, overlay->target, NULL, NULL, commit->bandwidth,
                             VIR_DOMAIN_BLOCK_COMMIT_ACTIVE | VIR_DOMAIN_BLOCK_COMMIT_SHALLOW |
                                 VIR_DOMAIN_BLOCK_COMMIT_BANDWIDTH_BYTES) < 0)
        return fail_start(commit, error);
    return true;
}

/* Also through a libvirtd that is restarted meanwhile. */
static bool resume(Commit *commit, GError **error)
{
    if (!commit->paused)
        return true;
    int64_t end = g_get_monotonic_time() + RESUME_PATIENCE_US;
    for (;;) {
        virDomainPtr domain = vms_rescue_domain(commit->rescue);
        if (domain && (virDomainResume(domain) == 0 || virDomainIsActive(domain) == 0))
            break;
        if (g_get_monotonic_time() > end)
            return vms_virt_fail(error,
                                 "the guest is paused and cannot be resumed (\"virsh resume\")");
        g_usleep(POLL_MS * 1000);
    }
    vms_guard_dismiss(g_steal_pointer(&commit->guard));
    commit->paused = false;
    return true;
}

static bool is_running(virDomainPtr domain)
{
    int state = VIR_DOMAIN_NOSTATE;
    return virDomainGetState(domain, &state, NULL, 0) == 0 && state == VIR_DOMAIN_RUNNING;
}

/* The guest outruns the job: see above. */
static bool press(Commit *commit, const virDomainBlockJobInfo *info, GError **error)
{
    const char *target = commit->overlay->target;
    int64_t now = g_get_monotonic_time();
    if (commit->paused) {
        vms_progress_message(commit->progress, "disk %s: still not merged; the guest runs again",
                             target);
        commit->give_up = now + PATIENCE_US;
        return resume(commit, error);
    } else if (info->bandwidth) { /* also one that somebody else has set */
        vms_progress_message(commit->progress,
                             "disk %s: the guest writes faster than the merge may; its limit is "
                             "lifted",
                             target);
        virDomainBlockJobSetSpeed(commit->domain, target, 0, 0);
        commit->give_up = now + PATIENCE_US;
    } else {
        if (is_running(commit->domain)) {
            vms_progress_message(commit->progress,
                                 "disk %s: the guest writes faster than the merge; it is paused "
                                 "for at most %d s",
                                 target, (int)(PAUSE_US / G_USEC_PER_SEC));
            commit->rescue = commit->rescue ? commit->rescue : vms_rescue_new(commit->domain);
            commit->guard = vms_guard_new(commit->domain, VMS_GUARD_RESUME);
            commit->paused = true; /* also where the answer is lost */
            if (virDomainSuspend(commit->domain) < 0)
                return vms_virt_fail(error, "pause");
            vms_failpoint("merge.paused");
        }
        commit->give_up = now + PAUSE_US;
    }
    return true;
}

/* A look at the job: *ret_ready to pivot; *ret_gone where there is none any more. */
static bool poll_job(Commit *commit, bool *ret_ready, bool *ret_gone, GError **error)
{
    const char *target = commit->overlay->target;
    virDomainBlockJobInfo info;
    bool ready = false;
    int running = virDomainGetBlockJobInfo(commit->domain, target, &info, 0);
    if (running < 0)
        return vms_virt_fail(error, "block job");
    if (running > 0) {
        vms_progress_update(commit->progress, "commit", target, info.cur, info.end);
        if (info.cur == info.end && !look(commit, NULL, &ready, error))
            return false;
        if (commit->first_end == 0)
            commit->first_end = info.end;
        if (!ready && commit->give_up == 0 && info.cur >= commit->first_end)
            commit->give_up = g_get_monotonic_time() + PATIENCE_US;
        if (!ready && commit->give_up != 0 && g_get_monotonic_time() > commit->give_up &&
            !press(commit, &info, error))
            return false;
    }
    *ret_ready = ready;
    *ret_gone = running == 0;
    return true;
}

/* Leaves the guest on the overlay. */
static bool abort_job(Commit *commit, GError **error)
{
    if (virDomainBlockJobAbort(commit->domain, commit->overlay->target, 0) < 0) {
        g_autoptr(GError) cause = NULL;
        vms_virt_fail(&cause, "abort the merge");
        g_info("%s: %s", commit->overlay->target, cause->message); /* it has just ended */
    }
    return vms_check_cancelled(commit->cancellable, error);
}

/* Until the job has pivoted or ended; what it came to is looked at by the caller. */
static bool drive(Commit *commit, GError **error)
{
    bool ready = false, gone = false;
    for (;;) {
        if (!poll_job(commit, &ready, &gone, error))
            return false;
        if (gone)
            return true;
        if (ready)
            vms_failpoint("merge.job-ready");
        if (ready && virDomainBlockJobAbort(commit->domain, commit->overlay->target,
                                            VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT) == 0)
            return true;
        if (ready && virGetLastErrorCode() != VIR_ERR_BLOCK_COPY_ACTIVE)
            return vms_virt_fail(error, "pivot");
        if (!wait_a_moment(commit->cancellable))
            return abort_job(commit, error);
    }
}

static bool commit_active(Commit *commit, GError **error)
{
    g_autofree char *live = NULL, *persistent = NULL;
    const VmsOverlay *overlay = commit->overlay;
    if (!start(commit, error))
        return false;
    vms_failpoint("merge.job-started");
    g_autoptr(GError) cause = NULL;
    bool ok = drive(commit, &cause);
    vms_failpoint("merge.job-ended");
    if (!resume(commit, error))
        return false;
    if (!ok) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    if (!vms_overlay_where(commit->domain, overlay->target, &live, &persistent, error))
        return false;
    if (g_strcmp0(live, overlay->overlay) == 0)
        return vms_fail(error, VMS_ERROR_FAILED,
                        "the merge ended before it was done; is there space for %s? QEMU's log of "
                        "the domain may say more",
                        overlay->base);
    return true;
}

/* One step of the table; *ret_done at its last line. */
static bool step(Commit *commit, bool *ret_done, GError **error)
{
    const VmsOverlay *overlay = commit->overlay;
    g_autofree char *live = NULL, *persistent = NULL;
    *ret_done = false;
    if (!vms_overlay_where(commit->domain, overlay->target, &live, &persistent, error))
        return false;
    if (g_strcmp0(live, overlay->overlay) == 0)
        return commit_active(commit, error);
    if (live && g_strcmp0(live, overlay->base) != 0)
        return vms_fail(error, VMS_ERROR_REFUSED, "the disk runs on %s", live);
    if (g_strcmp0(persistent, overlay->overlay) == 0)
        return live ? set_definition_back(commit, error) : commit_offline(commit, error);
    if (persistent && g_strcmp0(persistent, overlay->base) != 0)
        return vms_fail(error, VMS_ERROR_REFUSED, "the definition says %s", persistent);
    if (!live && !persistent)
        return vms_fail(error, VMS_ERROR_REFUSED, "the domain has no such disk any more");
    *ret_done = true;
    return true;
}

/* An error of a step counts only where the domain was not started or stopped under it. */
bool vms_commit_disk(virDomainPtr domain, const VmsOverlay *overlay, uint64_t bandwidth,
                     VmsProgress *progress, GCancellable *cancellable, GError **error)
{
    for (int i = 0; i < STEPS; i++) {
        Commit commit = {
            .domain = domain,
            .overlay = overlay,
            .bandwidth = bandwidth,
            .progress = progress,
            .cancellable = cancellable,
        };
        g_autoptr(GError) cause = NULL;
        bool done = false;
        int active = virDomainIsActive(domain);
        if (!vms_check_cancelled(cancellable, error))
            return false;
        bool ok = step(&commit, &done, &cause);
        vms_rescue_free(commit.rescue);
        vms_guard_release(commit.guard);
        if (ok && done)
            return true;
        if (!ok && (virDomainIsActive(domain) == active ||
                    vms_error_is(cause, VMS_ERROR_CANCELLED) || i == STEPS - 1)) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return false;
        }
    }
    return vms_fail(error, VMS_ERROR_FAILED, "the domain does not come to rest");
}
