/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The index cache: which blobs a repository has and where, in a local SQLite file that is filled
 * from the index files of the store. Thread-safe. */
#pragma once

#include "repo/pack.h"

typedef struct VmsIndex VmsIndex;

/* Opens or makes the cache at path. One that is damaged or of another version is made anew. */
VmsIndex *vms_index_open(const char *path, GError **error);
void vms_index_free(VmsIndex *index);

/* Reads the index files that the cache has not seen and forgets those that vanished. */
bool vms_index_sync(VmsIndex *index, VmsRepo *repo, GCancellable *cancellable, GError **error);

/* Takes up the index file that was just saved as id. */
bool vms_index_add(VmsIndex *index, VmsRepo *repo, const VmsId *id, GBytes *text,
                   GCancellable *cancellable, GError **error);

typedef struct {
    VmsId pack;
    VmsPackBlob blob;
} VmsIndexPlace;

#define VMS_INDEX_MAX_PLACES 4

/* Where the blob lies: *ret_count 0 if it is unknown; the first few if it is in several packs. */
bool vms_index_find(VmsIndex *index, VmsRepo *repo, VmsBlobType type, const VmsId *id,
                    VmsIndexPlace ret_places[VMS_INDEX_MAX_PLACES], size_t *ret_count,
                    GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsIndex, vms_index_free)
