/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Crash gaps: the record with all paths is saved before the first file is made (preparing), and
 * again with status capturing before the switch; so whatever is killed where, the catalog names
 * every file that may exist, and libvirt says which of them are in use. "vmsnap drop" goes by both.
 */
#include "job/capture.h"

#include "base/durable.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "job/bitmaps.h"
#include "job/capture-memory.h"
#include "job/overlays.h"
#include "virt/commit.h"
#include "virt/image.h"
#include "virt/overlay.h"
#include "virt/pause.h"
#include "virt/quiesce.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool save(VmsCapture *capture, VmsStatus status, GError **error)
{
    capture->record->status = status;
    return vms_catalog_save(capture->catalog, capture->record, error);
}

/* QEMU's user opens the overlays of block devices below it. What is in it is 0600 or 0700 itself.
 */
static bool let_through(const char *dir, GError **error)
{
    struct stat st;
    if (stat(dir, &st) < 0)
        return vms_fail_errno(error, errno, "%s", dir);
    return (st.st_mode & 0011) == 0011 || chmod(dir, (st.st_mode & 07777) | 0011) == 0 ||
           vms_fail_errno(error, errno, "%s", dir);
}

/* The directory of the memory file belongs to vmsnap, but QEMU or libvirt must be able to get
 * through. */
static bool make_directories(VmsCapture *capture, GError **error)
{
    VmsRecord *record = capture->record;
    g_autofree char *overlays =
        g_build_filename(capture->context->config->state_dir, "overlays", NULL);
    for (guint i = 0; i < record->disks->len; i++) {
        const VmsRecordDisk *disk = record->disks->pdata[i];
        if (g_str_has_prefix(disk->overlay, overlays) &&
            (!let_through(capture->context->config->state_dir, error) ||
             !vms_durable_mkdir(overlays, 0711, error)))
            return false;
    }
    if (!record->memory_path)
        return true;
    g_autofree char *memory = g_path_get_dirname(record->memory_path);
    return vms_durable_mkdir(memory, 0711, error);
}

static bool make_files(VmsCapture *capture, GPtrArray *overlays, GError **error)
{
    VmsRecord *record = capture->record;
    if (!make_directories(capture, error))
        return false;
    vms_failpoint("create.directories-made");
    for (guint i = 0; i < overlays->len; i++) {
        VmsRecordDisk *disk = record->disks->pdata[i];
        VmsOverlay *overlay = overlays->pdata[i];
        if (!vms_check_cancelled(capture->context->cancellable, error) ||
            !vms_overlay_create_file(overlay, disk->capacity, capture->context->cancellable, error))
            return vms_prefix(error, "disk %s", disk->target);
        disk->device = overlay->device;
        disk->inode = overlay->inode;
        vms_failpoint("create.overlay-made");
    }
    return true;
}

typedef struct {
    virDomainPtr domain;
    const char *memory_path;
    int under_way; /* atomic; set by the thread that waits for the snapshot */
} Live;

/* Where it was cancelled before that, by that thread itself: it does not begin then. */
static void on_cancelled(GCancellable *cancellable, void *data)
{
    Live *live = data;
    vms_overlay_cancel(live->domain, live->memory_path, &live->under_way);
}

