/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* QEMU tells when an overlay is written beyond a threshold, and of a write that failed; what other
 * programs take of the file system nobody tells, so it is looked at every second too. */
#include "job/overlay-guard-private.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "job/merge.h"
#include "virt/overlay.h"

#include <sys/stat.h>

#define MIB (UINT64_C(1) << 20)
#define LOOK_US G_USEC_PER_SEC
#define LOOK_CLOSELY_US (G_USEC_PER_SEC / 20) /* while a merge needs room */
#define LEAST_STEP MIB                        /* between two thresholds */
#define ANSWER_US (10 * G_USEC_PER_SEC)       /* for the guard's thread, which asks libvirt */

static void on_interrupt(GCancellable *outer, void *inner)
{
    g_cancellable_cancel(inner);
}

VmsOverlayGuard *vms_overlay_guard_new(VmsContext *context)
{
    VmsOverlayGuard *guard = g_new0(VmsOverlayGuard, 1);
    guard->context = context;
    guard->inner = g_cancellable_new();
    g_mutex_init(&guard->mutex);
    g_cond_init(&guard->wake);
    g_cond_init(&guard->looked);
    if (context->cancellable) {
        guard->outer = g_object_ref(context->cancellable);
        guard->handler = g_cancellable_connect(guard->outer, G_CALLBACK(on_interrupt),
                                               g_object_ref(guard->inner), g_object_unref);
    }
    context->cancellable = guard->inner;
    return guard;
}

/* --- levels --- */

static void on_crossed(void *user)
{
    VmsOverlayGuard *guard = user;
    g_mutex_lock(&guard->mutex);
    guard->poked = true;
    g_cond_signal(&guard->wake);
    g_mutex_unlock(&guard->mutex);
}

void vms_overlay_guard_stop(VmsOverlayGuard *guard, const char *code, char *text)
{
    bool first = false;
    g_mutex_lock(&guard->mutex);
    if (guard->watching && guard->mergeable) {
        first = true;
        guard->watching = false;
        guard->code = code;
        guard->stopped = g_strdup(text);
    }
    g_mutex_unlock(&guard->mutex);
    if (first) {
        vms_progress_message(guard->context->progress,
                             "%s: %s; this ends here, so that they can be merged while there is "
                             "room",
                             guard->name, text);
        vms_failpoint("guard.stopping");
        g_cancellable_cancel(guard->inner);
    } else if (!guard->told_stuck && !guard->mergeable) {
        guard->told_stuck = true;
        vms_progress_message(guard->context->progress,
                             "%s: %s; newer overlays stand on them, which have to be merged first: "
                             "\"vmsnap list %s\" shows their snapshots",
                             guard->name, text, guard->name);
    }
    g_free(text);
}

static void warn(VmsOverlayGuard *guard, const VmsGrowth *now)
{
    g_mutex_lock(&guard->mutex);
    bool first = !guard->warned;
    guard->warned = true;
    g_mutex_unlock(&guard->mutex);
    g_autofree char *text = first ? vms_growth_text(now) : NULL;
    if (first)
        vms_progress_message(guard->context->progress, "%s: %s; at %u %% they are merged",
                             guard->name, text, VMS_GROWTH_STOP);
}

/* So that QEMU tells when what is left is used up, whichever disk does that. Not every time that is
 * looked, for libvirt locks the domain meanwhile. */
static void arm(VmsOverlayGuard *guard, const VmsGrowth *now)
{
    if (guard->armed > 0 && now->left > guard->armed / 2)
        return;
    guard->armed = MAX(now->left, LEAST_STEP);
    uint64_t step = MAX(now->left / MAX(guard->disks->len, 1), LEAST_STEP);
    for (guint i = 0; guard->threshold && i < guard->disks->len; i++) {
        const VmsGrowthDisk *disk = guard->disks->pdata[i];
        struct stat st;
        if (stat(disk->overlay, &st) == 0)
            vms_threshold_set(guard->threshold, disk->target, (uint64_t)st.st_size + step);
    }
}

static void judge(VmsOverlayGuard *guard)
{
    g_auto(VmsGrowth) now = {0};
    g_mutex_lock(&guard->mutex);
    bool watching = guard->watching;
    g_mutex_unlock(&guard->mutex);
    if (!watching ||
        !vms_growth_measure(guard->disks, guard->context->growth, guard->reserve, &now, NULL))
        return;
    if (now.percent >= VMS_GROWTH_WARN)
        warn(guard, &now);
    if (now.percent >= VMS_GROWTH_STOP && guard->runs)
        vms_overlay_guard_stop(guard, now.by_limit ? "overlay-growth" : "overlay-room",
                               vms_growth_text(&now));
    else
        arm(guard, &now);
}

/* --- the thread --- */

