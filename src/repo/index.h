/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The index cache: which blobs a repository has and where, in a local SQLite file that is filled
 * from the index files of the store. Thread-safe. */
#pragma once

#include "base/progress.h"
#include "repo/pack.h"

typedef struct VmsIndex VmsIndex;

/* Opens or makes the cache at path. One that is damaged or of another version is made anew. */
VmsIndex *vms_index_open(const char *path, GError **error);
void vms_index_free(VmsIndex *index);

/* Who is told of a sync that takes long: phase "index", bytes of index files. Borrowed, nullable.
 */
void vms_index_set_progress(VmsIndex *index, VmsProgress *progress);

/* Reads the index files that the cache has not seen and forgets those that vanished. CORRUPT names
 * an index file that is damaged. NO_SPACE: no room for the cache, nor for a temporary one. LOCKED:
 * a prune changes the index all the time. What has been read until an error is kept. */
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

/* Like find, for a blob that must be there: where it is not, and the cache is older than this
 * process, the cache is made anew first. NOT_FOUND. */
bool vms_index_locate(VmsIndex *index, VmsRepo *repo, VmsBlobType type, const VmsId *id,
                      VmsIndexPlace ret_places[VMS_INDEX_MAX_PLACES], size_t *ret_count,
                      GError **error);

/* One pack and all its blobs, in ascending order of offsets; a blob that two index files list
 * differently is there twice. Return false with *error to stop. */
typedef bool (*VmsIndexPackFunc)(void *user, const VmsId *pack, const VmsPackBlob *blobs,
                                 size_t count, GError **error);

/* Every pack that an index file lists, each once, in ascending order of ids (as "data/…" sorts).
 * After a sync, under an exclusive lock of the repository. First the cache is compared with itself,
 * whole, and made anew where it is damaged: what is given out may be acted upon. Memory: one pack.
 * func may call the other functions here; what it adds or forgets is not seen by this run. */
bool vms_index_foreach(VmsIndex *index, VmsRepo *repo, VmsIndexPackFunc func, void *user,
                       GCancellable *cancellable, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsIndex, vms_index_free)
