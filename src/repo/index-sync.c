/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bringing the index cache up to date with the index files of the store.
 *
 * Index files never change, so what was taken up once is not read again. New ones are taken up
 * before vanished ones are forgotten: at no moment does the cache know less than it should. A prune
 * writes its new index files, then removes the old ones. So where a listed file is gone when it is
 * fetched, the listing is out of date, and what the file said may be in one that was not listed:
 * the whole is done again. */
#include "base/error.h"
#include "repo/index-fetch.h"
#include "repo/index-private.h"
#include "repo/repo-private.h"

#define BATCH 700000         /* blobs that one transaction takes up */
#define QUIET G_USEC_PER_SEC /* progress is told of what takes longer */
#define PASSES 10

typedef struct {
    VmsIndex *index;
    GPtrArray *batch; /* of VmsIndexListing */
    guint blobs;      /* in batch */
    uint64_t done, total;
    int64_t started;
    bool vanished;
} Filler;

static bool add(VmsIndex *index, const GPtrArray *listings, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&index->mutex);
    GError *local = NULL;

    if (!vms_index_has_db(index, error))
        return false;
    return vms_index_db_add(index->db, listings, &local) || vms_index_repaired(index, local, error);
}

static bool add_batch(Filler *filler, GError **error)
{
    bool ok = filler->batch->len == 0 || add(filler->index, filler->batch, error);

    g_ptr_array_set_size(filler->batch, 0);
    filler->blobs = 0;
    if (ok && g_get_monotonic_time() - filler->started > QUIET)
        vms_progress_update(filler->index->progress, "index", NULL, filler->done, filler->total);
    return ok;
}

/* Another process may have been faster. */
static bool is_wanted(void *user, const VmsId *id)
{
    VmsIndex *index = ((Filler *)user)->index;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&index->mutex);
    int64_t n = 0;

    return index->db == NULL || !vms_index_db_find_file(index->db, id, &n, NULL) || n == 0;
}

static bool take(void *user, const VmsObjectEntry *entry, VmsIndexListing *listing, bool vanished,
                 GError **error)
{
    Filler *filler = user;

    filler->done += entry->size;
    filler->vanished |= vanished;
    if (listing == NULL)
        return true;
    filler->blobs += listing->blobs->len;
    g_ptr_array_add(filler->batch, listing);
    return filler->blobs < BATCH || add_batch(filler, error);
}

static bool fill(VmsIndex *index, VmsRepo *repo, const GArray *entries, bool *ret_vanished,
                 GCancellable *cancellable, GError **error)
{
    g_autoptr(GPtrArray) batch =
        g_ptr_array_new_with_free_func((GDestroyNotify)vms_index_listing_free);
    Filler filler = {.index = index, .batch = batch, .started = g_get_monotonic_time()};
    VmsIndexFetchCalls calls = {.wanted = is_wanted, .take = take, .user = &filler};

    for (guint i = 0; i < entries->len; i++)
        filler.total += g_array_index(entries, VmsObjectEntry, i).size;
    bool ok = vms_index_fetch(repo, entries, &calls, cancellable, error);
    /* What was fetched before an error is kept. */
    if (!add_batch(&filler, ok ? error : NULL))
        return false;
    *ret_vanished = filler.vanished;
    return ok;
}

static GHashTable *known_files(VmsIndex *index, unsigned *ret_generation, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&index->mutex);
    GHashTable *known = NULL;

    while (known == NULL) {
        GError *local = NULL;

        if (!vms_index_has_db(index, error))
            return NULL;
        known = vms_index_db_files(index->db, &local);
        if (known == NULL && !vms_index_repaired(index, local, error))
            return NULL;
    }
    index->fresh |= g_hash_table_size(known) == 0;
    *ret_generation = index->generation;
    return known;
}

