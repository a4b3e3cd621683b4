/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/text.h"
#include "cli/render.h"
#include "cli/table.h"
#include "job/plain-name.h"

#include <string.h>

char *vms_render_what(VmsConsistency consistency, guint disks, unsigned frozen_filesystems)
{
    g_autofree char *count = g_strdup_printf("%u disk%s", disks, disks == 1 ? "" : "s");
    if (consistency == VMS_CONSISTENCY_MEMORY)
        return g_strdup_printf("memory and %s at one instant%s", count,
                               frozen_filesystems ? ", file systems frozen" : "");
    if (consistency == VMS_CONSISTENCY_QUIESCED)
        return g_strdup_printf("%s at one instant, %u file system%s frozen", count,
                               frozen_filesystems, frozen_filesystems == 1 ? "" : "s");
    return g_strdup_printf("%s at one instant, as after a power cut", count);
}

static char *tracking_text(const VmsDiskTracking *tracking)
{
    g_autofree char *bytes = vms_text_size(tracking->bytes_changed);
    switch (tracking->method) {
    case VMS_TRACKING_UNKNOWN:
        break;
    case VMS_TRACKING_NONE: {
        g_autofree char *reason = vms_table_plain(tracking->full_reason);
        return g_strdup_printf("all of it was read (%s)", reason);
    }
    case VMS_TRACKING_OVERLAY:
    case VMS_TRACKING_BITMAP:
        return g_strdup_printf("%s changed since %.8s, by %s", bytes, tracking->parent,
                               tracking->method == VMS_TRACKING_OVERLAY ? "the kept overlays"
                                                                        : "its bitmap");
    }
    return NULL;
}

static void append_tracking(GString *out, const VmsRecord *record)
{
    for (guint i = 0; i < record->disks->len; i++) {
        const VmsRecordDisk *disk = record->disks->pdata[i];
        g_autofree char *how = tracking_text(&disk->tracking);
        if (how)
            g_string_append_printf(out, "  %s: %s\n", disk->target, how);
    }
}

static void append_heartbeat(GString *out, const VmsRecord *record)
{
    const VmsHeartbeatGaps *seen = &record->heartbeat;
    if (seen->beats == 0 || seen->pause_us < 0)
        return;
    g_autofree char *pause = vms_table_duration(seen->pause_us);
    g_string_append_printf(out, "  heartbeat: silent for %s in the pause", pause);
    if (seen->write_us >= 0) {
        g_autofree char *write = vms_table_duration(seen->write_us);
        g_string_append_printf(out, ", for at most %s while memory was written", write);
    }
    g_string_append_c(out, '\n');
}

void vms_render_record_text(GString *out, const VmsRecord *record)
{
    static const char *const headings[] = {"disk", ">size", "frozen image", "overlay", NULL};
    g_autoptr(VmsTable) table = vms_table_new(headings);
    for (guint i = 0; i < record->disks->len; i++) {
        const VmsRecordDisk *disk = record->disks->pdata[i];
        g_autofree char *size = vms_text_size(disk->capacity);
        const char *cells[] = {disk->target, size, disk->base,
                               disk->merged ? "merged" : disk->overlay};
        vms_table_add(table, cells);
    }
    vms_table_append(table, "  ", out);
    append_tracking(out, record);
    if (!record->memory_path)
        return;
    g_autofree char *size = vms_text_size(record->memory_size);
    g_string_append_printf(out, "  memory: %s in %s (%s)\n", size, record->memory_path,
                           vms_engine_name(record->engine));
    append_heartbeat(out, record);
}

