/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/overlays.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "base/text.h"
#include "job/growth.h"
#include "job/merge.h"
#include "job/side-files.h"
#include "virt/commit.h"
#include "virt/stall.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#define RESTARTS 5 /* of libvirtd, during the merge of one disk */

/* The merge of one disk, and the domain it belongs to, which may be another one after a restart of
 * libvirtd. */
typedef struct {
    VmsContext *context;
    VmsCatalog *catalog;
    virDomainPtr *domain; /* the caller's */
    VmsRecord *record;
    VmsRecordDisk *disk;
    GCancellable *cancellable;
    bool undo;         /* of a snapshot that could not be taken */
    bool begun_before; /* by an earlier disk, or an earlier run */
    bool lost;         /* the domain has the disk no more; that says nothing of the others */
} Merge;

static VmsOverlay *overlay_of(const VmsRecordDisk *disk)
{
    VmsOverlay *overlay =
        vms_overlay_new(disk->target, disk->base, disk->base_format, disk->overlay);
    overlay->device = disk->device;
    overlay->inode = disk->inode;
    return overlay;
}

GPtrArray *vms_overlays_of(const VmsRecord *record)
{
    GPtrArray *overlays = g_ptr_array_new_with_free_func((GDestroyNotify)vms_overlay_free);
    for (guint i = 0; i < record->disks->len; i++) {
        const VmsRecordDisk *disk = record->disks->pdata[i];
        if (!disk->merged)
            g_ptr_array_add(overlays, overlay_of(disk));
    }
    return overlays;
}

/* Is path the active layer of the disk, live or persistent? */
static bool is_used(virDomainPtr domain, const VmsRecordDisk *disk, const char *path,
                    bool *ret_used, GError **error)
{
    g_autofree char *live = NULL, *persistent = NULL;
    if (!vms_overlay_where(domain, disk->target, &live, &persistent, error))
        return false;
    *ret_used = g_strcmp0(live, path) == 0 || g_strcmp0(persistent, path) == 0;
    return true;
}

/* Where the overlay is neither active nor on the way to be, it may still be below a newer one. */
static bool check_not_below(virDomainPtr domain, const VmsRecordDisk *disk, GError **error)
{
    g_autoptr(VmsFacts) facts = vms_facts_read(domain, error);
    if (!facts)
        return false;
    const VmsDisk *fact = vms_facts_disk(facts, disk->target);
    for (guint i = 0; fact && fact->backing && i < fact->backing->len; i++)
        if (g_strcmp0(fact->backing->pdata[i], disk->overlay) == 0)
            return vms_fail(error, VMS_ERROR_REFUSED,
                            "a newer overlay, %s, stands on this snapshot's: commit or drop the "
                            "newer snapshot first",
                            fact->source);
    return true;
}

/* P3: only what we made, by device and inode; inode 0 means that it was never recorded. */
static bool remove_ours(const char *path, dev_t device, ino_t inode, GError **error)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return errno == ENOENT || vms_fail_errno(error, errno, "%s", path);
    if (!S_ISREG(st.st_mode) || (inode != 0 && (st.st_dev != device || st.st_ino != inode)))
        return vms_fail(error, VMS_ERROR_EXISTS, "%s is not the file vmsnap made; left alone",
                        path);
    return unlink(path) == 0 || vms_fail_errno(error, errno, "%s", path);
}

/* P2: a disk that was unplugged or replaced while it ran on the overlay. What the guest wrote is
 * nowhere else then. */
static bool check_not_lost(virDomainPtr domain, const VmsRecordDisk *disk, GError **error)
{
    bool back = false;
    struct stat st;
    if (lstat(disk->overlay, &st) < 0 && errno == ENOENT)
        return true;
    if (!is_used(domain, disk, disk->base, &back, error))
        return false;
    g_autoptr(VmsFacts) facts = back ? NULL : vms_facts_read(domain, error);
    if (!back && !facts)
        return false;
    const VmsDisk *fact = back ? NULL : vms_facts_disk(facts, disk->target);
    for (guint i = 0; fact && fact->backing && i < fact->backing->len; i++)
        back = back || g_strcmp0(fact->backing->pdata[i], disk->base) == 0;
    return back || vms_fail(error, VMS_ERROR_REFUSED,
                            "the domain has it no longer on %s; what the guest wrote since the "
                            "snapshot is in %s: attach it again, or merge it with \"qemu-img "
                            "commit\" and delete it, then run again",
                            disk->base, disk->overlay);
}

/* A guest that stands because an image could not grow goes on where there is room again (P1). Not
 * where a guard has just made that room, for the merge. */
