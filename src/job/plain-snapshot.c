/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/plain-snapshot.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "codec/hash.h"
#include "job/parent.h"
#include "job/plain-copy.h"
#include "job/plain-name.h"
#include "job/store-tree.h"
#include "store/upload.h"

#include <string.h>

#define STALE_S (24 * 60 * 60) /* without a byte: nobody works on it any more */

typedef struct {
    VmsContext *context;
    const VmsRecord *record;
    VmsPlainPlace *place;
    VmsManifest *manifest;
    VmsPlainStored *stored;
    VmsRate *read_rate; /* nullable */
    uint64_t done;      /* bytes of finished disks */
} Storing;

static char *object_name(const Storing *s, const char *file)
{
    return vms_plain_object(s->place->folder, s->record->id, file);
}

static bool keep_file(Storing *s, VmsManifestFile *file)
{
    if (file)
        g_ptr_array_add(s->manifest->files, file);
    return file != NULL;
}

static bool store_disk(Storing *s, const VmsTrackingScope *scope, const VmsRecordDisk *disk,
                       GError **error)
{
    VmsPlainDisk plain = {
        .context = s->context,
        .record = s->record,
        .scope = scope,
        .place = s->place,
        .manifest = s->manifest,
        .read_rate = s->read_rate,
        .stats = &s->stored->stats,
        .progress_before = s->done,
        .progress_total = s->stored->bytes_total,
    };
    uint64_t zero = 0;
    if (!vms_plain_disk_store(&plain, disk, &zero, error))
        return vms_prefix(error, "disk %s", disk->target);
    s->done += disk->capacity;
    s->stored->bytes_zero += zero;
    return true;
}

static bool copy_memory(Storing *s, VmsInput *input, VmsPlainObject *object, GError **error)
{
    VmsPlainCopyOptions options = {
        .input = input,
        .object = object,
        .stats = &s->stored->stats,
        .read_rate = s->read_rate,
        .progress = s->context->progress,
        .item = "memory",
        .progress_before = s->done,
        .progress_total = s->stored->bytes_total,
        .cancellable = s->context->cancellable,
    };
    g_autoptr(GError) cause = NULL;
    g_autoptr(VmsPlainCopy) copy = vms_plain_copy_new(&options);
    bool ok = vms_plain_copy_range(copy, 0, input->size, &cause);
    if (!vms_plain_copy_end(copy, error))
        return false;
    if (!ok)
        g_propagate_error(error, g_steal_pointer(&cause));
    return ok;
}

/* The save image as it is: virsh restore takes it. */
static bool store_memory(Storing *s, GError **error)
{
    const char *file = VMS_PLAIN_MEMORY;
    const VmsRecord *record = s->record;
    if (!record->memory_path)
        return true;
    g_autofree char *name = object_name(s, file);
    g_autoptr(VmsInput) input =
        vms_input_check_memory(record, error) ? vms_input_file(record->memory_path, error) : NULL;
    g_autoptr(VmsPlainObject) object =
        input ? vms_plain_object_new(s->place->store, name, input->size, &s->stored->stats,
                                     s->context->cancellable, error)
              : NULL;
    if (!object || !copy_memory(s, input, object, error) ||
        !keep_file(s, vms_plain_object_finish(object, file, error)))
        return vms_prefix(error, "memory");
    s->manifest->memory_size = input->size;
    s->manifest->memory_layout = VMS_MEMORY_STREAM;
    return true;
}

static bool store_bytes(Storing *s, const char *file, const void *data, size_t len, GError **error)
{
    g_autofree char *name = object_name(s, file);
    return keep_file(s, vms_plain_object_put(s->place->store, name, file, data, len,
                                             &s->stored->stats, s->context->cancellable, error));
}

static bool store_small_file(Storing *s, const char *file, const char *path, GError **error)
{
    g_autofree char *data = NULL;
    size_t len = 0;
    if (!g_file_get_contents(path, &data, &len, error))
        return vms_convert(error);
    if (!vms_plain_is_file(file))
        return vms_fail(error, VMS_ERROR_UNSUPPORTED, "%s cannot be the name of an object", path);
    return store_bytes(s, file, data, len, error);
}

static bool store_nvram(Storing *s, GError **error)
{
    s->manifest->nvram = s->record->nvram != NULL;
    return !s->record->nvram || store_small_file(s, "nvram.fd", s->record->nvram, error) ||
           vms_prefix(error, "UEFI variables");
}

