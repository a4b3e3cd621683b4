/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The caller's thread reads, several chunks at once where the input can; workers look for zeroes,
 * hash, compress and seal (all inside vms_repo_writer_add, which also bounds the uploads). Buffers
 * come from a fixed pool, so memory does not depend on the size of the disk or on who is the
 * slowest. There are more buffers than reads under way: the thread waits for one only while
 * workers have the rest. Where an input can be read by several threads, each worker reads its
 * chunks itself, into one buffer of its own that its processor still has at hand when they are
 * hashed; what is queued then has no bytes yet, and was only announced to the input.
 *
 * Chunks that an extent map calls zero are never queued: their ids are filled in by the reader, run
 * by run. An input that says itself where it is cut knows its zeroes better.
 *
 * Locks: Pipeline.lock guards error and the counters; nothing else is taken while it is held. */
#include "job/pipeline.h"

#include "base/error.h"
#include "base/queue.h"

#include <string.h>

#define BUFFERS_PER_WORKER 2
#define AHEAD (16u << 20) /* bytes of reads under way */
#define MAX_READS 16      /* more qemu-nbd does not take from one connection */
#define WORKERS_SHARE                                                                              \
    (96u << 20) /* bytes; a worker takes some four chunks: buffers, its scratch                    \
                 */

typedef struct Pipeline Pipeline;

typedef struct {
    Pipeline *pipeline;
    uint64_t at; /* chunk number */
    size_t len;
    uint8_t *data; /* own, or the worker's where workers read */
    uint8_t own[];
} Chunk;

struct Pipeline {
    VmsInput *input;
    const VmsPipelineOptions *options;
    VmsContent *content;
    VmsId zero_id, last_zero_id; /* of a whole chunk of zeroes, and of the last, shorter one */
    uint64_t chunks;
    uint64_t next;      /* reader: first chunk that is neither queued nor filled in */
    unsigned reads;     /* under way at once */
    GPtrArray *buffers; /* of Chunk: all of them; the queues own none */
    VmsQueue *free_buffers, *full_buffers;
    GMutex lock;
    GError *error;
    uint64_t done, zero; /* bytes */
    int64_t read_us;
};

uint64_t vms_pipeline_chunks(uint64_t size, uint64_t chunk_size)
{
    return size / chunk_size + (size % chunk_size != 0);
}

/* Of inputs that are cut every chunk_size bytes. */
static size_t chunk_len(const Pipeline *p, uint64_t at)
{
    uint64_t size = p->options->chunk_size;
    return (size_t)MIN(size, p->input->size - at * size);
}

/* Keeps the first error and wakes everybody who waits. */
static void fail(Pipeline *p, GError *error)
{
    g_mutex_lock(&p->lock);
    if (!p->error)
        p->error = error;
    else
        g_error_free(error);
    g_mutex_unlock(&p->lock);
    vms_queue_abort(p->full_buffers);
    vms_queue_close(p->free_buffers);
}

static void count(Pipeline *p, uint64_t done, uint64_t zero)
{
    const VmsPipelineOptions *o = p->options;
    g_mutex_lock(&p->lock);
    p->done += done;
    p->zero += zero;
    uint64_t total = o->progress_before + p->done;
    g_mutex_unlock(&p->lock);
    vms_progress_update(o->progress, "export", o->item, total, o->progress_total);
}

static void count_read(Pipeline *p, int64_t start)
{
    int64_t spent = g_get_monotonic_time() - start;
    g_mutex_lock(&p->lock);
    p->read_us += spent;
    g_mutex_unlock(&p->lock);
}

static bool is_zero(const uint8_t *data, size_t len)
{
    return len == 0 || (data[0] == 0 && memcmp(data, data + 1, len - 1) == 0);
}

static const VmsId *zero_id_of(const Pipeline *p, uint64_t at)
{
    return chunk_len(p, at) == p->options->chunk_size ? &p->zero_id : &p->last_zero_id;
}