static bool switch_live(VmsCapture *capture, GPtrArray *overlays, GError **error)
{
    VmsRecord *record = capture->record;
    GCancellable *cancellable = capture->context->cancellable;
    Live live = {.domain = capture->domain, .memory_path = record->memory_path};
    gulong handler = 0;
    if (cancellable)
        handler = g_cancellable_connect(cancellable, G_CALLBACK(on_cancelled), &live, NULL);
    vms_progress_message(capture->context->progress,
                         "%s: saving memory while the guest runs, then a pause for the last pages",
                         record->domain);
    bool outrun = false;
    g_atomic_int_set(&live.under_way, true);
    bool ok = vms_check_cancelled(cancellable, error) &&
              vms_overlay_switch_with_memory(capture->domain, capture->facts, overlays,
                                             record->memory_path, &outrun, error);
    g_atomic_int_set(&live.under_way, false);
    if (outrun)
        vms_record_add_note(record, "memory-outrun",
                            "the guest changed its memory faster than it could be written, and was "
                            "paused until the rest was saved");
    if (cancellable)
        g_cancellable_disconnect(cancellable, handler);
    if (!ok && cancellable && g_cancellable_is_cancelled(cancellable)) {
        g_clear_error(error);
        return vms_check_cancelled(cancellable, error);
    }
    return ok;
}

/* Disks alone are switched while the guest runs; with UEFI variables or a TPM it is paused, so that
 * they are of the same instant. */
static bool switch_running(VmsCapture *capture, GPtrArray *overlays, GError **error)
{
    if (!vms_side_files_any(capture->side))
        return vms_overlay_switch(capture->domain, capture->facts, overlays, error);
    g_autoptr(GError) cause = NULL;
    VmsPause *pause = vms_pause_new(capture->domain, error);
    if (!pause)
        return false;
    vms_failpoint("create.paused");
    bool ok = vms_overlay_switch(capture->domain, capture->facts, overlays, &cause) &&
              vms_side_files_take(capture->side, &cause);
    vms_failpoint("create.switched-paused");
    bool runs = vms_pause_end(pause, error);
    if (!ok && runs)
        g_propagate_error(error, g_steal_pointer(&cause));
    return ok && runs;
}

static bool switch_disks(VmsCapture *capture, GPtrArray *overlays, GError **error)
{
    VmsRecord *record = capture->record;
    if (!capture->facts->active) {
        VmsConn *conn = vms_context_conn(capture->context, error);
        return conn && vms_side_files_take(capture->side, error) &&
               vms_overlay_switch_offline(vms_conn_get(conn), capture->facts, overlays, error);
    }
    if (record->engine == VMS_ENGINE_NONE)
        return switch_running(capture, overlays, error);
    if (record->engine == VMS_ENGINE_COW)
        return vms_cow_cut(capture->cow, overlays, vms_side_files_take, capture->side, error);
    /* Nobody can be called in libvirt's own pause: once before and once after it. */
    return vms_side_files_take(capture->side, error) && switch_live(capture, overlays, error) &&
           vms_side_files_take(capture->side, error);
}

/* Freezes where wanted. Under auto a guest that refuses is a note, under require an error. */
static bool freeze(VmsCapture *capture, VmsQuiesce **ret_quiesce, GError **error)
{
    VmsRecord *record = capture->record;
    g_autoptr(GError) cause = NULL;
    if (!capture->quiesce)
        return true;
    *ret_quiesce = vms_quiesce_freeze(capture->domain, capture->freeze_deadline_s,
                                      &record->frozen_filesystems, &cause);
    if (*ret_quiesce)
        return true;
    if (capture->quiesce_required) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    vms_record_add_note(record, "freeze-failed", "file systems were not frozen: %s",
                        cause->message);
    return true;
}

/* The freeze counts only if it held until the cut was done. */
static bool end_freeze(VmsCapture *capture, VmsFreezeEnd end, GError **error)
{
    VmsRecord *record = capture->record;
    if (end == VMS_FREEZE_HELD)
        return true;
    record->frozen_filesystems = 0;
    if (capture->quiesce_required && end == VMS_FREEZE_EXPIRED)
        return vms_fail(error, VMS_ERROR_REFUSED,
                        "the cut took longer than the freeze deadline of %d s; raise "
                        "--freeze-deadline or take it with --quiesce=off",
                        capture->freeze_deadline_s);
    if (capture->quiesce_required)
        return vms_fail(error, VMS_ERROR_REFUSED,
                        "the guest thawed its file systems before the cut was done (Windows does "
                        "after 10 s); run again, or take it with --quiesce=off");
    if (end == VMS_FREEZE_EXPIRED)
        vms_record_add_note(record, "freeze-expired",
                            "file systems were thawed after %d s, before the cut was done",
                            capture->freeze_deadline_s);
    else
        vms_record_add_note(record, "freeze-lost",
                            "the guest thawed its file systems before the cut was done");
    return true;
}

