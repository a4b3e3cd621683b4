/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An index file is taken up in one transaction, together with its name: a crash leaves it seen or
 * unseen. Several processes may share the file; whoever comes second finds the name taken and skips
 * it. A pack that two index files list has a row for each, so forgetting one keeps what the other
 * knows.
 *
 * Ids are uniformly random, so rows land all over the B-tree: each batch is sorted by id first,
 * which turns random page writes into one sweep. Resident memory: SQLite's page cache (16 MiB) and
 * one batch. */
#include "repo/index-db.h"

#include "base/db.h"
#include "base/error.h"
#include "repo/index-file.h"

#include <string.h>

#define BATCH 65536

struct VmsIndexDb {
    VmsDb *db;
    VmsDbStmt *find;
    VmsDbStmt *add_file;
    VmsDbStmt *add_pack;
    VmsDbStmt *add_blob;
};

static const char *const migrations[] = {
    "CREATE TABLE file(n INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE);"
    "CREATE TABLE pack(n INTEGER PRIMARY KEY, id BLOB NOT NULL, file INTEGER NOT NULL);"
    "CREATE INDEX pack_file ON pack(file);"
    "CREATE TABLE blob(id BLOB NOT NULL, type INTEGER NOT NULL, pack INTEGER NOT NULL,"
    " at INTEGER NOT NULL, length INTEGER NOT NULL, plain INTEGER NOT NULL,"
    " PRIMARY KEY(id, type, pack)) WITHOUT ROWID;",
    NULL,
};

VmsIndexDb *vms_index_db_open(const char *path, GError **error)
{
    static const char find[] = "SELECT pack.id, at, length, plain FROM blob"
                               " JOIN pack ON pack.n = blob.pack WHERE blob.id = ?1 AND type = ?2";
    static const char add_file[] =
        "INSERT INTO file(id) VALUES(?1) ON CONFLICT DO NOTHING RETURNING n";
    static const char add_pack[] = "INSERT INTO pack(id, file) VALUES(?1, ?2)";
    static const char add_blob[] =
        "INSERT INTO blob VALUES(?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
    g_autoptr(VmsIndexDb) db = g_new0(VmsIndexDb, 1);

    db->db = vms_db_open(path, false, migrations, error);
    if (db->db == NULL || !vms_db_exec(db->db, "PRAGMA cache_size = -16384", error) ||
        (db->find = vms_db_prepare(db->db, find, error)) == NULL ||
        (db->add_file = vms_db_prepare(db->db, add_file, error)) == NULL ||
        (db->add_pack = vms_db_prepare(db->db, add_pack, error)) == NULL ||
        (db->add_blob = vms_db_prepare(db->db, add_blob, error)) == NULL)
        return NULL;
    return g_steal_pointer(&db);
}

void vms_index_db_free(VmsIndexDb *db)
{
    if (db != NULL) {
        vms_db_stmt_free(db->find);
        vms_db_stmt_free(db->add_file);
        vms_db_stmt_free(db->add_pack);
        vms_db_stmt_free(db->add_blob);
        vms_db_free(db->db);
        g_free(db);
    }
}

static bool read_id(VmsDbStmt *stmt, int at, VmsId *ret_id, GError **error)
{
    size_t len = 0;
    const void *data = vms_db_column_blob(stmt, at, &len);

    if (len != VMS_ID_LEN)
        return vms_fail(error, VMS_ERROR_CORRUPT, "index cache: an id of %zu bytes", len);
    memcpy(ret_id->bytes, data, VMS_ID_LEN);
    return true;
}

static bool read_place(VmsDbStmt *stmt, VmsIndexPlace *ret_place, GError **error)
{
    int64_t offset = vms_db_column_int64(stmt, 1);
    int64_t length = vms_db_column_int64(stmt, 2);
    int64_t plain = vms_db_column_int64(stmt, 3);

    if (!read_id(stmt, 0, &ret_place->pack, error))
        return false;
    if (offset < 0 || length < VMS_SEAL_OVERHEAD || plain < 0 || offset > UINT32_MAX ||
        length > UINT32_MAX || plain > UINT32_MAX)
        return vms_fail(error, VMS_ERROR_CORRUPT, "index cache: an impossible place");
    ret_place->blob.offset = (uint32_t)offset;
    ret_place->blob.length = (uint32_t)length;
    ret_place->blob.plain_length = (uint32_t)plain;
    return true;
}

bool vms_index_db_find(VmsIndexDb *db, VmsBlobType type, const VmsId *id,
                       VmsIndexPlace ret_places[VMS_INDEX_MAX_PLACES], size_t *ret_count,
                       GError **error)
{
    size_t count = 0;
    bool ok = true, row = true;

    vms_db_bind_blob(db->find, 1, id->bytes, VMS_ID_LEN);
    vms_db_bind_int64(db->find, 2, type);
    while (ok && count < VMS_INDEX_MAX_PLACES) {
        ok = vms_db_step(db->find, &row, error);
        if (!ok || !row)
            break;
        ret_places[count].blob.id = *id;
        ret_places[count].blob.type = type;
        ok = read_place(db->find, &ret_places[count], error);
        count++;
    }
    vms_db_stmt_reset(db->find);
    if (ok)
        *ret_count = count;
    return ok;
}

/* Blobs on their way into the tables. */
typedef struct {
    int64_t pack; /* row of its pack */
    VmsPackBlob blob;
} Row;

typedef struct {
    VmsIndexDb *db;
    int64_t file;
    GArray *rows;
} Filler;