static bool store(Pipeline *p, const Chunk *chunk, GError **error)
{
    bool zero = !p->input->next && is_zero(chunk->data, chunk->len);
    VmsId id = {0};
    if (zero)
        id = *zero_id_of(p, chunk->at);
    if (!zero && !vms_repo_writer_add(p->options->writer, VMS_BLOB_DATA, chunk->data, chunk->len,
                                      &id, error))
        return false;
    if (!vms_content_set(p->content, chunk->at, &id, error))
        return false;
    count(p, chunk->len, zero ? chunk->len : 0);
    return true;
}

static bool read_announced(Pipeline *p, Chunk *chunk, uint8_t *buffer, GError **error)
{
    VmsInput *input = p->input;
    int64_t start = g_get_monotonic_time();
    chunk->data = buffer;
    bool ok = input->read(input, chunk->at * p->options->chunk_size, buffer, chunk->len, error);
    count_read(p, start);
    return ok;
}

static void *work(void *data)
{
    Pipeline *p = data;
    g_autofree uint8_t *own = p->input->announce ? g_malloc(p->options->chunk_size) : NULL;
    for (Chunk *chunk; (chunk = vms_queue_pop(p->full_buffers));) {
        GError *error = NULL;
        bool ok = (!own || read_announced(p, chunk, own, &error)) && store(p, chunk, &error);
        vms_queue_push(p->free_buffers, chunk);
        if (!ok)
            fail(p, error);
    }
    return NULL;
}

/* The zero blobs must be in the repository before a content list names them. */
static bool add_zero_blobs(Pipeline *p, GError **error)
{
    g_autofree uint8_t *zeroes = g_malloc0(p->options->chunk_size);
    size_t last = p->chunks ? chunk_len(p, p->chunks - 1) : 0;
    VmsRepoWriter *writer = p->options->writer;
    if (p->input->size >= p->options->chunk_size &&
        !vms_repo_writer_add(writer, VMS_BLOB_DATA, zeroes, p->options->chunk_size, &p->zero_id,
                             error))
        return false;
    return last == 0 || last == p->options->chunk_size ||
           vms_repo_writer_add(writer, VMS_BLOB_DATA, zeroes, last, &p->last_zero_id, error);
}

static bool fill_zero(Pipeline *p, uint64_t until, GError **error)
{
    uint64_t begin = p->next, size = p->options->chunk_size;
    bool to_end = until == p->chunks && begin < until;
    uint64_t whole = until - begin - (to_end ? 1 : 0);
    if (!vms_content_fill(p->content, begin, whole, &p->zero_id, error) ||
        (to_end && !vms_content_set(p->content, until - 1, zero_id_of(p, until - 1), error)))
        return false;
    p->next = until;
    uint64_t bytes = MIN(until * size, p->input->size) - MIN(begin * size, p->input->size);
    count(p, bytes, bytes);
    return true;
}

static void push_full(void *user)
{
    Chunk *chunk = user;
    vms_queue_push(chunk->pipeline->full_buffers, chunk); /* has room for all buffers */
}

static bool fill_chunk(Pipeline *p, Chunk *chunk, GError **error)
{
    VmsInput *input = p->input;
    uint64_t offset = chunk->at * p->options->chunk_size;
    if (!input->next)
        chunk->len = chunk_len(p, chunk->at);
    if (input->announce) {
        input->announce(input, offset, chunk->len);
        push_full(chunk);
        return true;
    }
    if (input->start)
        return input->start(input, offset, chunk->data, chunk->len, p->reads, push_full, chunk,
                            error);
    bool ok = input->next ? input->next(input, chunk->data, &chunk->len, error)
                          : input->read(input, offset, chunk->data, chunk->len, error);
    if (ok)
        push_full(chunk);
    return ok;
}

static bool read_chunk(Pipeline *p, GError **error)
{
    Chunk *chunk = vms_queue_pop(p->free_buffers);
    if (!chunk)
        return vms_fail(error, VMS_ERROR_FAILED, "a worker failed");
    chunk->at = p->next++;
    size_t most = p->input->next ? p->input->chunk_max : chunk_len(p, chunk->at);
    if (!vms_rate_take(p->options->read_rate, most, p->options->cancellable, error))
        return false;
    int64_t start = g_get_monotonic_time();
    bool ok = fill_chunk(p, chunk, error);
    count_read(p, start);
    return ok;
}

