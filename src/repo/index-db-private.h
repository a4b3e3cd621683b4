/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of the index cache's tables share. */
#pragma once

#include "base/db.h"
#include "repo/index-db.h"

/* Rows of table part: the number of the pack, then that of the part. VMS_PACK_MAX_ENTRIES fits. */
#define PART_BITS 15

struct VmsIndexDb {
    VmsDb *db;
    GArray *blobs; /* of VmsPackBlob, for parts being read */
    VmsDbStmt *find;
    VmsDbStmt *find_file, *add_file, *remove_file;
    VmsDbStmt *find_pack, *add_pack, *count_pack, *remove_pack;
    VmsDbStmt *add_link, *remove_links;
    VmsDbStmt *get_part, *add_part, *remove_part;
    VmsDbStmt *add_blob, *remove_blob;
};

/* Begins a transaction that writes; waits for another process that does. */
bool vms_index_db_begin(VmsIndexDb *db, GError **error);

/* Reads the part from column at of stmt into db->blobs, which is emptied first. */
bool vms_index_db_part(VmsIndexDb *db, VmsDbStmt *stmt, int at, VmsId *ret_pack, GError **error);

/* Appends part n to db->blobs. CORRUPT where there is none. */
bool vms_index_db_get_part(VmsIndexDb *db, int64_t n, VmsId *ret_pack, GError **error);
