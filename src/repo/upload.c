/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The order of writing is packs, index, snapshot: an index may only name packs that are durable. So
 * a pack enters `stored` when its put has returned, and index files are made of `stored` alone. One
 * is written at every flush, and on the way when enough blobs or time have gathered, so that a run
 * that is killed loses little of what it uploaded.
 *
 * Threads: `threads` uploaders ("pack-upload"), which end the pack, hash it, put it and write an
 * index file when one is due. Memory: one pack per thread, one in the queue, and those being
 * filled.
 *
 * The first error stops everything: later packs are dropped, and every call returns it. The mutex
 * guards all fields below it and is never held during I/O. */
#include "repo/upload.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "base/queue.h"
#include "codec/hash.h"
#include "repo/index-file.h"
#include "repo/object.h"
#include "repo/repo-private.h"

#define INDEX_BLOBS 50000
#define INDEX_US (120 * G_USEC_PER_SEC)

struct VmsUpload {
    VmsRepo *repo;
    VmsRepoLock *lock; /* nullable */
    VmsUploadIndexedFunc indexed;
    void *user;
    GCancellable *cancellable; /* our own, cancelled with the caller's and at free */
    GCancellable *outer;
    gulong outer_handler;
    VmsQueue *queue;
    GPtrArray *threads;
    VmsPackBuffers *buffers;

    GMutex mutex;
    GCond idle;    /* busy or indexing became 0 */
    unsigned busy; /* packs between push and the end of their put */
    bool indexing;
    GPtrArray *stored; /* VmsUploadPack without bytes: durable, in no index yet */
    size_t stored_blobs;
    int64_t stored_since; /* monotonic time of the last index */
    GError *failed;
    VmsUploadStats stats;
};

VmsUploadPack *vms_upload_pack_new(VmsUpload *upload, size_t size)
{
    VmsUploadPack *pack = g_new0(VmsUploadPack, 1);

    if (size > 0)
        pack->bytes = vms_pack_buffers_take(upload->buffers, size);
    pack->blobs = g_array_new(FALSE, FALSE, sizeof(VmsPackBlob));
    return pack;
}

void vms_upload_pack_free(VmsUploadPack *pack)
{
    if (pack != NULL) {
        g_clear_pointer(&pack->bytes, vms_pack_buffer_free);
        g_clear_pointer(&pack->blobs, g_array_unref);
        g_clear_pointer(&pack->whole, g_bytes_unref);
        g_free(pack);
    }
}

/* Takes error. */
static void fail(VmsUpload *upload, GError *error)
{
    g_mutex_lock(&upload->mutex);
    if (upload->failed == NULL)
        upload->failed = g_steal_pointer(&error);
    g_mutex_unlock(&upload->mutex);
    g_clear_error(&error);
}

bool vms_upload_check(VmsUpload *upload, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&upload->mutex);

    if (upload->failed != NULL && error != NULL)
        *error = g_error_copy(upload->failed);
    return upload->failed == NULL;
}

bool vms_upload_behind(VmsUpload *upload)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&upload->mutex);

    return upload->busy > upload->threads->len;
}

static bool save_index(VmsUpload *upload, GPtrArray *packs, GCancellable *cancellable,
                       GError **error)
{
    GString *text = vms_index_file_begin();
    uint64_t size = 0;
    VmsId id;

    for (guint i = 0; i < packs->len; i++) {
        VmsUploadPack *pack = g_ptr_array_index(packs, i);

        vms_index_file_pack(text, &pack->id, (const VmsPackBlob *)pack->blobs->data,
                            pack->blobs->len);
    }
    vms_index_file_end(text);
    g_autoptr(GBytes) bytes = g_string_free_to_bytes(text);
    if (!vms_object_save(upload->repo, "index", g_bytes_get_data(bytes, NULL),
                         g_bytes_get_size(bytes), &id, &size, cancellable, error))
        return false;
    vms_failpoint("index.stored");
    if (!vms_index_add(upload->repo->index, upload->repo, &id, bytes, cancellable, error))
        return false;
    vms_failpoint("index.cached");
    for (guint i = 0; i < packs->len; i++) {
        VmsUploadPack *pack = g_ptr_array_index(packs, i);

        upload->indexed(upload->user, (const VmsPackBlob *)pack->blobs->data, pack->blobs->len);
    }
    g_mutex_lock(&upload->mutex);
    upload->stats.bytes += size;
    g_mutex_unlock(&upload->mutex);
    return true;
}