static bool forget(VmsIndex *index, GHashTable *files, unsigned generation, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&index->mutex);
    GError *local = NULL;

    if (generation != index->generation || g_hash_table_size(files) == 0)
        return true;
    return vms_index_db_forget(index->db, files, &local) || vms_index_repaired(index, local, error);
}

/* One pass. *ret_again: its listing was out of date, or the cache was made anew on the way. */
static bool sync_once(VmsIndex *index, VmsRepo *repo, bool *ret_again, GCancellable *cancellable,
                      GError **error)
{
    unsigned generation = 0;
    bool vanished = false;
    g_autoptr(GHashTable) known = known_files(index, &generation, error);
    g_autoptr(GArray) missing = NULL;

    if (known == NULL)
        return false;
    missing = vms_object_list(repo->store, "index", cancellable, error);
    if (missing == NULL)
        return false;
    guint kept = 0;
    for (guint i = 0; i < missing->len; i++) {
        VmsObjectEntry entry = g_array_index(missing, VmsObjectEntry, i);

        if (!g_hash_table_remove(known, &entry.id))
            g_array_index(missing, VmsObjectEntry, kept++) = entry;
    }
    g_array_set_size(missing, kept);
    if (!fill(index, repo, missing, &vanished, cancellable, error))
        return false;
    *ret_again = vanished;
    if (!vanished && !forget(index, known, generation, error))
        return false;
    g_mutex_lock(&index->mutex);
    *ret_again |= index->generation != generation;
    index->complete |= !*ret_again;
    g_mutex_unlock(&index->mutex);
    return true;
}

/* Once, that it is slower for a reason. */
static void tell_moved(VmsIndex *index)
{
    g_mutex_lock(&index->mutex);
    bool tell = index->full != NULL && !index->told && index->progress != NULL;
    index->told |= tell;
    g_mutex_unlock(&index->mutex);
    if (tell)
        vms_progress_message(index->progress,
                             "index cache %s: no space left there; it is read anew into %s, for "
                             "this run only, which is slower",
                             index->full, index->path);
}

bool vms_index_sync(VmsIndex *index, VmsRepo *repo, GCancellable *cancellable, GError **error)
{
    g_mutex_lock(&index->mutex);
    unsigned before = index->generation;
    g_mutex_unlock(&index->mutex);
    for (int pass = 0; pass < PASSES; pass++) {
        bool again = false;

        if (!vms_check_cancelled(cancellable, error) ||
            !sync_once(index, repo, &again, cancellable, error))
            return false;
        tell_moved(index);
        if (!again)
            return true;
    }
    g_mutex_lock(&index->mutex);
    bool damaged = index->generation - before >= PASSES;
    g_mutex_unlock(&index->mutex);
    if (damaged)
        return vms_fail(error, VMS_ERROR_FAILED,
                        "index cache %s is found damaged again and again: is the disk failing?",
                        index->path);
    return vms_fail(error, VMS_ERROR_LOCKED,
                    "%s: index files vanish between listing and reading: wait until the prune "
                    "that removes them has ended",
                    repo->store->location);
}

bool vms_index_add(VmsIndex *index, VmsRepo *repo, const VmsId *id, GBytes *text,
                   GCancellable *cancellable, GError **error)
{
    g_autoptr(GPtrArray) one =
        g_ptr_array_new_with_free_func((GDestroyNotify)vms_index_listing_free);
    VmsIndexListing *listing = vms_index_listing_new(id);

    g_ptr_array_add(one, listing);
    if (!vms_index_file_parse(g_bytes_get_data(text, NULL), g_bytes_get_size(text),
                              vms_index_listing_add, listing, error))
        return false;
    g_mutex_lock(&index->mutex);
    unsigned before = index->generation;
    g_mutex_unlock(&index->mutex);
    if (!add(index, one, error))
        return false;
    g_mutex_lock(&index->mutex);
    bool rebuilt = index->generation != before;
    g_mutex_unlock(&index->mutex);
    return !rebuilt || vms_index_sync(index, repo, cancellable, error);
}