/* libvirtd may have been restarted: then it knows of no thresholds. What it refuses now it may do
 * at the next look. */
static void follow(VmsOverlayGuard *guard, virDomainPtr domain)
{
    if (domain == guard->followed && (guard->threshold || !domain))
        return;
    g_clear_pointer(&guard->threshold, vms_threshold_free);
    guard->followed = domain;
    guard->armed = 0;
    if (domain)
        guard->threshold = vms_threshold_new(domain, on_crossed, guard, NULL);
}

/* Until somebody wakes it, or it is time to look again. Returns whether it is to end. */
static bool sleep_until(VmsOverlayGuard *guard, int64_t next, unsigned answered)
{
    g_mutex_lock(&guard->mutex);
    guard->answered = answered;
    g_cond_broadcast(&guard->looked);
    while (!guard->ending && !guard->poked && g_cond_wait_until(&guard->wake, &guard->mutex, next))
        continue;
    guard->armed = guard->poked ? 0 : guard->armed;
    guard->poked = false;
    bool ending = guard->ending;
    g_mutex_unlock(&guard->mutex);
    return ending;
}

static void *run(void *data)
{
    VmsOverlayGuard *guard = data;
    for (bool ending = false; !ending;) {
        g_mutex_lock(&guard->mutex);
        unsigned asked = guard->asked;
        g_mutex_unlock(&guard->mutex);
        virDomainPtr domain = vms_rescue_domain(guard->rescue);
        guard->runs = !domain || virDomainIsActive(domain) != 0;
        follow(guard, guard->runs ? domain : NULL);
        judge(guard);
        bool closely = vms_overlay_guard_hold(guard, domain);
        int64_t next = g_get_monotonic_time() + (closely ? LOOK_CLOSELY_US : LOOK_US);
        ending = sleep_until(guard, next, asked);
    }
    follow(guard, NULL);
    vms_overlay_guard_let_go(guard);
    return NULL;
}

/* --- for the job --- */

static char **images_of(const GPtrArray *disks)
{
    g_autoptr(GStrvBuilder) images = g_strv_builder_new();
    for (guint i = 0; i < disks->len; i++) {
        const VmsGrowthDisk *disk = disks->pdata[i];
        g_strv_builder_add_many(images, disk->overlay, disk->base, NULL);
    }
    return g_strv_builder_end(images);
}

/* Does the guest write to these very overlays? */
static bool is_on_top(const GPtrArray *disks, virDomainPtr domain)
{
    for (guint i = 0; i < disks->len; i++) {
        const VmsGrowthDisk *disk = disks->pdata[i];
        g_autofree char *live = NULL, *persistent = NULL;
        if (vms_overlay_where(domain, disk->target, &live, &persistent, NULL) && live &&
            !g_str_equal(live, disk->overlay))
            return false;
    }
    return true;
}

bool vms_overlay_guard_watch(VmsOverlayGuard *guard, virDomainPtr domain, const VmsRecord *record,
                             bool refuse, GError **error)
{
    g_auto(VmsGrowth) now = {0};
    guard->name = g_strdup(record->domain);
    guard->uuid = g_strdup(record->uuid);
    guard->disks = vms_growth_disks(record);
    guard->images = images_of(guard->disks);
    guard->mergeable = is_on_top(guard->disks, domain);
    guard->watching = guard->context->growth != VMS_GROWTH_OFF;
    if (!vms_growth_measure(guard->disks, guard->context->growth, NULL, &now, error))
        return false;
    if (refuse && guard->watching && guard->mergeable && now.percent >= VMS_GROWTH_STOP &&
        virDomainIsActive(domain) != 0) {
        g_autofree char *text = vms_growth_text(&now);
        return vms_fail(error, VMS_ERROR_NO_SPACE,
                        "%s, %u %% is the most (overlay-%s); free some space there, allow more "
                        "(--growth, \"off\" for as long as there is room), or give the snapshot up "
                        "with \"vmsnap drop %s --snapshot %s\"",
                        text, VMS_GROWTH_STOP, now.by_limit ? "growth" : "room", record->domain,
                        record->id);
    }
    guard->reserve = vms_reserve_new();
    guard->rescue = vms_rescue_new(domain);
    guard->thread = g_thread_new("vms-overlays", run, guard);
    vms_failpoint("guard.watching");
    return true;
}

/* Waits until the guard's thread has acted on it, but not for ever for libvirt. */
void vms_overlay_guard_rest(VmsOverlayGuard *guard, bool merging)
{
    int64_t end = g_get_monotonic_time() + ANSWER_US;
    g_mutex_lock(&guard->mutex);
    guard->watching = false;
    guard->resting = true;
    guard->merging = merging && guard->mergeable;
    guard->context->is_guarded = guard->merging && guard->thread;
    guard->poked = true;
    unsigned asked = ++guard->asked;
    g_cond_signal(&guard->wake);
    guard->context->cancellable = guard->outer;
    while (guard->thread && guard->answered < asked &&
           g_cond_wait_until(&guard->looked, &guard->mutex, end))
        continue;
    g_mutex_unlock(&guard->mutex);
}

