/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The writer fills part after part and queues it; threads store them. A fixed number of parts goes
 * round between the two queues: spare (to fill) and full (to store), which bounds the memory. What
 * fits into one part is one put.
 *
 * Threads: the owner, and "vms-part" ones, which run the store's put_part. Lock: guards error.
 * Nothing is called while it is held. */
#include "store/upload.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "base/queue.h"

#include <string.h>

#define MIN_PART (UINT64_C(16) << 20)
#define PART_STEP (UINT64_C(1) << 20)
#define MAX_PARTS 10000 /* of S3 */
#define MAX_MEMORY (UINT64_C(128) << 20)
#define MAX_THREADS 4

typedef struct {
    unsigned index;
    size_t len;
    uint8_t data[];
} Part;

struct VmsStoreUpload {
    VmsStore *store;
    char *name;
    uint64_t size, part_size, written;
    GCancellable *cancellable; /* the caller's, nullable */
    gulong handler;
    GCancellable *stop;   /* cancelled with the caller's, and by the first error */
    VmsStoreParts *parts; /* NULL: one put */
    Part *filling;
    unsigned next_index;
    VmsQueue *spare, *full; /* of Part*; the part of a single put is in filling */
    GThread *threads[MAX_THREADS];
    unsigned thread_count;
    bool finished;
    GMutex lock;
    GError *error; /* the first one */
};

static uint64_t part_size_of(uint64_t size)
{
    uint64_t least = size / MAX_PARTS + (size % MAX_PARTS ? 1 : 0);
    return MAX(MIN_PART, (least + PART_STEP - 1) / PART_STEP * PART_STEP);
}

/* Takes error. */
static void stop_with(VmsStoreUpload *upload, GError *error)
{
    g_mutex_lock(&upload->lock);
    if (upload->error)
        g_error_free(error);
    else
        upload->error = error;
    g_mutex_unlock(&upload->lock);
    g_cancellable_cancel(upload->stop);
    if (upload->full) {
        vms_queue_abort(upload->full);
        vms_queue_abort(upload->spare);
    }
}

/* False with the error that has stopped the upload, if one has. */
static bool check(VmsStoreUpload *upload, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&upload->lock);
    if (!upload->error)
        return true;
    if (error)
        *error = g_error_copy(upload->error);
    return false;
}

/* Stops the upload with *error, which has just been set; for the owner's own errors. */
static bool stop(VmsStoreUpload *upload, GError *mine, GError **error)
{
    vms_prefix(&mine, "%s: put %s", upload->store->location, upload->name);
    stop_with(upload, mine);
    check(upload, error);
    return false;
}

static void *store_parts(void *user)
{
    VmsStoreUpload *upload = user;
    VmsStore *store = upload->store;
    Part *part;
    while ((part = vms_queue_pop(upload->full))) {
        GError *failure = NULL;
        g_autoptr(GBytes) data = g_bytes_new_static(part->data, part->len);
        bool ok =
            store->ops->put_part(store, upload->parts, part->index, data, upload->stop, &failure);
        if (!ok) {
            vms_prefix(&failure, "%s: put %s, part %u", store->location, upload->name,
                       part->index + 1);
            stop_with(upload, failure);
        }
        if (!ok || !vms_queue_push(upload->spare, part))
            g_free(part);
    }
    return NULL;
}

static void on_cancelled(GCancellable *cancellable, void *user)
{
    g_cancellable_cancel(((VmsStoreUpload *)user)->stop);
}

static Part *part_new(size_t capacity, GError **error)
{
    Part *part = g_try_malloc(sizeof *part + capacity);
    if (!part)
        return vms_fail_null(error, VMS_ERROR_FAILED, "no memory for a part of %zu bytes",
                             capacity);
    part->len = 0;
    return part;
}

static bool begin_parts(VmsStoreUpload *upload, GError **error)
{
    VmsStore *store = upload->store;
    unsigned count = (unsigned)CLAMP(MAX_MEMORY / upload->part_size, 1, MAX_THREADS + 1);
    upload->spare = vms_queue_new(count, g_free);
    upload->full = vms_queue_new(count, g_free);
    for (unsigned i = 0; i < count; i++) {
        Part *part = part_new((size_t)upload->part_size, error);
        if (!part)
            return false;
        vms_queue_push(upload->spare, part);
    }
    upload->parts = store->ops->begin_parts(store, upload->name, upload->size, upload->part_size,
                                            upload->stop, error);
    if (!upload->parts)
        return false;
    upload->thread_count = MIN(count, MAX_THREADS);
    for (unsigned i = 0; i < upload->thread_count; i++)
        upload->threads[i] = g_thread_new("vms-part", store_parts, upload);
    return true;
}

