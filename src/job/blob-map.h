/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where each blob of a stored file begins. A content list says only which blobs follow each other;
 * how long they are is in the repository's index. Private to job/. */
#pragma once

#include "repo/tree.h"

typedef struct VmsBlobMap VmsBlobMap;

/* For a file cut into pieces of any size. The table (8 bytes per blob) is in an unlinked file.
 * NOT_FOUND names a blob that no index lists; CORRUPT where the lengths do not add up to the
 * size of the file, or a blob is longer than memory allows. */
VmsBlobMap *vms_blob_map_new(VmsRepo *repo, const VmsNode *node, GCancellable *cancellable,
                             GError **error);
/* For a file cut every chunk_size bytes (> 0). CORRUPT where the content list has another length.
 */
VmsBlobMap *vms_blob_map_fixed(const VmsNode *node, uint64_t chunk_size, GError **error);
void vms_blob_map_free(VmsBlobMap *map);

/* First and one-past-last byte of blob at. Safe from several threads. */
bool vms_blob_map_range(const VmsBlobMap *map, uint64_t at, uint64_t *ret_begin, uint64_t *ret_end,
                        GError **error);
/* The blob that holds the byte at offset (< size of the file). */
bool vms_blob_map_find(const VmsBlobMap *map, uint64_t offset, uint64_t *ret_at, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsBlobMap, vms_blob_map_free)