/* Writes an index of what is stored, unless another thread does. */
static bool write_index(VmsUpload *upload, GCancellable *cancellable, GError **error)
{
    g_autoptr(GPtrArray) packs = NULL;

    g_mutex_lock(&upload->mutex);
    if (!upload->indexing && upload->stored->len > 0) {
        packs = upload->stored;
        upload->stored = g_ptr_array_new_with_free_func((GDestroyNotify)vms_upload_pack_free);
        upload->stored_blobs = 0;
        upload->stored_since = g_get_monotonic_time();
        upload->indexing = true;
    }
    g_mutex_unlock(&upload->mutex);
    if (packs == NULL)
        return true;

    bool ok = save_index(upload, packs, cancellable, error);
    g_mutex_lock(&upload->mutex);
    upload->indexing = false;
    g_cond_broadcast(&upload->idle);
    g_mutex_unlock(&upload->mutex);
    return ok;
}

static bool put_pack(VmsUpload *upload, VmsUploadPack *pack, uint64_t *ret_size, GError **error)
{
    g_autoptr(GBytes) bytes = g_steal_pointer(&pack->whole);

    if (bytes == NULL) {
        g_autoptr(GByteArray) trailer = vms_pack_trailer(
            upload->repo->key, (const VmsPackBlob *)pack->blobs->data, pack->blobs->len, error);

        if (trailer == NULL)
            return false;
        vms_pack_buffer_append(pack->bytes, trailer->data, trailer->len);
        vms_hash(pack->bytes->data, pack->bytes->len, pack->id.bytes);
        bytes = vms_pack_buffers_lend(upload->buffers, g_steal_pointer(&pack->bytes));
    }
    *ret_size = g_bytes_get_size(bytes);
    if (upload->lock != NULL && !vms_repo_lock_settle(upload->lock, upload->cancellable, error))
        return false;
    g_autofree char *name = vms_object_pack_name(&pack->id);
    vms_failpoint("pack.next");
    bool ok = vms_store_put(upload->repo->store, name, bytes, false, upload->cancellable, error);
    vms_failpoint("pack.stored");
    return ok;
}

/* Takes pack. */
static void store_pack(VmsUpload *upload, VmsUploadPack *pack, GError **error)
{
    int64_t start = g_get_monotonic_time();
    uint64_t size = 0;

    if (!put_pack(upload, pack, &size, error)) {
        vms_upload_pack_free(pack);
        return;
    }
    int64_t now = g_get_monotonic_time();
    g_mutex_lock(&upload->mutex);
    upload->stats.packs++;
    upload->stats.bytes += size;
    upload->stats.upload_us += (uint64_t)(now - start);
    upload->stored_blobs += pack->blobs->len;
    g_ptr_array_add(upload->stored, pack);
    bool due = upload->stored_blobs >= INDEX_BLOBS || now - upload->stored_since > INDEX_US;
    g_mutex_unlock(&upload->mutex);
    if (due)
        write_index(upload, upload->cancellable, error);
}

static void *upload_thread(void *user)
{
    VmsUpload *upload = user;
    VmsUploadPack *pack;

    while ((pack = vms_queue_pop(upload->queue)) != NULL) {
        GError *error = NULL;

        if (vms_upload_check(upload, NULL))
            store_pack(upload, pack, &error);
        else
            vms_upload_pack_free(pack);
        if (error != NULL)
            fail(upload, error);
        g_mutex_lock(&upload->mutex);
        upload->busy--;
        g_cond_broadcast(&upload->idle);
        g_mutex_unlock(&upload->mutex);
    }
    return NULL;
}

static void cancel_inner(GCancellable *outer, void *user)
{
    g_cancellable_cancel(user);
}