static int compare_rows(const void *a, const void *b)
{
    return memcmp(((const Row *)a)->blob.id.bytes, ((const Row *)b)->blob.id.bytes, VMS_ID_LEN);
}

static bool write_rows(Filler *filler, GError **error)
{
    VmsDbStmt *stmt = filler->db->add_blob;

    g_array_sort(filler->rows, compare_rows);
    for (guint i = 0; i < filler->rows->len; i++) {
        const Row *row = &g_array_index(filler->rows, Row, i);

        vms_db_bind_blob(stmt, 1, row->blob.id.bytes, VMS_ID_LEN);
        vms_db_bind_int64(stmt, 2, row->blob.type);
        vms_db_bind_int64(stmt, 3, row->pack);
        vms_db_bind_int64(stmt, 4, row->blob.offset);
        vms_db_bind_int64(stmt, 5, row->blob.length);
        vms_db_bind_int64(stmt, 6, row->blob.plain_length);
        if (!vms_db_run(stmt, error))
            return false;
    }
    g_array_set_size(filler->rows, 0);
    return true;
}

static bool fill_pack(void *user, const VmsId *pack, const VmsPackBlob *blobs, size_t count,
                      GError **error)
{
    Filler *filler = user;
    VmsIndexDb *db = filler->db;

    vms_db_bind_blob(db->add_pack, 1, pack->bytes, VMS_ID_LEN);
    vms_db_bind_int64(db->add_pack, 2, filler->file);
    if (!vms_db_run(db->add_pack, error))
        return false;

    int64_t n = vms_db_last_rowid(db->db);
    for (size_t i = 0; i < count; i++) {
        Row row = {.pack = n, .blob = blobs[i]};

        g_array_append_val(filler->rows, row);
        if (filler->rows->len >= BATCH && !write_rows(filler, error))
            return false;
    }
    return true;
}

/* Inside a transaction. */
static bool fill_file(VmsIndexDb *db, const VmsId *id, const void *text, size_t len, GError **error)
{
    g_autoptr(GArray) rows = g_array_new(FALSE, FALSE, sizeof(Row));
    Filler filler = {.db = db, .rows = rows};
    bool is_new = false;

    vms_db_bind_blob(db->add_file, 1, id->bytes, VMS_ID_LEN);
    bool ok = vms_db_step(db->add_file, &is_new, error);
    if (ok && is_new)
        filler.file = vms_db_column_int64(db->add_file, 0);
    vms_db_stmt_reset(db->add_file);
    if (!ok || !is_new) /* not new: another process was faster */
        return ok;
    return vms_index_file_parse(text, len, fill_pack, &filler, error) && write_rows(&filler, error);
}

bool vms_index_db_add_file(VmsIndexDb *db, const VmsId *id, const void *text, size_t len,
                           GError **error)
{
    if (!vms_db_begin(db->db, error))
        return false;
    if (!fill_file(db, id, text, len, error)) {
        vms_db_rollback(db->db);
        return false;
    }
    return vms_db_commit(db->db, error);
}

static guint hash_id(const void *id)
{
    guint value;

    memcpy(&value, id, sizeof(value));
    return value;
}

static gboolean equal_id(const void *a, const void *b)
{
    return vms_id_equal(a, b);
}

GHashTable *vms_index_db_files(VmsIndexDb *db, GError **error)
{
    g_autoptr(GHashTable) files = g_hash_table_new_full(hash_id, equal_id, g_free, g_free);
    g_autoptr(VmsDbStmt) stmt = vms_db_prepare(db->db, "SELECT id, n FROM file", error);
    bool row = true;
    VmsId id;

    while (stmt != NULL) {
        if (!vms_db_step(stmt, &row, error))
            return NULL;
        if (!row)
            return g_steal_pointer(&files);
        if (!read_id(stmt, 0, &id, error))
            return NULL;
        int64_t n = vms_db_column_int64(stmt, 1);
        g_hash_table_insert(files, g_memdup2(&id, sizeof(id)), g_memdup2(&n, sizeof(n)));
    }
    return NULL;
}

static bool forget(VmsIndexDb *db, GHashTable *files, GError **error)
{
    static const char sweep[] = "DELETE FROM blob WHERE pack IN (SELECT pack.n FROM pack"
                                " JOIN temp.gone ON pack.file = gone.n);"
                                "DELETE FROM pack WHERE file IN (SELECT n FROM temp.gone);"
                                "DELETE FROM file WHERE n IN (SELECT n FROM temp.gone);"
                                "DELETE FROM temp.gone;";
    g_autoptr(VmsDbStmt) stmt = vms_db_prepare(db->db, "INSERT INTO temp.gone VALUES(?1)", error);
    GHashTableIter iter;
    void *n;

    if (stmt == NULL)
        return false;
    g_hash_table_iter_init(&iter, files);
    while (g_hash_table_iter_next(&iter, NULL, &n)) {
        vms_db_bind_int64(stmt, 1, *(int64_t *)n);
        if (!vms_db_run(stmt, error))
            return false;
    }
    return vms_db_exec(db->db, sweep, error);
}

bool vms_index_db_forget(VmsIndexDb *db, GHashTable *files, GError **error)
{
    static const char table[] = "CREATE TEMP TABLE IF NOT EXISTS gone(n INTEGER PRIMARY KEY)";

    if (g_hash_table_size(files) == 0)
        return true;
    if (!vms_db_exec(db->db, table, error) || !vms_db_begin(db->db, error))
        return false;
    if (!forget(db, files, error)) {
        vms_db_rollback(db->db);
        return false;
    }
    return vms_db_commit(db->db, error);
}
