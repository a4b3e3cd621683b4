/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/queue.h"

struct VmsQueue {
    GMutex lock; /* guards everything below */
    GCond room;  /* an item was taken, or closed */
    GCond items; /* an item came, or closed */
    GQueue queue;
    size_t capacity;
    GDestroyNotify free_item;
    bool closed;
};

VmsQueue *vms_queue_new(size_t capacity, GDestroyNotify free_item)
{
    VmsQueue *queue = g_new0(VmsQueue, 1);
    g_mutex_init(&queue->lock);
    g_cond_init(&queue->room);
    g_cond_init(&queue->items);
    g_queue_init(&queue->queue);
    queue->capacity = capacity;
    queue->free_item = free_item;
    return queue;
}

static void drop_items(VmsQueue *queue)
{
    if (queue->free_item)
        g_queue_clear_full(&queue->queue, queue->free_item);
    else
        g_queue_clear(&queue->queue);
}

void vms_queue_free(VmsQueue *queue)
{
    if (!queue)
        return;
    drop_items(queue);
    g_cond_clear(&queue->items);
    g_cond_clear(&queue->room);
    g_mutex_clear(&queue->lock);
    g_free(queue);
}

bool vms_queue_push(VmsQueue *queue, void *item)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&queue->lock);
    while (!queue->closed && g_queue_get_length(&queue->queue) >= queue->capacity)
        g_cond_wait(&queue->room, &queue->lock);
    if (queue->closed)
        return false;
    g_queue_push_tail(&queue->queue, item);
    g_cond_signal(&queue->items);
    return true;
}

void *vms_queue_pop(VmsQueue *queue)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&queue->lock);
    while (!queue->closed && g_queue_is_empty(&queue->queue))
        g_cond_wait(&queue->items, &queue->lock);
    void *item = g_queue_pop_head(&queue->queue);
    if (item)
        g_cond_signal(&queue->room);
    return item;
}

void vms_queue_close(VmsQueue *queue)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&queue->lock);
    queue->closed = true;
    g_cond_broadcast(&queue->items);
    g_cond_broadcast(&queue->room);
}

void vms_queue_abort(VmsQueue *queue)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&queue->lock);
    queue->closed = true;
    drop_items(queue);
    g_cond_broadcast(&queue->items);
    g_cond_broadcast(&queue->room);
}
