/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/catalog-restores.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "job/catalog-disks.h"

static bool insert_restore(VmsDb *db, const VmsRestoreRecord *record, GError **error)
{
    g_autoptr(VmsDbStmt) stmt =
        vms_db_prepare(db, "INSERT INTO restores VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)", error);
    if (!stmt)
        return false;
    vms_db_bind_text(stmt, 1, record->id);
    vms_db_bind_text(stmt, 2, record->snapshot);
    vms_db_bind_text(stmt, 3, record->repository);
    vms_db_bind_text(stmt, 4, record->domain);
    vms_db_bind_text(stmt, 5, record->uuid);
    vms_db_bind_int64(stmt, 6, record->begun_us);
    vms_db_bind_int64(stmt, 7, record->memory);
    vms_db_bind_int64(stmt, 8, record->defining);
    vms_db_bind_int64(stmt, 9, record->keep_tpm);
    vms_db_bind_int64(stmt, 10, record->frozen_filesystems);
    return vms_db_run(stmt, error);
}

static bool insert_files(VmsDb *db, const VmsRestoreRecord *record, GError **error)
{
    g_autoptr(VmsDbStmt) stmt =
        vms_db_prepare(db, "INSERT INTO restored_files VALUES (?1,?2,?3,?4,?5,?6,?7)", error);
    if (!stmt)
        return false;
    for (guint i = 0; i < record->made->len; i++) {
        const VmsMade *made = record->made->pdata[i];
        vms_db_bind_text(stmt, 1, record->id);
        vms_db_bind_int64(stmt, 2, i);
        vms_db_bind_text(stmt, 3, vms_made_kind_name(made->kind));
        vms_db_bind_text(stmt, 4, made->path);
        vms_db_bind_int64(stmt, 5, (int64_t)made->device);
        vms_db_bind_int64(stmt, 6, (int64_t)made->inode);
        vms_db_bind_int64(stmt, 7, made->written_ns);
        if (!vms_db_run(stmt, error))
            return false;
    }
    return true;
}

static bool delete_restore(VmsDb *db, const char *id, GError **error)
{
    g_autoptr(VmsDbStmt) stmt = vms_db_prepare(db, "DELETE FROM restores WHERE id = ?1", error);
    if (!stmt)
        return false;
    vms_db_bind_text(stmt, 1, id);
    return vms_db_run(stmt, error);
}

bool vms_catalog_save_restore(VmsCatalog *catalog, const VmsRestoreRecord *record, GError **error)
{
    VmsDb *db = vms_catalog_db(catalog);
    vms_failpoint("catalog.restore-saving");
    if (!vms_db_begin(db, error))
        return false;
    bool ok = delete_restore(db, record->id, error) && insert_restore(db, record, error) &&
              insert_files(db, record, error);
    if (ok)
        ok = vms_db_commit(db, error);
    else
        vms_db_rollback(db);
    vms_failpoint("catalog.restore-saved");
    return ok;
}

static bool read_files(VmsDb *db, VmsRestoreRecord *record, GError **error)
{
    g_autoptr(VmsDbStmt) stmt =
        vms_db_prepare(db,
                       "SELECT kind, path, device, inode, written_ns FROM restored_files"
                       " WHERE restore = ?1 ORDER BY position",
                       error);
    if (!stmt)
        return false;
    vms_db_bind_text(stmt, 1, record->id);
    for (bool row;;) {
        VmsMadeKind kind;
        if (!vms_db_step(stmt, &row, error))
            return false;
        if (!row)
            return true;
        if (!vms_made_kind_parse(vms_db_column_text(stmt, 0), &kind))
            return vms_fail(error, VMS_ERROR_CORRUPT,
                            "restore %s has made something this program does not know", record->id);
        VmsMade *made = vms_restore_record_add(record, kind, vms_db_column_text(stmt, 1));
        made->device = (dev_t)vms_db_column_int64(stmt, 2);
        made->inode = (ino_t)vms_db_column_int64(stmt, 3);
        made->written_ns = vms_db_column_int64(stmt, 4);
    }
}

static VmsRestoreRecord *read_restore(VmsDbStmt *stmt)
{
    VmsRestoreRecord *record = vms_restore_record_new();
    g_free(record->id);
    record->id = g_strdup(vms_db_column_text(stmt, 0));
    record->snapshot = g_strdup(vms_db_column_text(stmt, 1));
    record->repository = g_strdup(vms_db_column_text(stmt, 2));
    record->domain = g_strdup(vms_db_column_text(stmt, 3));
    record->uuid = g_strdup(vms_db_column_text(stmt, 4));
    record->begun_us = vms_db_column_int64(stmt, 5);
    record->memory = vms_db_column_int64(stmt, 6) != 0;
    record->defining = vms_db_column_int64(stmt, 7) != 0;
    record->keep_tpm = vms_db_column_int64(stmt, 8) != 0;
    record->frozen_filesystems = (unsigned)vms_db_column_int64(stmt, 9);
    return record;
}

/* where: with ?1, which text is bound to. */
static GPtrArray *select_restores(VmsDb *db, const char *where, const char *text, GError **error)
{
    g_autofree char *sql =
        g_strdup_printf("SELECT * FROM restores WHERE %s ORDER BY begun_us, id", where);
    g_autoptr(GPtrArray) records =
        g_ptr_array_new_with_free_func((GDestroyNotify)vms_restore_record_free);
    g_autoptr(VmsDbStmt) stmt = vms_db_prepare(db, sql, error);
    if (!stmt)
        return NULL;
    vms_db_bind_text(stmt, 1, text);
    for (bool row;;) {
        if (!vms_db_step(stmt, &row, error))
            return NULL;
        if (!row)
            return g_steal_pointer(&records);
        VmsRestoreRecord *record = read_restore(stmt);
        g_ptr_array_add(records, record);
        if (!read_files(db, record, error))
            return NULL;
    }
}

GPtrArray *vms_catalog_list_restores(VmsCatalog *catalog, const char *domain, GError **error)
{
    return select_restores(vms_catalog_db(catalog), "?1 IS NULL OR domain = ?1 OR uuid = ?1",
                           domain, error);
}

bool vms_catalog_find_restore(VmsCatalog *catalog, const char *id, VmsRestoreRecord **ret_record,
                              GError **error)
{
    g_autoptr(GPtrArray) records = select_restores(vms_catalog_db(catalog), "id = ?1", id, error);
    if (!records)
        return false;
    *ret_record = records->len > 0 ? g_ptr_array_steal_index(records, 0) : NULL;
    return true;
}

bool vms_catalog_remove_restore(VmsCatalog *catalog, const char *id, GError **error)
{
    vms_failpoint("catalog.restore-removing");
    bool ok = delete_restore(vms_catalog_db(catalog), id, error);
    vms_failpoint("catalog.restore-removed");
    return ok;
}
