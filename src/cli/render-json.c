/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/text.h"
#include "cli/render.h"
#include "job/plain-name.h"
#include "job/timing.h"

static void member_time(VmsJsonWriter *out, const char *key, int64_t unix_us)
{
    g_autofree char *text = vms_text_time(unix_us);
    vms_json_writer_member_string(out, key, text);
}

static void member_int64(VmsJsonWriter *out, const char *key, int64_t value)
{
    vms_json_writer_key(out, key);
    vms_json_writer_int64(out, value);
}

static void write_domain(VmsJsonWriter *out, const char *name, const char *uuid)
{
    vms_json_writer_key(out, "domain");
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "name", name);
    vms_json_writer_member_string(out, "uuid", uuid);
    vms_json_writer_end_object(out);
}

static void write_record_disks(VmsJsonWriter *out, const VmsRecord *record)
{
    vms_json_writer_key(out, "disks");
    vms_json_writer_begin_array(out);
    for (guint i = 0; i < record->disks->len; i++) {
        const VmsRecordDisk *disk = record->disks->pdata[i];
        vms_json_writer_begin_object(out);
        vms_json_writer_member_string(out, "target", disk->target);
        vms_json_writer_member_string(out, "bus", disk->bus);
        vms_json_writer_member_uint64(out, "virtual_size", disk->capacity);
        vms_json_writer_member_string(out, "frozen_image", disk->base);
        vms_json_writer_member_string(out, "frozen_format", disk->base_format);
        vms_json_writer_member_string(out, "overlay", disk->overlay);
        vms_json_writer_member_bool(out, "merged", disk->merged);
        vms_json_writer_member_string(out, "bitmap", disk->bitmap);
        vms_disk_tracking_write(out, &disk->tracking);
        vms_json_writer_end_object(out);
    }
    vms_json_writer_end_array(out);
}

static void write_record_memory(VmsJsonWriter *out, const VmsRecord *record)
{
    vms_json_writer_key(out, "memory");
    if (!record->memory_path) {
        vms_json_writer_null(out);
        return;
    }
    vms_json_writer_begin_object(out);
    vms_json_writer_member_uint64(out, "size", record->memory_size);
    vms_json_writer_member_string(out, "path", record->memory_path);
    vms_json_writer_end_object(out);
}

static void write_record_repository(VmsJsonWriter *out, const VmsRecord *record)
{
    vms_json_writer_key(out, "repository");
    if (!record->repository_snapshot) {
        vms_json_writer_null(out);
        return;
    }
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "location", record->repository);
    VmsFormat format = vms_record_format(record);
    vms_json_writer_member_string(out, "format", vms_format_name(format));
    g_autofree char *folder =
        format == VMS_FORMAT_QCOW2 ? vms_plain_snapshot_folder(record->domain, record->id) : NULL;
    vms_json_writer_member_string(out, "folder", folder);
    vms_json_writer_member_string(out, "snapshot", record->repository_snapshot);
    vms_json_writer_end_object(out);
}

static void write_timing(VmsJsonWriter *out, const VmsRecord *record, const char *key,
                         bool heartbeat)
{
    vms_json_writer_key(out, key);
    if (heartbeat ? record->heartbeat.beats == 0 : record->engine != VMS_ENGINE_COW) {
        vms_json_writer_null(out);
        return;
    }
    vms_json_writer_begin_object(out);
    for (const VmsTimingField *field = vms_timing_fields; field->name; field++)
        if (field->heartbeat == heartbeat)
            member_int64(out, field->name, vms_timing_get(record, field));
    vms_json_writer_end_object(out);
}

void vms_render_record_json(VmsJsonWriter *out, const VmsRecord *record)
{
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "id", record->id);
    write_domain(out, record->domain, record->uuid);
    vms_json_writer_member_string(out, "status", vms_status_name(record->status));
    vms_json_writer_member_string(out, "reason", record->reason);
    member_time(out, "time", record->created_us);
    vms_json_writer_member_string(out, "engine", vms_engine_name(record->engine));
    vms_json_writer_member_string(out, "consistency", vms_consistency_name(record->consistency));
    vms_json_writer_member_uint64(out, "frozen_filesystems", record->frozen_filesystems);
    member_int64(out, "freeze_us", record->freeze_us);
    member_int64(out, "switch_us", record->switch_us);
    write_timing(out, record, "timing", false);
    write_timing(out, record, "heartbeat", true);
    write_record_memory(out, record);
    vms_json_writer_member_bool(out, "nvram", record->nvram != NULL);
    vms_json_writer_member_bool(out, "tpm", record->tpm != NULL);
    write_record_repository(out, record);
    write_record_disks(out, record);
    vms_render_growth_json(out, record);
    vms_notes_write(out, record->notes);
    vms_json_writer_end_object(out);
}

