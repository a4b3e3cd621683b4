/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Temporary tables are in a file that SQLite removes itself, without a journal: nothing in them
 * outlives the run. used.pack: 0 not found yet, TAKEN copied to a new pack, else the pack that has
 * it. pack.file: the index file that a pack belongs to, -1 none. */
#include "repo/prune-db-private.h"

#include "base/error.h"

#include <string.h>

#define KEY_LEN (VMS_ID_LEN + 1)
#define TAKEN (-1)
#define HEADER_FIXED (4 + VMS_SEAL_OVERHEAD)
#define HEADER_PLAIN (1 + 4 + VMS_ID_LEN)
#define HEADER_COMPRESSED (HEADER_PLAIN + 4)
#define MAX_REPACK_BLOB (64u << 20) /* plaintext: it is opened in memory */

static const char *const texts[VMS_PRUNE_DB_STATEMENTS] = {
    [VMS_PRUNE_DB_MARK] =
        "INSERT INTO used(key, snapshot) VALUES(?1, ?2) ON CONFLICT DO NOTHING RETURNING 1",
    [VMS_PRUNE_DB_STORED] = "INSERT INTO pack(id, size) VALUES(?1, ?2) ON CONFLICT DO NOTHING",
    [VMS_PRUNE_DB_FIND_USED] = "SELECT pack, length FROM used WHERE key = ?1",
    [VMS_PRUNE_DB_SET_USED] = "UPDATE used SET pack = ?2, length = ?3 WHERE key = ?1",
    [VMS_PRUNE_DB_ADD_DUPLICATE] =
        "INSERT INTO duplicate VALUES(?1, ?2, ?3) ON CONFLICT DO NOTHING",
    [VMS_PRUNE_DB_FIND_PACK] = "SELECT n, file, fate FROM pack WHERE id = ?1",
    [VMS_PRUNE_DB_SET_LISTED] =
        "UPDATE pack SET file = ?2, listed = ?3, used = ?4, wasted = ?5, big = ?6"
        " WHERE n = ?1",
};

static const char *const migrations[] = {
    "CREATE TABLE seen(pack BLOB PRIMARY KEY, since INTEGER NOT NULL) WITHOUT ROWID",
    NULL,
};

static const char tables[] =
    "PRAGMA temp.journal_mode = OFF; PRAGMA temp.cache_size = -65536;"
    "CREATE TEMP TABLE used(key BLOB PRIMARY KEY, snapshot INTEGER NOT NULL,"
    " pack INTEGER NOT NULL DEFAULT 0, length INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;"
    "CREATE TEMP TABLE pack(n INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, size INTEGER NOT NULL,"
    " file INTEGER NOT NULL DEFAULT -1, listed INTEGER NOT NULL DEFAULT 0,"
    " used INTEGER NOT NULL DEFAULT 0, wasted INTEGER NOT NULL DEFAULT 0,"
    " copies INTEGER NOT NULL DEFAULT 0, big INTEGER NOT NULL DEFAULT 0,"
    " fate INTEGER NOT NULL DEFAULT 0);"
    "CREATE TEMP TABLE duplicate(key BLOB NOT NULL, pack INTEGER NOT NULL,"
    " length INTEGER NOT NULL, PRIMARY KEY(key, pack)) WITHOUT ROWID;";

VmsPruneDb *vms_prune_db_open(const char *path, GError **error)
{
    g_autoptr(VmsPruneDb) db = g_new0(VmsPruneDb, 1);

    db->db = vms_db_open(path, false, migrations, error);
    if (db->db == NULL || !vms_db_exec(db->db, tables, error))
        return NULL;
    for (int i = 0; i < VMS_PRUNE_DB_STATEMENTS; i++) {
        db->statements[i] = vms_db_prepare(db->db, texts[i], error);
        if (db->statements[i] == NULL)
            return NULL;
    }
    /* Ended by resolve: a transaction for each of millions of rows would take longer than they do.
     * It touches the temporary tables alone, so nobody else waits. */
    return vms_db_exec(db->db, "BEGIN", error) ? g_steal_pointer(&db) : NULL;
}

void vms_prune_db_free(VmsPruneDb *db)
{
    if (db != NULL) {
        for (int i = 0; i < VMS_PRUNE_DB_STATEMENTS; i++)
            vms_db_stmt_free(db->statements[i]);
        vms_db_free(db->db);
        g_free(db);
    }
}

static void bind_key(VmsDbStmt *stmt, VmsBlobType type, const VmsId *id)
{
    uint8_t key[KEY_LEN];

    memcpy(key, id->bytes, VMS_ID_LEN);
    key[VMS_ID_LEN] = (uint8_t)type;
    vms_db_bind_blob(stmt, 1, key, sizeof(key));
}

void vms_prune_db_column_id(VmsDbStmt *stmt, int at, VmsId *ret_id)
{
    size_t len = 0;
    const void *data = vms_db_column_blob(stmt, at, &len);

    memset(ret_id, 0, sizeof(*ret_id));
    if (len >= VMS_ID_LEN)
        memcpy(ret_id->bytes, data, VMS_ID_LEN);
}

