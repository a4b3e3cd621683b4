/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tables of the index cache. For one thread at a time. A damaged file shows as CORRUPT from any
 * of these; LOCKED where another process writes for ten minutes. */
#pragma once

#include "repo/index-file.h"
#include "repo/index.h"

typedef struct VmsIndexDb VmsIndexDb;

VmsIndexDb *vms_index_db_open(const char *path, GError **error);
void vms_index_db_free(VmsIndexDb *db);

bool vms_index_db_find(VmsIndexDb *db, VmsBlobType type, const VmsId *id,
                       VmsIndexPlace ret_places[VMS_INDEX_MAX_PLACES], size_t *ret_count,
                       GError **error);

/* The index files that are known: set of VmsId (transfer full). */
GHashTable *vms_index_db_files(VmsIndexDb *db, GError **error);
/* The row of one, 0 where it is not known. */
bool vms_index_db_find_file(VmsIndexDb *db, const VmsId *id, int64_t *ret_n, GError **error);

/* Takes up index files (VmsIndexListing), all in one transaction; what is known already is left as
 * it is. Memory: 64 bytes for each pack and 16 for each blob. */
bool vms_index_db_add(VmsIndexDb *db, const GPtrArray *listings, GError **error);

/* Forgets the files of such a set, and what they alone knew, in transactions of bounded size. */
bool vms_index_db_forget(VmsIndexDb *db, GHashTable *files, GError **error);

/* Each pack once, in order of ids, with the blobs of all lists of it in order of offsets. Sees the
 * cache as it was at the begin. */
bool vms_index_db_each(VmsIndexDb *db, VmsIndexPackFunc func, void *user, GError **error);

/* Reads all tables and compares them with each other. CORRUPT. */
bool vms_index_db_check(VmsIndexDb *db, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsIndexDb, vms_index_db_free)