VmsStoreUpload *vms_store_upload_new(VmsStore *store, const char *name, uint64_t size,
                                     GCancellable *cancellable, GError **error)
{
    VmsStoreUpload *upload = g_new0(VmsStoreUpload, 1);
    g_mutex_init(&upload->lock);
    upload->store = store;
    upload->name = g_strdup(name);
    upload->size = size;
    upload->part_size = part_size_of(size);
    upload->stop = g_cancellable_new();
    if (cancellable) {
        upload->cancellable = g_object_ref(cancellable);
        upload->handler =
            g_cancellable_connect(cancellable, G_CALLBACK(on_cancelled), upload, NULL);
    }
    bool ok = vms_store_check_name(name, error) && vms_check_cancelled(cancellable, error);
    if (ok && size <= upload->part_size)
        ok = (upload->filling = part_new((size_t)size, error)) != NULL;
    else if (ok)
        ok = begin_parts(upload, error);
    if (ok)
        return upload;
    vms_prefix(error, "%s: put %s", store->location, name);
    vms_store_upload_free(upload);
    return NULL;
}

/* The part being filled is whole. */
static void send_part(VmsStoreUpload *upload)
{
    Part *part = g_steal_pointer(&upload->filling);
    part->index = upload->next_index++;
    if (!vms_queue_push(upload->full, part))
        g_free(part); /* stopped: the next check says why */
}

static Part *part_to_fill(VmsStoreUpload *upload)
{
    if (upload->filling)
        return upload->filling;
    Part *part = vms_queue_pop(upload->spare);
    if (part)
        part->len = 0;
    return upload->filling = part;
}

bool vms_store_upload_write(VmsStoreUpload *upload, const void *data, size_t len, GError **error)
{
    GError *mine = NULL;
    if (len > upload->size - upload->written)
        vms_fail(&mine, VMS_ERROR_INVALID, "more than the %" G_GUINT64_FORMAT " bytes announced",
                 upload->size);
    if (mine || !vms_check_cancelled(upload->cancellable, &mine))
        return stop(upload, mine, error);
    const uint8_t *from = data;
    while (len > 0) {
        Part *part = check(upload, NULL) ? part_to_fill(upload) : NULL;
        if (!part)
            return check(upload, error);
        size_t n = MIN(len, (size_t)upload->part_size - part->len);
        memcpy(part->data + part->len, from, n);
        part->len += n;
        upload->written += n;
        from += n;
        len -= n;
        if (upload->parts && (part->len == upload->part_size || upload->written == upload->size))
            send_part(upload);
    }
    return check(upload, error);
}

static void join_threads(VmsStoreUpload *upload)
{
    for (unsigned i = 0; i < upload->thread_count; i++)
        g_thread_join(upload->threads[i]);
    upload->thread_count = 0;
}

static bool finish_object(VmsStoreUpload *upload, GError **error)
{
    VmsStore *store = upload->store;
    if (upload->parts)
        return store->ops->finish_parts(store, upload->parts, upload->stop, error);
    vms_failpoint("upload.finishing");
    Part *part = g_steal_pointer(&upload->filling);
    g_autoptr(GBytes) data = g_bytes_new_with_free_func(part->data, part->len, g_free, part);
    return store->ops->put(store, upload->name, data, false, upload->stop, error);
}

bool vms_store_upload_finish(VmsStoreUpload *upload, GError **error)
{
    if (upload->full) {
        vms_queue_close(upload->full);
        join_threads(upload);
    }
    if (!check(upload, error))
        return false;
    GError *mine = NULL;
    if (upload->written < upload->size)
        vms_fail(&mine, VMS_ERROR_INVALID,
                 "only %" G_GUINT64_FORMAT " of the %" G_GUINT64_FORMAT " bytes announced",
                 upload->written, upload->size);
    else if (vms_check_cancelled(upload->cancellable, &mine))
        finish_object(upload, &mine);
    if (mine)
        return stop(upload, mine, error);
    vms_failpoint("upload.finished");
    return upload->finished = true;
}

void vms_store_upload_free(VmsStoreUpload *upload)
{
    if (!upload)
        return;
    if (!upload->finished)
        g_cancellable_cancel(upload->stop);
    if (upload->full) {
        vms_queue_abort(upload->full);
        vms_queue_abort(upload->spare);
    }
    join_threads(upload);
    if (upload->parts)
        upload->store->ops->free_parts(upload->store, upload->parts);
    if (upload->cancellable)
        g_cancellable_disconnect(upload->cancellable, upload->handler);
    g_clear_object(&upload->cancellable);
    g_object_unref(upload->stop);
    vms_queue_free(upload->spare);
    vms_queue_free(upload->full);
    g_free(upload->filling);
    g_clear_error(&upload->error);
    g_mutex_clear(&upload->lock);
    g_free(upload->name);
    g_free(upload);
}

bool vms_store_abort_uploads(VmsStore *store, uint64_t older_than_s, unsigned *ret_count,
                             GCancellable *cancellable, GError **error)
{
    unsigned count = 0;
    if (ret_count)
        *ret_count = 0;
    if (vms_check_cancelled(cancellable, error) &&
        store->ops->abort_parts(store, older_than_s, &count, cancellable, error)) {
        if (ret_count)
            *ret_count = count;
        return true;
    }
    return vms_prefix(error, "%s: drop unfinished uploads", store->location);
}
