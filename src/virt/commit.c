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
 * The job is "ready" when base and overlay were equal once. QEMU writes to the overlay only and
 * copies behind the guest, also from then on: asked to pivot, it does so when both are equal again.
 * A guest that writes faster than the job copies may never let it: see press.c. So the pivot is
 * asked for without waiting for it; libvirt would let nobody else near the domain meanwhile. */
#include "virt/commit.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "base/process.h"
#include "virt/disk-xml.h"
#include "virt/press.h"

#include <libvirt/virterror.h>
#include <string.h>

#define STEPS 8 /* of the table above, before giving up */
#define POLL_MS 50
#define END_MS 1000
#define PIECE                                                                                      \
    (2u << 20) /* bytes; QEMU counts what is left in pieces, rounded up, and copies less */

typedef struct {
    virDomainPtr domain;
    const VmsOverlay *overlay;
    const VmsCommitOptions *options;
    VmsPress *press;    /* while a job is driven */
    uint64_t first_end; /* what there was to copy when the job was seen first */
    bool pivoting;      /* it was asked to */
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

static bool begin(const Commit *commit, bool begun, GError **error)
{
    return !commit->options->begin || commit->options->begin(commit->options->data, begun, error);
}

/* The image below the active layer, and what libvirt says of the job's mirror ("yes": it is ready,
 * "pivot": it was asked to); of the running domain. */
static bool look(const Commit *commit, char **ret_below, char **ret_ready, GError **error)
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
        *ret_ready = g_steal_pointer(&ready);
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
    g_autofree char *rate = g_strdup_printf("%" G_GUINT64_FORMAT, commit->options->bandwidth);
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    const char *const fixed[] = {"qemu-img", "commit", "-q", "-d",
                                 "-f",       "qcow2",  "-b", overlay->base};
    for (size_t i = 0; i < G_N_ELEMENTS(fixed); i++)
        g_ptr_array_add(argv, (void *)fixed[i]);
    if (commit->options->bandwidth) {
        g_ptr_array_add(argv, (void *)"-r");
        g_ptr_array_add(argv, rate);
    }
    g_ptr_array_add(argv, overlay->overlay);
    g_ptr_array_add(argv, NULL);
    if (!begin(commit, true, error))
        return false;
    vms_failpoint("merge.offline-next");
    if (!vms_process_run((const char *const *)argv->pdata, commit->options->cancellable, NULL,
                         error))
        return false;
    vms_failpoint("merge.offline-committed");
    return set_definition_back(commit, error);
}

/* The domain may run without the disk: it was unplugged. */
static bool commit_without_disk(const Commit *commit, GError **error)
{
    if (commit_offline(commit, error))
        return true;
    if (virDomainIsActive(commit->domain) == 1)
        vms_prefix(error, "the running domain has the disk no more; if QEMU still has it open, "
                          "shut the domain off, then run again");
    return false;
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
        return begin(commit, true, error);
    if (running > 0)
        return vms_fail(error, VMS_ERROR_REFUSED, "another block job runs on the disk");
    g_autofree char *below = NULL;
    if (!look(commit, &below, NULL, error))
        return false;
    if (g_strcmp0(below, overlay->base) != 0)
        return vms_fail(error, VMS_ERROR_REFUSED,
                        "the overlay stands on %s and no longer on %s; somebody changed the chain",
                        below ? below : "nothing", overlay->base);
    if (!begin(commit, true, error))
        return false;
    vms_failpoint("merge.job-next");
    if (virDomainBlockCommit(commit->domain, overlay->target, NULL, NULL,
                             commit->options->bandwidth,
                             VIR_DOMAIN_BLOCK_COMMIT_ACTIVE | VIR_DOMAIN_BLOCK_COMMIT_SHALLOW |
                                 VIR_DOMAIN_BLOCK_COMMIT_BANDWIDTH_BYTES) == 0)
        return true;
    fail_start(commit, error);
    begin(commit, false, NULL);
    return false;
}

/* A look at the job: *ret_ready to pivot; *ret_gone where there is none any more. */
static bool poll_job(Commit *commit, bool *ret_ready, bool *ret_gone, GError **error)
{
    const char *target = commit->overlay->target;
    virDomainBlockJobInfo info;
    g_autofree char *mirror = NULL;
    int running = virDomainGetBlockJobInfo(commit->domain, target, &info, 0);
    if (running < 0)
        return vms_virt_fail(error, "block job");
    *ret_ready = false;
    *ret_gone = running == 0;
    if (*ret_gone)
        return true;
    vms_progress_update(commit->options->progress, "commit", target, info.cur, info.end);
    if (commit->first_end == 0)
        commit->first_end = info.end;
    bool passed = info.cur + PIECE >= commit->first_end;
    if (!commit->pivoting && !look(commit, NULL, &mirror, error))
        return false;
    commit->pivoting = commit->pivoting || g_strcmp0(mirror, "pivot") == 0;
    *ret_ready = g_strcmp0(mirror, "yes") == 0;
    return *ret_ready || vms_press_look(commit->press, &info, passed, error);
}

