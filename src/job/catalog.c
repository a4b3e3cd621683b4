/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/catalog.h"

#include "base/db.h"
#include "base/durable.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "job/catalog-disks.h"
#include "job/timing.h"

#include <string.h>

struct VmsCatalog {
    VmsDb *db;
};

static const char *const migrations[] = {
    "CREATE TABLE snapshots ("
    " id TEXT PRIMARY KEY, domain TEXT NOT NULL, uuid TEXT NOT NULL, status TEXT NOT NULL,"
    " reason TEXT, created_us INTEGER NOT NULL, engine TEXT NOT NULL, consistency TEXT NOT NULL,"
    " frozen_filesystems INTEGER NOT NULL, freeze_us INTEGER NOT NULL, switch_us INTEGER NOT NULL,"
    " memory_path TEXT, memory_device INTEGER NOT NULL, memory_inode INTEGER NOT NULL,"
    " memory_size INTEGER NOT NULL, domain_xml TEXT, nvram TEXT, repository TEXT,"
    " repository_snapshot TEXT);"
    "CREATE TABLE disks ("
    " snapshot TEXT NOT NULL REFERENCES snapshots(id) ON DELETE CASCADE, position INTEGER NOT NULL,"
    " target TEXT NOT NULL, bus TEXT, base TEXT NOT NULL, base_format TEXT NOT NULL,"
    " overlay TEXT NOT NULL, device INTEGER NOT NULL, inode INTEGER NOT NULL,"
    " capacity INTEGER NOT NULL, merged INTEGER NOT NULL, PRIMARY KEY (snapshot, position));"
    "CREATE TABLE notes ("
    " snapshot TEXT NOT NULL REFERENCES snapshots(id) ON DELETE CASCADE, position INTEGER NOT NULL,"
    " code TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (snapshot, position));",
    "CREATE TABLE timings ("
    " snapshot TEXT NOT NULL REFERENCES snapshots(id) ON DELETE CASCADE, name TEXT NOT NULL,"
    " heartbeat INTEGER NOT NULL, value INTEGER NOT NULL,"
    " PRIMARY KEY (snapshot, name, heartbeat));",
    "ALTER TABLE snapshots ADD COLUMN tpm TEXT;",
    "ALTER TABLE disks ADD COLUMN chain TEXT;"
    "ALTER TABLE disks ADD COLUMN bitmap TEXT;"
    "ALTER TABLE disks ADD COLUMN tracking TEXT;"
    "ALTER TABLE disks ADD COLUMN parent TEXT;"
    "ALTER TABLE disks ADD COLUMN bytes_changed INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE disks ADD COLUMN full_reason TEXT;"
    "CREATE TABLE exports ("
    " snapshot TEXT NOT NULL REFERENCES snapshots(id) ON DELETE CASCADE,"
    " repository TEXT NOT NULL, stored TEXT NOT NULL, sequence INTEGER NOT NULL,"
    " PRIMARY KEY (snapshot, repository));",
    "ALTER TABLE snapshots ADD COLUMN was_running INTEGER NOT NULL DEFAULT 0;",
    "ALTER TABLE exports ADD COLUMN format TEXT NOT NULL DEFAULT 'restic';",
    /* In which order they were made: a clock that was set back does not know. */
    "ALTER TABLE snapshots ADD COLUMN sequence INTEGER;"
    "UPDATE snapshots SET sequence = (SELECT count(*) FROM snapshots AS other WHERE"
    " (other.created_us, other.rowid) <= (snapshots.created_us, snapshots.rowid));",
    /* Restores at work: what they are about to make, for "recover" should they be killed. */
    "CREATE TABLE restores ("
    " id TEXT PRIMARY KEY, snapshot TEXT NOT NULL, repository TEXT NOT NULL, domain TEXT,"
    " uuid TEXT, begun_us INTEGER NOT NULL, memory INTEGER NOT NULL, defining INTEGER NOT NULL,"
    " keep_tpm INTEGER NOT NULL, frozen_filesystems INTEGER NOT NULL);"
    "CREATE TABLE restored_files ("
    " restore TEXT NOT NULL REFERENCES restores(id) ON DELETE CASCADE, position INTEGER NOT NULL,"
    " kind TEXT NOT NULL, path TEXT NOT NULL, device INTEGER NOT NULL, inode INTEGER NOT NULL,"
    " written_ns INTEGER NOT NULL, PRIMARY KEY (restore, position));",
    "ALTER TABLE disks ADD COLUMN pressed TEXT;",
    "CREATE TABLE holds (uuid TEXT PRIMARY KEY, domain TEXT NOT NULL);",
    NULL,
};

