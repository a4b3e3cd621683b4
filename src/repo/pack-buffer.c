/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lock: guards spare. Whoever still has bytes that were lent keeps the whole alive. */
#include "repo/pack-buffer.h"

#include <string.h>

#define PAGE 4096

struct VmsPackBuffers {
    GMutex lock;
    GPtrArray *spare; /* of VmsPackBuffer */
};

typedef struct {
    VmsPackBuffers *buffers;
    VmsPackBuffer *buffer;
} Loan;

void vms_pack_buffer_free(VmsPackBuffer *buffer)
{
    if (buffer != NULL) {
        g_aligned_free(buffer->data);
        g_free(buffer);
    }
}

static void enlarge(VmsPackBuffer *buffer, size_t capacity)
{
    uint8_t *larger = g_aligned_alloc(1, MAX(capacity, 1), PAGE);

    if (buffer->len > 0)
        memcpy(larger, buffer->data, buffer->len);
    g_aligned_free(buffer->data);
    buffer->data = larger;
    buffer->capacity = capacity;
}

void vms_pack_buffer_append(VmsPackBuffer *buffer, const void *data, size_t len)
{
    if (buffer->capacity - buffer->len < len)
        enlarge(buffer, MAX(buffer->len + len, buffer->capacity * 2));
    if (len > 0)
        memcpy(buffer->data + buffer->len, data, len);
    buffer->len += len;
}

VmsPackBuffers *vms_pack_buffers_new(void)
{
    VmsPackBuffers *buffers = g_atomic_rc_box_new0(VmsPackBuffers);

    g_mutex_init(&buffers->lock);
    buffers->spare = g_ptr_array_new_with_free_func((GDestroyNotify)vms_pack_buffer_free);
    return buffers;
}

static void clear(void *user)
{
    VmsPackBuffers *buffers = user;

    g_ptr_array_unref(buffers->spare);
    g_mutex_clear(&buffers->lock);
}

void vms_pack_buffers_unref(VmsPackBuffers *buffers)
{
    g_atomic_rc_box_release_full(buffers, clear);
}

VmsPackBuffer *vms_pack_buffers_take(VmsPackBuffers *buffers, size_t size)
{
    VmsPackBuffer *buffer = NULL;

    g_mutex_lock(&buffers->lock);
    if (buffers->spare->len > 0)
        buffer = g_ptr_array_steal_index_fast(buffers->spare, buffers->spare->len - 1);
    g_mutex_unlock(&buffers->lock);
    if (buffer == NULL)
        buffer = g_new0(VmsPackBuffer, 1);
    buffer->len = 0;
    if (buffer->data == NULL || buffer->capacity < size)
        enlarge(buffer, size);
    return buffer;
}

void vms_pack_buffers_give(VmsPackBuffers *buffers, VmsPackBuffer *buffer)
{
    g_mutex_lock(&buffers->lock);
    g_ptr_array_add(buffers->spare, buffer);
    g_mutex_unlock(&buffers->lock);
}

static void end_loan(void *user)
{
    Loan *loan = user;

    vms_pack_buffers_give(loan->buffers, loan->buffer);
    vms_pack_buffers_unref(loan->buffers);
    g_free(loan);
}

GBytes *vms_pack_buffers_lend(VmsPackBuffers *buffers, VmsPackBuffer *buffer)
{
    Loan *loan = g_new(Loan, 1);

    *loan = (Loan){.buffers = g_atomic_rc_box_acquire(buffers), .buffer = buffer};
    return g_bytes_new_with_free_func(buffer->data, buffer->len, end_loan, loan);
}
