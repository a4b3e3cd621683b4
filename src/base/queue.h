/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A bounded queue of pointers between threads. */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef struct VmsQueue VmsQueue;

/* capacity ≥ 1; free_item (nullable) frees what is left when the queue is freed or aborted. */
VmsQueue *vms_queue_new(size_t capacity, GDestroyNotify free_item);
void vms_queue_free(VmsQueue *queue);

/* Waits for room. Takes item on success; false (item stays the caller's) once closed or aborted. */
bool vms_queue_push(VmsQueue *queue, void *item);

/* Waits for an item. NULL once closed and empty, or aborted. */
void *vms_queue_pop(VmsQueue *queue);

/* No more pushes; what is queued can still be popped. */
void vms_queue_close(VmsQueue *queue);

/* Frees what is queued and wakes everybody. */
void vms_queue_abort(VmsQueue *queue);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsQueue, vms_queue_free)