VmsCatalog *vms_catalog_open(const VmsConfig *config, GError **error)
{
    if (!vms_durable_mkdir(config->state_dir, 0700, error)) {
        vms_prefix(error, "state directory");
        return NULL;
    }
    g_autofree char *path = g_build_filename(config->state_dir, "vmsnap.db", NULL);
    VmsDb *db = vms_db_open(path, true, migrations, error);
    if (!db)
        return NULL;
    /* A full file system is no reason why overlays cannot be dropped. */
    vms_db_keep_room(db);
    VmsCatalog *catalog = g_new0(VmsCatalog, 1);
    catalog->db = db;
    return catalog;
}

void vms_catalog_free(VmsCatalog *catalog)
{
    if (!catalog)
        return;
    vms_db_free(catalog->db);
    g_free(catalog);
}

VmsDb *vms_catalog_db(VmsCatalog *catalog)
{
    return catalog->db;
}

static bool insert_snapshot(VmsDb *db, const VmsRecord *record, int64_t sequence, GError **error)
{
    g_autoptr(VmsDbStmt) stmt = vms_db_prepare(
        db,
        "INSERT INTO snapshots VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,"
        "?18,?19,?20,?21,?22)",
        error);
    if (!stmt)
        return false;
    vms_db_bind_text(stmt, 1, record->id);
    vms_db_bind_text(stmt, 2, record->domain);
    vms_db_bind_text(stmt, 3, record->uuid);
    vms_db_bind_text(stmt, 4, vms_status_name(record->status));
    vms_db_bind_text(stmt, 5, record->reason);
    vms_db_bind_int64(stmt, 6, record->created_us);
    vms_db_bind_text(stmt, 7, vms_engine_name(record->engine));
    vms_db_bind_text(stmt, 8, vms_consistency_name(record->consistency));
    vms_db_bind_int64(stmt, 9, record->frozen_filesystems);
    vms_db_bind_int64(stmt, 10, record->freeze_us);
    vms_db_bind_int64(stmt, 11, record->switch_us);
    vms_db_bind_text(stmt, 12, record->memory_path);
    vms_db_bind_int64(stmt, 13, (int64_t)record->memory_device);
    vms_db_bind_int64(stmt, 14, (int64_t)record->memory_inode);
    vms_db_bind_int64(stmt, 15, (int64_t)record->memory_size);
    vms_db_bind_text(stmt, 16, record->domain_xml);
    vms_db_bind_text(stmt, 17, record->nvram);
    vms_db_bind_text(stmt, 18, record->repository);
    vms_db_bind_text(stmt, 19, record->repository_snapshot);
    vms_db_bind_text(stmt, 20, record->tpm);
    vms_db_bind_int64(stmt, 21, record->was_running);
    vms_db_bind_int64(stmt, 22, sequence);
    return vms_db_run(stmt, error);
}

static bool insert_notes(VmsDb *db, const VmsRecord *record, GError **error)
{
    g_autoptr(VmsDbStmt) stmt = vms_db_prepare(db, "INSERT INTO notes VALUES (?1,?2,?3,?4)", error);
    if (!stmt)
        return false;
    for (guint i = 0; i < record->notes->len; i++) {
        const VmsNote *note = record->notes->pdata[i];
        vms_db_bind_text(stmt, 1, record->id);
        vms_db_bind_int64(stmt, 2, i);
        vms_db_bind_text(stmt, 3, note->code);
        vms_db_bind_text(stmt, 4, note->text);
        if (!vms_db_run(stmt, error))
            return false;
    }
    return true;
}

static bool insert_timings(VmsDb *db, const VmsRecord *record, GError **error)
{
    g_autoptr(VmsDbStmt) stmt =
        vms_db_prepare(db, "INSERT INTO timings VALUES (?1,?2,?3,?4)", error);
    if (!stmt)
        return false;
    for (const VmsTimingField *field = vms_timing_fields; field->name; field++) {
        vms_db_bind_text(stmt, 1, record->id);
        vms_db_bind_text(stmt, 2, field->name);
        vms_db_bind_int64(stmt, 3, field->heartbeat);
        vms_db_bind_int64(stmt, 4, vms_timing_get(record, field));
        if (!vms_db_run(stmt, error))
            return false;
    }
    return true;
}

static bool delete_snapshot(VmsDb *db, const char *id, GError **error)
{
    g_autoptr(VmsDbStmt) stmt = vms_db_prepare(db, "DELETE FROM snapshots WHERE id = ?1", error);
    if (!stmt)
        return false;
    vms_db_bind_text(stmt, 1, id);
    return vms_db_run(stmt, error);
}

