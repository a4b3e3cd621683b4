/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/blob-map.h"

#include "base/error.h"
#include "base/spool.h"
#include "job/pipeline.h"

#include <string.h>
#include <unistd.h>

#define MAX_BLOB (64u << 20) /* bytes; what vms_repo_read_blob gives */
#define BATCH 1024           /* ids and offsets read or written at once */

struct VmsBlobMap {
    uint64_t size, count;
    uint64_t chunk_size; /* 0: ends is used */
    int ends;            /* where each blob ends, 8 bytes each; -1 with chunk_size */
};

static VmsBlobMap *map_new(const VmsNode *node, uint64_t chunk_size)
{
    VmsBlobMap *map = g_new0(VmsBlobMap, 1);
    map->size = node->size;
    map->count = node->content ? vms_content_count(node->content) : 0;
    map->chunk_size = chunk_size;
    map->ends = -1;
    return map;
}

void vms_blob_map_free(VmsBlobMap *map)
{
    if (!map)
        return;
    if (map->ends >= 0)
        close(map->ends);
    g_free(map);
}

VmsBlobMap *vms_blob_map_fixed(const VmsNode *node, uint64_t chunk_size, GError **error)
{
    uint64_t want = vms_pipeline_chunks(node->size, chunk_size);
    g_autoptr(VmsBlobMap) map = map_new(node, chunk_size);
    if (map->count != want)
        return vms_fail_null(error, VMS_ERROR_CORRUPT,
                             "the content list has %" G_GUINT64_FORMAT " chunks, %" G_GUINT64_FORMAT
                             " bytes need %" G_GUINT64_FORMAT,
                             map->count, node->size, want);
    return g_steal_pointer(&map);
}

/* The index is asked once for a run of the same blob. */
typedef struct {
    VmsRepo *repo;
    VmsId last;
    uint64_t last_length; /* 0: none yet */
} Lookup;

static bool blob_length(Lookup *lookup, const VmsId *id, uint64_t at, uint64_t *ret_length,
                        GError **error)
{
    bool found = false;
    uint64_t length = 0;
    if (lookup->last_length > 0 && vms_id_equal(&lookup->last, id)) {
        *ret_length = lookup->last_length;
        return true;
    }
    if (!vms_repo_has_blob(lookup->repo, VMS_BLOB_DATA, id, &found, &length, error))
        return false;
    char hex[VMS_ID_HEX_LEN + 1];
    vms_id_hex(id, hex);
    if (!found)
        return vms_fail(error, VMS_ERROR_NOT_FOUND,
                        "%s: no index lists the data blob %s (chunk %" G_GUINT64_FORMAT ")",
                        vms_repo_location(lookup->repo), hex, at);
    if (length == 0 || length > MAX_BLOB)
        return vms_fail(error, VMS_ERROR_CORRUPT,
                        "blob %s of %" G_GUINT64_FORMAT " bytes in a content list", hex, length);
    lookup->last = *id;
    *ret_length = lookup->last_length = length;
    return true;
}

static bool fill(VmsBlobMap *map, VmsRepo *repo, const VmsContent *content,
                 GCancellable *cancellable, GError **error)
{
    g_autofree VmsId *ids = g_new(VmsId, BATCH);
    g_autofree uint64_t *ends = g_new(uint64_t, BATCH);
    Lookup lookup = {.repo = repo};
    uint64_t end = 0, length = 0;
    for (uint64_t at = 0; at < map->count; at += BATCH) {
        size_t n = MIN(BATCH, map->count - at);
        if (!vms_check_cancelled(cancellable, error) ||
            !vms_content_read(content, at, n, ids, error))
            return false;
        for (size_t i = 0; i < n; i++) {
            if (!blob_length(&lookup, &ids[i], at + i, &length, error))
                return false;
            ends[i] = end += length;
        }
        if (!vms_spool_write(map->ends, at * sizeof *ends, ends, n * sizeof *ends, error))
            return false;
    }
    return end == map->size || vms_fail(error, VMS_ERROR_CORRUPT,
                                        "the blobs of the file have %" G_GUINT64_FORMAT
                                        " bytes, the file has %" G_GUINT64_FORMAT,
                                        end, map->size);
}

VmsBlobMap *vms_blob_map_new(VmsRepo *repo, const VmsNode *node, GCancellable *cancellable,
                             GError **error)
{
    g_autoptr(VmsBlobMap) map = map_new(node, 0);
    map->ends = vms_spool_open(NULL, error);
    if (map->ends < 0 || !fill(map, repo, node->content, cancellable, error))
        return NULL;
    return g_steal_pointer(&map);
}

static bool get_end(const VmsBlobMap *map, uint64_t at, uint64_t *ret_end, GError **error)
{
    if (map->chunk_size == 0)
        return vms_spool_read(map->ends, at * sizeof *ret_end, ret_end, sizeof *ret_end, error);
    *ret_end = at + 1 < map->count ? (at + 1) * map->chunk_size : map->size;
    return true;
}

bool vms_blob_map_range(const VmsBlobMap *map, uint64_t at, uint64_t *ret_begin, uint64_t *ret_end,
                        GError **error)
{
    uint64_t begin = 0, end;
    if (at >= map->count)
        return vms_fail(error, VMS_ERROR_INVALID, "blob %" G_GUINT64_FORMAT " is beyond the file",
                        at);
    if ((at > 0 && !get_end(map, at - 1, &begin, error)) || !get_end(map, at, &end, error))
        return false;
    *ret_begin = begin;
    *ret_end = end;
    return true;
}

bool vms_blob_map_find(const VmsBlobMap *map, uint64_t offset, uint64_t *ret_at, GError **error)
{
    uint64_t low = 0, high = map->count, end;
    if (offset >= map->size)
        return vms_fail(error, VMS_ERROR_INVALID,
                        "byte %" G_GUINT64_FORMAT " is beyond the file of %" G_GUINT64_FORMAT,
                        offset, map->size);
    while (low < high) { /* the first blob that ends after offset */
        uint64_t middle = low + (high - low) / 2;
        if (!get_end(map, middle, &end, error))
            return false;
        if (end > offset)
            high = middle;
        else
            low = middle + 1;
    }
    *ret_at = low;
    return true;
}
