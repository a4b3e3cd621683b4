/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Blobs lie in parts of packs, in the order in which packs became known: filling appends, and
 * reading a whole pack is one range. A table of 20 bytes a blob leads from the first 64 bits of an
 * id to its part; the whole id is compared there, so a look-up of an unknown blob reads the small
 * table only. Ten million blobs take about 800 MB.
 *
 * A pack is kept once for each different list of it, with the number of index files that say so:
 * when a prune rewrites all index files, only numbers change.
 *
 * Resident memory: SQLite's page cache. No mmap: mapped pages count as resident, and a cache that
 * is truncated meanwhile would end the program by a signal. */
#include "repo/index-db.h"

#include "base/error.h"
#include "repo/index-db-private.h"
#include "repo/index-part.h"

#include <string.h>

#define PATIENCE (10 * 60) /* seconds that another process may go on writing */
#define BUSY 10            /* seconds that SQLite waits */

static const char *const migrations[] = {
    "", /* was another layout */
    "DROP TABLE IF EXISTS blob; DROP TABLE IF EXISTS pack; DROP TABLE IF EXISTS file;"
    "CREATE TABLE file(n INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE);"
    "CREATE TABLE pack(id BLOB NOT NULL, sum INTEGER NOT NULL, n INTEGER NOT NULL,"
    " parts INTEGER NOT NULL, files INTEGER NOT NULL, PRIMARY KEY(id, sum)) WITHOUT ROWID;"
    "CREATE TABLE link(file INTEGER NOT NULL, pack INTEGER NOT NULL, PRIMARY KEY(file, pack))"
    " WITHOUT ROWID;"
    "CREATE TABLE part(n INTEGER PRIMARY KEY, body BLOB NOT NULL);"
    "CREATE TABLE blob(key INTEGER NOT NULL, part INTEGER NOT NULL, PRIMARY KEY(key, part))"
    " WITHOUT ROWID;",
    NULL,
};