static void resume_stalled(VmsContext *context, virDomainPtr domain, VmsRecord *record)
{
    if (context->is_guarded)
        return;
    g_autoptr(GPtrArray) left = vms_growth_disks(record);
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    for (guint i = 0; i < record->disks->len; i++) {
        const VmsRecordDisk *disk = record->disks->pdata[i];
        g_strv_builder_add_many(builder, disk->overlay, disk->base, NULL);
    }
    g_auto(GStrv) images = g_strv_builder_end(builder);
    if (!vms_stall_is(domain, (const char *const *)images) || !vms_growth_has_room(left, NULL) ||
        !vms_stall_end(domain, NULL))
        return;
    vms_record_add_note(record, "resumed-with-room",
                        "the guest had been paused for want of room for its overlays, and was "
                        "resumed when there was some");
    vms_progress_message(context->progress,
                         "%s: the guest had been paused for want of room; there is some again, and "
                         "it runs on",
                         record->domain);
}

/* Was it for want of room? libvirt does not say why a job has ended. */
static bool commit_failed(const VmsRecord *record, GError **error)
{
    g_autoptr(GPtrArray) left = vms_growth_disks(record);
    g_auto(VmsGrowth) growth = {0};
    if ((!vms_error_is(*error, VMS_ERROR_FAILED) && !vms_error_is(*error, VMS_ERROR_NO_SPACE)) ||
        !vms_growth_measure(left, VMS_GROWTH_AUTO, NULL, &growth, NULL) ||
        growth.merge <= growth.free)
        return false;
    g_autofree char *need = vms_text_size(growth.merge);
    g_autofree char *there = vms_text_size(growth.free);
    g_autofree char *what = g_strdup((*error)->message);
    g_clear_error(error);
    return vms_fail(error, VMS_ERROR_NO_SPACE,
                    "%s: merging may need %s on the file system of %s, where %s are free; make "
                    "room there and run it again",
                    what, need, growth.place, there);
}

/* An undo goes on even where the database cannot be written. */
static bool save(const Merge *merge, GError **error)
{
    return vms_catalog_save(merge->catalog, merge->record, merge->undo ? NULL : error) ||
           merge->undo;
}

static bool begin(void *data, bool begun, GError **error)
{
    Merge *merge = data;
    vms_merge_set_begun(merge->record, begun || merge->begun_before);
    return save(merge, error);
}

static void note(void *data, const char *code, const char *text)
{
    Merge *merge = data;
    vms_record_add_note(merge->record, code, "disk %s: %s", merge->disk->target, text);
}

static bool keep(void *data, const char *text, GError **error)
{
    Merge *merge = data;
    g_free(merge->disk->pressed);
    merge->disk->pressed = g_strdup(text);
    return save(merge, error);
}

static bool commit(Merge *merge, const VmsOverlay *overlay, GError **error)
{
    VmsCommitOptions options = {
        .patience_s = merge->context->config->merge_patience_s,
        .progress = merge->context->progress,
        .cancellable = merge->cancellable,
        .begin = begin,
        .note = note,
        .keep = keep,
        .data = merge,
    };
    merge->begun_before = vms_merge_is_begun(merge->record);
    return vms_commit_disk(*merge->domain, overlay, &options, error);
}