bool vms_overlay_guard_stopped(VmsOverlayGuard *guard, VmsRecord *record, GError **error)
{
    g_mutex_lock(&guard->mutex);
    guard->watching = false; /* not any more */
    g_mutex_unlock(&guard->mutex);
    if (!guard->stopped || (guard->outer && g_cancellable_is_cancelled(guard->outer)))
        return false;
    vms_record_add_note(record, guard->code, "%s", guard->stopped);
    g_clear_error(error);
    vms_fail(
        error, VMS_ERROR_NO_SPACE,
        "%s (%s); from %u %% on they are merged, before the guest runs out of room: make room, "
        "or allow more growth where it is limited, and run it again",
        guard->stopped, guard->code, VMS_GROWTH_STOP);
    return true;
}

bool vms_overlay_guard_again(VmsOverlayGuard *guard, GError **error)
{
    g_mutex_lock(&guard->mutex);
    bool merging = guard->merging, tight = guard->tight;
    g_mutex_unlock(&guard->mutex);
    if (guard->tried_again || !merging ||
        (!vms_error_is(*error, VMS_ERROR_NO_SPACE) &&
         !(tight && vms_error_is(*error, VMS_ERROR_FAILED))))
        return false;
    guard->tried_again = true;
    vms_progress_message(guard->context->progress, "%s: %s; once more", guard->name,
                         (*error)->message);
    g_clear_error(error);
    vms_overlay_guard_rest(guard, true);
    return true;
}

void vms_overlay_guard_note(VmsOverlayGuard *guard, VmsRecord *record)
{
    g_mutex_lock(&guard->mutex);
    bool warned = guard->warned && !guard->stopped;
    unsigned resumed = guard->resumed;
    bool paused = guard->paused;
    guard->warned = guard->paused = false;
    guard->resumed = 0;
    g_mutex_unlock(&guard->mutex);
    if (warned)
        vms_record_add_note(record, "overlay-filling",
                            "while it was worked on, the overlays came beyond %u %% of what they "
                            "may take",
                            VMS_GROWTH_WARN);
    if (paused)
        vms_record_add_note(record, "paused-for-merge",
                            "the guest wrote so fast that it was paused until its overlays were "
                            "merged, for there would have been no room for that");
    if (resumed > 0)
        vms_record_add_note(record, "resumed-with-room",
                            "the guest had been paused for want of room for its overlays, and was "
                            "resumed when there was some");
}

bool vms_overlay_guard_give_up(VmsOverlayGuard *guard, VmsCatalog *catalog, VmsRecord *record,
                               GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autofree char *reason = g_strdup_printf("%s: %s", guard->code, guard->stopped);
    bool merged = false;
    do
        merged = vms_merge_end(guard->context, catalog, record, VMS_STATUS_FAILED, reason, &cause);
    while (!merged && vms_overlay_guard_again(guard, &cause));
    vms_overlay_guard_rest(guard, false);
    vms_overlay_guard_note(guard, record);
    vms_catalog_save(catalog, record, NULL);
    char *text =
        merged ? g_strdup_printf("%s; snapshot %s is given up: its overlays are merged, the guest "
                                 "is on its own disks",
                                 (*error)->message, record->id)
               : g_strdup_printf("%s; merging the overlays of snapshot %s failed: %s; run \"vmsnap "
                                 "drop %s --snapshot %s\"",
                                 (*error)->message, record->id, cause->message, record->domain,
                                 record->id);
    g_free((*error)->message);
    (*error)->message = text;
    return false;
}

void vms_overlay_guard_free(VmsOverlayGuard *guard)
{
    if (!guard)
        return;
    vms_overlay_guard_rest(guard, false);
    g_mutex_lock(&guard->mutex);
    guard->ending = true;
    g_cond_signal(&guard->wake);
    g_mutex_unlock(&guard->mutex);
    if (guard->thread)
        g_thread_join(guard->thread);
    if (guard->handler)
        g_cancellable_disconnect(guard->outer, guard->handler);
    g_clear_object(&guard->outer);
    g_object_unref(guard->inner);
    vms_rescue_free(guard->rescue);
    vms_reserve_free(guard->reserve);
    g_clear_pointer(&guard->disks, g_ptr_array_unref);
    g_strfreev(guard->images);
    g_free(guard->name);
    g_free(guard->uuid);
    g_free(guard->stopped);
    g_mutex_clear(&guard->mutex);
    g_cond_clear(&guard->wake);
    g_cond_clear(&guard->looked);
    g_free(guard);
}