static void write_manifest_disks(VmsJsonWriter *out, const VmsManifest *manifest)
{
    vms_json_writer_key(out, "disks");
    vms_json_writer_begin_array(out);
    for (guint i = 0; i < manifest->disks->len; i++) {
        const VmsManifestDisk *disk = manifest->disks->pdata[i];
        vms_json_writer_begin_object(out);
        vms_json_writer_member_string(out, "target", disk->target);
        vms_json_writer_member_string(out, "bus", disk->bus);
        vms_json_writer_member_string(out, "format", disk->format);
        vms_json_writer_member_string(out, "source", disk->source);
        vms_json_writer_member_uint64(out, "virtual_size", disk->size);
        vms_json_writer_member_uint64(out, "chunk_size", disk->chunk_size);
        vms_disk_tracking_write(out, &disk->tracking);
        vms_json_writer_end_object(out);
    }
    vms_json_writer_end_array(out);
}

static void write_manifest_memory(VmsJsonWriter *out, const VmsManifest *manifest)
{
    vms_json_writer_key(out, "memory");
    if (manifest->memory_size == 0) {
        vms_json_writer_null(out);
        return;
    }
    vms_json_writer_begin_object(out);
    vms_json_writer_member_uint64(out, "size", manifest->memory_size);
    vms_json_writer_member_string(out, "layout", vms_memory_layout_name(manifest->memory_layout));
    vms_json_writer_end_object(out);
}

void vms_render_manifest_json(VmsJsonWriter *out, const VmsManifest *manifest)
{
    g_autofree char *hex =
        vms_text_hex(manifest->repository_id.bytes, sizeof manifest->repository_id.bytes);
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "snapshot", hex);
    vms_json_writer_member_string(out, "id", manifest->id);
    write_domain(out, manifest->domain, manifest->uuid);
    vms_json_writer_member_string(out, "host", manifest->host);
    member_time(out, "time", manifest->time_us);
    vms_json_writer_member_string(out, "engine", vms_engine_name(manifest->engine));
    vms_json_writer_member_string(out, "consistency", vms_consistency_name(manifest->consistency));
    vms_json_writer_member_uint64(out, "frozen_filesystems", manifest->frozen_filesystems);
    write_manifest_memory(out, manifest);
    vms_json_writer_member_bool(out, "nvram", manifest->nvram);
    vms_json_writer_member_bool(out, "tpm", manifest->tpm);
    vms_json_writer_member_string(out, "full_reason", manifest->full_reason);
    vms_json_writer_key(out, "versions");
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "vmsnap", manifest->version_vmsnap);
    vms_json_writer_member_string(out, "libvirt", manifest->version_libvirt);
    vms_json_writer_member_string(out, "qemu", manifest->version_qemu);
    vms_json_writer_end_object(out);
    write_manifest_disks(out, manifest);
    vms_notes_write(out, manifest->notes);
    vms_json_writer_end_object(out);
}

char *vms_render_record_document(const char *schema, const VmsRecord *record)
{
    g_autoptr(VmsJsonWriter) out = vms_json_writer_new(true);
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "schema", schema);
    vms_json_writer_key(out, "snapshot");
    vms_render_record_json(out, record);
    vms_json_writer_end_object(out);
    return vms_json_writer_finish(out);
}

char *vms_render_export_document(const char *schema, const VmsExportResult *result)
{
    const VmsRepoWriterStats *stats = &result->stats;
    g_autoptr(VmsJsonWriter) out = vms_json_writer_new(true);
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "schema", schema);
    vms_json_writer_key(out, "snapshot");
    vms_render_record_json(out, result->record);
    vms_json_writer_key(out, "stats");
    vms_json_writer_begin_object(out);
    vms_json_writer_member_uint64(out, "bytes_total", result->bytes_total);
    vms_json_writer_member_uint64(out, "bytes_zero", result->bytes_zero);
    vms_json_writer_member_uint64(out, "bytes_read", stats->bytes_read);
    vms_json_writer_member_uint64(out, "bytes_new", stats->bytes_new);
    vms_json_writer_member_uint64(out, "bytes_uploaded", stats->bytes_uploaded);
    vms_json_writer_member_uint64(out, "blobs_new", stats->blobs_new);
    vms_json_writer_member_uint64(out, "blobs_known", stats->blobs_known);
    vms_json_writer_member_uint64(out, "packs", stats->packs);
    vms_json_writer_member_string(out, "full_reason", result->full_reason);
    member_int64(out, "duration_us", result->duration_us);
    member_int64(out, "commit_us", result->commit_us);
    vms_json_writer_key(out, "busy_us");
    vms_json_writer_begin_object(out);
    vms_json_writer_member_uint64(out, "read", result->read_us);
    vms_json_writer_member_uint64(out, "hash", stats->hash_us);
    vms_json_writer_member_uint64(out, "pack", stats->pack_us);
    vms_json_writer_member_uint64(out, "upload", stats->upload_us);
    vms_json_writer_member_uint64(out, "wait", stats->wait_us);
    vms_json_writer_end_object(out);
    vms_json_writer_end_object(out);
    vms_json_writer_end_object(out);
    return vms_json_writer_finish(out);
}
