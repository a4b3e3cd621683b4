/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A request for each pack, and each takes its time to travel: so several at once.
 *
 * Threads: THREADS workers ("pack-delete") take packs from a queue and delete them; the caller's
 * thread reads the database, fills the queue and looks after the lock. The first error stops all:
 * what is queued is dropped, what is under way ends. The mutex guards the fields below it. */
#include "repo/prune-private.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "base/queue.h"
#include "repo/repo-private.h"

#define THREADS 8
#define CHECK_LOCK_US (60 * G_USEC_PER_SEC)

typedef struct {
    VmsPrune *prune;
    VmsRepoLock *lock;
    int64_t checked_us; /* monotonic time */
    VmsQueue *queue;    /* of Doomed */

    GMutex mutex;
    uint64_t done; /* bytes */
    GError *failed;
} Deleter;

typedef struct {
    VmsId pack;
    uint64_t size;
} Doomed;

static void *delete_thread(void *user)
{
    Deleter *deleter = user;
    const VmsPrune *prune = deleter->prune;
    Doomed *doomed;

    while ((doomed = vms_queue_pop(deleter->queue)) != NULL) {
        g_autofree char *name = vms_object_pack_name(&doomed->pack);
        g_autoptr(GError) error = NULL;
        bool ok = vms_store_remove(prune->repo->store, name, prune->cancellable, &error);
        vms_failpoint("prune.pack-removed");

        g_mutex_lock(&deleter->mutex);
        if (ok) {
            deleter->done += doomed->size;
            vms_progress_update(prune->options->progress, "delete", NULL, deleter->done,
                                prune->stats.bytes_removed);
        } else if (deleter->failed == NULL) {
            deleter->failed = g_steal_pointer(&error);
        }
        g_mutex_unlock(&deleter->mutex);
        g_free(doomed);
        if (!ok)
            vms_queue_abort(deleter->queue);
    }
    return NULL;
}

static bool push(void *user, const VmsId *pack, uint64_t size, GError **error)
{
    Deleter *deleter = user;
    int64_t now = g_get_monotonic_time();

    if (now - deleter->checked_us > CHECK_LOCK_US) {
        deleter->checked_us = now;
        if (!vms_repo_lock_check(deleter->lock, error))
            return false;
    }
    if (!vms_check_cancelled(deleter->prune->cancellable, error))
        return false;
    Doomed *doomed = g_new(Doomed, 1);
    *doomed = (Doomed){*pack, size};
    if (vms_queue_push(deleter->queue, doomed))
        return true;
    g_free(doomed);
    return vms_fail(error, VMS_ERROR_CANCELLED, "a pack cannot be deleted"); /* deleter->failed */
}

bool vms_prune_delete(VmsPrune *prune, VmsRepoLock *lock, GError **error)
{
    Deleter deleter = {.prune = prune,
                       .lock = lock,
                       .checked_us = g_get_monotonic_time(),
                       .queue = vms_queue_new(THREADS, g_free)};
    GThread *threads[THREADS];
    GError *local = NULL;

    g_mutex_init(&deleter.mutex);
    for (int i = 0; i < THREADS; i++)
        threads[i] = g_thread_new("pack-delete", delete_thread, &deleter);
    if (vms_prune_db_doomed(prune->db, push, &deleter, &local))
        vms_queue_close(deleter.queue);
    else
        vms_queue_abort(deleter.queue);
    for (int i = 0; i < THREADS; i++)
        g_thread_join(threads[i]);
    vms_queue_free(deleter.queue);
    g_mutex_clear(&deleter.mutex);
    if (deleter.failed != NULL) {
        g_clear_error(&local);
        local = deleter.failed;
    }
    if (local != NULL)
        g_propagate_error(error, local);
    return local == NULL;
}