static bool merge_one(Merge *merge, GError **error)
{
    VmsRecordDisk *disk = merge->disk;
    virDomainPtr domain = *merge->domain;
    g_autoptr(GError) cause = NULL;
    g_autoptr(VmsOverlay) overlay = overlay_of(disk);
    bool used = false;
    merge->lost = false;
    /* Of one that was killed. */
    if (disk->pressed &&
        (!vms_commit_undo(domain, disk->target, disk->pressed, error) || !keep(merge, NULL, error)))
        return false;
    if (!is_used(domain, disk, disk->overlay, &used, error))
        return false;
    vms_failpoint("merge.disk-next");
    if (used && !commit(merge, overlay, &cause)) {
        commit_failed(merge->record, &cause);
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    vms_failpoint("merge.disk-committed");
    /* P2: asked again, of live and persistent both, before a byte is deleted. */
    if (!is_used(domain, disk, disk->overlay, &used, error) ||
        !check_not_below(domain, disk, error))
        return false;
    if (used)
        return vms_fail(error, VMS_ERROR_FAILED,
                        "libvirt still uses %s after the commit; it is left alone", disk->overlay);
    if (!check_not_lost(domain, disk, &cause)) {
        merge->lost = vms_error_is(cause, VMS_ERROR_REFUSED);
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    /* Killed between making the file and recording it: its name has the snapshot's random id, and
     * it was made with O_EXCL, so a file of that name is ours. */
    if (disk->inode == 0)
        return remove_ours(disk->overlay, 0, 0, error);
    return vms_overlay_remove_file(overlay, error);
}

/* The job runs on in QEMU while libvirtd is restarted. */
static bool merge_through(Merge *merge, GError **error)
{
    for (int left = RESTARTS;; left--) {
        g_autoptr(GError) cause = NULL;
        if (merge_one(merge, &cause))
            return true;
        bool lost = virConnectIsAlive(virDomainGetConnect(*merge->domain)) != 1;
        virDomainPtr again = NULL;
        if (lost && left > 0 && !vms_error_is(cause, VMS_ERROR_CANCELLED))
            again =
                vms_context_reach(merge->context, NULL, merge->record->uuid, merge->cancellable);
        if (!again && vms_check_cancelled(merge->cancellable, error))
            g_propagate_error(error, g_steal_pointer(&cause));
        if (!again)
            return false;
        virDomainFree(*merge->domain);
        *merge->domain = again;
        vms_progress_message(merge->context->progress,
                             "disk %s: the connection to libvirt was lost; it is there again, the "
                             "merge goes on",
                             merge->disk->target);
    }
}

static bool merge_disk(Merge *merge, GError **error)
{
    if (!vms_check_cancelled(merge->cancellable, error) || !merge_through(merge, error))
        return vms_prefix(error, "disk %s", merge->disk->target);
    vms_failpoint("merge.overlay-removed");
    merge->disk->merged = true;
    /* An undo must go on even where the database cannot be written, and merging is what makes room
     * where it is full. Merging twice is harmless. */
    if (!merge->undo)
        return vms_catalog_save_if_room(merge->catalog, merge->record, error);
    vms_catalog_save(merge->catalog, merge->record, NULL);
    return true;
}

/* Does it say nothing of the other disks? */
static bool is_of_disk(const Merge *merge, const GError *cause)
{
    return merge->lost || vms_error_is(cause, VMS_ERROR_NO_SPACE) ||
           (vms_error_is(cause, VMS_ERROR_FAILED) &&
            virConnectIsAlive(virDomainGetConnect(*merge->domain)) == 1);
}

/* The disks that are left. *ret_merged: one was, so that there is more room now. *error is the
 * first one; of a disk that the domain has no more only where there is no other. */
static bool merge_all(Merge *merge, bool *ret_merged, GError **error)
{
    const GPtrArray *disks = merge->record->disks;
    g_autoptr(GError) first = NULL;
    bool first_is_lost = false;
    *ret_merged = false;
    for (guint i = 0; i < disks->len; i++) {
        g_autoptr(GError) cause = NULL;
        merge->disk = disks->pdata[i];
        merge->lost = false;
        if (merge->disk->merged)
            continue;
        if (merge_disk(merge, &cause)) {
            *ret_merged = true;
            continue;
        }
        bool goes_on = is_of_disk(merge, cause);
        bool cancelled = vms_error_is(cause, VMS_ERROR_CANCELLED);
        if (!first || cancelled || (first_is_lost && !merge->lost)) {
            g_clear_error(&first);
            first = g_steal_pointer(&cause);
            first_is_lost = merge->lost;
        }
        if (!goes_on)
            break;
    }
    if (!first)
        return true;
    g_propagate_error(error, g_steal_pointer(&first));
    return false;
}

bool vms_overlays_merge(VmsContext *context, VmsCatalog *catalog, virDomainPtr *domain,
                        VmsRecord *record, bool cancellable, GError **error)
{
    Merge merge = {.context = context,
                   .catalog = catalog,
                   .domain = domain,
                   .record = record,
                   .cancellable = cancellable ? context->cancellable : NULL,
                   .undo = !cancellable};
    g_autoptr(GError) cause = NULL;
    bool merged = false, all = false;
    resume_stalled(context, *domain, record);
    do {
        g_clear_error(&cause);
        all = merge_all(&merge, &merged, &cause);
    } while (!all && merged && vms_error_is(cause, VMS_ERROR_NO_SPACE));
    resume_stalled(context, *domain, record);
    if (!all) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    vms_merge_set_begun(record, false); /* but all merged, as the disks say */
    return true;
}

bool vms_overlays_remove_side_files(VmsRecord *record, GError **error)
{
    if (record->memory_path &&
        !remove_ours(record->memory_path, record->memory_device, record->memory_inode, error))
        return false;
    vms_failpoint("merge.memory-removed");
    return vms_side_files_remove(record, error);
}

static bool disk_frozen(const VmsFacts *facts, const VmsRecordDisk *disk, GError **error)
{
    const VmsDisk *fact = vms_facts_disk(facts, disk->target);
    if (!fact)
        return vms_fail(error, VMS_ERROR_CORRUPT,
                        "disk %s: is no longer part of %s; its frozen image cannot be trusted",
                        disk->target, facts->name);
    if (g_strcmp0(fact->source, disk->overlay) == 0)
        return true;
    for (guint i = 0; fact->backing && i < fact->backing->len; i++)
        if (g_strcmp0(fact->backing->pdata[i], disk->overlay) == 0)
            return true;
    return vms_fail(
        error, VMS_ERROR_CORRUPT,
        "disk %s: runs on %s and no longer on the snapshot's overlay %s: somebody merged "
        "or replaced it, so the frozen image has changed; drop this snapshot and take a "
        "new one",
        disk->target, fact->source ? fact->source : "nothing", disk->overlay);
}

bool vms_overlays_frozen(virDomainPtr domain, const VmsRecord *record, GError **error)
{
    if (!domain)
        return true;
    g_autoptr(VmsFacts) facts = vms_facts_read(domain, error);
    if (!facts)
        return false;
    for (guint i = 0; i < record->disks->len; i++)
        if (!disk_frozen(facts, record->disks->pdata[i], error))
            return false;
    return true;
}