/* The one it has, or the next. */
static bool find_sequence(VmsDb *db, const char *id, int64_t *ret_sequence, GError **error)
{
    bool row;
    g_autoptr(VmsDbStmt) stmt =
        vms_db_prepare(db,
                       "SELECT coalesce((SELECT sequence FROM snapshots WHERE id = ?1),"
                       " (SELECT max(sequence) + 1 FROM snapshots), 1)",
                       error);
    if (!stmt)
        return false;
    vms_db_bind_text(stmt, 1, id);
    if (!vms_db_step(stmt, &row, error))
        return false;
    *ret_sequence = vms_db_column_int64(stmt, 0);
    return true;
}

static bool save(VmsCatalog *catalog, const VmsRecord *record, GError **error)
{
    VmsDb *db = catalog->db;
    int64_t sequence;
    vms_failpoint("catalog.saving");
    if (!vms_db_begin(db, error))
        return false;
    bool ok = find_sequence(db, record->id, &sequence, error) &&
              delete_snapshot(db, record->id, error) &&
              insert_snapshot(db, record, sequence, error) &&
              vms_catalog_insert_disks(db, record, error) && insert_notes(db, record, error) &&
              insert_timings(db, record, error);
    vms_failpoint("catalog.inserted");
    if (ok)
        ok = vms_db_commit(db, error);
    else
        vms_db_rollback(db);
    vms_failpoint("catalog.saved");
    return ok;
}

/* Without room the journal is written once more from its begin, where it has some. */
bool vms_catalog_save(VmsCatalog *catalog, const VmsRecord *record, GError **error)
{
    GError *cause = NULL;
    if (save(catalog, record, &cause))
        return true;
    if (vms_error_is(cause, VMS_ERROR_NO_SPACE) &&
        vms_db_exec(catalog->db, "PRAGMA wal_checkpoint(RESTART)", NULL)) {
        g_clear_error(&cause);
        if (save(catalog, record, &cause))
            return true;
    }
    g_propagate_error(error, cause);
    return false;
}

bool vms_catalog_save_if_room(VmsCatalog *catalog, const VmsRecord *record, GError **error)
{
    GError *cause = NULL;
    if (vms_catalog_save(catalog, record, &cause))
        return true;
    if (!vms_error_is(cause, VMS_ERROR_NO_SPACE)) {
        g_propagate_error(error, cause);
        return false;
    }
    g_info("%s: %s", record->id, cause->message);
    g_error_free(cause);
    return true;
}

bool vms_catalog_next_export(VmsCatalog *catalog, int64_t *ret_sequence, GError **error)
{
    bool row;
    g_autoptr(VmsDbStmt) stmt =
        vms_db_prepare(catalog->db, "SELECT coalesce(max(sequence), 0) + 1 FROM exports", error);
    if (!stmt || !vms_db_step(stmt, &row, error))
        return false;
    *ret_sequence = vms_db_column_int64(stmt, 0);
    return true;
}

static bool read_names(VmsDbStmt *stmt, VmsRecord *record, GError **error)
{
    bool known = vms_status_parse(vms_db_column_text(stmt, 3), &record->status) &&
                 vms_engine_parse(vms_db_column_text(stmt, 6), &record->engine) &&
                 vms_consistency_parse(vms_db_column_text(stmt, 7), &record->consistency);
    return known || vms_fail(error, VMS_ERROR_CORRUPT,
                             "snapshot %s has a state this program does not know", record->id);
}

static VmsRecord *read_snapshot(VmsDbStmt *stmt, GError **error)
{
    g_autoptr(VmsRecord) record = vms_record_new();
    record->id = g_strdup(vms_db_column_text(stmt, 0));
    record->domain = g_strdup(vms_db_column_text(stmt, 1));
    record->uuid = g_strdup(vms_db_column_text(stmt, 2));
    if (!read_names(stmt, record, error))
        return NULL;
    record->reason = g_strdup(vms_db_column_text(stmt, 4));
    record->created_us = vms_db_column_int64(stmt, 5);
    record->frozen_filesystems = (unsigned)vms_db_column_int64(stmt, 8);
    record->freeze_us = vms_db_column_int64(stmt, 9);
    record->switch_us = vms_db_column_int64(stmt, 10);
    record->memory_path = g_strdup(vms_db_column_text(stmt, 11));
    record->memory_device = (dev_t)vms_db_column_int64(stmt, 12);
    record->memory_inode = (ino_t)vms_db_column_int64(stmt, 13);
    record->memory_size = (uint64_t)vms_db_column_int64(stmt, 14);
    record->domain_xml = g_strdup(vms_db_column_text(stmt, 15));
    record->nvram = g_strdup(vms_db_column_text(stmt, 16));
    record->repository = g_strdup(vms_db_column_text(stmt, 17));
    record->repository_snapshot = g_strdup(vms_db_column_text(stmt, 18));
    record->tpm = g_strdup(vms_db_column_text(stmt, 19));
    record->was_running = vms_db_column_int64(stmt, 20) != 0;
    return g_steal_pointer(&record);
}

