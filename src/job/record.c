/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/record.h"

static const char *const status_names[] = {
    [VMS_STATUS_PREPARING] = "preparing", [VMS_STATUS_CAPTURING] = "capturing",
    [VMS_STATUS_CAPTURED] = "captured",   [VMS_STATUS_EXPORTING] = "exporting",
    [VMS_STATUS_EXPORTED] = "exported",   [VMS_STATUS_COMMITTING] = "committing",
    [VMS_STATUS_DONE] = "done",           [VMS_STATUS_FAILED] = "failed",
    [VMS_STATUS_ABANDONED] = "abandoned",
};

static const char *const engine_names[] = {
    [VMS_ENGINE_NONE] = "none",
    [VMS_ENGINE_LIVE] = "live",
    [VMS_ENGINE_COW] = "cow",
};

static const char *const consistency_names[] = {
    [VMS_CONSISTENCY_CRASH] = "crash",
    [VMS_CONSISTENCY_QUIESCED] = "quiesced",
    [VMS_CONSISTENCY_MEMORY] = "memory",
};

static const char *const tracking_names[] = {
    [VMS_TRACKING_UNKNOWN] = NULL,
    [VMS_TRACKING_NONE] = "none",
    [VMS_TRACKING_OVERLAY] = "overlay",
    [VMS_TRACKING_BITMAP] = "bitmap",
};

static const char *const format_names[] = {
    [VMS_FORMAT_RESTIC] = "restic",
    [VMS_FORMAT_QCOW2] = "qcow2",
};

static bool find_name(const char *const *names, size_t n, const char *name, int *ret_value)
{
    for (size_t i = 0; i < n; i++) {
        if (g_strcmp0(names[i], name) != 0)
            continue;
        *ret_value = (int)i;
        return true;
    }
    return false;
}

const char *vms_status_name(VmsStatus status)
{
    return status_names[status];
}

const char *vms_engine_name(VmsEngine engine)
{
    return engine_names[engine];
}

const char *vms_consistency_name(VmsConsistency consistency)
{
    return consistency_names[consistency];
}

const char *vms_tracking_name(VmsTracking tracking)
{
    return tracking_names[tracking];
}

const char *vms_format_name(VmsFormat format)
{
    return format_names[format];
}

bool vms_format_parse(const char *name, VmsFormat *ret_format)
{
    int value;
    if (!find_name(format_names, G_N_ELEMENTS(format_names), name, &value))
        return false;
    *ret_format = (VmsFormat)value;
    return true;
}

bool vms_tracking_parse(const char *name, VmsTracking *ret_tracking)
{
    int value;
    if (!find_name(tracking_names, G_N_ELEMENTS(tracking_names), name, &value))
        return false;
    *ret_tracking = (VmsTracking)value;
    return true;
}

bool vms_status_parse(const char *name, VmsStatus *ret_status)
{
    int value;
    if (!find_name(status_names, G_N_ELEMENTS(status_names), name, &value))
        return false;
    *ret_status = (VmsStatus)value;
    return true;
}

bool vms_engine_parse(const char *name, VmsEngine *ret_engine)
{
    int value;
    if (!find_name(engine_names, G_N_ELEMENTS(engine_names), name, &value))
        return false;
    *ret_engine = (VmsEngine)value;
    return true;
}

bool vms_consistency_parse(const char *name, VmsConsistency *ret_consistency)
{
    int value;
    if (!find_name(consistency_names, G_N_ELEMENTS(consistency_names), name, &value))
        return false;
    *ret_consistency = (VmsConsistency)value;
    return true;
}

void vms_disk_tracking_clear(VmsDiskTracking *tracking)
{
    g_free(tracking->parent);
    g_free(tracking->full_reason);
    *tracking = (VmsDiskTracking){0};
}

void vms_disk_tracking_copy(VmsDiskTracking *target, const VmsDiskTracking *source)
{
    if (target == source)
        return;
    vms_disk_tracking_clear(target);
    if (!source)
        return;
    *target = *source;
    target->parent = g_strdup(source->parent);
    target->full_reason = g_strdup(source->full_reason);
}