static bool thaw(VmsCapture *capture, VmsQuiesce *quiesce, GError **error)
{
    VmsFreezeEnd end = VMS_FREEZE_HELD;
    return !quiesce || (vms_quiesce_thaw(quiesce, &end, error) && end_freeze(capture, end, error));
}

static bool cut(VmsCapture *capture, GPtrArray *overlays, GError **error)
{
    VmsRecord *record = capture->record;
    g_autoptr(VmsQuiesce) quiesce = NULL;
    g_autoptr(GError) thaw_error = NULL;
    int64_t start = g_get_monotonic_time();
    if (!freeze(capture, &quiesce, error))
        return false;
    vms_failpoint("create.frozen");
    vms_bitmaps_begin(capture->domain, record, capture->context->cancellable);
    vms_failpoint("create.bitmaps-begun");
    int64_t frozen = g_get_monotonic_time();
    vms_heartbeat_mark(capture->heartbeat, VMS_HEARTBEAT_PAUSE);
    bool ok = vms_check_cancelled(capture->context->cancellable, error) &&
              switch_disks(capture, overlays, error);
    record->created_us = g_get_real_time();
    record->switch_us = g_get_monotonic_time() - frozen;
    vms_heartbeat_mark(capture->heartbeat, VMS_HEARTBEAT_WRITE);
    vms_failpoint("create.switched");
    bool thawed = thaw(capture, quiesce, &thaw_error);
    vms_failpoint("create.thawed");
    if (quiesce)
        record->freeze_us = g_get_monotonic_time() - start;
    if (ok && !thawed)
        g_propagate_error(error, g_steal_pointer(&thaw_error));
    return ok && thawed;
}

/* What the frozen images are made of, for the next export to know them again. Without it that one
 * reads all of the disk. */
static void take_chains(VmsCapture *capture)
{
    for (guint i = 0; i < capture->record->disks->len; i++) {
        VmsRecordDisk *disk = capture->record->disks->pdata[i];
        g_autoptr(GError) cause = NULL;
        g_autoptr(GPtrArray) layers =
            vms_image_chain(disk->base, disk->base_format, capture->context->cancellable, &cause);
        disk->chain = layers ? vms_layers_to_text(layers) : NULL;
        if (!layers && !vms_error_is(cause, VMS_ERROR_CANCELLED))
            vms_record_add_note(capture->record, "tracking-broken",
                                "disk %s: what the image stands on cannot be read, so the next "
                                "export reads all of it: %s",
                                disk->target, cause->message);
    }
}

/* Everything that can be done before the cut. */
static bool prepare(VmsCapture *capture, GPtrArray *overlays, GError **error)
{
    capture->side =
        vms_side_files_prepare(capture->context->config, capture->facts, capture->record, error);
    if (!capture->side || !save(capture, VMS_STATUS_PREPARING, error))
        return false;
    vms_failpoint("create.preparing");
    if (!make_files(capture, overlays, error) || !save(capture, VMS_STATUS_CAPTURING, error))
        return false;
    vms_failpoint("create.capturing");
    return vms_capture_prepare_memory(capture, error);
}

static bool finish(VmsCapture *capture, GError **error)
{
    if (!vms_side_files_store(capture->side, error))
        return false;
    vms_failpoint("create.side-files-stored");
    if (!vms_capture_finish_memory(capture, error))
        return false;
    vms_failpoint("create.memory-finished");
    return vms_check_cancelled(capture->context->cancellable, error);
}

