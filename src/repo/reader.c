/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The content list is taken in windows of some thousand chunks. Within a window chunks are sorted
 * by where their blobs lie, so that one ranged request fetches a run of neighbours of a pack, small
 * gaps included: on an object store a request costs as much as megabytes do. A blob that several
 * chunks of a window share is fetched and opened once. The runs are fetched in the order of the
 * content list, so that a disk is written from its beginning to its end.
 *
 * Threads: the caller's plans windows and pushes runs into a queue; `threads` workers ("repo-read")
 * fetch, verify and deliver. The first error is kept, stops
 * the planner and makes the workers drop what is queued. The mutex guards failed and stats only. */
#include "repo/reader.h"

#include "base/error.h"
#include "base/queue.h"
#include "repo/object.h"
#include "repo/repo-private.h"

#include <string.h>

#define WINDOW 4096 /* chunks */
#define MAX_GAP (4u << 20)
#define MAX_RUN (16u << 20)
#define THREADS 6       /* at least, since some wait for the store or for the target */
#define MOST_THREADS 10 /* unless asked for: each takes MAX_RUN and a chunk */
#define MAX_THREADS 64

/* A chunk and where its blob lies. */
typedef struct {
    uint64_t at;
    VmsIndexPlace place;
} Chunk;

/* Neighbours: chunks of one pack, sorted by offset. */
typedef struct {
    Chunk *chunks; /* owned */
    size_t count;
    uint64_t first;      /* the lowest chunk */
    uint32_t begin, end; /* bytes of the pack */
} Run;

typedef struct {
    VmsRepo *repo;
    VmsRepoReaderFunc func;
    void *user;
    GCancellable *cancellable;
    VmsQueue *queue;
    VmsPackBuffers *buffers; /* for opened blobs */
    GMutex mutex;
    GError *failed;
    VmsRepoReaderStats stats;
} Reader;

static void free_run(void *data)
{
    Run *run = data;

    if (run != NULL) {
        g_free(run->chunks);
        g_free(run);
    }
}

/* Takes error. */
static void fail(Reader *reader, GError *error)
{
    g_mutex_lock(&reader->mutex);
    if (reader->failed == NULL)
        reader->failed = g_steal_pointer(&error);
    g_mutex_unlock(&reader->mutex);
    g_clear_error(&error);
    vms_queue_abort(reader->queue);
}

static bool has_failed(Reader *reader)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&reader->mutex);

    return reader->failed != NULL;
}

static bool is_same_blob(const Chunk *a, const Chunk *b)
{
    return vms_id_equal(&a->place.blob.id, &b->place.blob.id);
}

/* The blob from the bytes of the run; from wherever else it lies if they are damaged. */
static GBytes *open_chunk(Reader *reader, const Run *run, const Chunk *chunk, const uint8_t *data,
                          GError **error)
{
    const VmsPackBlob *blob = &chunk->place.blob;
    g_autoptr(GError) local = NULL;
    GBytes *plain = vms_pack_open_blob(reader->repo->key, blob, data + (blob->offset - run->begin),
                                       blob->length, reader->buffers, &local);

    if (plain != NULL)
        return plain;
    g_debug("%s; trying again", local->message);
    return vms_repo_read_blob(reader->repo, VMS_BLOB_DATA, &blob->id, reader->cancellable, error);
}

/* All chunks from first on that share its blob; *ret_next is the one behind them. */
static bool deliver(Reader *reader, const Run *run, size_t first, const uint8_t *data,
                    size_t *ret_next, VmsRepoReaderStats *stats, GError **error)
{
    const Chunk *chunk = &run->chunks[first];
    int64_t start = g_get_monotonic_time();
    g_autoptr(GBytes) plain = open_chunk(reader, run, chunk, data, error);
    size_t next = first, len = 0;

    if (plain == NULL)
        return false;
    const void *bytes = g_bytes_get_data(plain, &len);
    int64_t opened = g_get_monotonic_time();
    for (; next < run->count && is_same_blob(&run->chunks[next], chunk); next++) {
        if (!reader->func(reader->user, run->chunks[next].at, bytes, len, error))
            return false;
        stats->chunks++;
        stats->bytes += len;
    }
    stats->open_us += (uint64_t)(opened - start);
    stats->deliver_us += (uint64_t)(g_get_monotonic_time() - opened);
    *ret_next = next;
    return true;
}

static void add_stats(Reader *reader, const VmsRepoReaderStats *stats)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&reader->mutex);

    reader->stats.chunks += stats->chunks;
    reader->stats.bytes += stats->bytes;
    reader->stats.fetched += stats->fetched;
    reader->stats.requests += stats->requests;
    reader->stats.fetch_us += stats->fetch_us;
    reader->stats.open_us += stats->open_us;
    reader->stats.deliver_us += stats->deliver_us;
}

