/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A changed chunk that is missed is a corrupt backup that nobody notices. So everything that could
 * make tracking wrong is looked at before it is used, and every doubt means to read all of the
 * disk:
 *
 * - the parent is known to this host's catalog and is in this repository, by ids; clocks play no
 * part;
 * - the files that the frozen image stands on are, by device, inode and time of birth, those that
 *   were recorded at the parent's cut, and were not written since: whoever merged an overlay by
 * other means wrote to them;
 * - the disk has the size it had;
 * - a bitmap is there, was saved properly and has recorded all the time.
 *
 * An overlay's own allocation names each write, discard and zeroing since its making. Where the
 * snapshot before was never exported here, the one before that does: then the changes are in the
 * two topmost layers. */
#include "job/tracking.h"

#include "base/error.h"
#include "virt/image.h"

#include <string.h>
#include <sys/stat.h>

#define OUR_BITMAPS "vmsnap-"

typedef struct {
    const VmsTrackingScope *scope;
    const VmsRecord *record;
    const VmsRecordDisk *disk;
    GPtrArray *layers;  /* of VmsLayer*: the frozen image and what is below */
    VmsImageInfo *info; /* of the frozen image */
} Search;

static const VmsRepoSnapshot *stored(const VmsTrackingScope *scope, const VmsRecord *record)
{
    const VmsRecordExport *export = vms_record_export(record, scope->repository);
    for (guint i = 0; export && i < scope->snapshots->len; i++) {
        const VmsRepoSnapshot *snapshot = scope->snapshots->pdata[i];
        char hex[VMS_ID_HEX_LEN + 1];
        vms_id_hex(&snapshot->id, hex);
        if (strcmp(hex, export->snapshot) == 0)
            return snapshot;
    }
    return NULL;
}

static bool use(VmsTrack *track, VmsTracking method, const VmsRecord *parent,
                const VmsRepoSnapshot *snapshot)
{
    track->method = method;
    track->parent = parent;
    track->snapshot = snapshot;
    track->reason = NULL;
    return true;
}

/* The record whose overlay that layer is, by name and file. */
static const VmsRecord *maker(const Search *s, const VmsLayer *layer,
                              const VmsRecordDisk **ret_disk)
{
    struct stat st;
    for (guint i = 0; i < s->scope->records->len; i++) {
        const VmsRecord *other = s->scope->records->pdata[i];
        const VmsRecordDisk *disk = vms_record_disk(other, s->disk->target);
        if (!disk || g_str_equal(other->id, s->record->id) || disk->merged ||
            !g_str_equal(disk->overlay, layer->path))
            continue;
        if (stat(layer->path, &st) < 0 || st.st_dev != disk->device || st.st_ino != disk->inode)
            continue;
        *ret_disk = disk;
        return other;
    }
    return NULL;
}

/* False where the frozen image is no overlay of ours. */
static bool find_overlay(const Search *s, VmsTrack *track)
{
    const char *reason = NULL;
    for (guint i = 0; i < s->layers->len; i++) {
        const VmsRecordDisk *disk = NULL;
        const VmsRecord *other = maker(s, s->layers->pdata[i], &disk);
        if (!other)
            break;
        const VmsRepoSnapshot *snapshot = stored(s->scope, other);
        g_autoptr(GPtrArray) below = vms_layers_parse(disk->chain);
        const char *why = NULL;
        if (!snapshot)
            why = vms_record_export(other, s->scope->repository) ? "parent-missing"
                  : other->exports->len > 0                      ? "parent-other-repository"
                                                                 : "parent-not-exported";
        else if (disk->capacity != s->disk->capacity)
            why = "size-changed";
        else if (!below || !vms_layers_equal(s->layers, i + 1, below, false))
            why = "tracking-broken";
        track->layers = i + 1;
        if (!why)
            return use(track, VMS_TRACKING_OVERLAY, other, snapshot);
        reason = reason ? reason : why;
        if (snapshot) /* deeper layers are no better */
            break;
    }
    track->reason = reason;
    return reason != NULL;
}

static const char *bitmap_reason(VmsBitmapState state)
{
    switch (state) {
    case VMS_BITMAP_MISSING:
        return "bitmap-missing";
    case VMS_BITMAP_INCONSISTENT:
        return "bitmap-inconsistent";
    case VMS_BITMAP_DISABLED:
        return "tracking-broken";
    case VMS_BITMAP_GOOD:
        break;
    }
    return NULL;
}