/* Up to count integers of the first row; *ret_row false where there is none. */
static bool first_row(VmsDbStmt *stmt, int64_t *ret_values, int count, bool *ret_row,
                      GError **error)
{
    bool ok = vms_db_step(stmt, ret_row, error);

    for (int i = 0; ok && *ret_row && i < count; i++)
        ret_values[i] = vms_db_column_int64(stmt, i);
    vms_db_stmt_reset(stmt);
    return ok;
}

bool vms_prune_db_mark(VmsPruneDb *db, VmsBlobType type, const VmsId *id, unsigned snapshot,
                       bool *ret_new, GError **error)
{
    bind_key(db->statements[VMS_PRUNE_DB_MARK], type, id);
    vms_db_bind_int64(db->statements[VMS_PRUNE_DB_MARK], 2, snapshot);
    return first_row(db->statements[VMS_PRUNE_DB_MARK], NULL, 0, ret_new, error);
}

bool vms_prune_db_stored(VmsPruneDb *db, const VmsId *id, uint64_t size, GError **error)
{
    vms_db_bind_blob(db->statements[VMS_PRUNE_DB_STORED], 1, id->bytes, VMS_ID_LEN);
    vms_db_bind_int64(db->statements[VMS_PRUNE_DB_STORED], 2, (int64_t)size);
    return vms_db_run(db->statements[VMS_PRUNE_DB_STORED], error);
}

static bool find_used(VmsPruneDb *db, VmsBlobType type, const VmsId *id, int64_t *ret_pack,
                      int64_t *ret_length, bool *ret_found, GError **error)
{
    int64_t values[2] = {0};

    bind_key(db->statements[VMS_PRUNE_DB_FIND_USED], type, id);
    if (!first_row(db->statements[VMS_PRUNE_DB_FIND_USED], values, 2, ret_found, error))
        return false;
    *ret_pack = values[0];
    *ret_length = values[1];
    return true;
}

static bool set_used(VmsPruneDb *db, const VmsPackBlob *blob, int64_t pack, GError **error)
{
    VmsDbStmt *stmt = db->statements[VMS_PRUNE_DB_SET_USED];

    bind_key(stmt, blob->type, &blob->id);
    vms_db_bind_int64(stmt, 2, pack);
    vms_db_bind_int64(stmt, 3, blob->length);
    return vms_db_run(stmt, error);
}

static bool add_duplicate(VmsPruneDb *db, const VmsPackBlob *blob, int64_t pack, int64_t length,
                          GError **error)
{
    VmsDbStmt *stmt = db->statements[VMS_PRUNE_DB_ADD_DUPLICATE];

    bind_key(stmt, blob->type, &blob->id);
    vms_db_bind_int64(stmt, 2, pack);
    vms_db_bind_int64(stmt, 3, length);
    return vms_db_run(stmt, error);
}

/* Sums over the blobs of one pack. */
typedef struct {
    uint64_t listed, used, wasted;
    bool big;
} Tally;

static bool count_blob(VmsPruneDb *db, int64_t pack, const VmsPackBlob *blob, Tally *tally,
                       GError **error)
{
    int64_t holder = 0, length = 0;
    bool found = false;

    tally->listed += blob->length;
    tally->listed += blob->plain_length != 0 ? HEADER_COMPRESSED : HEADER_PLAIN;
    tally->big |= vms_pack_blob_size(blob) > MAX_REPACK_BLOB;
    if (!find_used(db, blob->type, &blob->id, &holder, &length, &found, error))
        return false;
    if (!found || holder == pack) {
        tally->wasted += blob->length;
        return true;
    }
    if (holder == 0) {
        tally->used += blob->length;
        return set_used(db, blob, pack, error);
    }
    return add_duplicate(db, blob, holder, length, error) &&
           add_duplicate(db, blob, pack, blob->length, error);
}

static bool find_pack(VmsPruneDb *db, const VmsId *pack, int64_t ret_values[3], bool *ret_found,
                      GError **error)
{
    vms_db_bind_blob(db->statements[VMS_PRUNE_DB_FIND_PACK], 1, pack->bytes, VMS_ID_LEN);
    return first_row(db->statements[VMS_PRUNE_DB_FIND_PACK], ret_values, 3, ret_found, error);
}

bool vms_prune_db_listed(VmsPruneDb *db, unsigned file, const VmsId *pack, const VmsPackBlob *blobs,
                         size_t count, bool *ret_stored, bool *ret_stale, GError **error)
{
    VmsDbStmt *stmt = db->statements[VMS_PRUNE_DB_SET_LISTED];
    Tally tally = {.listed = HEADER_FIXED};
    int64_t row[3] = {0};

    if (!find_pack(db, pack, row, ret_stored, error))
        return false;
    *ret_stale = !*ret_stored || row[1] >= 0;
    if (*ret_stale)
        return true;
    for (size_t i = 0; i < count; i++)
        if (!count_blob(db, row[0], &blobs[i], &tally, error))
            return false;
    vms_db_bind_int64(stmt, 1, row[0]);
    vms_db_bind_int64(stmt, 2, file);
    vms_db_bind_int64(stmt, 3, (int64_t)tally.listed);
    vms_db_bind_int64(stmt, 4, (int64_t)tally.used);
    vms_db_bind_int64(stmt, 5, (int64_t)tally.wasted);
    vms_db_bind_int64(stmt, 6, tally.big);
    return vms_db_run(stmt, error);
}

