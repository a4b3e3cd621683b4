/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The memory that packs are filled and blobs are opened in. It is used again and again, since pages
 * that the kernel has just zeroed cost about as much as filling them, and begins on a page, so that
 * it can be written to a disk without a copy. Private to repo/. */
#pragma once

#include <glib.h>
#include <stdint.h>

typedef struct {
    uint8_t *data;
    size_t len, capacity; /* bytes */
} VmsPackBuffer;

/* Thread-safe. */
typedef struct VmsPackBuffers VmsPackBuffers;

VmsPackBuffers *vms_pack_buffers_new(void);
void vms_pack_buffers_unref(VmsPackBuffers *buffers);

/* An empty one with room for size bytes. Give it back, lend it, or free it. */
VmsPackBuffer *vms_pack_buffers_take(VmsPackBuffers *buffers, size_t size);
void vms_pack_buffers_give(VmsPackBuffers *buffers, VmsPackBuffer *buffer);

/* Takes buffer: it is the content of the GBytes, and is there to be taken once nobody needs them.
 */
GBytes *vms_pack_buffers_lend(VmsPackBuffers *buffers, VmsPackBuffer *buffer);

/* Makes room where there is too little. */
void vms_pack_buffer_append(VmsPackBuffer *buffer, const void *data, size_t len);
void vms_pack_buffer_free(VmsPackBuffer *buffer);