/* Why the changes since other are not known; NULL: its bitmap in the frozen image has them. */
static const char *why_not(const Search *s, const VmsRecord *other)
{
    const VmsRecordDisk *disk = vms_record_disk(other, s->disk->target);
    if (!disk)
        return "disk-new";
    if (disk->capacity != s->disk->capacity)
        return "size-changed";
    g_autoptr(GPtrArray) layers = vms_layers_parse(disk->chain);
    if (!layers)
        return "no-tracking";
    /* It stood on an overlay of ours that nobody but somebody else has taken away. */
    bool taken = !disk->merged;
    if (!vms_layers_equal(s->layers, 0, layers, true))
        return taken ? "tracking-broken" : "disk-replaced";
    if (!disk->bitmap)
        return taken ? "tracking-broken" : "no-tracking";
    return bitmap_reason(vms_image_info_bitmap(s->info, disk->bitmap));
}

/* The one exported last before that sequence; NULL: none. */
static const VmsRecord *exported_before(const Search *s, int64_t before, int64_t *ret_sequence)
{
    const VmsRecord *found = NULL;
    *ret_sequence = 0;
    for (guint i = 0; i < s->scope->records->len; i++) {
        const VmsRecord *other = s->scope->records->pdata[i];
        const VmsRecordExport *export = vms_record_export(other, s->scope->repository);
        if (!export || g_str_equal(other->id, s->record->id) || export->sequence >= before ||
            export->sequence <= *ret_sequence)
            continue;
        found = other;
        *ret_sequence = export->sequence;
    }
    return found;
}

static bool has_foreign_bitmap(const Search *s)
{
    for (guint i = 0; i < s->info->bitmaps->len; i++)
        if (g_str_has_prefix(s->info->bitmaps->pdata[i], OUR_BITMAPS))
            return true;
    return false;
}

/* This host has exported nothing of the domain to this repository. */
static const char *why_no_parent(const Search *s)
{
    for (guint i = 0; i < s->scope->snapshots->len; i++)
        if (g_strcmp0(vms_repo_snapshot_tag(s->scope->snapshots->pdata[i], "uuid"),
                      s->record->uuid) == 0)
            return has_foreign_bitmap(s) ? "bitmap-not-ours" : "no-tracking";
    for (guint i = 0; i < s->scope->records->len; i++) {
        const VmsRecord *other = s->scope->records->pdata[i];
        if (other->exports->len > 0 && !g_str_equal(other->id, s->record->id))
            return "parent-other-repository";
    }
    return "first-snapshot";
}

static void find_bitmap(const Search *s, VmsTrack *track)
{
    int64_t at = INT64_MAX;
    const char *reason = NULL;
    for (const VmsRecord *other; (other = exported_before(s, at, &at));) {
        const VmsRepoSnapshot *snapshot = stored(s->scope, other);
        const char *why = snapshot ? why_not(s, other) : "parent-missing";
        if (!why) {
            track->bitmap = vms_record_disk(other, s->disk->target)->bitmap;
            use(track, VMS_TRACKING_BITMAP, other, snapshot);
            return;
        }
        reason = reason ? reason : why;
    }
    track->reason = reason ? reason : why_no_parent(s);
}

/* The files as they are now, which must be what they were right after the cut. */
static bool ask_files(Search *s, GCancellable *cancellable, GError **error)
{
    g_autoptr(GPtrArray) recorded = vms_layers_parse(s->disk->chain);
    if (!recorded)
        return vms_fail(error, VMS_ERROR_NOT_FOUND, "not recorded at the cut");
    s->layers = vms_image_chain(s->disk->base, s->disk->base_format, cancellable, error);
    if (!s->layers)
        return false;
    if (!vms_layers_equal(s->layers, 0, recorded, false))
        return vms_fail(error, VMS_ERROR_CORRUPT, "written to or replaced since the cut");
    s->info = vms_image_info_read(s->disk->base, s->disk->base_format, cancellable, error);
    return s->info;
}

bool vms_tracking_find(const VmsTrackingScope *scope, const VmsRecord *record,
                       const VmsRecordDisk *disk, GCancellable *cancellable, VmsTrack *ret_track,
                       GError **error)
{
    Search s = {.scope = scope, .record = record, .disk = disk};
    g_autoptr(GError) cause = NULL;
    *ret_track = (VmsTrack){.method = VMS_TRACKING_NONE};
    bool asked = ask_files(&s, cancellable, &cause);
    if (asked && !find_overlay(&s, ret_track))
        find_bitmap(&s, ret_track);
    if (s.layers)
        g_ptr_array_unref(s.layers);
    vms_image_info_free(s.info);
    if (asked)
        return true;
    if (vms_error_is(cause, VMS_ERROR_CANCELLED)) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    ret_track->reason = disk->chain ? "tracking-broken" : "no-tracking";
    return true;
}

bool vms_tracking_changes(const VmsTrack *track, const VmsRecordDisk *disk, VmsChangesFunc func,
                          void *user, GCancellable *cancellable, GError **error)
{
    if (track->method == VMS_TRACKING_BITMAP)
        return vms_changes_bitmap(disk->base, track->bitmap, func, user, cancellable, error);
    return vms_changes_overlays(disk->base, disk->base_format, track->layers, func, user,
                                cancellable, error);
}