bool vms_prune_db_resolve(VmsPruneDb *db, GError **error)
{
    /* Until here the first pack that had a copy counted it as used. */
    static const char resolve[] =
        "CREATE TEMP TABLE winner AS SELECT key, pack, length FROM (SELECT d.key, d.pack, d.length,"
        " row_number() OVER (PARTITION BY d.key ORDER BY CAST(p.wasted AS REAL) / p.size, p.n)"
        " AS place FROM duplicate d JOIN pack p ON p.n = d.pack) WHERE place = 1;"
        "UPDATE pack SET used = used - c.bytes FROM (SELECT u.pack AS n, sum(u.length) AS bytes"
        " FROM winner w JOIN used u ON u.key = w.key GROUP BY u.pack) AS c WHERE pack.n = c.n;"
        "UPDATE used SET pack = w.pack, length = w.length FROM winner w WHERE used.key = w.key;"
        "UPDATE pack SET used = used + c.bytes FROM (SELECT pack AS n, sum(length) AS bytes"
        " FROM winner GROUP BY pack) AS c WHERE pack.n = c.n;"
        "UPDATE pack SET copies = c.bytes FROM (SELECT d.pack AS n, sum(d.length) AS bytes"
        " FROM duplicate d JOIN used u ON u.key = d.key WHERE u.pack <> d.pack GROUP BY d.pack)"
        " AS c WHERE pack.n = c.n;"
        "DROP TABLE winner; COMMIT";

    return vms_db_exec(db->db, resolve, error);
}

bool vms_prune_db_find_missing(VmsPruneDb *db, VmsId *ret_id, VmsBlobType *ret_type,
                               unsigned *ret_snapshot, uint64_t *ret_count, bool *ret_found,
                               GError **error)
{
    g_autoptr(VmsDbStmt) stmt = vms_db_prepare(
        db->db, "SELECT min(snapshot), key, count(*) FROM used WHERE pack = 0", error);
    size_t len = 0;

    if (stmt == NULL || !vms_db_step(stmt, ret_found, error))
        return false;
    const uint8_t *key = vms_db_column_blob(stmt, 1, &len);
    *ret_found = *ret_found && len == KEY_LEN;
    if (*ret_found) {
        *ret_snapshot = (unsigned)vms_db_column_int64(stmt, 0);
        *ret_type = (VmsBlobType)key[VMS_ID_LEN];
        *ret_count = (uint64_t)vms_db_column_int64(stmt, 2);
        vms_prune_db_column_id(stmt, 1, ret_id);
    }
    return true;
}

bool vms_prune_db_find_misfit(VmsPruneDb *db, VmsId *ret_pack, uint64_t *ret_stored,
                              uint64_t *ret_expected, bool *ret_found, GError **error)
{
    g_autoptr(VmsDbStmt) stmt = vms_db_prepare(
        db->db, "SELECT id, size, listed FROM pack WHERE used > 0 AND size <> listed LIMIT 1",
        error);

    if (stmt == NULL || !vms_db_step(stmt, ret_found, error))
        return false;
    if (*ret_found) {
        vms_prune_db_column_id(stmt, 0, ret_pack);
        *ret_stored = (uint64_t)vms_db_column_int64(stmt, 1);
        *ret_expected = (uint64_t)vms_db_column_int64(stmt, 2);
    }
    return true;
}

bool vms_prune_db_fate(VmsPruneDb *db, const VmsId *pack, VmsPruneFate *ret_fate, int64_t *ret_file,
                       GError **error)
{
    int64_t row[3] = {0, -1, VMS_PRUNE_REMOVE};
    bool found = false;

    if (!find_pack(db, pack, row, &found, error))
        return false;
    *ret_file = row[1];
    *ret_fate = (VmsPruneFate)row[2];
    return true;
}

bool vms_prune_db_take(VmsPruneDb *db, const VmsId *pack, VmsBlobType type, const VmsId *id,
                       bool *ret_take, GError **error)
{
    VmsPackBlob blob = {.id = *id, .type = type};
    int64_t row[3] = {0}, holder = 0, length = 0;
    bool found = false;

    *ret_take = false;
    if (!find_pack(db, pack, row, &found, error) ||
        !find_used(db, type, id, &holder, &length, &found, error))
        return false;
    if (!found || holder != row[0])
        return true;
    *ret_take = true;
    return set_used(db, &blob, TAKEN, error);
}

bool vms_prune_db_is_taken(VmsPruneDb *db, VmsBlobType type, const VmsId *id, bool *ret_taken,
                           GError **error)
{
    int64_t holder = 0, length = 0;
    bool found = false;

    if (!find_used(db, type, id, &holder, &length, &found, error))
        return false;
    *ret_taken = found && holder == TAKEN;
    return true;
}
