/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Threads: up to THREADS workers ("index-read") fetch, open and parse one file each and push it
 * into a queue, from which the caller's thread takes. Most of the work is parsing, so that is what
 * runs in parallel; how many are in hand is bounded by their bytes. The first error is kept and
 * stops all. The mutex guards the fields below it. */
#include "repo/index-fetch.h"

#include "base/error.h"
#include "base/queue.h"

#define THREADS 4u
#define IN_HAND (16u << 20) /* sealed bytes */

typedef struct {
    VmsRepo *repo;
    const GArray *entries;
    const VmsIndexFetchCalls *calls;
    GCancellable *cancellable;
    VmsQueue *queue; /* of Fetched */

    GMutex mutex;
    GCond room; /* in_hand has fallen */
    guint next, working;
    uint64_t in_hand;
    GError *failed;
} Fetch;

typedef struct {
    const VmsObjectEntry *entry;
    VmsIndexListing *listing; /* nullable */
    bool vanished;
} Fetched;

static void free_fetched(void *data)
{
    Fetched *fetched = data;

    if (fetched != NULL) {
        vms_index_listing_free(fetched->listing);
        g_free(fetched);
    }
}

/* Takes error. */
static void fail(Fetch *fetch, GError *error)
{
    g_mutex_lock(&fetch->mutex);
    if (fetch->failed == NULL)
        fetch->failed = g_steal_pointer(&error);
    fetch->next = fetch->entries->len;
    g_cond_broadcast(&fetch->room);
    g_mutex_unlock(&fetch->mutex);
    g_clear_error(&error);
    vms_queue_abort(fetch->queue);
}

/* The next file, once there is room for it; NULL at the end. */
static const VmsObjectEntry *next(Fetch *fetch)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&fetch->mutex);

    while (fetch->next < fetch->entries->len) {
        const VmsObjectEntry *entry = &g_array_index(fetch->entries, VmsObjectEntry, fetch->next);

        if (fetch->in_hand == 0 || fetch->in_hand + entry->size <= IN_HAND) {
            fetch->next++;
            fetch->in_hand += entry->size;
            return entry;
        }
        g_cond_wait(&fetch->room, &fetch->mutex);
    }
    return NULL;
}

static bool feed(void *user, uint8_t *data, size_t len, GError **error)
{
    return vms_index_parser_feed(user, data, len, error);
}

static VmsIndexListing *read_file(Fetch *fetch, const VmsId *id, GError **error)
{
    g_autoptr(VmsIndexListing) listing = vms_index_listing_new(id);
    g_autoptr(VmsIndexParser) parser = vms_index_parser_new(vms_index_listing_add, listing);

    if (!vms_object_read(fetch->repo, "index", id, feed, parser, fetch->cancellable, error))
        return NULL;
    if (!vms_index_parser_finish(parser, error)) {
        char hex[VMS_ID_HEX_LEN + 1];

        vms_id_hex(id, hex);
        vms_prefix(error, "index/%s", hex);
        return NULL;
    }
    return g_steal_pointer(&listing);
}

static bool load(Fetch *fetch, Fetched *fetched, GError **error)
{
    g_autoptr(GError) local = NULL;

    if (!vms_check_cancelled(fetch->cancellable, error))
        return false;
    if (!fetch->calls->wanted(fetch->calls->user, &fetched->entry->id))
        return true;
    fetched->listing = read_file(fetch, &fetched->entry->id, &local);
    fetched->vanished = fetched->listing == NULL && vms_error_is(local, VMS_ERROR_NOT_FOUND);
    if (fetched->listing != NULL || fetched->vanished)
        return true;
    if (vms_error_is(local, VMS_ERROR_INVALID)) /* authentic, and wrong */
        return vms_fail(error, VMS_ERROR_CORRUPT, "%s", local->message);
    g_propagate_error(error, g_steal_pointer(&local));
    return false;
}

static void fetch_one(Fetch *fetch, const VmsObjectEntry *entry)
{
    Fetched *fetched = g_new0(Fetched, 1);
    GError *error = NULL;

    fetched->entry = entry;
    if (!load(fetch, fetched, &error))
        fail(fetch, error);
    if (error != NULL || !vms_queue_push(fetch->queue, fetched))
        free_fetched(fetched);
    g_mutex_lock(&fetch->mutex);
    fetch->in_hand -= entry->size;
    g_cond_broadcast(&fetch->room);
    g_mutex_unlock(&fetch->mutex);
}

static void *fetch_thread(void *user)
{
    Fetch *fetch = user;
    const VmsObjectEntry *entry;

    while ((entry = next(fetch)) != NULL)
        fetch_one(fetch, entry);
    g_mutex_lock(&fetch->mutex);
    bool last = --fetch->working == 0;
    g_mutex_unlock(&fetch->mutex);
    if (last)
        vms_queue_close(fetch->queue);
    return NULL;
}

static void take_all(Fetch *fetch)
{
    Fetched *fetched;

    while ((fetched = vms_queue_pop(fetch->queue)) != NULL) {
        GError *error = NULL;

        if (!fetch->calls->take(fetch->calls->user, fetched->entry,
                                g_steal_pointer(&fetched->listing), fetched->vanished, &error))
            fail(fetch, error);
        free_fetched(fetched);
    }
}

bool vms_index_fetch(VmsRepo *repo, const GArray *entries, const VmsIndexFetchCalls *calls,
                     GCancellable *cancellable, GError **error)
{
    Fetch fetch = {.repo = repo, .entries = entries, .calls = calls, .cancellable = cancellable};
    guint threads = MIN(THREADS, entries->len);
    GThread *workers[THREADS];

    if (threads == 0)
        return true;
    g_mutex_init(&fetch.mutex);
    g_cond_init(&fetch.room);
    fetch.queue = vms_queue_new(2, free_fetched);
    fetch.working = threads;
    for (guint i = 0; i < threads; i++)
        workers[i] = g_thread_new("index-read", fetch_thread, &fetch);
    take_all(&fetch);
    for (guint i = 0; i < threads; i++)
        g_thread_join(workers[i]);
    vms_queue_free(fetch.queue);
    g_cond_clear(&fetch.room);
    g_mutex_clear(&fetch.mutex);
    if (fetch.failed == NULL)
        return true;
    g_propagate_error(error, fetch.failed);
    return false;
}
