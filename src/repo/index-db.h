/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tables of the index cache. For one thread at a time. A damaged file shows as CORRUPT from any
 * of these; what an index file says wrong is INVALID. */
#pragma once

#include "repo/index.h"

typedef struct VmsIndexDb VmsIndexDb;

VmsIndexDb *vms_index_db_open(const char *path, GError **error);
void vms_index_db_free(VmsIndexDb *db);

bool vms_index_db_find(VmsIndexDb *db, VmsBlobType type, const VmsId *id,
                       VmsIndexPlace ret_places[VMS_INDEX_MAX_PLACES], size_t *ret_count,
                       GError **error);

/* Takes up an index file in one transaction; one that is known already is left as it is. */
bool vms_index_db_add_file(VmsIndexDb *db, const VmsId *id, const void *text, size_t len,
                           GError **error);

/* The index files that are known: set of VmsId, values are for forget (transfer full). */
GHashTable *vms_index_db_files(VmsIndexDb *db, GError **error);

/* Forgets the files of such a set, and what they alone knew. */
bool vms_index_db_forget(VmsIndexDb *db, GHashTable *files, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsIndexDb, vms_index_db_free)
