/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/fetch.h"

#include "base/error.h"
#include "codec/hash.h"
#include "job/blob-map.h"
#include "repo/reader.h"

typedef struct {
    const VmsFetchOptions *options;
    const VmsBlobMap *map;
    VmsFetchFunc func;
    void *user;
    GMutex lock; /* guards done */
    uint64_t done;
} Fetch;

static void zero_id_of(uint64_t len, VmsId *ret_id)
{
    g_autofree uint8_t *zeroes = g_malloc0(len);
    vms_hash(zeroes, len, ret_id->bytes);
}

static bool deliver(void *user, uint64_t at, const void *data, size_t len, GError **error)
{
    Fetch *f = user;
    uint64_t begin, end;
    if (!vms_blob_map_range(f->map, at, &begin, &end, error))
        return false;
    if (len != end - begin)
        return vms_fail(error, VMS_ERROR_CORRUPT,
                        "chunk %" G_GUINT64_FORMAT " has %zu bytes instead of %" G_GUINT64_FORMAT,
                        at, len, end - begin);
    if (!f->func(f->user, begin, data, len, error))
        return false;
    g_mutex_lock(&f->lock);
    f->done += len;
    uint64_t done = f->options->progress_before + f->done;
    g_mutex_unlock(&f->lock);
    vms_progress_update(f->options->progress, f->options->phase, f->options->item, done,
                        f->options->progress_total);
    return true;
}

static VmsBlobMap *make_map(const VmsFetchOptions *options, const VmsNode *node,
                            uint64_t chunk_size, GError **error)
{
    return chunk_size > 0 ? vms_blob_map_fixed(node, chunk_size, error)
                          : vms_blob_map_new(options->repo, node, options->cancellable, error);
}

bool vms_fetch_file(const VmsFetchOptions *options, const VmsNode *node, uint64_t chunk_size,
                    VmsFetchFunc func, void *user, VmsFetchStats *ret_stats, GError **error)
{
    Fetch f = {.options = options, .func = func, .user = user};
    VmsId zero_id;
    VmsRepoReaderStats stats = {0};
    g_autoptr(VmsBlobMap) map = make_map(options, node, chunk_size, error);
    *ret_stats = (VmsFetchStats){0};
    if (!map)
        return false;
    if (node->size == 0)
        return true;
    f.map = map;
    if (chunk_size > 0)
        zero_id_of(chunk_size, &zero_id);
    VmsRepoReaderOptions reader = {.zero_id = chunk_size > 0 ? &zero_id : NULL};
    g_mutex_init(&f.lock);
    bool ok = vms_reader_run(options->repo, node->content, &reader, deliver, &f, &stats,
                             options->cancellable, error);
    g_mutex_clear(&f.lock);
    if (!ok)
        return false;
    ret_stats->chunks = stats.chunks;
    ret_stats->bytes = stats.bytes;
    ret_stats->bytes_zero = node->size - stats.bytes;
    vms_progress_update(options->progress, options->phase, options->item,
                        options->progress_before + node->size, options->progress_total);
    return true;
}

bool vms_fetch_data_size(const VmsNode *node, uint64_t chunk_size, uint64_t *ret_bytes,
                         GError **error)
{
    VmsId zero_id, id;
    uint64_t bytes = 0;
    g_autoptr(VmsBlobMap) map = vms_blob_map_fixed(node, chunk_size, error);
    if (!map)
        return false;
    zero_id_of(chunk_size, &zero_id);
    for (uint64_t at = 0; node->content && at < vms_content_count(node->content); at++) {
        if (!vms_content_get(node->content, at, &id, error))
            return false;
        if (!vms_id_equal(&id, &zero_id))
            bytes += MIN(chunk_size, node->size - at * chunk_size);
    }
    *ret_bytes = bytes;
    return true;
}
