/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/catalog-disks.h"

#include "base/error.h"

static bool insert_disk(VmsDbStmt *stmt, const char *snapshot, guint at, const VmsRecordDisk *disk,
                        GError **error)
{
    vms_db_bind_text(stmt, 1, snapshot);
    vms_db_bind_int64(stmt, 2, at);
    vms_db_bind_text(stmt, 3, disk->target);
    vms_db_bind_text(stmt, 4, disk->bus);
    vms_db_bind_text(stmt, 5, disk->base);
    vms_db_bind_text(stmt, 6, disk->base_format);
    vms_db_bind_text(stmt, 7, disk->overlay);
    vms_db_bind_int64(stmt, 8, (int64_t)disk->device);
    vms_db_bind_int64(stmt, 9, (int64_t)disk->inode);
    vms_db_bind_int64(stmt, 10, (int64_t)disk->capacity);
    vms_db_bind_int64(stmt, 11, disk->merged);
    vms_db_bind_text(stmt, 12, disk->chain);
    vms_db_bind_text(stmt, 13, disk->bitmap);
    vms_db_bind_text(stmt, 14, vms_tracking_name(disk->tracking.method));
    vms_db_bind_text(stmt, 15, disk->tracking.parent);
    vms_db_bind_int64(stmt, 16, (int64_t)disk->tracking.bytes_changed);
    vms_db_bind_text(stmt, 17, disk->tracking.full_reason);
    vms_db_bind_text(stmt, 18, disk->pressed);
    return vms_db_run(stmt, error);
}

static bool insert_exports(VmsDb *db, const VmsRecord *record, GError **error)
{
    g_autoptr(VmsDbStmt) stmt =
        vms_db_prepare(db, "INSERT INTO exports VALUES (?1,?2,?3,?4,?5)", error);
    if (!stmt)
        return false;
    for (guint i = 0; i < record->exports->len; i++) {
        const VmsRecordExport *export = record->exports->pdata[i];
        vms_db_bind_text(stmt, 1, record->id);
        vms_db_bind_text(stmt, 2, export->repository);
        vms_db_bind_text(stmt, 3, export->snapshot);
        vms_db_bind_int64(stmt, 4, export->sequence);
        vms_db_bind_text(stmt, 5, vms_format_name(export->format));
        if (!vms_db_run(stmt, error))
            return false;
    }
    return true;
}

bool vms_catalog_insert_disks(VmsDb *db, const VmsRecord *record, GError **error)
{
    g_autoptr(VmsDbStmt) stmt = vms_db_prepare(
        db,
        "INSERT INTO disks VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18)",
        error);
    if (!stmt)
        return false;
    for (guint i = 0; i < record->disks->len; i++)
        if (!insert_disk(stmt, record->id, i, record->disks->pdata[i], error))
            return false;
    return insert_exports(db, record, error);
}

static bool read_disk(VmsDbStmt *stmt, VmsRecord *record, GError **error)
{
    VmsRecordDisk *disk = vms_record_add_disk(record, vms_db_column_text(stmt, 2));
    const char *tracking = vms_db_column_text(stmt, 13);
    disk->bus = g_strdup(vms_db_column_text(stmt, 3));
    disk->base = g_strdup(vms_db_column_text(stmt, 4));
    disk->base_format = g_strdup(vms_db_column_text(stmt, 5));
    disk->overlay = g_strdup(vms_db_column_text(stmt, 6));
    disk->device = (dev_t)vms_db_column_int64(stmt, 7);
    disk->inode = (ino_t)vms_db_column_int64(stmt, 8);
    disk->capacity = (uint64_t)vms_db_column_int64(stmt, 9);
    disk->merged = vms_db_column_int64(stmt, 10) != 0;
    disk->chain = g_strdup(vms_db_column_text(stmt, 11));
    disk->bitmap = g_strdup(vms_db_column_text(stmt, 12));
    if (tracking && !vms_tracking_parse(tracking, &disk->tracking.method))
        return vms_fail(error, VMS_ERROR_CORRUPT,
                        "snapshot %s has a tracking this program does not know", record->id);
    disk->tracking.parent = g_strdup(vms_db_column_text(stmt, 14));
    disk->tracking.bytes_changed = (uint64_t)vms_db_column_int64(stmt, 15);
    disk->tracking.full_reason = g_strdup(vms_db_column_text(stmt, 16));
    disk->pressed = g_strdup(vms_db_column_text(stmt, 17));
    return true;
}

static bool read_exports(VmsDb *db, VmsRecord *record, GError **error)
{
    g_autoptr(VmsDbStmt) stmt = vms_db_prepare(
        db,
        "SELECT repository, stored, sequence, format FROM exports WHERE snapshot = ?1"
        " ORDER BY sequence",
        error);
    if (!stmt)
        return false;
    vms_db_bind_text(stmt, 1, record->id);
    for (bool row;;) {
        if (!vms_db_step(stmt, &row, error))
            return false;
        if (!row)
            return true;
        VmsFormat format;
        if (!vms_format_parse(vms_db_column_text(stmt, 3), &format))
            return vms_fail(error, VMS_ERROR_CORRUPT,
                            "snapshot %s was exported in a format this program does not know",
                            record->id);
        vms_record_set_export(record, format, vms_db_column_text(stmt, 0),
                              vms_db_column_text(stmt, 1), vms_db_column_int64(stmt, 2));
    }
}

bool vms_catalog_read_disks(VmsDb *db, VmsRecord *record, GError **error)
{
    g_autoptr(VmsDbStmt) stmt =
        vms_db_prepare(db, "SELECT * FROM disks WHERE snapshot = ?1 ORDER BY position", error);
    if (!stmt)
        return false;
    vms_db_bind_text(stmt, 1, record->id);
    for (bool row;;) {
        if (!vms_db_step(stmt, &row, error))
            return false;
        if (!row)
            return read_exports(db, record, error);
        if (!read_disk(stmt, record, error))
            return false;
    }
}
