/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Three things are easily got wrong here.
 *
 * QEMU reports "active" before it has saved the devices and write-protected memory. Only a page
 * that is written proves that the instant is past; a guest that is resumed earlier gives a memory
 * that is newer than its disks, and nothing says so. QEMU then stops the guest by itself: a stop
 * that nobody asked for, after our resume or instead of it, means that the snapshot is worthless.
 *
 * From 8.2 on QEMU leaves a guest paused that was paused when it began. And where it fails to
 * begin, the guest stays paused too. So every way out resumes.
 *
 * QEMU is told to begin before the disks are switched, not after: the guest stands still, so both
 * are of one instant whatever their order, and QEMU populates and protects memory meanwhile. */
#include "virt/cow.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "virt/cow-file.h"
#include "virt/cow-setup.h"
#include "virt/cow-warmup.h"
#include "virt/huge-pages.h"
#include "virt/overlay.h"
#include "virt/pause.h"
#include "virt/qmp.h"
#include "virt/rescue.h"
#include "virt/stop-watch.h"

#define FIRST_PAGES_POLL_US 500
#define WRITE_POLL_US (G_USEC_PER_SEC / 20)
#define CANCEL_POLL_US 10000
#define PATIENCE_US (60 * G_USEC_PER_SEC) /* for libvirt to come back */
#define MIGRATE "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"fd:" VMS_COW_FD_NAME "\"}}"

struct VmsCow {
    virDomainPtr domain; /* borrowed */
    const VmsFacts *facts;
    VmsProgress *progress; /* nullable */
    GCancellable *cancellable;
    VmsRescue *rescue;
    VmsCowFile *file;
    VmsCowSetup *setup;
    VmsStopWatch *watch;
    bool started;    /* QEMU was told to begin, and has not ended */
    bool told_gone;  /* that libvirt does not answer */
    int64_t cut_us;  /* µs since 1970: the pause began */
    int64_t safe_us; /* the first pages were seen */
    int64_t resumed_us;
    int64_t ran_us; /* monotonic: end of the pause */
    VmsCowTimes times;
};

static bool open_all(VmsCow *cow, const char *path, GError **error)
{
    cow->rescue = vms_rescue_new(cow->domain);
    cow->file = vms_cow_file_create(cow->domain, cow->facts, path, error);
    cow->setup = cow->file ? vms_cow_setup_new(cow->domain, error) : NULL;
    if (!cow->setup)
        return false;
    int64_t start = g_get_monotonic_time();
    if (vms_cow_warmup_needed(cow->facts)) {
        if (!vms_cow_warmup(cow->domain, cow->facts, cow->cancellable, error))
            return false;
        cow->times.warmup_us = g_get_monotonic_time() - start;
    }
    cow->watch = vms_stop_watch_new(cow->domain, error);
    return cow->watch &&
           vms_qmp_give_fd(cow->domain, VMS_COW_FD_NAME, vms_cow_file_fd(cow->file), error);
}

/* After a failure; the guest never stood still, so what counts is QEMU's settings. */
static bool is_unchanged(VmsCow *cow, const char *const *before)
{
    int state = 0;
    return (!cow->setup || vms_cow_setup_undo(cow->setup, cow->domain, NULL)) &&
           vms_cow_setup_unchanged(cow->domain, before) &&
           virDomainGetState(cow->domain, &state, NULL, 0) == 0 && state == cow->facts->state;
}

VmsCow *vms_cow_prepare(virDomainPtr domain, const VmsFacts *facts, const char *path,
                        VmsProgress *progress, GCancellable *cancellable, bool *ret_unchanged,
                        GError **error)
{
    g_autoptr(VmsCow) cow = g_new0(VmsCow, 1);
    g_autoptr(GError) cause = NULL;
    cow->domain = domain;
    cow->facts = facts;
    cow->progress = progress;
    cow->cancellable = cancellable;
    *ret_unchanged = false;
    g_auto(GStrv) before = vms_qmp_capabilities(domain, error);
    if (!before)
        return NULL;
    bool opened = open_all(cow, path, &cause);
    vms_failpoint("cow.prepared");
    if (opened)
        return g_steal_pointer(&cow);
    *ret_unchanged = cow->file && !vms_error_is(cause, VMS_ERROR_CANCELLED) &&
                     is_unchanged(cow, (const char *const *)before);
    g_propagate_error(error, g_steal_pointer(&cause));
    return NULL;
}