/* NULL without an error where the pack is missing or short: each blob is then tried by itself,
 * which finds the copies in other packs, or says what is wrong. */
static GBytes *fetch(Reader *reader, const Run *run, GError **error)
{
    g_autofree char *pack = vms_object_pack_name(&run->chunks[0].place.pack);
    g_autoptr(GError) local = NULL;
    GBytes *bytes = vms_store_get(reader->repo->store, pack, run->begin, run->end - run->begin,
                                  reader->cancellable, &local);

    if (bytes != NULL || vms_error_is(local, VMS_ERROR_NOT_FOUND) ||
        vms_error_is(local, VMS_ERROR_CORRUPT))
        return bytes;
    g_propagate_prefixed_error(error, g_steal_pointer(&local), "%s: ", pack);
    return NULL;
}

static bool deliver_singly(Reader *reader, const Run *run, VmsRepoReaderStats *stats,
                           GError **error)
{
    for (size_t i = 0; i < run->count; i++) {
        g_autoptr(GBytes) plain = vms_repo_read_blob(
            reader->repo, VMS_BLOB_DATA, &run->chunks[i].place.blob.id, reader->cancellable, error);

        if (plain == NULL ||
            !reader->func(reader->user, run->chunks[i].at, g_bytes_get_data(plain, NULL),
                          g_bytes_get_size(plain), error))
            return false;
        stats->chunks++;
        stats->bytes += g_bytes_get_size(plain);
    }
    return true;
}

static bool read_run(Reader *reader, const Run *run, GError **error)
{
    VmsRepoReaderStats stats = {.requests = 1};
    int64_t start = g_get_monotonic_time();
    GError *local = NULL;
    g_autoptr(GBytes) bytes = fetch(reader, run, &local);
    bool ok = true;

    if (local != NULL) {
        g_propagate_error(error, local);
        return false;
    }
    stats.fetch_us = (uint64_t)(g_get_monotonic_time() - start);
    if (bytes == NULL) {
        ok = deliver_singly(reader, run, &stats, error);
    } else {
        stats.fetched = g_bytes_get_size(bytes);
        for (size_t at = 0; ok && at < run->count;)
            ok = vms_check_cancelled(reader->cancellable, error) &&
                 deliver(reader, run, at, g_bytes_get_data(bytes, NULL), &at, &stats, error);
    }
    add_stats(reader, &stats);
    return ok;
}

static void *read_thread(void *user)
{
    Reader *reader = user;
    Run *run;

    while ((run = vms_queue_pop(reader->queue)) != NULL) {
        GError *error = NULL;

        if (!has_failed(reader) && !read_run(reader, run, &error))
            fail(reader, error);
        free_run(run);
    }
    return NULL;
}

static int by_place(const void *a, const void *b)
{
    const Chunk *left = a, *right = b;
    int packs = memcmp(left->place.pack.bytes, right->place.pack.bytes, VMS_ID_LEN);

    if (packs != 0)
        return packs;
    if (left->place.blob.offset != right->place.blob.offset)
        return left->place.blob.offset < right->place.blob.offset ? -1 : 1;
    return left->at < right->at ? -1 : 1;
}

static bool belongs(const Run *run, const Chunk *chunk)
{
    const VmsPackBlob *blob = &chunk->place.blob;

    if (!vms_id_equal(&run->chunks[0].place.pack, &chunk->place.pack))
        return false;
    return blob->offset <= (uint64_t)run->end + MAX_GAP &&
           (uint64_t)blob->offset + blob->length <= (uint64_t)run->begin + MAX_RUN;
}

static bool push_run(Reader *reader, const Run *planned, GError **error)
{
    Run *run = g_memdup2(planned, sizeof(*planned));

    run->chunks = g_memdup2(planned->chunks, planned->count * sizeof(Chunk));
    if (vms_queue_push(reader->queue, run))
        return true;
    free_run(run);
    return vms_fail(error, VMS_ERROR_CANCELLED, "stopped"); /* failed says why */
}

static int by_first(const void *a, const void *b)
{
    const Run *left = a, *right = b;

    return left->first < right->first ? -1 : left->first > right->first;
}

static bool push_runs(Reader *reader, GArray *runs, GError **error)
{
    g_array_sort(runs, by_first);
    for (guint i = 0; i < runs->len; i++)
        if (!push_run(reader, &g_array_index(runs, Run, i), error))
            return false;
    return true;
}