static void export_free(void *data)
{
    VmsRecordExport *export = data;
    g_free(export->repository);
    g_free(export->snapshot);
    g_free(export);
}

static void disk_free(void *data)
{
    VmsRecordDisk *disk = data;
    g_free(disk->chain);
    g_free(disk->bitmap);
    g_free(disk->pressed);
    vms_disk_tracking_clear(&disk->tracking);
    g_free(disk->target);
    g_free(disk->bus);
    g_free(disk->base);
    g_free(disk->base_format);
    g_free(disk->overlay);
    g_free(disk);
}

static void note_free(void *data)
{
    VmsNote *note = data;
    g_free(note->code);
    g_free(note->text);
    g_free(note);
}

GPtrArray *vms_notes_new(void)
{
    return g_ptr_array_new_with_free_func(note_free);
}

void vms_notes_add(GPtrArray *notes, const char *code, const char *text)
{
    VmsNote *note = g_new0(VmsNote, 1);
    note->code = g_strdup(code);
    note->text = g_strdup(text);
    g_ptr_array_add(notes, note);
}

VmsRecord *vms_record_new(void)
{
    VmsRecord *record = g_new0(VmsRecord, 1);
    record->disks = g_ptr_array_new_with_free_func(disk_free);
    record->exports = g_ptr_array_new_with_free_func(export_free);
    record->notes = vms_notes_new();
    return record;
}

void vms_record_free(VmsRecord *record)
{
    if (!record)
        return;
    g_free(record->id);
    g_free(record->domain);
    g_free(record->uuid);
    g_free(record->reason);
    g_free(record->memory_path);
    g_free(record->domain_xml);
    g_free(record->nvram);
    g_free(record->tpm);
    g_free(record->repository);
    g_free(record->repository_snapshot);
    g_ptr_array_unref(record->exports);
    g_ptr_array_unref(record->disks);
    g_ptr_array_unref(record->notes);
    g_free(record);
}

VmsRecordDisk *vms_record_add_disk(VmsRecord *record, const char *target)
{
    VmsRecordDisk *disk = g_new0(VmsRecordDisk, 1);
    disk->target = g_strdup(target);
    g_ptr_array_add(record->disks, disk);
    return disk;
}

VmsRecordDisk *vms_record_disk(const VmsRecord *record, const char *target)
{
    for (guint i = 0; i < record->disks->len; i++) {
        VmsRecordDisk *disk = record->disks->pdata[i];
        if (g_str_equal(disk->target, target))
            return disk;
    }
    return NULL;
}

const VmsRecordExport *vms_record_export(const VmsRecord *record, const char *repository)
{
    for (guint i = 0; i < record->exports->len; i++) {
        const VmsRecordExport *export = record->exports->pdata[i];
        if (g_str_equal(export->repository, repository))
            return export;
    }
    return NULL;
}

VmsFormat vms_record_format(const VmsRecord *record)
{
    for (guint i = 0; i < record->exports->len; i++) {
        const VmsRecordExport *export = record->exports->pdata[i];
        if (g_strcmp0(export->snapshot, record->repository_snapshot) == 0)
            return export->format;
    }
    return VMS_FORMAT_RESTIC; /* of a vmsnap that knew nothing else */
}

void vms_record_set_export(VmsRecord *record, VmsFormat format, const char *repository,
                           const char *snapshot, int64_t sequence)
{
    VmsRecordExport *export = (VmsRecordExport *)vms_record_export(record, repository);
    if (!export) {
        export = g_new0(VmsRecordExport, 1);
        export->repository = g_strdup(repository);
        g_ptr_array_add(record->exports, export);
    }
    g_free(export->snapshot);
    export->format = format;
    export->snapshot = g_strdup(snapshot);
    export->sequence = sequence;
}

void vms_record_add_note(VmsRecord *record, const char *code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    vms_notes_add(record->notes, code, text);
}
