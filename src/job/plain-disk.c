/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* First the metadata of the frozen image say what there will be; then all is written in one pass.
 * What has changed is read through the whole chain of the frozen image, so a cluster of which only
 * a part has changed is stored as the guest saw it. */
#include "job/plain-disk.h"

#include "base/error.h"
#include "base/text.h"
#include "block/qcow2-layout.h"
#include "job/plain-copy.h"
#include "job/plain-name.h"
#include "job/store-disk.h"

typedef struct {
    const VmsPlainDisk *plain;
    const VmsRecordDisk *disk;
    VmsInput *input;
    VmsManifestDisk *stored; /* of the manifest */
    VmsQcow2Layout *layout;
    char *parent;        /* nullable: local id of the snapshot it stands on */
    uint64_t begin, end; /* changed clusters that may still grow; begin == end: none */
    uint64_t selected;   /* bytes: all changed clusters so far */
    uint64_t changed;    /* bytes, by the guest */
} Disk;

static bool on_extent(void *user, uint64_t offset, uint64_t length, bool zero, GError **error)
{
    Disk *d = user;
    return vms_qcow2_layout_add(d->layout, offset, length, zero, error);
}

static bool add_selected(Disk *d, GError **error)
{
    uint64_t begin = d->begin, end = MIN(d->end, d->disk->capacity);
    d->begin = d->end;
    if (begin >= end)
        return true;
    d->selected += end - begin;
    return vms_input_disk_extents(d->input, begin, end - begin, on_extent, d,
                                  d->plain->context->cancellable, error);
}

static bool on_change(void *user, uint64_t offset, uint64_t length, GError **error)
{
    Disk *d = user;
    uint64_t first = offset / VMS_QCOW2_CLUSTER * VMS_QCOW2_CLUSTER;
    uint64_t end = ((offset + length - 1) / VMS_QCOW2_CLUSTER + 1) * VMS_QCOW2_CLUSTER;
    d->changed += length;
    if (first > d->end) {
        if (!add_selected(d, error))
            return false;
        d->begin = first;
    }
    d->end = MAX(d->end, end);
    return true;
}

static bool plan_full(Disk *d, GError **error)
{
    d->layout = vms_qcow2_layout_new(d->disk->capacity, NULL, error);
    d->selected = d->disk->capacity;
    return d->layout &&
           vms_input_disk_extents(d->input, 0, d->disk->capacity, on_extent, d,
                                  d->plain->context->cancellable, error) &&
           vms_qcow2_layout_end(d->layout, error);
}

static bool plan_changes(Disk *d, const VmsTrack *track, GError **error)
{
    const VmsRecordExport *export = vms_record_export(track->parent, d->plain->place->id);
    g_autofree char *name = g_strdup_printf("%s.qcow2", d->disk->target);
    g_autofree char *backing = vms_plain_backing(track->parent->id, name);
    d->layout = vms_qcow2_layout_new(d->disk->capacity, backing, error);
    if (!d->layout ||
        !vms_tracking_changes(track, d->disk, on_change, d, d->plain->context->cancellable,
                              error) ||
        !add_selected(d, error) || !vms_qcow2_layout_end(d->layout, error))
        return false;
    d->parent = g_strdup(track->parent->id);
    d->stored->tracking =
        (VmsDiskTracking){track->method, g_strdup(export->snapshot), d->changed, NULL};
    return true;
}

static bool plan(Disk *d, GError **error)
{
    const VmsPlainDisk *plain = d->plain;
    GCancellable *cancellable = plain->context->cancellable;
    g_autofree char *text = NULL;
    const char *reason = NULL;
    VmsTrack track;
    if (!vms_tracking_find(plain->scope, plain->record, d->disk, cancellable, &track, error))
        return false;
    if (track.method == VMS_TRACKING_NONE)
        reason = track.reason;
    else if (!vms_plain_parent_check(plain->place, track.parent, d->disk, cancellable, &reason,
                                     &text, error))
        return false;
    if (!reason)
        return plan_changes(d, &track, error);
    vms_store_disk_full(plain->manifest, d->stored, reason, text);
    return plan_full(d, error);
}

static bool write_data(Disk *d, VmsPlainObject *object, GError **error)
{
    const VmsPlainDisk *plain = d->plain;
    VmsPlainCopyOptions options = {
        .input = d->input,
        .object = object,
        .stats = plain->stats,
        .read_rate = plain->read_rate,
        .progress = plain->context->progress,
        .item = d->disk->target,
        .progress_before = plain->progress_before,
        .progress_total = plain->progress_total,
        .cancellable = plain->context->cancellable,
    };
    g_autoptr(GError) cause = NULL;
    g_autoptr(VmsPlainCopy) copy = vms_plain_copy_new(&options);
    bool ok = vms_qcow2_layout_each_data(d->layout, vms_plain_copy_range, copy, &cause);
    if (!vms_plain_copy_end(copy, error))
        return false;
    if (!ok)
        g_propagate_error(error, g_steal_pointer(&cause));
    return ok;
}

static bool write_image(Disk *d, GError **error)
{
    const VmsPlainDisk *plain = d->plain;
    g_autofree char *file = g_strdup_printf("%s.qcow2", d->disk->target);
    g_autofree char *name = vms_plain_object(plain->place->folder, plain->record->id, file);
    g_autoptr(VmsPlainObject) object =
        vms_plain_object_new(plain->place->store, name, vms_qcow2_layout_bytes(d->layout),
                             plain->stats, plain->context->cancellable, error);
    if (!object || !vms_qcow2_layout_metadata(d->layout, vms_plain_object_write, object, error) ||
        !write_data(d, object, error))
        return false;
    d->stored->image = vms_plain_object_finish(object, file, error);
    if (d->stored->image)
        d->stored->image->backing = g_strdup(d->parent);
    return d->stored->image;
}

static bool run(Disk *d, uint64_t *ret_zero, GError **error)
{
    d->stored = vms_store_disk_describe(d->plain->manifest, d->disk, d->input->size, error);
    if (!d->stored)
        return false;
    d->stored->chunk_size = VMS_QCOW2_CLUSTER;
    if (!plan(d, error) || !write_image(d, error))
        return false;
    uint64_t data = vms_qcow2_layout_data(d->layout);
    *ret_zero = d->selected > data ? d->selected - data : 0;
    vms_progress_update(d->plain->context->progress, "export", d->disk->target,
                        d->plain->progress_before + d->disk->capacity, d->plain->progress_total);
    return true;
}

bool vms_plain_disk_store(const VmsPlainDisk *plain, const VmsRecordDisk *disk, uint64_t *ret_zero,
                          GError **error)
{
    g_autoptr(VmsInput) input =
        vms_input_disk(disk->base, disk->base_format, plain->context->cancellable, error);
    Disk d = {.plain = plain, .disk = disk, .input = input};
    bool ok = input && run(&d, ret_zero, error);
    vms_qcow2_layout_free(d.layout);
    g_free(d.parent);
    return ok;
}
