/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Threads fetch pieces, each the next one nobody has taken, into a ring; the caller's thread takes
 * them in order, since the hash is one of the whole. A piece is begun only when its slot is free.
 *
 * Lock: Reading.lock guards next, taken, the slots and error. Nothing is called while it is held.
 */
#include "job/plain-read.h"

#include "base/error.h"
#include "base/text.h"
#include "codec/hash.h"

#define PIECE (UINT64_C(4) << 20) /* bytes */
#define SLOTS 8
#define THREADS 6
#define MAX_SMALL (UINT64_C(64) << 20)

typedef struct {
    const VmsPlainReadOptions *options;
    const char *object;
    uint64_t size, pieces;
    GCancellable *stop; /* cancelled with the caller's, and by the first error */
    GMutex lock;
    GCond changed;
    uint64_t next, taken; /* pieces: to be fetched next, given to the caller */
    GBytes *slots[SLOTS];
    bool stopped;
    GError *error; /* the first one */
} Reading;

/* False where there is nothing more to fetch. */
static bool take_next(Reading *r, uint64_t *ret_piece)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&r->lock);
    while (!r->stopped && r->next < r->pieces && r->next >= r->taken + SLOTS)
        g_cond_wait(&r->changed, &r->lock);
    if (r->stopped || r->next >= r->pieces)
        return false;
    *ret_piece = r->next++;
    return true;
}

/* Takes data and failure, of which one is NULL. */
static void give(Reading *r, uint64_t piece, GBytes *data, GError *failure)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&r->lock);
    if (data)
        r->slots[piece % SLOTS] = data;
    if (failure && r->error)
        g_error_free(failure);
    else if (failure)
        r->error = failure;
    r->stopped = r->stopped || failure;
    g_cond_broadcast(&r->changed);
}

static void *fetch_pieces(void *user)
{
    Reading *r = user;
    uint64_t piece;
    while (take_next(r, &piece)) {
        GError *failure = NULL;
        uint64_t offset = piece * PIECE;
        GBytes *data = vms_store_get(r->options->store, r->object, offset,
                                     MIN(PIECE, r->size - offset), r->stop, &failure);
        give(r, piece, data, failure);
    }
    return NULL;
}

/* NULL with *error where a thread failed. */
static GBytes *wait_for(Reading *r, uint64_t piece, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&r->lock);
    while (!r->slots[piece % SLOTS] && !r->stopped)
        g_cond_wait(&r->changed, &r->lock);
    if (r->error) {
        g_propagate_error(error, g_steal_pointer(&r->error));
        return NULL;
    }
    GBytes *data = g_steal_pointer(&r->slots[piece % SLOTS]);
    r->taken = piece + 1;
    g_cond_broadcast(&r->changed);
    return data;
}

static bool consume(Reading *r, VmsHash *hash, VmsPlainReadFunc func, void *user, GError **error)
{
    const VmsPlainReadOptions *o = r->options;
    for (uint64_t piece = 0; piece < r->pieces; piece++) {
        g_autoptr(GBytes) data = wait_for(r, piece, error);
        if (!data)
            return false;
        size_t len;
        const void *bytes = g_bytes_get_data(data, &len);
        vms_hash_update(hash, bytes, len);
        if (!vms_check_cancelled(o->cancellable, error) ||
            !func(user, piece * PIECE, bytes, len, error))
            return false;
        vms_progress_update(o->progress, o->phase, o->item,
                            o->progress_before + piece * PIECE + len, o->progress_total);
    }
    return true;
}

static void on_cancelled(GCancellable *cancellable, void *user)
{
    g_cancellable_cancel(user);
}

static bool run(Reading *r, VmsHash *hash, VmsPlainReadFunc func, void *user, GError **error)
{
    GCancellable *outer = r->options->cancellable;
    GThread *threads[THREADS];
    unsigned count = (unsigned)MIN(THREADS, r->pieces);
    gulong handler =
        outer ? g_cancellable_connect(outer, G_CALLBACK(on_cancelled), r->stop, NULL) : 0;
    for (unsigned i = 0; i < count; i++)
        threads[i] = g_thread_new("vms-fetch", fetch_pieces, r);
    bool ok = consume(r, hash, func, user, error);
    g_mutex_lock(&r->lock);
    r->stopped = true;
    g_cond_broadcast(&r->changed);
    g_mutex_unlock(&r->lock);
    if (!ok)
        g_cancellable_cancel(r->stop);
    for (unsigned i = 0; i < count; i++)
        g_thread_join(threads[i]);
    if (outer)
        g_cancellable_disconnect(outer, handler);
    return ok;
}

static bool check_hash(VmsStore *store, const char *object, const VmsManifestFile *file,
                       VmsHash *hash, GError **error)
{
    uint8_t sum[VMS_HASH_LEN];
    vms_hash_finish(hash, sum);
    g_autofree char *hex = vms_text_hex(sum, sizeof sum);
    return g_str_equal(hex, file->sha256) ||
           vms_fail(error, VMS_ERROR_CORRUPT,
                    "%s: %s is damaged: its SHA-256 is not the one in the manifest",
                    store->location, object);
}

bool vms_plain_check_size(VmsStore *store, const char *object, const VmsManifestFile *file,
                          GCancellable *cancellable, GError **error)
{
    bool exists = false;
    uint64_t size = 0;
    if (!vms_store_has(store, object, &exists, &size, cancellable, error))
        return false;
    if (!exists)
        return vms_fail(error, VMS_ERROR_CORRUPT, "%s: %s is missing", store->location, object);
    return size == file->bytes ||
           vms_fail(error, VMS_ERROR_CORRUPT,
                    "%s: %s has %" G_GUINT64_FORMAT " bytes, the manifest says %" G_GUINT64_FORMAT,
                    store->location, object, size, file->bytes);
}

bool vms_plain_read(const VmsPlainReadOptions *options, const char *object,
                    const VmsManifestFile *file, VmsPlainReadFunc func, void *user, GError **error)
{
    if (!vms_plain_check_size(options->store, object, file, options->cancellable, error))
        return false;
    Reading r = {
        .options = options,
        .object = object,
        .size = file->bytes,
        .pieces = (file->bytes + PIECE - 1) / PIECE,
        .stop = g_cancellable_new(),
    };
    g_autoptr(VmsHash) hash = vms_hash_new();
    g_mutex_init(&r.lock);
    g_cond_init(&r.changed);
    bool ok =
        run(&r, hash, func, user, error) && check_hash(options->store, object, file, hash, error);
    for (unsigned i = 0; i < SLOTS; i++)
        g_clear_pointer(&r.slots[i], g_bytes_unref);
    g_clear_error(&r.error);
    g_cond_clear(&r.changed);
    g_mutex_clear(&r.lock);
    g_object_unref(r.stop);
    return ok;
}

GBytes *vms_plain_read_small(VmsStore *store, const char *object, const VmsManifestFile *file,
                             GCancellable *cancellable, GError **error)
{
    if (file->bytes > MAX_SMALL)
        return vms_fail_null(error, VMS_ERROR_UNSUPPORTED, "%s has more than 64 MiB", object);
    if (!vms_plain_check_size(store, object, file, cancellable, error))
        return NULL;
    g_autoptr(GBytes) bytes = vms_store_get(store, object, 0, file->bytes, cancellable, error);
    if (!bytes)
        return NULL;
    size_t len;
    const void *data = g_bytes_get_data(bytes, &len);
    g_autoptr(VmsHash) hash = vms_hash_new();
    vms_hash_update(hash, data, len);
    return check_hash(store, object, file, hash, error) ? g_steal_pointer(&bytes) : NULL;
}