static bool ask_to_pivot(Commit *commit, GError **error)
{
    commit->pivoting = virDomainBlockJobAbort(commit->domain, commit->overlay->target,
                                              VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT |
                                                  VIR_DOMAIN_BLOCK_JOB_ABORT_ASYNC) == 0;
    return commit->pivoting || virGetLastErrorCode() == VIR_ERR_BLOCK_COPY_ACTIVE ||
           vms_virt_fail(error, "pivot");
}

/* Leaves the guest on the overlay. */
static bool abort_job(Commit *commit, GError **error)
{
    if (virDomainBlockJobAbort(commit->domain, commit->overlay->target, 0) < 0) {
        g_autoptr(GError) cause = NULL;
        vms_virt_fail(&cause, "abort the merge");
        g_info("%s: %s", commit->overlay->target, cause->message); /* it has just ended */
    }
    return vms_check_cancelled(commit->options->cancellable, error);
}

/* Until the job has pivoted or ended; what it came to is looked at by the caller. One that was
 * asked to pivot cannot be asked to leave it any more: cancelled, it is left to that. */
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
        if (ready && !ask_to_pivot(commit, error))
            return false;
        if (!wait_a_moment(commit->options->cancellable))
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
    commit->press = vms_press_new(commit->domain, overlay->target, commit->options);
    bool ok = drive(commit, &cause);
    vms_failpoint("merge.job-ended");
    if (!vms_press_end(g_steal_pointer(&commit->press), error))
        return false;
    if (!ok) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    if (!vms_overlay_where(commit->domain, overlay->target, &live, &persistent, error))
        return false;
    if (g_strcmp0(live, overlay->overlay) == 0)
        return vms_fail(error, VMS_ERROR_FAILED,
                        "the merge ended before it was done: somebody aborted it, or %s could not "
                        "be written (QEMU's log of the domain may say more); the guest runs on "
                        "its overlay, nothing is lost: run again",
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
        return live ? set_definition_back(commit, error) : commit_without_disk(commit, error);
    if (persistent && g_strcmp0(persistent, overlay->base) != 0)
        return vms_fail(error, VMS_ERROR_REFUSED, "the definition says %s", persistent);
    if (!live && !persistent)
        return vms_fail(error, VMS_ERROR_REFUSED, "the domain has no such disk any more");
    *ret_done = true;
    return true;
}

/* Running with the disk, without it (unplugged), or off; -1: it cannot be asked. */
static int where_it_is(virDomainPtr domain, const char *target)
{
    g_autofree char *live = NULL, *persistent = NULL;
    int active = virDomainIsActive(domain);
    if (active != 1)
        return active;
    if (!vms_overlay_where(domain, target, &live, &persistent, NULL))
        return -1;
    return live ? 1 : 2;
}

/* Since a step that failed with cause. libvirt notices the end of a QEMU that was killed a moment
 * after its monitor. */
static bool has_moved(virDomainPtr domain, const char *target, int before, const GError *cause)
{
    int tries = vms_error_is(cause, VMS_ERROR_REFUSED) ? 1 : END_MS / POLL_MS;
    for (int i = 0; i < tries; i++) {
        if (where_it_is(domain, target) != before)
            return true;
        g_usleep(POLL_MS * 1000);
    }
    return false;
}

/* An error of a step counts only where the domain was not started or stopped under it, and the disk
 * not unplugged. */
bool vms_commit_disk(virDomainPtr domain, const VmsOverlay *overlay,
                     const VmsCommitOptions *options, GError **error)
{
    for (int i = 0; i < STEPS; i++) {
        Commit commit = {.domain = domain, .overlay = overlay, .options = options};
        g_autoptr(GError) cause = NULL;
        bool done = false;
        int before = where_it_is(domain, overlay->target);
        if (!vms_check_cancelled(options->cancellable, error))
            return false;
        bool ok = step(&commit, &done, &cause);
        if (ok && done)
            return true;
        if (!ok && (vms_error_is(cause, VMS_ERROR_CANCELLED) || i == STEPS - 1 ||
                    !has_moved(domain, overlay->target, before, cause))) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return false;
        }
    }
    return vms_fail(error, VMS_ERROR_FAILED, "the domain does not come to rest");
}
