/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "block/source.h"

#include "base/error.h"
#include "block/handle.h"

#define STATUS_SPAN                                                                                \
    (UINT64_C(1) << 30) /* bytes asked about at once: a reply must end some time                   \
                         */

struct VmsSource {
    VmsHandle *handle;
    unsigned in_flight; /* reads that were started and are not done */
    int read_errno;     /* of the first of these that failed, at read_at */
    uint64_t read_at;
    bool lost; /* the connection was given up */
};

VmsSource *vms_source_open(VmsServer *server, GError **error)
{
    g_autoptr(VmsHandle) handle = vms_handle_open(server, error);
    if (!handle)
        return NULL;
    if (nbd_can_meta_context(vms_handle_get(handle), LIBNBD_CONTEXT_BASE_ALLOCATION) != 1)
        return vms_fail_null(error, VMS_ERROR_UNSUPPORTED,
                             "qemu-nbd does not offer base:allocation, so holes are unknown");
    VmsSource *source = g_new0(VmsSource, 1);
    source->handle = g_steal_pointer(&handle);
    return source;
}

void vms_source_free(VmsSource *source)
{
    if (!source)
        return;
    vms_handle_free(source->handle);
    g_free(source);
}

uint64_t vms_source_size(const VmsSource *source)
{
    return vms_handle_size(source->handle);
}

static bool check_range(VmsSource *source, uint64_t offset, uint64_t length, GError **error)
{
    uint64_t size = vms_source_size(source);
    if (source->lost)
        return vms_fail(error, VMS_ERROR_FAILED, "the connection to qemu-nbd is lost");
    if (offset <= size && length <= size - offset)
        return true;
    return vms_fail(error, VMS_ERROR_INVALID,
                    "range %" G_GUINT64_FORMAT "+%" G_GUINT64_FORMAT
                    " is outside of an image of %" G_GUINT64_FORMAT " bytes",
                    offset, length, size);
}

/* --- extents --- */

typedef struct {
    VmsExtentFunc func;
    void *user;
    uint64_t offset, length; /* the extent that still may grow */
    bool zero;
} Merge;

static bool merge_flush(Merge *merge, GError **error)
{
    if (merge->length == 0)
        return true;
    if (!merge->func(merge->user, merge->offset, merge->length, merge->zero, error))
        return false;
    merge->offset += merge->length;
    merge->length = 0;
    return true;
}

static bool merge_add(Merge *merge, uint64_t length, bool zero, GError **error)
{
    if (zero != merge->zero && !merge_flush(merge, error))
        return false;
    merge->zero = zero;
    merge->length += length;
    return true;
}

/* Collects one reply; the caller's function runs afterwards, when the handle is free again. */
static int on_extents(void *user, const char *context, uint64_t offset, uint32_t *entries, size_t n,
                      int *nbd_error)
{
    g_array_append_vals(user, entries, (guint)n);
    return 0;
}

static bool ask(VmsSource *source, uint64_t offset, uint64_t span, GArray *entries, GError **error)
{
    g_array_set_size(entries, 0);
    nbd_extent_callback callback = {.callback = on_extents, .user_data = entries};
    int64_t cookie = nbd_aio_block_status(vms_handle_get(source->handle), span, offset, callback,
                                          NBD_NULL_COMPLETION, 0);
    return vms_handle_wait(source->handle, cookie, "block status", error);
}

bool vms_source_extents(VmsSource *source, uint64_t offset, uint64_t length, VmsExtentFunc func,
                        void *user, GCancellable *cancellable, GError **error)
{
    if (!check_range(source, offset, length, error))
        return false;
    g_autoptr(GArray) entries = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    Merge merge = {.func = func, .user = user, .offset = offset};
    uint64_t end = offset + length;
    while (offset < end) {
        if (!vms_check_cancelled(cancellable, error) ||
            !ask(source, offset, MIN(end - offset, STATUS_SPAN), entries, error))
            return false;
        uint64_t before = offset;
        for (guint i = 0; i + 1 < entries->len && offset < end; i += 2) {
            uint64_t here = MIN(g_array_index(entries, uint32_t, i), end - offset);
            bool zero = g_array_index(entries, uint32_t, i + 1) & LIBNBD_STATE_ZERO;
            if (!merge_add(&merge, here, zero, error))
                return false;
            offset += here;
        }
        if (offset == before)
            return vms_fail(error, VMS_ERROR_FAILED,
                            "qemu-nbd gave no block status at %" G_GUINT64_FORMAT, offset);
    }
    return merge_flush(&merge, error);
}

/* --- data --- */

bool vms_source_read(VmsSource *source, uint64_t offset, void *buffer, size_t length,
                     GError **error)
{
    if (!check_range(source, offset, length, error))
        return false;
    uint8_t *at = buffer;
    while (length > 0) {
        size_t here = MIN(length, vms_handle_limit(source->handle));
        int64_t cookie =
            nbd_aio_pread(vms_handle_get(source->handle), at, here, offset, NBD_NULL_COMPLETION, 0);
        if (!vms_handle_wait(source->handle, cookie, "read", error))
            return vms_prefix(error, "at %" G_GUINT64_FORMAT, offset);
        at += here;
        offset += here;
        length -= here;
    }
    return true;
}

/* --- several at once --- */

typedef struct {
    VmsSource *source;
    uint64_t offset;
    VmsReadDone done;
    void *user;
} Read;

static int on_read(void *user, int *nbd_error)
{
    Read *read = user;
    VmsSource *source = read->source;
    source->in_flight--;
    if (*nbd_error == 0) {
        read->done(read->user);
    } else if (source->read_errno == 0) {
        source->read_errno = *nbd_error;
        source->read_at = read->offset;
    }
    return 1; /* retire the command */
}

/* Waits until at most most reads are under way; false also where one of the others failed. */
static bool settle(VmsSource *source, unsigned most, GError **error)
{
    if (!vms_handle_settle(source->handle, &source->in_flight, most, "read", error))
        return false;
    if (source->read_errno == 0)
        return true;
    vms_fail_errno(error, source->read_errno, "read");
    return vms_prefix(error, "at %" G_GUINT64_FORMAT, source->read_at);
}

bool vms_source_read_start(VmsSource *source, uint64_t offset, void *buffer, size_t length,
                           unsigned most, VmsReadDone done, void *user, GError **error)
{
    if (!check_range(source, offset, length, error) || !settle(source, MAX(most, 1) - 1, error))
        return false;
    if (length > vms_handle_limit(source->handle)) { /* a server with an odd limit */
        if (!vms_source_read(source, offset, buffer, length, error))
            return false;
        done(user);
        return true;
    }
    Read *read = g_new(Read, 1);
    *read = (Read){source, offset, done, user};
    nbd_completion_callback callback = {.callback = on_read, .user_data = read, .free = g_free};
    source->in_flight++;
    if (nbd_aio_pread(vms_handle_get(source->handle), buffer, length, offset, callback, 0) >= 0)
        return true;
    source->in_flight--; /* refused: the callback is freed and never called */
    return vms_handle_wait(source->handle, -1, "read", error);
}

bool vms_source_read_drain(VmsSource *source, GError **error)
{
    if (source->lost)
        return vms_fail(error, VMS_ERROR_FAILED, "the connection to qemu-nbd is lost");
    bool ok = settle(source, 0, error);
    if (source->in_flight > 0) {
        vms_handle_abandon(source->handle);
        source->lost = true;
    }
    return ok;
}
