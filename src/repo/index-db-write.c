/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Index files are taken up in one transaction together with their names, and forgotten likewise: a
 * crash leaves each one known or unknown. Several processes may share the cache; whoever comes
 * second finds the name taken and passes it over.
 *
 * Ids are uniformly random, so rows of the look-up table land all over its B-tree: they are
 * gathered and sorted first, which turns random page writes into one sweep per transaction. */
#include "base/error.h"
#include "repo/index-db-private.h"
#include "repo/index-part.h"

#include <string.h>

#define FORGET_BLOBS 1000000 /* per transaction */

/* A row of the look-up table. */
typedef struct {
    int64_t key, part;
} Key;

/* A pack of one of the listings. */
typedef struct {
    const VmsIndexListing *listing;
    const VmsIndexPack *pack;
    int64_t file;
} Ref;

static int compare_keys(const void *a, const void *b)
{
    const Key *x = a, *y = b;

    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->part > y->part) - (x->part < y->part);
}

static int compare_refs(const void *a, const void *b)
{
    return memcmp(((const Ref *)a)->pack->id.bytes, ((const Ref *)b)->pack->id.bytes, VMS_ID_LEN);
}

/* Runs stmt for every key, in order; empties keys. */
static bool write_keys(GArray *keys, VmsDbStmt *stmt, GError **error)
{
    g_array_sort(keys, compare_keys);
    for (guint i = 0; i < keys->len; i++) {
        vms_db_bind_int64(stmt, 1, g_array_index(keys, Key, i).key);
        vms_db_bind_int64(stmt, 2, g_array_index(keys, Key, i).part);
        if (!vms_db_run(stmt, error))
            return false;
    }
    g_array_set_size(keys, 0);
    return true;
}

static void gather(GArray *keys, const VmsPackBlob *blobs, size_t count, int64_t part)
{
    for (size_t i = 0; i < count; i++) {
        Key key = {.key = vms_index_key(&blobs[i].id), .part = part};

        g_array_append_val(keys, key);
    }
}

static bool add_parts(VmsIndexDb *db, int64_t n, const VmsId *id, const VmsPackBlob *blobs,
                      size_t count, GArray *keys, GError **error)
{
    size_t parts = vms_index_parts(count);

    for (size_t at = 0; at < parts; at++) {
        g_autoptr(GByteArray) body = vms_index_part_encode(id, blobs, count, at);
        size_t begin = count * at / parts, end = count * (at + 1) / parts;
        int64_t row = (int64_t)((uint64_t)n << PART_BITS | at);

        vms_db_bind_int64(db->add_part, 1, row);
        vms_db_bind_blob(db->add_part, 2, body->data, body->len);
        if (!vms_db_run(db->add_part, error))
            return false;
        gather(keys, blobs + begin, end - begin, row);
    }
    return true;
}

/* The number of this pack with this list; *next is that of a new one. */
static bool add_pack(VmsIndexDb *db, const VmsId *id, const VmsPackBlob *blobs, size_t count,
                     int64_t *next, int64_t *ret_n, GArray *keys, GError **error)
{
    int64_t sum = vms_index_pack_sum(id, blobs, count);
    bool known = false;

    vms_db_bind_blob(db->find_pack, 1, id->bytes, VMS_ID_LEN);
    vms_db_bind_int64(db->find_pack, 2, sum);
    bool ok = vms_db_step(db->find_pack, &known, error);
    if (ok && known)
        *ret_n = vms_db_column_int64(db->find_pack, 0);
    vms_db_stmt_reset(db->find_pack);
    if (!ok || known)
        return ok;
    *ret_n = (*next)++;
    vms_db_bind_blob(db->add_pack, 1, id->bytes, VMS_ID_LEN);
    vms_db_bind_int64(db->add_pack, 2, sum);
    vms_db_bind_int64(db->add_pack, 3, *ret_n);
    vms_db_bind_int64(db->add_pack, 4, (int64_t)vms_index_parts(count));
    return vms_db_run(db->add_pack, error) && add_parts(db, *ret_n, id, blobs, count, keys, error);
}

/* One more or one less index file lists pack n. */
static bool count_pack(VmsIndexDb *db, const VmsId *id, int64_t n, int64_t by, int64_t *ret_files,
                       int64_t *ret_parts, GError **error)
{
    bool row = false;

    vms_db_bind_blob(db->count_pack, 1, id->bytes, VMS_ID_LEN);
    vms_db_bind_int64(db->count_pack, 2, n);
    vms_db_bind_int64(db->count_pack, 3, by);
    bool ok = vms_db_step(db->count_pack, &row, error);
    if (ok && !row)
        ok = vms_fail(error, VMS_ERROR_CORRUPT, "index cache: a pack is missing");
    if (ok) {
        *ret_files = vms_db_column_int64(db->count_pack, 0);
        *ret_parts = vms_db_column_int64(db->count_pack, 1);
    }
    vms_db_stmt_reset(db->count_pack);
    return ok;
}

static bool add_ref(VmsIndexDb *db, const Ref *ref, int64_t *next, GArray *keys, GError **error)
{
    const VmsPackBlob *blobs = (const VmsPackBlob *)ref->listing->blobs->data + ref->pack->first;
    int64_t n = 0, files = 0, parts = 0;
    bool is_new = false;

    if (!add_pack(db, &ref->pack->id, blobs, ref->pack->count, next, &n, keys, error))
        return false;
    vms_db_bind_int64(db->add_link, 1, ref->file);
    vms_db_bind_int64(db->add_link, 2, n);
    bool ok = vms_db_step(db->add_link, &is_new, error);
    vms_db_stmt_reset(db->add_link);
    if (!ok || !is_new) /* not new: the file lists it twice */
        return ok;
    return count_pack(db, &ref->pack->id, n, 1, &files, &parts, error);
}

