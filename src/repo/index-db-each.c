/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading the index cache whole. */
#include "base/error.h"
#include "repo/index-db-private.h"
#include "repo/index-part.h"

#include <string.h>

/* A pack whose lists are being gathered. */
typedef struct {
    VmsIndexDb *db;
    VmsIndexPackFunc func;
    void *user;
    bool any;
    VmsId pack;
} Each;

static int compare_blobs(const void *a, const void *b)
{
    const VmsPackBlob *x = a, *y = b;

    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    if (x->length != y->length)
        return x->length < y->length ? -1 : 1;
    return memcmp(x->id.bytes, y->id.bytes, VMS_ID_LEN);
}

static bool is_same(const VmsPackBlob *a, const VmsPackBlob *b)
{
    return compare_blobs(a, b) == 0 && a->type == b->type && a->plain_length == b->plain_length;
}

/* Gives the gathered pack to func. */
static bool flush(Each *each, GError **error)
{
    GArray *blobs = each->db->blobs;
    guint kept = 0;

    if (!each->any)
        return true;
    g_array_sort(blobs, compare_blobs);
    for (guint i = 0; i < blobs->len; i++) {
        VmsPackBlob blob = g_array_index(blobs, VmsPackBlob, i);

        if (kept == 0 || !is_same(&blob, &g_array_index(blobs, VmsPackBlob, kept - 1)))
            g_array_index(blobs, VmsPackBlob, kept++) = blob;
    }
    g_array_set_size(blobs, kept);
    return each->func(each->user, &each->pack, (const VmsPackBlob *)blobs->data, kept, error);
}

/* Appends all parts of the pack in the current row: id, sum, n, parts. */
static bool read_pack(VmsIndexDb *db, VmsDbStmt *stmt, const VmsId *id, GError **error)
{
    int64_t first = (int64_t)((uint64_t)vms_db_column_int64(stmt, 2) << PART_BITS);
    int64_t parts = vms_db_column_int64(stmt, 3);
    guint before = db->blobs->len;
    VmsId pack;

    for (int64_t at = 0; at < parts; at++) {
        if (!vms_index_db_get_part(db, first + at, &pack, error))
            return false;
        if (!vms_id_equal(&pack, id))
            return vms_fail(error, VMS_ERROR_CORRUPT, "index cache: a part is another pack's");
    }
    const VmsPackBlob *blobs = &g_array_index(db->blobs, VmsPackBlob, before);
    if (vms_index_pack_sum(id, blobs, db->blobs->len - before) != vms_db_column_int64(stmt, 1))
        return vms_fail(error, VMS_ERROR_CORRUPT, "index cache: a pack has another checksum");
    return true;
}

static bool one_list(Each *each, VmsDbStmt *stmt, GError **error)
{
    size_t len = 0;
    const void *data = vms_db_column_blob(stmt, 0, &len);
    VmsId id;

    if (len != VMS_ID_LEN)
        return vms_fail(error, VMS_ERROR_CORRUPT, "index cache: an id of %zu bytes", len);
    memcpy(id.bytes, data, len);
    if (!each->any || !vms_id_equal(&id, &each->pack)) {
        if (!flush(each, error))
            return false;
        g_array_set_size(each->db->blobs, 0);
        each->pack = id;
        each->any = true;
    }
    return read_pack(each->db, stmt, &id, error);
}

/* Inside a transaction. */
static bool each_pack(VmsIndexDb *db, VmsIndexPackFunc func, void *user, GError **error)
{
    g_autoptr(VmsDbStmt) stmt =
        vms_db_prepare(db->db, "SELECT id, sum, n, parts FROM pack ORDER BY id, sum", error);
    Each each = {.db = db, .func = func, .user = user};
    bool row = true;

    if (stmt == NULL)
        return false;
    while (row)
        if (!vms_db_step(stmt, &row, error) || (row && !one_list(&each, stmt, error)))
            return false;
    return flush(&each, error);
}

bool vms_index_db_each(VmsIndexDb *db, VmsIndexPackFunc func, void *user, GError **error)
{
    if (!vms_db_exec(db->db, "BEGIN", error))
        return false;
    bool ok = each_pack(db, func, user, error);
    vms_db_rollback(db->db); /* nothing was written */
    return ok;
}

/* The one number that sql gives. */
static bool ask(VmsIndexDb *db, const char *sql, int64_t *ret_value, GError **error)
{
    g_autoptr(VmsDbStmt) stmt = vms_db_prepare(db->db, sql, error);
    bool row = false;

    if (stmt == NULL || !vms_db_step(stmt, &row, error))
        return false;
    *ret_value = vms_db_column_int64(stmt, 0);
    return true;
}

static bool check_pages(VmsIndexDb *db, GError **error)
{
    g_autoptr(VmsDbStmt) stmt = vms_db_prepare(db->db, "PRAGMA quick_check(1)", error);
    bool row = false;

    if (stmt == NULL || !vms_db_step(stmt, &row, error))
        return false;
    const char *text = row ? vms_db_column_text(stmt, 0) : NULL;
    return g_strcmp0(text, "ok") == 0 ||
           vms_fail(error, VMS_ERROR_CORRUPT, "index cache: %s", text != NULL ? text : "no answer");
}

static bool pass_over(void *user, const VmsId *pack, const VmsPackBlob *blobs, size_t count,
                      GError **error)
{
    return true;
}

bool vms_index_db_check(VmsIndexDb *db, GError **error)
{
    static const char links[] = "SELECT count(*) FROM link";
    static const char counted[] = "SELECT coalesce(sum(files), 0) FROM pack";
    static const char files[] = "SELECT count(DISTINCT file) FROM link WHERE file NOT IN"
                                " (SELECT n FROM file)";
    int64_t a = 0, b = 0, strays = 0;

    if (!check_pages(db, error) || !ask(db, links, &a, error) || !ask(db, counted, &b, error) ||
        !ask(db, files, &strays, error))
        return false;
    if (a != b || strays != 0)
        return vms_fail(error, VMS_ERROR_CORRUPT, "index cache: its tables do not fit together");
    return vms_index_db_each(db, pass_over, NULL, error);
}