/* From here on the guest writes to the overlays, while its memory is written behind it. */
static bool watch(VmsCapture *capture, GError **error)
{
    return !capture->facts->active ||
           vms_overlay_guard_watch(capture->guard, capture->domain, capture->record, true, error);
}

static bool take(VmsCapture *capture, GPtrArray *overlays, GError **error)
{
    VmsRecord *record = capture->record;
    capture->heartbeat = capture->facts->active ? vms_heartbeat_open(capture->facts) : NULL;
    if (!prepare(capture, overlays, error))
        return false;
    vms_failpoint("create.prepared");
    if (!cut(capture, overlays, error))
        return false;
    vms_failpoint("create.cut");
    if (!watch(capture, error) || !finish(capture, error))
        return false;
    if (record->engine != VMS_ENGINE_NONE)
        record->consistency = VMS_CONSISTENCY_MEMORY;
    else if (record->frozen_filesystems > 0 || !capture->facts->active)
        record->consistency = VMS_CONSISTENCY_QUIESCED;
    take_chains(capture);
    vms_overlay_guard_note(capture->guard, record);
    if (!save(capture, VMS_STATUS_CAPTURED, error))
        return false;
    vms_failpoint("create.captured");
    return vms_capture_restore_huge(capture);
}

/* The original error is what the operator hears first; what could not be undone is added to it. */
static void undo(VmsCapture *capture, GError **error)
{
    VmsRecord *record = capture->record;
    g_autoptr(GError) cause = NULL;
    /* What could not be made removed itself, and a foreign file of that name is not ours to remove.
     */
    for (guint i = 0; i < record->disks->len; i++) {
        VmsRecordDisk *disk = record->disks->pdata[i];
        disk->merged = disk->merged || disk->inode == 0;
    }
    vms_failpoint("create.undoing");
    g_autoptr(virDomain) domain =
        vms_context_reach(capture->context, capture->domain, record->uuid, NULL);
    bool undone =
        (domain || vms_fail(&cause, VMS_ERROR_FAILED, "libvirt does not answer")) &&
        vms_overlays_merge(capture->context, capture->catalog, &domain, record, false, &cause) &&
        vms_overlays_remove_side_files(record, &cause);
    vms_failpoint("create.undone");
    if (undone) {
        vms_bitmaps_drop(domain, record);
        vms_failpoint("create.bitmaps-dropped");
        record->status = VMS_STATUS_FAILED;
        record->reason = g_strdup(error && *error ? (*error)->message : "failed");
        /* Where the database is what failed, its row stays "preparing" and names files that are
         * gone: drop finds nothing to do. */
        vms_catalog_save(capture->catalog, record, NULL);
    } else if (error && *error) {
        char *both =
            g_strdup_printf("%s; undoing it failed too: %s; run \"vmsnap drop %s --snapshot "
                            "%s\" when the cause is gone",
                            (*error)->message, cause->message, record->domain, record->id);
        g_free((*error)->message);
        (*error)->message = both;
    }
}

bool vms_capture_run(VmsCapture *capture, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autoptr(GPtrArray) overlays = vms_overlays_of(capture->record);
    capture->guard = vms_overlay_guard_new(capture->context);
    bool taken = take(capture, overlays, &cause);
    g_clear_pointer(&capture->cow, vms_cow_free); /* undoes what is not finished */
    g_clear_pointer(&capture->heartbeat, vms_heartbeat_free);
    g_clear_pointer(&capture->side, vms_side_files_free);
    if (!taken)
        vms_overlay_guard_stopped(capture->guard, capture->record, &cause);
    vms_overlay_guard_rest(capture->guard, !taken);
    if (!taken)
        undo(capture, &cause);
    g_clear_pointer(&capture->guard, vms_overlay_guard_free);
    if (taken)
        return true;
    g_propagate_error(error, g_steal_pointer(&cause));
    return false;
}