static bool store_tpm(Storing *s, GError **error)
{
    const char *folder = s->record->tpm;
    if (!folder)
        return true;
    g_autoptr(GDir) dir = g_dir_open(folder, 0, error);
    if (!dir)
        vms_convert(error);
    bool ok = dir != NULL;
    for (const char *name; ok && (name = g_dir_read_name(dir));) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        g_autofree char *file = g_strconcat("tpm/", name, NULL);
        ok = store_small_file(s, file, path, error);
    }
    s->manifest->tpm = true;
    return ok || vms_prefix(error, "TPM state");
}

static bool store_all(Storing *s, const VmsTrackingScope *scope, GError **error)
{
    const VmsRecord *record = s->record;
    for (guint i = 0; i < record->disks->len; i++)
        if (!store_disk(s, scope, record->disks->pdata[i], error))
            return false;
    vms_store_tree_full_reason(s->manifest);
    return store_memory(s, error) && store_nvram(s, error) && store_tpm(s, error) &&
           store_bytes(s, "domain.xml", record->domain_xml, strlen(record->domain_xml), error);
}

/* What uploads that never ended have left costs room, but harms nobody: an error is only told. */
static bool drop_leftovers(Storing *s, GError **error)
{
    g_autoptr(GError) cause = NULL;
    unsigned count = 0;
    VmsProgress *progress = s->context->progress;
    bool ok =
        vms_store_abort_uploads(s->place->store, STALE_S, &count, s->context->cancellable, &cause);
    if (vms_error_is(cause, VMS_ERROR_CANCELLED)) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    if (count > 0)
        vms_progress_message(progress, "%u uploads that never ended were dropped", count);
    if (!ok)
        vms_progress_message(progress, "%s", cause->message);
    return true;
}

bool vms_plain_snapshot_store(VmsContext *context, const VmsRecord *record,
                              const GPtrArray *records, VmsPlainPlace *place,
                              const VmsTransfer *transfer, VmsManifest *manifest,
                              VmsPlainStored *ret_stored, GError **error)
{
    *ret_stored = (VmsPlainStored){0};
    for (guint i = 0; i < record->disks->len; i++)
        ret_stored->bytes_total += ((const VmsRecordDisk *)record->disks->pdata[i])->capacity;
    if (record->memory_path)
        ret_stored->bytes_total += record->memory_size;
    g_autoptr(VmsRate) rate = transfer->limit_read > 0 ? vms_rate_new(transfer->limit_read) : NULL;
    VmsTrackingScope scope = {records, place->id, place->snapshots};
    Storing s = {
        .context = context,
        .record = record,
        .place = place,
        .manifest = manifest,
        .stored = ret_stored,
        .read_rate = rate,
    };
    manifest->format = VMS_FORMAT_QCOW2;
    return drop_leftovers(&s, error) && store_all(&s, &scope, error);
}

bool vms_plain_snapshot_commit(VmsPlainPlace *place, VmsManifest *manifest,
                               GCancellable *cancellable, GError **error)
{
    g_autofree char *json = vms_manifest_to_json(manifest);
    g_autofree char *name = vms_plain_object(place->folder, manifest->id, VMS_PLAIN_MANIFEST);
    size_t len = strlen(json);
    vms_hash(json, len, manifest->repository_id.bytes);
    g_autoptr(GBytes) bytes = g_bytes_new_take(g_steal_pointer(&json), len);
    vms_failpoint("export.manifest-next");
    return vms_store_put(place->store, name, bytes, true, cancellable, error);
}

static bool is_whole(const VmsPlainPlace *place, const VmsManifest *manifest)
{
    for (guint i = 0; i < manifest->disks->len; i++) {
        const VmsManifestFile *image = ((VmsManifestDisk *)manifest->disks->pdata[i])->image;
        if (!vms_plain_place_has(place, manifest->id, image->name, image->bytes))
            return false;
    }
    for (guint i = 0; i < manifest->files->len; i++) {
        const VmsManifestFile *file = manifest->files->pdata[i];
        if (!vms_plain_place_has(place, manifest->id, file->name, file->bytes))
            return false;
    }
    return true;
}

bool vms_plain_snapshot_find(VmsPlainPlace *place, const VmsRecord *record,
                             const VmsManifest **ret_manifest, GCancellable *cancellable,
                             GError **error)
{
    g_autoptr(GError) cause = NULL;
    *ret_manifest = NULL;
    if (!vms_plain_place_has_manifest(place, record->id))
        return true;
    const VmsManifest *manifest = vms_plain_place_manifest(place, record->id, cancellable, &cause);
    if (!manifest && !vms_parent_is_damage(cause)) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    if (manifest && g_str_equal(manifest->uuid, record->uuid) && is_whole(place, manifest)) {
        *ret_manifest = manifest;
        return true;
    }
    g_autofree char *name = vms_plain_object(place->folder, record->id, VMS_PLAIN_MANIFEST);
    return vms_store_remove(place->store, name, cancellable, error);
}
