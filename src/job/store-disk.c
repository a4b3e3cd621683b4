/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/store-disk.h"

#include "base/error.h"
#include "job/inputs.h"
#include "job/parent.h"

typedef struct {
    const VmsStoreDisk *store;
    const VmsRecordDisk *disk;
    VmsInput *input;
    VmsManifestDisk *stored; /* of the manifest */
    uint64_t zero;
} Disk;

VmsManifestDisk *vms_store_disk_describe(VmsManifest *manifest, const VmsRecordDisk *disk,
                                         uint64_t size, GError **error)
{
    if (size != disk->capacity)
        return vms_fail_null(error, VMS_ERROR_CORRUPT,
                             "the frozen image %s has %" G_GUINT64_FORMAT
                             " bytes, at the cut it had %" G_GUINT64_FORMAT,
                             disk->base, size, disk->capacity);
    return vms_manifest_add_disk(manifest, disk->target, disk->bus, disk->base_format, disk->base,
                                 size);
}

void vms_store_disk_full(VmsManifest *manifest, VmsManifestDisk *stored, const char *reason,
                         const char *text)
{
    stored->tracking.method = VMS_TRACKING_NONE;
    stored->tracking.full_reason = g_strdup(reason);
    if (text) {
        g_autofree char *note = g_strdup_printf(
            "disk %s: the snapshot before in the repository cannot be built upon, so all of the "
            "disk was read: %s",
            stored->target, text);
        vms_notes_add(manifest->notes, reason, note);
    }
}

typedef struct {
    VmsChunkRuns *runs;
    uint64_t bytes;
} Changed;

static bool on_change(void *user, uint64_t offset, uint64_t length, GError **error)
{
    Changed *changed = user;
    vms_chunk_runs_add(changed->runs, offset, length);
    changed->bytes += length;
    return true;
}

/* Whole, again where only what has changed was selected. */
static bool open_input(Disk *d, GError **error)
{
    vms_input_free(d->input);
    d->input =
        vms_input_disk(d->disk->base, d->disk->base_format, d->store->context->cancellable, error);
    return d->input;
}

static VmsContent *read_input(Disk *d, uint64_t done, GError **error)
{
    const VmsStoreDisk *store = d->store;
    VmsPipelineOptions options = {
        .writer = store->writer,
        .progress = store->context->progress,
        .item = d->disk->target,
        .chunk_size = store->transfer->chunk_size,
        .workers = store->transfer->threads,
        .read_rate = store->read_rate,
        .read_us = store->read_us,
        .progress_before = store->progress_before + done,
        .progress_total = store->progress_total,
        .cancellable = store->context->cancellable,
    };
    return vms_pipeline_run(d->input, &options, &d->zero, error);
}

static bool save_folder(const Disk *d, const VmsContent *content, VmsId *ret_subtree,
                        GError **error)
{
    g_autoptr(VmsTreeBuilder) folder = vms_tree_builder_new(d->store->record->created_us);
    vms_tree_builder_add_file(folder, "disk.raw", d->disk->capacity, content);
    return vms_tree_builder_save(folder, d->store->writer, ret_subtree, error);
}

/* Puts the ids of the changed chunks into the parent's list; *ret_differ: any is another one. */
static bool patch(VmsContent *content, const VmsContent *fresh, const VmsChunkRuns *runs,
                  bool *ret_differ, GError **error)
{
    VmsId before, now;
    for (guint i = 0; i < runs->runs->len; i++) {
        const VmsChunkRun *run = &g_array_index(runs->runs, VmsChunkRun, i);
        for (uint64_t at = 0; at < run->count; at++) {
            if (!vms_content_get(fresh, run->before + at, &now, error) ||
                !vms_content_get(content, run->first + at, &before, error))
                return false;
            if (vms_id_equal(&before, &now))
                continue;
            *ret_differ = true;
            if (!vms_content_set(content, run->first + at, &now, error))
                return false;
        }
    }
    return true;
}

/* The parent's list is read while the image is asked what has changed, and while that is read: for
 * a large disk the list takes longer than what has changed. */
typedef struct {
    const Disk *disk;
    const VmsTrack *track;
    VmsParentDisk parent;
    const char *reason; /* why it cannot be built upon */
    char *text;
    GError *error;
    bool ok;
} ParentLoad;

static void *load_parent(void *data)
{
    ParentLoad *load = data;
    const VmsStoreDisk *store = load->disk->store;
    load->ok = vms_parent_disk_load(store->repo, load->track->snapshot, load->track->parent,
                                    load->disk->disk, store->transfer->chunk_size,
                                    store->context->cancellable, &load->parent, &load->reason,
                                    &load->text, &load->error);
    return NULL;
}