static bool plan_runs(Reader *reader, GArray *chunks, GError **error)
{
    g_autoptr(GArray) runs = g_array_new(FALSE, FALSE, sizeof(Run));

    g_array_sort(chunks, by_place);
    for (guint at = 0; at < chunks->len;) {
        Chunk *chunk = &g_array_index(chunks, Chunk, at);
        const VmsPackBlob *blob = &chunk->place.blob;
        Run run = {.chunks = chunk,
                   .first = chunk->at,
                   .begin = blob->offset,
                   .end = blob->offset + blob->length};

        /* A blob longer than a run is a run of its own; chunks that share it stay together. */
        while (at < chunks->len && (run.count == 0 || belongs(&run, chunk) ||
                                    is_same_blob(chunk, &run.chunks[run.count - 1]))) {
            run.end = MAX(run.end, chunk->place.blob.offset + chunk->place.blob.length);
            run.first = MIN(run.first, chunk->at);
            run.count++;
            at++;
            chunk++;
        }
        g_array_append_val(runs, run);
    }
    return push_runs(reader, runs, error);
}

static bool locate(Reader *reader, uint64_t at, const VmsId *id, GArray *chunks, GError **error)
{
    VmsIndexPlace places[VMS_INDEX_MAX_PLACES];
    size_t count = 0;
    char hex[VMS_ID_HEX_LEN + 1];

    if (!vms_index_locate(reader->repo->index, reader->repo, VMS_BLOB_DATA, id, places, &count,
                          error))
        return vms_prefix(error, "chunk %" G_GUINT64_FORMAT, at);
    vms_id_hex(id, hex);
    if (vms_pack_blob_size(&places[0].blob) > VMS_REPO_MAX_BLOB)
        return vms_fail(error, VMS_ERROR_INVALID, "blob %s is too large", hex);
    Chunk chunk = {.at = at, .place = places[0]};
    g_array_append_val(chunks, chunk);
    return true;
}

static bool plan(Reader *reader, const VmsContent *content, const VmsRepoReaderOptions *options,
                 GError **error)
{
    uint64_t end =
        options->count > 0 ? options->first + options->count : vms_content_count(content);
    g_autofree VmsId *ids = g_new(VmsId, WINDOW);
    g_autoptr(GArray) chunks = g_array_new(FALSE, FALSE, sizeof(Chunk));
    uint64_t skipped = 0;

    for (uint64_t at = options->first; at < end; at += WINDOW) {
        size_t count = MIN(WINDOW, end - at);

        if (!vms_check_cancelled(reader->cancellable, error) ||
            !vms_content_read(content, at, count, ids, error))
            return false;
        g_array_set_size(chunks, 0);
        for (size_t i = 0; i < count; i++)
            if (options->zero_id != NULL && vms_id_equal(&ids[i], options->zero_id))
                skipped++;
            else if (!locate(reader, at + i, &ids[i], chunks, error))
                return false;
        if (!plan_runs(reader, chunks, error))
            return false;
    }
    g_mutex_lock(&reader->mutex);
    reader->stats.skipped = skipped;
    g_mutex_unlock(&reader->mutex);
    return true;
}

bool vms_reader_run(VmsRepo *repo, const VmsContent *content, const VmsRepoReaderOptions *options,
                    VmsRepoReaderFunc func, void *user, VmsRepoReaderStats *ret_stats,
                    GCancellable *cancellable, GError **error)
{
    static const VmsRepoReaderOptions defaults;
    const VmsRepoReaderOptions *o = options != NULL ? options : &defaults;
    unsigned threads = o->threads == 0 ? CLAMP(g_get_num_processors(), THREADS, MOST_THREADS)
                                       : MIN(o->threads, MAX_THREADS);
    Reader reader = {.repo = repo, .func = func, .user = user, .cancellable = cancellable};
    GThread *workers[MAX_THREADS];
    GError *local = NULL;

    g_mutex_init(&reader.mutex);
    reader.queue = vms_queue_new(threads, free_run);
    reader.buffers = vms_pack_buffers_new();
    for (unsigned i = 0; i < threads; i++)
        workers[i] = g_thread_new("repo-read", read_thread, &reader);
    if (!plan(&reader, content, o, &local))
        fail(&reader, local);
    vms_queue_close(reader.queue);
    for (unsigned i = 0; i < threads; i++)
        g_thread_join(workers[i]);
    vms_queue_free(reader.queue);
    vms_pack_buffers_unref(reader.buffers);
    g_mutex_clear(&reader.mutex);
    if (reader.failed != NULL) {
        g_propagate_error(error, reader.failed);
        return false;
    }
    if (ret_stats != NULL)
        *ret_stats = reader.stats;
    return true;
}
