/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A ring of buffers: the caller's thread starts reads into them, which end in any order, and one
 * thread takes them in order. Reads go on only while the caller's thread is inside the source, so
 * it must not wait for a buffer while the oldest one is still being read: then it drains first.
 *
 * Lock: Copy.lock guards taken, filled, ready, closed and error; nothing else is taken while it is
 * held. */
#include "job/plain-copy.h"

#include "base/error.h"

#include <string.h>

#define PIECE (1u << 20) /* bytes */
#define PIECES 24
#define READS 16 /* more qemu-nbd does not take from one connection */

typedef struct {
    VmsPlainCopy *copy;
    uint8_t *data;
    size_t len;
    uint64_t end; /* in the input, for progress */
    bool ready;
} Piece;

struct VmsPlainCopy {
    VmsPlainCopyOptions o;
    GThread *thread; /* NULL: ended */
    GMutex lock;
    GCond changed;
    uint64_t taken, filled; /* pieces since the begin: those between are in use */
    bool closed;
    GError *error; /* of the thread */
    Piece pieces[PIECES];
};

static Piece *piece_at(VmsPlainCopy *copy, uint64_t number)
{
    return &copy->pieces[number % PIECES];
}

/* The next in order, or NULL at the end. */
static Piece *next_ready(VmsPlainCopy *copy)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&copy->lock);
    for (;;) {
        Piece *piece = piece_at(copy, copy->taken);
        if (copy->taken < copy->filled && piece->ready)
            return piece;
        if (copy->closed)
            return NULL;
        g_cond_wait(&copy->changed, &copy->lock);
    }
}

static void release(VmsPlainCopy *copy, Piece *piece, GError *error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&copy->lock);
    piece->ready = false;
    copy->taken++;
    copy->error = error;
    g_cond_broadcast(&copy->changed);
}

static void *upload(void *user)
{
    VmsPlainCopy *copy = user;
    const VmsPlainCopyOptions *o = &copy->o;
    GError *error = NULL;
    for (Piece *piece; !error && (piece = next_ready(copy));) {
        uint64_t end = piece->end;
        vms_plain_object_write(o->object, piece->data, piece->len, &error);
        release(copy, piece, error);
        vms_progress_update(o->progress, "export", o->item, o->progress_before + end,
                            o->progress_total);
    }
    return NULL;
}

VmsPlainCopy *vms_plain_copy_new(const VmsPlainCopyOptions *options)
{
    VmsPlainCopy *copy = g_new0(VmsPlainCopy, 1);
    copy->o = *options;
    g_mutex_init(&copy->lock);
    g_cond_init(&copy->changed);
    for (size_t i = 0; i < PIECES; i++) {
        copy->pieces[i].copy = copy;
        copy->pieces[i].data = g_malloc(PIECE);
    }
    copy->thread = g_thread_new("vms-upload", upload, copy);
    return copy;
}

static void on_read(void *user)
{
    Piece *piece = user;
    VmsPlainCopy *copy = piece->copy;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&copy->lock);
    piece->ready = true;
    g_cond_broadcast(&copy->changed);
}

static bool drain(VmsPlainCopy *copy, GError **error)
{
    int64_t begin = g_get_monotonic_time();
    bool ok = !copy->o.input->drain || copy->o.input->drain(copy->o.input, error);
    copy->o.stats->read_us += (uint64_t)(g_get_monotonic_time() - begin);
    return ok;
}

static bool is_full(VmsPlainCopy *copy, bool *ret_reading)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&copy->lock);
    *ret_reading = !piece_at(copy, copy->taken)->ready;
    return copy->filled - copy->taken == PIECES && !copy->error;
}

/* NULL where a read or the thread failed. */
static Piece *free_piece(VmsPlainCopy *copy, GError **error)
{
    bool reading;
    if (is_full(copy, &reading) && reading && !drain(copy, error))
        return NULL;
    int64_t begin = g_get_monotonic_time();
    g_mutex_lock(&copy->lock);
    while (copy->filled - copy->taken == PIECES && !copy->error)
        g_cond_wait(&copy->changed, &copy->lock);
    bool ok = !copy->error;
    if (ok)
        copy->filled++;
    Piece *piece = ok ? piece_at(copy, copy->filled - 1) : NULL;
    g_mutex_unlock(&copy->lock);
    copy->o.stats->wait_us += (uint64_t)(g_get_monotonic_time() - begin);
    if (!ok)
        vms_fail(error, VMS_ERROR_FAILED, "the upload failed");
    return piece;
}

static bool read_piece(VmsPlainCopy *copy, uint64_t offset, size_t len, GError **error)
{
    VmsInput *input = copy->o.input;
    if (!vms_check_cancelled(copy->o.cancellable, error) ||
        !vms_rate_take(copy->o.read_rate, len, copy->o.cancellable, error))
        return false;
    Piece *piece = free_piece(copy, error);
    if (!piece)
        return false;
    size_t inside = offset < input->size ? (size_t)MIN(len, input->size - offset) : 0;
    memset(piece->data + inside, 0, len - inside);
    piece->len = len;
    piece->end = MIN(offset + len, input->size);
    int64_t begin = g_get_monotonic_time();
    bool started = input->start != NULL;
    unsigned most = copy->o.read_rate ? 1 : READS; /* nothing is read while we wait for the rate */
    bool ok = started
                  ? input->start(input, offset, piece->data, inside, most, on_read, piece, error)
                  : input->read(input, offset, piece->data, inside, error);
    if (ok && !started)
        on_read(piece);
    copy->o.stats->read_us += (uint64_t)(g_get_monotonic_time() - begin);
    copy->o.stats->bytes_read += inside;
    return ok;
}

bool vms_plain_copy_range(void *user, uint64_t offset, uint64_t length, GError **error)
{
    VmsPlainCopy *copy = user;
    while (length > 0) {
        size_t here = (size_t)MIN(length, PIECE);
        if (!read_piece(copy, offset, here, error))
            return false;
        offset += here;
        length -= here;
    }
    return true;
}

bool vms_plain_copy_end(VmsPlainCopy *copy, GError **error)
{
    g_autoptr(GError) cause = NULL;
    bool ok = drain(copy, &cause);
    g_mutex_lock(&copy->lock);
    copy->closed = true;
    g_cond_broadcast(&copy->changed);
    g_mutex_unlock(&copy->lock);
    g_thread_join(copy->thread);
    copy->thread = NULL;
    if (copy->error)
        g_propagate_error(error, g_steal_pointer(&copy->error));
    else if (!ok)
        g_propagate_error(error, g_steal_pointer(&cause));
    else
        return true;
    return false;
}

void vms_plain_copy_free(VmsPlainCopy *copy)
{
    if (!copy)
        return;
    if (copy->thread)
        vms_plain_copy_end(copy, NULL);
    for (size_t i = 0; i < PIECES; i++)
        g_free(copy->pieces[i].data);
    g_clear_error(&copy->error);
    g_mutex_clear(&copy->lock);
    g_cond_clear(&copy->changed);
    g_free(copy);
}