static bool read_notes(VmsDb *db, VmsRecord *record, GError **error)
{
    g_autoptr(VmsDbStmt) stmt = vms_db_prepare(
        db, "SELECT code, text FROM notes WHERE snapshot = ?1 ORDER BY position", error);
    if (!stmt)
        return false;
    vms_db_bind_text(stmt, 1, record->id);
    for (bool row;;) {
        if (!vms_db_step(stmt, &row, error))
            return false;
        if (!row)
            return true;
        vms_notes_add(record->notes, vms_db_column_text(stmt, 0), vms_db_column_text(stmt, 1));
    }
}

static bool read_timings(VmsDb *db, VmsRecord *record, GError **error)
{
    g_autoptr(VmsDbStmt) stmt =
        vms_db_prepare(db, "SELECT name, heartbeat, value FROM timings WHERE snapshot = ?1", error);
    if (!stmt)
        return false;
    vms_db_bind_text(stmt, 1, record->id);
    for (bool row;;) {
        if (!vms_db_step(stmt, &row, error))
            return false;
        if (!row)
            return true;
        vms_timing_set(record, vms_db_column_text(stmt, 0), vms_db_column_int64(stmt, 1) != 0,
                       vms_db_column_int64(stmt, 2));
    }
}

/* All rows of a prepared SELECT * FROM snapshots. */
static GPtrArray *read_all(VmsDb *db, VmsDbStmt *stmt, GError **error)
{
    g_autoptr(GPtrArray) records = g_ptr_array_new_with_free_func((GDestroyNotify)vms_record_free);
    for (bool row;;) {
        if (!vms_db_step(stmt, &row, error))
            return NULL;
        if (!row)
            return g_steal_pointer(&records);
        VmsRecord *record = read_snapshot(stmt, error);
        if (!record)
            return NULL;
        g_ptr_array_add(records, record);
        if (!vms_catalog_read_disks(db, record, error) || !read_notes(db, record, error) ||
            !read_timings(db, record, error))
            return NULL;
    }
}

GPtrArray *vms_catalog_list(VmsCatalog *catalog, const char *domain, bool ended, GError **error)
{
    g_autoptr(VmsDbStmt) stmt =
        vms_db_prepare(catalog->db,
                       "SELECT * FROM snapshots WHERE (?1 IS NULL OR domain = ?1 OR uuid = ?1)"
                       " AND (?2 OR status NOT IN ('done','failed','abandoned')) ORDER BY sequence",
                       error);
    if (!stmt)
        return NULL;
    vms_db_bind_text(stmt, 1, domain);
    vms_db_bind_int64(stmt, 2, ended);
    return read_all(catalog->db, stmt, error);
}

static VmsRecord *ambiguous(const char *prefix, GPtrArray *records, GError **error)
{
    g_autoptr(GString) names = g_string_new(NULL);
    for (guint i = 0; i < records->len; i++) {
        const VmsRecord *record = records->pdata[i];
        g_string_append_printf(names, "%s%s (%s)", i ? ", " : "", record->id, record->domain);
    }
    return vms_fail_null(error, VMS_ERROR_INVALID,
                         "snapshot \"%s\" is ambiguous: %s; give more digits", prefix, names->str);
}

VmsRecord *vms_catalog_find(VmsCatalog *catalog, const char *prefix, GError **error)
{
    size_t len = strlen(prefix);
    if (len < 4 || strspn(prefix, "0123456789abcdef") != len)
        return vms_fail_null(error, VMS_ERROR_INVALID,
                             "\"%s\" is not a snapshot id: give at least 4 of its hex digits, as "
                             "shown by vmsnap list",
                             prefix);
    g_autoptr(VmsDbStmt) stmt =
        vms_db_prepare(catalog->db,
                       "SELECT * FROM snapshots WHERE substr(id, 1, length(?1)) = ?1"
                       " OR substr(repository_snapshot, 1, length(?1)) = ?1 ORDER BY sequence",
                       error);
    if (!stmt)
        return NULL;
    vms_db_bind_text(stmt, 1, prefix);
    g_autoptr(GPtrArray) records = read_all(catalog->db, stmt, error);
    if (!records)
        return NULL;
    if (records->len == 0)
        return vms_fail_null(error, VMS_ERROR_NOT_FOUND,
                             "no snapshot \"%s\" on this host; vmsnap list --all shows them",
                             prefix);
    if (records->len > 1)
        return ambiguous(prefix, records, error);
    return g_ptr_array_steal_index(records, 0);
}

bool vms_catalog_ended(VmsStatus status)
{
    return status == VMS_STATUS_DONE || status == VMS_STATUS_FAILED ||
           status == VMS_STATUS_ABANDONED;
}