/* Data of any length makes each chunk that it touches one to be read; a chunk is zero only if no
 * data extent touched it, which is known when a later extent begins beyond it. */
static bool on_extent(void *user, uint64_t offset, uint64_t length, bool zero, GError **error)
{
    Pipeline *p = user;
    uint64_t chunk_size = p->options->chunk_size;
    if (zero || length == 0)
        return vms_check_cancelled(p->options->cancellable, error);
    uint64_t first = offset / chunk_size;
    uint64_t end = (offset + length - 1) / chunk_size + 1;
    if (first > p->next && !fill_zero(p, first, error))
        return false;
    while (p->next < end)
        if (!vms_check_cancelled(p->options->cancellable, error) || !read_chunk(p, error))
            return false;
    return true;
}

static bool read_all(Pipeline *p, GError **error)
{
    if (p->input->next) {
        while (p->next < p->chunks)
            if (!vms_check_cancelled(p->options->cancellable, error) || !read_chunk(p, error))
                return false;
        return true;
    }
    return p->input->extents(p->input, on_extent, p, p->options->cancellable, error) &&
           fill_zero(p, p->chunks, error);
}

/* What was started ends in any case, before its buffers do. */
static void read_and_drain(Pipeline *p)
{
    GError *error = NULL;
    if (!read_all(p, &error)) {
        fail(p, error);
        error = NULL;
    }
    int64_t start = g_get_monotonic_time();
    if (p->input->drain && !p->input->drain(p->input, &error))
        fail(p, error);
    count_read(p, start);
}

static unsigned count_workers(const Pipeline *p, size_t buffer)
{
    unsigned most = (unsigned)MAX(WORKERS_SHARE / 4 / buffer, 1);
    return p->options->workers ? p->options->workers : MIN(g_get_num_processors(), most);
}

static void run_threads(Pipeline *p)
{
    size_t buffer = p->input->next ? p->input->chunk_max : p->options->chunk_size;
    unsigned n = count_workers(p, buffer);
    bool ahead = p->input->start || p->input->announce;
    p->reads = ahead ? (unsigned)CLAMP(AHEAD / buffer, 1, MAX_READS) : 1;
    unsigned buffers = p->reads + n * BUFFERS_PER_WORKER;
    g_autofree GThread **threads = g_new0(GThread *, n);
    p->buffers = g_ptr_array_new_with_free_func(g_free);
    p->free_buffers = vms_queue_new(buffers, NULL);
    p->full_buffers = vms_queue_new(buffers, NULL);
    for (unsigned i = 0; i < buffers; i++) {
        Chunk *chunk = g_malloc(sizeof(Chunk) + (p->input->announce ? 0 : buffer));
        chunk->pipeline = p;
        chunk->data = chunk->own;
        g_ptr_array_add(p->buffers, chunk);
        vms_queue_push(p->free_buffers, chunk);
    }
    for (unsigned i = 0; i < n; i++)
        threads[i] = g_thread_new("vms-worker", work, p);
    read_and_drain(p);
    vms_queue_close(p->full_buffers);
    for (unsigned i = 0; i < n; i++)
        g_thread_join(threads[i]);
    vms_queue_free(p->full_buffers);
    vms_queue_free(p->free_buffers);
    g_ptr_array_unref(p->buffers);
}

VmsContent *vms_pipeline_run(VmsInput *input, const VmsPipelineOptions *options, uint64_t *ret_zero,
                             GError **error)
{
    uint64_t chunks =
        input->next ? input->chunks : vms_pipeline_chunks(input->size, options->chunk_size);
    g_autoptr(VmsContent) content = vms_content_new(chunks, error);
    if (!content)
        return NULL;
    Pipeline p = {.input = input, .options = options, .content = content, .chunks = chunks};
    g_mutex_init(&p.lock);
    if (input->next || add_zero_blobs(&p, &p.error))
        run_threads(&p);
    g_mutex_clear(&p.lock);
    if (options->read_us)
        *options->read_us += (uint64_t)p.read_us;
    if (p.error) {
        g_propagate_error(error, p.error);
        return NULL;
    }
    *ret_zero = p.zero;
    return g_steal_pointer(&content);
}