static bool wait_for_pages(VmsCow *cow, GError **error)
{
    int64_t end = g_get_monotonic_time() + vms_cow_warmup_patience_us(cow->facts);
    for (;;) {
        g_auto(VmsMigration) migration = {0};
        if (!vms_qmp_migration(cow->domain, &migration, error))
            return false;
        if (migration.state == VMS_MIGRATION_COMPLETED || migration.pages > 0) {
            cow->safe_us = g_get_real_time();
            return true;
        }
        if (migration.state != VMS_MIGRATION_RUNNING) {
            cow->started = false;
            return vms_fail(error, vms_error_code_of_text(migration.reason),
                            "saving memory: QEMU says: %s",
                            migration.reason ? migration.reason : "cancelled");
        }
        if (g_get_monotonic_time() > end)
            return vms_fail(error, VMS_ERROR_FAILED, "saving memory: QEMU has not begun after %d s",
                            (int)(vms_cow_warmup_patience_us(cow->facts) / G_USEC_PER_SEC));
        g_usleep(FIRST_PAGES_POLL_US);
    }
}

/* Adds the time since *start to *part, and starts anew. */
static void lap(int64_t *part, int64_t *start)
{
    int64_t now = g_get_monotonic_time();
    *part = now - *start;
    *start = now;
}

static bool cut_paused(VmsCow *cow, const VmsPause *pause, GPtrArray *overlays,
                       VmsCowInsideFunc inside, void *user, GError **error)
{
    VmsCowTimes *times = &cow->times;
    int64_t start = vms_pause_begun_us(pause);
    lap(&times->suspend_us, &start);
    cow->started = true; /* also where the answer is lost */
    vms_failpoint("cow.paused");
    bool ok =
        vms_qmp_run(cow->domain, MIGRATE, -1, NULL, error) || vms_prefix(error, "saving memory");
    lap(&times->start_us, &start);
    vms_failpoint("cow.migrating");
    ok = ok && (overlays->len == 0 || vms_overlay_switch(cow->domain, cow->facts, overlays, error));
    lap(&times->disks_us, &start);
    ok = ok && (!inside || inside(user, error));
    lap(&times->side_us, &start);
    vms_failpoint("cow.side-files-taken");
    ok = ok && wait_for_pages(cow, error);
    lap(&times->pages_us, &start);
    vms_failpoint("cow.pages-seen");
    return ok;
}

bool vms_cow_cut(VmsCow *cow, GPtrArray *overlays, VmsCowInsideFunc inside, void *user,
                 GError **error)
{
    g_autoptr(GError) cause = NULL;
    cow->cut_us = g_get_real_time();
    VmsPause *pause = vms_pause_new(cow->domain, error);
    if (!pause)
        return false;
    bool ours = vms_pause_is_ours(pause);
    int64_t begun = vms_pause_begun_us(pause);
    bool ok = cut_paused(cow, pause, overlays, inside, user, &cause);
    int64_t last = g_get_monotonic_time();
    cow->resumed_us = g_get_real_time();
    bool runs = vms_pause_end(pause, error);
    lap(&cow->times.resume_us, &last);
    cow->ran_us = last;
    vms_failpoint("cow.resumed");
    if (ours)
        cow->times.pause_us = last - begun;
    if (!ok && runs)
        g_propagate_error(error, g_steal_pointer(&cause));
    return ok && runs;
}

static bool check_instant(const VmsCow *cow, GError **error)
{
    VmsStops seen = vms_stop_watch_get(cow->watch, cow->cut_us, cow->safe_us, cow->resumed_us);
    if (seen.resumes_early > 0)
        return vms_fail(error, VMS_ERROR_REFUSED,
                        "somebody resumed the guest while its memory and disks were being cut: "
                        "they are not of one instant; run it again");
    if (seen.stops_later > 0)
        return vms_fail(error, VMS_ERROR_REFUSED,
                        "QEMU stopped the guest by itself after the cut: its memory may be newer "
                        "than its disks; run it again");
    return true;
}