/* Enters the file's name. *ret_file is 0 where it is known. */
static bool add_file(VmsIndexDb *db, const VmsIndexListing *listing, int64_t *ret_file,
                     GError **error)
{
    bool is_new = false;

    vms_db_bind_blob(db->add_file, 1, listing->file.bytes, VMS_ID_LEN);
    bool ok = vms_db_step(db->add_file, &is_new, error);
    *ret_file = ok && is_new ? vms_db_column_int64(db->add_file, 0) : 0;
    vms_db_stmt_reset(db->add_file);
    return ok;
}

static bool next_pack(VmsIndexDb *db, int64_t *ret_next, GError **error)
{
    g_autoptr(VmsDbStmt) stmt = vms_db_prepare(db->db, "SELECT max(n) FROM part", error);
    bool row = false;

    if (stmt == NULL || !vms_db_step(stmt, &row, error))
        return false;
    *ret_next = (vms_db_column_int64(stmt, 0) >> PART_BITS) + 1;
    return true;
}

/* Inside a transaction. */
static bool add_all(VmsIndexDb *db, const GPtrArray *listings, GError **error)
{
    g_autoptr(GArray) refs = g_array_new(FALSE, FALSE, sizeof(Ref));
    int64_t next = 0;
    guint blobs = 0;

    if (!next_pack(db, &next, error))
        return false;
    for (guint i = 0; i < listings->len; i++) {
        const VmsIndexListing *listing = listings->pdata[i];
        Ref ref = {.listing = listing};

        if (!add_file(db, listing, &ref.file, error))
            return false;
        for (guint at = 0; ref.file != 0 && at < listing->packs->len; at++) {
            ref.pack = &g_array_index(listing->packs, VmsIndexPack, at);
            blobs += ref.pack->count;
            g_array_append_val(refs, ref);
        }
    }
    g_array_sort(refs, compare_refs);
    g_autoptr(GArray) keys = g_array_sized_new(FALSE, FALSE, sizeof(Key), blobs);
    for (guint i = 0; i < refs->len; i++)
        if (!add_ref(db, &g_array_index(refs, Ref, i), &next, keys, error))
            return false;
    return write_keys(keys, db->add_blob, error);
}

bool vms_index_db_add(VmsIndexDb *db, const GPtrArray *listings, GError **error)
{
    if (!vms_index_db_begin(db, error))
        return false;
    if (!add_all(db, listings, error)) {
        vms_db_rollback(db->db);
        return false;
    }
    return vms_db_commit(db->db, error);
}

static bool remove_row(VmsDbStmt *stmt, int64_t n, GError **error)
{
    vms_db_bind_int64(stmt, 1, n);
    return vms_db_run(stmt, error);
}

/* One index file less lists pack n; what no other lists is removed, its keys are gathered. */
static bool release_pack(VmsIndexDb *db, int64_t n, GArray *keys, GError **error)
{
    int64_t first = (int64_t)((uint64_t)n << PART_BITS), files = 0, parts = 0;
    VmsId id;

    g_array_set_size(db->blobs, 0);
    if (!vms_index_db_get_part(db, first, &id, error) ||
        !count_pack(db, &id, n, -1, &files, &parts, error))
        return false;
    if (files > 0)
        return true;
    for (int64_t at = 0; at < parts; at++) {
        g_array_set_size(db->blobs, 0);
        if (!vms_index_db_get_part(db, first + at, &id, error) ||
            !remove_row(db->remove_part, first + at, error))
            return false;
        gather(keys, (const VmsPackBlob *)db->blobs->data, db->blobs->len, first + at);
    }
    vms_db_bind_blob(db->remove_pack, 1, id.bytes, VMS_ID_LEN);
    vms_db_bind_int64(db->remove_pack, 2, n);
    return vms_db_run(db->remove_pack, error);
}

/* By its id: another process may have forgotten it and given its row to a new one. */
static bool forget_file(VmsIndexDb *db, const VmsId *id, GArray *keys, GError **error)
{
    g_autoptr(VmsDbStmt) packs =
        vms_db_prepare(db->db, "SELECT pack FROM link WHERE file = ?1", error);
    bool row = true;
    int64_t file;

    if (packs == NULL || !vms_index_db_find_file(db, id, &file, error))
        return false;
    vms_db_bind_int64(packs, 1, file);
    while (row) {
        if (!vms_db_step(packs, &row, error) ||
            (row && !release_pack(db, vms_db_column_int64(packs, 0), keys, error)))
            return false;
    }
    return remove_row(db->remove_links, file, error) && remove_row(db->remove_file, file, error);
}

/* One transaction's worth; *iter goes on. */
static bool forget_some(VmsIndexDb *db, GHashTableIter *iter, bool *ret_more, GError **error)
{
    g_autoptr(GArray) keys = g_array_new(FALSE, FALSE, sizeof(Key));
    void *id;

    while (keys->len < FORGET_BLOBS && (*ret_more = g_hash_table_iter_next(iter, &id, NULL)))
        if (!forget_file(db, id, keys, error))
            return false;
    return write_keys(keys, db->remove_blob, error);
}

bool vms_index_db_forget(VmsIndexDb *db, GHashTable *files, GError **error)
{
    bool more = g_hash_table_size(files) > 0;
    GHashTableIter iter;

    g_hash_table_iter_init(&iter, files);
    while (more) {
        if (!vms_index_db_begin(db, error))
            return false;
        if (!forget_some(db, &iter, &more, error)) {
            vms_db_rollback(db->db);
            return false;
        }
        if (!vms_db_commit(db->db, error))
            return false;
    }
    return true;
}