VmsUpload *vms_upload_new(VmsRepo *repo, VmsRepoLock *lock, unsigned threads,
                          VmsUploadIndexedFunc indexed, void *user, GCancellable *cancellable)
{
    VmsUpload *upload = g_new0(VmsUpload, 1);

    g_mutex_init(&upload->mutex);
    g_cond_init(&upload->idle);
    upload->repo = repo;
    upload->lock = lock;
    upload->indexed = indexed;
    upload->user = user;
    upload->cancellable = g_cancellable_new();
    if (cancellable != NULL) {
        upload->outer = g_object_ref(cancellable);
        upload->outer_handler =
            g_cancellable_connect(cancellable, G_CALLBACK(cancel_inner),
                                  g_object_ref(upload->cancellable), g_object_unref);
    }
    upload->buffers = vms_pack_buffers_new();
    upload->queue = vms_queue_new(1, (GDestroyNotify)vms_upload_pack_free);
    upload->stored = g_ptr_array_new_with_free_func((GDestroyNotify)vms_upload_pack_free);
    upload->stored_since = g_get_monotonic_time();
    upload->threads = g_ptr_array_new();
    for (unsigned i = 0; i < threads; i++)
        g_ptr_array_add(upload->threads, g_thread_new("pack-upload", upload_thread, upload));
    return upload;
}

void vms_upload_free(VmsUpload *upload)
{
    g_autoptr(GError) error = NULL;

    if (upload == NULL)
        return;
    g_cancellable_cancel(upload->cancellable);
    vms_queue_abort(upload->queue);
    for (guint i = 0; i < upload->threads->len; i++)
        g_thread_join(g_ptr_array_index(upload->threads, i));
    g_ptr_array_unref(upload->threads);
    if ((upload->failed == NULL || vms_error_is(upload->failed, VMS_ERROR_CANCELLED)) &&
        !write_index(upload, NULL, &error))
        g_debug("packs that were uploaded stay without an index: %s", error->message);
    if (upload->outer != NULL) {
        g_cancellable_disconnect(upload->outer, upload->outer_handler);
        g_object_unref(upload->outer);
    }
    g_object_unref(upload->cancellable);
    vms_queue_free(upload->queue);
    vms_pack_buffers_unref(upload->buffers);
    g_ptr_array_unref(upload->stored);
    g_clear_error(&upload->failed);
    g_cond_clear(&upload->idle);
    g_mutex_clear(&upload->mutex);
    g_free(upload);
}

bool vms_upload_push(VmsUpload *upload, VmsUploadPack *pack, GError **error)
{
    int64_t start = g_get_monotonic_time();

    if (!vms_upload_check(upload, error)) {
        vms_upload_pack_free(pack);
        return false;
    }
    g_mutex_lock(&upload->mutex);
    upload->busy++;
    g_mutex_unlock(&upload->mutex);
    if (!vms_queue_push(upload->queue, pack)) {
        vms_upload_pack_free(pack);
        return vms_fail(error, VMS_ERROR_CANCELLED, "the upload was stopped");
    }
    g_mutex_lock(&upload->mutex);
    upload->stats.wait_us += (uint64_t)(g_get_monotonic_time() - start);
    g_mutex_unlock(&upload->mutex);
    return true;
}

bool vms_upload_flush(VmsUpload *upload, GError **error)
{
    int64_t start = g_get_monotonic_time();

    g_mutex_lock(&upload->mutex);
    while (upload->busy > 0 || upload->indexing)
        g_cond_wait(&upload->idle, &upload->mutex);
    upload->stats.wait_us += (uint64_t)(g_get_monotonic_time() - start);
    g_mutex_unlock(&upload->mutex);
    if (!vms_upload_check(upload, error))
        return false;
    GError *local = NULL;
    if (write_index(upload, upload->cancellable, &local))
        return true;
    if (error != NULL)
        *error = g_error_copy(local);
    fail(upload, local);
    return false;
}

void vms_upload_stats(VmsUpload *upload, VmsUploadStats *ret_stats)
{
    g_mutex_lock(&upload->mutex);
    *ret_stats = upload->stats;
    g_mutex_unlock(&upload->mutex);
}