static bool prepare(VmsIndexDb *db, GError **error)
{
    const struct {
        VmsDbStmt **stmt;
        const char *sql;
    } all[] = {
        {&db->find, "SELECT body FROM blob LEFT JOIN part ON part.n = blob.part WHERE key = ?1"},
        {&db->find_file, "SELECT n FROM file WHERE id = ?1"},
        {&db->add_file, "INSERT INTO file(id) VALUES(?1) ON CONFLICT DO NOTHING RETURNING n"},
        {&db->remove_file, "DELETE FROM file WHERE n = ?1"},
        {&db->find_pack, "SELECT n FROM pack WHERE id = ?1 AND sum = ?2"},
        {&db->add_pack, "INSERT INTO pack VALUES(?1, ?2, ?3, ?4, 0)"},
        {&db->count_pack, "UPDATE pack SET files = files + ?3 WHERE id = ?1 AND n = ?2"
                          " RETURNING files, parts"},
        {&db->remove_pack, "DELETE FROM pack WHERE id = ?1 AND n = ?2"},
        {&db->add_link, "INSERT INTO link VALUES(?1, ?2) ON CONFLICT DO NOTHING RETURNING 1"},
        {&db->remove_links, "DELETE FROM link WHERE file = ?1"},
        {&db->get_part, "SELECT body FROM part WHERE n = ?1"},
        {&db->add_part, "INSERT INTO part VALUES(?1, ?2)"},
        {&db->remove_part, "DELETE FROM part WHERE n = ?1"},
        {&db->add_blob, "INSERT INTO blob VALUES(?1, ?2) ON CONFLICT DO NOTHING"},
        {&db->remove_blob, "DELETE FROM blob WHERE key = ?1 AND part = ?2"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
        if ((*all[i].stmt = vms_db_prepare(db->db, all[i].sql, error)) == NULL)
            return false;
    return true;
}

VmsIndexDb *vms_index_db_open(const char *path, GError **error)
{
    g_autoptr(VmsIndexDb) db = g_new0(VmsIndexDb, 1);

    db->blobs = g_array_new(FALSE, FALSE, sizeof(VmsPackBlob));
    db->db = vms_db_open(path, false, migrations, error);
    if (db->db == NULL || !vms_db_exec(db->db, "PRAGMA cache_size = -32768", error) ||
        !vms_db_exec(db->db, "PRAGMA journal_size_limit = 4194304", error) || !prepare(db, error))
        return NULL;
    vms_db_keep_journal(db->db);
    return g_steal_pointer(&db);
}

void vms_index_db_free(VmsIndexDb *db)
{
    if (db == NULL)
        return;
    VmsDbStmt *all[] = {db->find,        db->find_file, db->add_file,     db->remove_file,
                        db->find_pack,   db->add_pack,  db->count_pack,   db->remove_pack,
                        db->add_link,    db->get_part,  db->remove_links, db->add_part,
                        db->remove_part, db->add_blob,  db->remove_blob};
    for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
        vms_db_stmt_free(all[i]);
    vms_db_free(db->db);
    g_array_unref(db->blobs);
    g_free(db);
}

bool vms_index_db_begin(VmsIndexDb *db, GError **error)
{
    for (int waited = 0;; waited += BUSY) {
        g_autoptr(GError) local = NULL;

        if (vms_db_begin(db->db, &local))
            return true;
        if (!vms_error_is(local, VMS_ERROR_LOCKED) || waited >= PATIENCE) {
            g_propagate_error(error, g_steal_pointer(&local));
            return false;
        }
    }
}

static bool append_part(VmsIndexDb *db, VmsDbStmt *stmt, int at, VmsId *ret_pack, GError **error)
{
    size_t len = 0;
    const void *data = vms_db_column_blob(stmt, at, &len);

    return vms_index_part_decode(data, len, ret_pack, db->blobs, error);
}

bool vms_index_db_part(VmsIndexDb *db, VmsDbStmt *stmt, int at, VmsId *ret_pack, GError **error)
{
    g_array_set_size(db->blobs, 0);
    return append_part(db, stmt, at, ret_pack, error);
}

bool vms_index_db_get_part(VmsIndexDb *db, int64_t n, VmsId *ret_pack, GError **error)
{
    bool row = false;

    vms_db_bind_int64(db->get_part, 1, n);
    bool ok = vms_db_step(db->get_part, &row, error);
    if (ok && !row)
        ok = vms_fail(error, VMS_ERROR_CORRUPT, "index cache: a part is missing");
    ok = ok && append_part(db, db->get_part, 0, ret_pack, error);
    vms_db_stmt_reset(db->get_part);
    return ok;
}

/* The blobs of the part in the current row that are the one asked for. */
static bool match(VmsIndexDb *db, VmsBlobType type, const VmsId *id,
                  VmsIndexPlace ret_places[VMS_INDEX_MAX_PLACES], size_t *count, GError **error)
{
    VmsId pack;

    if (!vms_index_db_part(db, db->find, 0, &pack, error))
        return false;
    for (guint i = 0; i < db->blobs->len && *count < VMS_INDEX_MAX_PLACES; i++) {
        const VmsPackBlob *blob = &g_array_index(db->blobs, VmsPackBlob, i);

        if (blob->type == type && vms_id_equal(&blob->id, id))
            ret_places[(*count)++] = (VmsIndexPlace){.pack = pack, .blob = *blob};
    }
    return true;
}

bool vms_index_db_find(VmsIndexDb *db, VmsBlobType type, const VmsId *id,
                       VmsIndexPlace ret_places[VMS_INDEX_MAX_PLACES], size_t *ret_count,
                       GError **error)
{
    size_t count = 0;
    bool ok = true, row = true;

    vms_db_bind_int64(db->find, 1, vms_index_key(id));
    while (ok && count < VMS_INDEX_MAX_PLACES) {
        ok = vms_db_step(db->find, &row, error);
        if (!ok || !row)
            break;
        ok = match(db, type, id, ret_places, &count, error);
    }
    vms_db_stmt_reset(db->find);
    if (ok)
        *ret_count = count;
    return ok;
}

bool vms_index_db_find_file(VmsIndexDb *db, const VmsId *id, int64_t *ret_n, GError **error)
{
    bool row = false;

    vms_db_bind_blob(db->find_file, 1, id->bytes, VMS_ID_LEN);
    bool ok = vms_db_step(db->find_file, &row, error);
    *ret_n = ok && row ? vms_db_column_int64(db->find_file, 0) : 0;
    vms_db_stmt_reset(db->find_file);
    return ok;
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
    g_autoptr(GHashTable) files = g_hash_table_new_full(hash_id, equal_id, g_free, NULL);
    g_autoptr(VmsDbStmt) stmt = vms_db_prepare(db->db, "SELECT id FROM file", error);
    bool row = true;

    while (stmt != NULL) {
        size_t len = 0;

        if (!vms_db_step(stmt, &row, error))
            return NULL;
        if (!row)
            return g_steal_pointer(&files);
        const void *id = vms_db_column_blob(stmt, 0, &len);
        if (len != VMS_ID_LEN)
            return vms_fail_null(error, VMS_ERROR_CORRUPT, "index cache: an id of %zu bytes", len);
        g_hash_table_add(files, g_memdup2(id, len));
    }
    return NULL;
}