void vms_render_manifest_text(GString *out, const VmsManifest *manifest)
{
    static const char *const headings[] = {"disk", "bus", "format", ">size", "was at", NULL};
    g_autoptr(VmsTable) table = vms_table_new(headings);
    for (guint i = 0; i < manifest->disks->len; i++) {
        const VmsManifestDisk *disk = manifest->disks->pdata[i];
        g_autofree char *size = vms_text_size(disk->size);
        const char *cells[] = {disk->target, disk->bus, disk->format, size, disk->source};
        vms_table_add(table, cells);
    }
    vms_table_append(table, "  ", out);
    for (guint i = 0; i < manifest->disks->len; i++) {
        const VmsManifestDisk *disk = manifest->disks->pdata[i];
        g_autofree char *how = tracking_text(&disk->tracking);
        if (how)
            g_string_append_printf(out, "  %s: %s\n", disk->target, how);
    }
    if (manifest->memory_size > 0) {
        g_autofree char *size = vms_text_size(manifest->memory_size);
        g_string_append_printf(out, "  memory: %s, %s\n", size,
                               manifest->memory_layout == VMS_MEMORY_PAGES
                                   ? "every page once, by address"
                                   : "as QEMU wrote it");
    }
    if (manifest->nvram)
        g_string_append(out, "  UEFI variables: yes\n");
    if (manifest->tpm)
        g_string_append(out, "  TPM state: yes\n");
}

void vms_render_notes_text(GString *out, const GPtrArray *notes)
{
    for (guint i = 0; i < notes->len; i++) {
        const VmsNote *note = notes->pdata[i];
        g_autofree char *text = vms_table_plain(note->text);
        g_autofree char *code = vms_table_plain(note->code);
        g_string_append_printf(out, "  note: %s (%s)\n", text, code);
    }
}

static void append_amounts(GString *out, const VmsExportResult *result)
{
    const VmsRepoWriterStats *stats = &result->stats;
    g_autofree char *total = vms_text_size(result->bytes_total);
    g_autofree char *zero = vms_text_size(result->bytes_zero);
    g_autofree char *fresh = vms_text_size(stats->bytes_new);
    g_autofree char *uploaded = vms_text_size(stats->bytes_uploaded);
    g_autofree char *rate = vms_table_rate(result->bytes_total, result->duration_us);
    g_string_append_printf(out,
                           "  %s as the guest sees it, %s of it zeroes; %s were new, %s uploaded "
                           "(%s)\n",
                           total, zero, fresh, uploaded, rate);
    append_tracking(out, result->record);
}

/* What was the limit: the one whose time is near the run's, per thread that does it. */
static void append_busy(GString *out, const VmsExportResult *result)
{
    const VmsRepoWriterStats *stats = &result->stats;
    const struct {
        const char *name;
        uint64_t us;
    } stages[] = {
        {"reading", result->read_us},
        {"hashing", stats->hash_us},
        {"packing", stats->pack_us},
        {"uploading", stats->upload_us},
        {"waiting for uploads", stats->wait_us},
    };
    g_string_append(out, "  busy, summed over threads:");
    for (size_t i = 0; i < G_N_ELEMENTS(stages); i++) {
        g_autofree char *time = vms_table_duration((int64_t)stages[i].us);
        g_string_append_printf(out, "%s %s %s", i ? "," : "", stages[i].name, time);
    }
    g_string_append_c(out, '\n');
}

void vms_render_export_text(GString *out, const VmsExportResult *result)
{
    const VmsRecord *record = result->record;
    const char *hex = record->repository_snapshot ? record->repository_snapshot : "?";
    g_autofree char *duration = vms_table_duration(result->duration_us);
    g_string_append_printf(out, "%s: snapshot %s is stored in %s as %.8s (%s)\n", record->domain,
                           record->id, record->repository ? record->repository : "?", hex,
                           duration);
    if (vms_record_format(record) == VMS_FORMAT_QCOW2) {
        g_autofree char *folder = vms_plain_snapshot_folder(record->domain, record->id);
        g_string_append_printf(out, "  plain images in the folder %s there\n", folder);
    }
    append_amounts(out, result);
    append_busy(out, result);
    if (record->status == VMS_STATUS_DONE) {
        g_autofree char *merge = vms_table_duration(result->commit_us);
        g_string_append_printf(out, "  overlays merged back (%s): the guest is on its own disks\n",
                               merge);
    }
    vms_render_notes_text(out, record->notes);
    g_string_append(out, "\nNext:\n");
    if (record->status != VMS_STATUS_DONE)
        g_string_append_printf(out,
                               "  vmsnap commit %s   merge the overlays back: they grow with every "
                               "write of the guest\n",
                               record->domain);
    g_string_append_printf(out, "  vmsnap verify %.8s   read it back and check every byte\n", hex);
    g_string_append_printf(out,
                           "  vmsnap restore %.8s --as NAME   bring it back beside the "
                           "original\n",
                           hex);
}