static void parent_load_clear(ParentLoad *load)
{
    vms_parent_disk_clear(&load->parent);
    g_free(load->text);
    g_clear_error(&load->error);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ParentLoad, parent_load_clear)

/* *ret_fresh: the ids of the chunks that have changed; NULL where none has. */
static bool read_changed(Disk *d, const VmsTrack *track, Changed *changed, VmsContent **ret_fresh,
                         GError **error)
{
    if (!vms_tracking_changes(track, d->disk, on_change, changed, d->store->context->cancellable,
                              error))
        return false;
    vms_input_disk_select(d->input, changed->runs);
    return vms_chunk_runs_chunks(changed->runs) == 0 ||
           (*ret_fresh = read_input(d, d->disk->capacity - d->input->size, error));
}

/* True with load->reason set: all of the disk must be read, whatever has changed. */
static bool read_both(Disk *d, ParentLoad *load, Changed *changed, VmsContent **ret_fresh,
                      GError **error)
{
    g_autoptr(GError) cause = NULL;
    GThread *thread = g_thread_new("vms-parent", load_parent, load);
    bool ok = read_changed(d, load->track, changed, ret_fresh, &cause);
    g_thread_join(thread);
    if (!load->ok)
        g_propagate_error(error, g_steal_pointer(&load->error));
    else if (!load->reason && !ok)
        g_propagate_error(error, g_steal_pointer(&cause));
    return load->ok && (load->reason || ok);
}

static bool save_changed(const Disk *d, const VmsParentDisk *parent, const VmsContent *fresh,
                         const VmsChunkRuns *runs, VmsId *ret_subtree, GError **error)
{
    bool differ = false;
    if (fresh && !patch(parent->content, fresh, runs, &differ, error))
        return false;
    /* The same bytes are the same folder, with its old time: restic and we store no second one. */
    *ret_subtree = parent->subtree;
    return !differ || save_folder(d, parent->content, ret_subtree, error);
}

/* *ret_done false: all of the disk must be read, and the manifest says why. */
static bool try_changed(Disk *d, VmsId *ret_subtree, bool *ret_done, GError **error)
{
    const VmsStoreDisk *store = d->store;
    VmsTrack track;
    *ret_done = false;
    if (!vms_tracking_find(store->scope, store->record, d->disk, store->context->cancellable,
                           &track, error))
        return false;
    if (track.method == VMS_TRACKING_NONE) {
        vms_store_disk_full(store->manifest, d->stored, track.reason, NULL);
        return true;
    }
    g_autoptr(VmsChunkRuns) runs =
        vms_chunk_runs_new(d->disk->capacity, store->transfer->chunk_size);
    g_autoptr(VmsContent) fresh = NULL;
    Changed changed = {.runs = runs};
    g_auto(ParentLoad) load = {.disk = d, .track = &track};
    if (!read_both(d, &load, &changed, &fresh, error))
        return false;
    if (load.reason) {
        vms_store_disk_full(store->manifest, d->stored, load.reason, load.text);
        return open_input(d, error);
    }
    if (!save_changed(d, &load.parent, fresh, runs, ret_subtree, error))
        return false;
    char hex[VMS_ID_HEX_LEN + 1];
    vms_id_hex(&track.snapshot->id, hex);
    d->stored->tracking = (VmsDiskTracking){track.method, g_strdup(hex), changed.bytes, NULL};
    *ret_done = true;
    return true;
}

static bool run(Disk *d, VmsId *ret_subtree, GError **error)
{
    const VmsRecordDisk *disk = d->disk;
    bool done;
    d->stored = vms_store_disk_describe(d->store->manifest, disk, d->input->size, error);
    if (!d->stored)
        return false;
    d->stored->chunk_size = d->store->transfer->chunk_size;
    if (!try_changed(d, ret_subtree, &done, error))
        return false;
    if (done)
        return true;
    g_autoptr(VmsContent) content = read_input(d, 0, error);
    return content && save_folder(d, content, ret_subtree, error);
}

bool vms_store_disk(const VmsStoreDisk *store, const VmsRecordDisk *disk, VmsId *ret_subtree,
                    uint64_t *ret_zero, GError **error)
{
    Disk d = {.store = store, .disk = disk};
    bool ok = open_input(&d, error) && run(&d, ret_subtree, error);
    vms_input_free(d.input);
    *ret_zero = d.zero;
    return ok;
}
