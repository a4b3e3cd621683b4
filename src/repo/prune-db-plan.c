/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Deciding what becomes of each pack. */
#include "base/error.h"
#include "repo/prune-db-private.h"

#define MAX_REPACK_SIZE (1 << 30) /* bytes of a pack that is worth copying */

#define STRING(x) #x
#define VALUE(x) STRING(x)

bool vms_prune_db_decide(VmsPruneDb *db, uint64_t max_unused, GCancellable *cancellable,
                         GError **error)
{
    /* The running sum is of what is unused in this pack and in those that waste less. */
    static const char remove[] = "UPDATE pack SET fate = 1 WHERE file >= 0 AND used = 0";
    static const char repack[] =
        "UPDATE pack SET fate = 2 FROM (SELECT n, sum(wasted + copies) OVER"
        " (ORDER BY CAST(wasted + copies AS REAL) / size, n ROWS UNBOUNDED PRECEDING) AS left"
        " FROM pack WHERE file >= 0 AND used > 0) AS w"
        " WHERE pack.n = w.n AND w.left > ?1 AND wasted + copies > 0"
        " AND big = 0 AND size <= " VALUE(MAX_REPACK_SIZE);
    g_autoptr(VmsDbStmt) stmt = vms_db_prepare(db->db, repack, error);

    if (stmt == NULL || !vms_check_cancelled(cancellable, error) ||
        !vms_db_exec(db->db, remove, error))
        return false;
    vms_db_bind_int64(stmt, 1, (int64_t)MIN(max_unused, (uint64_t)INT64_MAX));
    return vms_db_run(stmt, error);
}

bool vms_prune_db_decide_unindexed(VmsPruneDb *db, int64_t now_us, int64_t age_us, bool keep_note,
                                   GError **error)
{
    static const char note[] =
        "DELETE FROM seen WHERE pack NOT IN (SELECT id FROM pack WHERE file < 0);"
        "INSERT OR IGNORE INTO seen SELECT id, temp.clock.now FROM pack, temp.clock WHERE file < 0;"
        "UPDATE seen SET since = (SELECT now FROM temp.clock)"
        " WHERE since > (SELECT now FROM temp.clock)";
    static const char decide[] =
        "UPDATE pack SET fate = 3 WHERE file < 0 AND id IN (SELECT pack FROM seen"
        " WHERE since <= (SELECT now - age FROM temp.clock));"
        "DROP TABLE temp.clock";
    g_autofree char *clock = g_strdup_printf("CREATE TEMP TABLE clock AS SELECT %" G_GINT64_FORMAT
                                             " AS now, %" G_GINT64_FORMAT " AS age",
                                             now_us, age_us);

    return vms_db_exec(db->db, clock, error) && (!keep_note || vms_db_exec(db->db, note, error)) &&
           vms_db_exec(db->db, decide, error);
}

bool vms_prune_db_note_doomed(VmsPruneDb *db, GError **error)
{
    return vms_db_exec(db->db, "INSERT OR REPLACE INTO seen SELECT id, 0 FROM pack WHERE fate <> 0",
                       error);
}

bool vms_prune_db_forget_notes(VmsPruneDb *db, GError **error)
{
    return vms_db_exec(
        db->db, "DELETE FROM seen WHERE pack IN (SELECT id FROM pack WHERE fate <> 0)", error);
}

bool vms_prune_db_sums(VmsPruneDb *db, VmsPruneSums *ret_sums, GError **error)
{
    static const char query[] =
        "SELECT fate, file >= 0, count(*), sum(size), sum(used), sum(wasted + copies) FROM pack"
        " GROUP BY 1, 2";
    static const char blobs[] = "SELECT count(*) FROM used";
    g_autoptr(VmsDbStmt) stmt = vms_db_prepare(db->db, query, error);
    g_autoptr(VmsDbStmt) counter = vms_db_prepare(db->db, blobs, error);
    VmsPruneSums sums = {0};
    bool row = false;

    if (stmt == NULL || counter == NULL || !vms_db_step(counter, &row, error))
        return false;
    sums.used_blobs = (uint64_t)vms_db_column_int64(counter, 0);
    for (;;) {
        if (!vms_db_step(stmt, &row, error))
            return false;
        if (!row)
            break;
        unsigned fate = (unsigned)vms_db_column_int64(stmt, 0) & 3;
        bool indexed = vms_db_column_int64(stmt, 1) != 0;
        uint64_t packs = (uint64_t)vms_db_column_int64(stmt, 2);
        uint64_t bytes = (uint64_t)vms_db_column_int64(stmt, 3);
        sums.packs += packs;
        sums.bytes += bytes;
        sums.doomed[fate] += packs;
        sums.doomed_bytes[fate] += bytes;
        if (indexed) {
            sums.used += (uint64_t)vms_db_column_int64(stmt, 4);
            sums.unused += (uint64_t)vms_db_column_int64(stmt, 5);
            if (fate == VMS_PRUNE_REPACK) {
                sums.repack_used = (uint64_t)vms_db_column_int64(stmt, 4);
                sums.repack_unused = (uint64_t)vms_db_column_int64(stmt, 5);
            } else if (fate == VMS_PRUNE_REMOVE) {
                sums.remove_unused = (uint64_t)vms_db_column_int64(stmt, 5);
            }
        } else if (fate == VMS_PRUNE_KEEP) {
            sums.unindexed = packs;
            sums.unindexed_bytes = bytes;
        }
    }
    *ret_sums = sums;
    return true;
}

bool vms_prune_db_touched_files(VmsPruneDb *db, VmsPruneFileFunc func, void *user, GError **error)
{
    g_autoptr(VmsDbStmt) stmt = vms_db_prepare(
        db->db, "SELECT DISTINCT file FROM pack WHERE fate <> 0 AND file >= 0", error);
    bool row = false;

    while (stmt != NULL && vms_db_step(stmt, &row, error)) {
        if (!row)
            return true;
        if (!func(user, (unsigned)vms_db_column_int64(stmt, 0), error))
            return false;
    }
    return false;
}

bool vms_prune_db_doomed(VmsPruneDb *db, VmsPrunePackFunc func, void *user, GError **error)
{
    g_autoptr(VmsDbStmt) stmt =
        vms_db_prepare(db->db, "SELECT id, size FROM pack WHERE fate <> 0 ORDER BY n", error);
    bool row = false;
    VmsId id;

    while (stmt != NULL && vms_db_step(stmt, &row, error)) {
        if (!row)
            return true;
        vms_prune_db_column_id(stmt, 0, &id);
        if (!func(user, &id, (uint64_t)vms_db_column_int64(stmt, 1), error))
            return false;
    }
    return false;
}