/* *ret_ended: all is written. A libvirtd that is gone for a while does not disturb QEMU. */
static bool look(VmsCow *cow, int64_t *give_up, bool *ret_ended, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_auto(VmsMigration) migration = {0};
    virDomainPtr domain = vms_rescue_domain(cow->rescue);
    if (domain && vms_virt_is_off(domain))
        return vms_fail(error, VMS_ERROR_FAILED, "the guest ended while its memory was saved");
    if (!domain || !vms_qmp_migration(domain, &migration, &cause)) {
        if (!cow->told_gone)
            vms_progress_message(cow->progress,
                                 "libvirt does not answer; QEMU writes memory on without");
        cow->told_gone = true;
        if (g_get_monotonic_time() < *give_up)
            return true;
        return vms_fail(error, VMS_ERROR_FAILED, "saving memory: %s",
                        cause ? cause->message : "libvirt does not answer");
    }
    *give_up = g_get_monotonic_time() + PATIENCE_US;
    vms_progress_update(cow->progress, "memory", NULL, migration.bytes_done, migration.bytes_total);
    if (!check_instant(cow, error))
        return false;
    if (migration.state == VMS_MIGRATION_RUNNING)
        return true;
    cow->started = false;
    *ret_ended = migration.state == VMS_MIGRATION_COMPLETED;
    return *ret_ended ||
           vms_fail(error, vms_error_code_of_text(migration.reason), "saving memory: QEMU says: %s",
                    migration.reason ? migration.reason : "cancelled by somebody else");
}

/* Puts QEMU's settings back; also over a new connection, and again where that fails for now. */
static bool restore_settings(VmsCow *cow, GError **error)
{
    int64_t end = g_get_monotonic_time() + PATIENCE_US;
    for (bool told = false;; told = true) {
        g_autoptr(GError) cause = NULL;
        virDomainPtr domain = vms_rescue_domain(cow->rescue);
        if (domain &&
            (vms_virt_is_off(domain) || ((!cow->started || vms_cow_cancel(domain, &cause)) &&
                                         vms_cow_setup_undo(cow->setup, domain, &cause))))
            return true;
        if (g_get_monotonic_time() > end)
            return vms_fail(error, VMS_ERROR_FAILED,
                            "QEMU's migration settings are not restored: %s",
                            cause ? cause->message : "libvirt does not answer");
        if (!told)
            vms_progress_message(cow->progress,
                                 "QEMU's migration settings are not put back yet (%s); trying for "
                                 "up to %d s",
                                 cause ? cause->message : "libvirt does not answer",
                                 (int)(PATIENCE_US / G_USEC_PER_SEC));
        g_usleep(WRITE_POLL_US);
    }
}

bool vms_cow_finish(VmsCow *cow, GError **error)
{
    int64_t give_up = g_get_monotonic_time() + PATIENCE_US;
    for (bool ended = false; !ended;) {
        if (!vms_check_cancelled(cow->cancellable, error) || !look(cow, &give_up, &ended, error))
            return false;
        if (!ended)
            g_usleep(WRITE_POLL_US);
    }
    vms_failpoint("cow.written");
    if (!restore_settings(cow, error))
        return false;
    vms_failpoint("cow.settings-restored");
    if (!vms_cow_file_finish(cow->file, error))
        return false;
    cow->times.write_us = g_get_monotonic_time() - cow->ran_us;
    return true;
}

bool vms_cow_restore_huge(VmsCow *cow, GError **error)
{
    VmsHugePages done;
    int64_t start = g_get_monotonic_time();
    vms_failpoint("cow.huge-pages-next");
    bool ok = vms_huge_pages_restore(cow->facts, MAX(cow->times.write_us, G_USEC_PER_SEC),
                                     cow->progress, cow->cancellable, &done, error);
    cow->times.huge_us = g_get_monotonic_time() - start;
    g_debug("huge pages: %" G_GUINT64_FORMAT " MiB, at most %" G_GUINT64_FORMAT " KiB added",
            done.restored >> 20, done.added >> 10);
    return ok;
}

const VmsCowTimes *vms_cow_times(const VmsCow *cow)
{
    return &cow->times;
}

void vms_cow_free(VmsCow *cow)
{
    if (!cow)
        return;
    if (cow->setup)
        restore_settings(cow, NULL);
    vms_failpoint("cow.ended");
    vms_stop_watch_free(cow->watch);
    vms_cow_setup_free(cow->setup);
    vms_cow_file_free(cow->file);
    vms_rescue_free(cow->rescue);
    g_free(cow);
}

bool vms_cow_cancel(virDomainPtr domain, GError **error)
{
    int64_t end = g_get_monotonic_time() + PATIENCE_US;
    if (!vms_qmp_migrate_cancel(domain, error))
        return false;
    vms_failpoint("cow.cancelled");
    for (;;) {
        g_auto(VmsMigration) migration = {0};
        if (!vms_qmp_migration(domain, &migration, error))
            return false;
        if (migration.state != VMS_MIGRATION_RUNNING)
            return true;
        if (g_get_monotonic_time() > end)
            return vms_fail(error, VMS_ERROR_FAILED, "QEMU does not cancel saving the memory");
        g_usleep(CANCEL_POLL_US);
    }
}
