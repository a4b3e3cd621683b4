/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The order: look at everything; new packs; index files that list them and those that stay; make
 * sure that nobody wrote in spite of the lock; delete the old index files; make sure again; delete
 * the packs. A crash before the first deletion leaves the repository as it was, and some copies;
 * one after it leaves packs that no index lists. docs/repository.md, "Pruning", has every step.
 *
 * Against a writer that ignores the lock: what came after the beginning is never deleted, because
 * only what was listed then is. A pack that no index lists may be his: it goes only when an earlier
 * run saw it so half an hour ago. What he took for stored and we are about to delete is noticed by
 * his snapshot, or his index file; old index files are put back then. */
#include "repo/prune.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "base/spool.h"
#include "base/text.h"
#include "repo/index-file.h"
#include "repo/prune-private.h"
#include "repo/repo-private.h"
#include "repo/snapshot.h"

#include <string.h>
#include <unistd.h>

#define UNINDEXED_AGE_US (30 * 60 * G_USEC_PER_SEC)

bool vms_prune_limit_parse(const char *text, VmsPruneLimit *ret_limit, GError **error)
{
    VmsPruneLimit limit = {0};
    char *end = NULL;

    if (strcmp(text, "unlimited") == 0) {
        *ret_limit = (VmsPruneLimit){.is_percent = true, .percent = 100};
        return true;
    }
    limit.percent = g_ascii_strtod(text, &end);
    limit.is_percent = g_ascii_isdigit(text[0]) && strcmp(end, "%") == 0;
    if (limit.is_percent ? limit.percent > 100 : !vms_text_parse_size(text, &limit.bytes, NULL))
        return vms_fail(error, VMS_ERROR_INVALID,
                        "\"%.40s\" is not a limit like 5%%, 512M, 0 or unlimited", text);
    *ret_limit = limit;
    return true;
}

static uint64_t max_unused(const VmsPruneLimit *limit, uint64_t used)
{
    if (!limit->is_percent)
        return limit->bytes;
    if (limit->percent >= 100)
        return UINT64_MAX;
    return (uint64_t)((double)used * limit->percent / (100 - limit->percent));
}

static bool decide(VmsPrune *prune, GError **error)
{
    const VmsPruneOptions *options = prune->options;
    int64_t age = options->unindexed_age_us != 0 ? options->unindexed_age_us : UNINDEXED_AGE_US;
    VmsPruneStats *stats = &prune->stats;
    VmsPruneSums sums;

    if (!vms_prune_db_sums(prune->db, &sums, error) ||
        !vms_prune_db_decide(prune->db, max_unused(&options->max_unused, sums.used),
                             prune->cancellable, error) ||
        !vms_prune_db_decide_unindexed(prune->db, g_get_real_time(), age, !options->dry_run,
                                       error) ||
        !vms_prune_db_sums(prune->db, &sums, error))
        return false;
    stats->blobs = sums.used_blobs;
    stats->bytes = sums.bytes;
    stats->bytes_used = sums.used;
    stats->bytes_unused = sums.unused;
    stats->bytes_unused_left = sums.unused - sums.remove_unused - sums.repack_unused;
    stats->packs = sums.packs;
    stats->packs_removed = sums.doomed[VMS_PRUNE_REMOVE] + sums.doomed[VMS_PRUNE_UNINDEXED];
    stats->packs_repacked = sums.doomed[VMS_PRUNE_REPACK];
    stats->packs_unindexed = sums.unindexed;
    stats->bytes_unindexed = sums.unindexed_bytes;
    stats->bytes_removed = sums.doomed_bytes[VMS_PRUNE_REMOVE] +
                           sums.doomed_bytes[VMS_PRUNE_UNINDEXED] +
                           sums.doomed_bytes[VMS_PRUNE_REPACK];
    stats->bytes_written = sums.repack_used;
    return true;
}

/* Everything up to the decision; changes nothing. */
static bool look(VmsPrune *prune, GError **error)
{
    VmsRepo *repo = prune->repo;
    g_autofree char *path = g_strdup_printf("%s/prune-%s.db", repo->cache_dir, repo->id);

    /* In the reverse order of writing: what a snapshot needs is in the index files listed after it,
     * and what these list is in the packs listed after them. */
    prune->snapshots = vms_repo_snapshot_list(repo, prune->cancellable, error);
    if (prune->snapshots == NULL)
        return false;
    prune->indexes = vms_object_list(repo->store, "index", prune->cancellable, error);
    if (prune->indexes == NULL)
        return false;
    prune->stale = g_new0(bool, prune->indexes->len + 1);
    prune->db = vms_prune_db_open(path, error);
    return prune->db != NULL && vms_repo_sync_index(repo, prune->cancellable, error) &&
           vms_prune_mark(prune, error) && vms_prune_scan(prune, error) && decide(prune, error);
}

typedef struct {
    const VmsPrune *prune;
    bool foreign;
} Stranger;

/* The index files that our own uploads made list nothing but blobs that we copied. */
static bool look_for_foreign(void *user, const VmsId *pack, const VmsPackBlob *blobs, size_t count,
                             GError **error)
{
    Stranger *stranger = user;

    for (size_t i = 0; i < count && !stranger->foreign; i++) {
        bool taken = false;

        if (!vms_prune_db_is_taken(stranger->prune->db, blobs[i].type, &blobs[i].id, &taken, error))
            return false;
        stranger->foreign = !taken;
    }
    return true;
}

static bool is_known(const VmsPrune *prune, const VmsId *id)
{
    for (guint i = 0; i < prune->indexes->len; i++)
        if (vms_id_equal(&g_array_index(prune->indexes, VmsObjectEntry, i).id, id))
            return true;
    for (guint i = 0; i < prune->written->len; i++)
        if (vms_id_equal(&g_array_index(prune->written, VmsId, i), id))
            return true;
    return false;
}

static bool intruded(VmsPrune *prune, const char *dir, const VmsId *id, GError **error)
{
    g_autofree char *name = vms_object_name(dir, id);

    return vms_fail(error, VMS_ERROR_LOCKED,
                    "%s: somebody wrote in spite of the lock (%s): no pack was deleted; run it "
                    "again when he is done",
                    prune->repo->store->location, name);
}

static bool check_index(VmsPrune *prune, const VmsId *id, GError **error)
{
    Stranger stranger = {prune, false};
    g_autoptr(GBytes) text = vms_object_load(prune->repo, "index", id, prune->cancellable, error);

    if (text == NULL || !vms_index_file_parse(g_bytes_get_data(text, NULL), g_bytes_get_size(text),
                                              look_for_foreign, &stranger, error))
        return false;
    return !stranger.foreign || intruded(prune, "index", id, error);
}

bool vms_prune_check_alone(VmsPrune *prune, GError **error)
{
    VmsStore *store = prune->repo->store;
    g_autoptr(GArray) indexes = vms_object_list(store, "index", prune->cancellable, error);
    g_autoptr(GArray) snapshots =
        indexes != NULL ? vms_object_list(store, "snapshots", prune->cancellable, error) : NULL;

    if (snapshots == NULL)
        return false;
    for (guint i = 0; i < snapshots->len; i++) {
        const VmsId *id = &g_array_index(snapshots, VmsObjectEntry, i).id;
        bool known = false;

        for (guint k = 0; k < prune->snapshots->len && !known; k++)
            known = vms_id_equal(&((VmsRepoSnapshot *)prune->snapshots->pdata[k])->id, id);
        if (!known)
            return intruded(prune, "snapshots", id, error);
    }
    for (guint i = 0; i < indexes->len; i++) {
        const VmsId *id = &g_array_index(indexes, VmsObjectEntry, i).id;

        if (!is_known(prune, id) && !check_index(prune, id, error))
            return false;
    }
    return true;
}

/* Old index files that were deleted, in case they have to be put back. */
typedef struct {
    VmsPrune *prune;
    int fd;
    uint64_t end;
    GArray *entries; /* VmsObjectEntry, in the order of the file */
} Attic;

static bool delete_index(Attic *attic, const VmsObjectEntry *entry, GError **error)
{
    VmsPrune *prune = attic->prune;
    VmsStore *store = prune->repo->store;
    g_autofree char *name = vms_object_name("index", &entry->id);
    g_autoptr(GBytes) bytes = vms_store_get(store, name, 0, UINT64_MAX, prune->cancellable, error);

    if (bytes == NULL)
        return false;
    VmsObjectEntry kept = {.id = entry->id, .size = g_bytes_get_size(bytes)};
    if (!vms_spool_write(attic->fd, attic->end, g_bytes_get_data(bytes, NULL), kept.size, error) ||
        !vms_store_remove(store, name, prune->cancellable, error))
        return false;
    vms_failpoint("prune.index-removed");
    attic->end += kept.size;
    g_array_append_val(attic->entries, kept);
    prune->stats.indexes_removed++;
    return true;
}

/* After an intruder was seen; a cancelled run does it too. */
static bool put_back(Attic *attic, GError **error)
{
    uint64_t at = 0;

    for (guint i = 0; i < attic->entries->len; i++) {
        const VmsObjectEntry *entry = &g_array_index(attic->entries, VmsObjectEntry, i);
        g_autofree char *name = vms_object_name("index", &entry->id);
        uint8_t *data = g_malloc(entry->size);
        g_autoptr(GBytes) bytes = g_bytes_new_take(data, entry->size);

        if (!vms_spool_read(attic->fd, at, data, entry->size, error) ||
            !vms_store_put(attic->prune->repo->store, name, bytes, false, NULL, error))
            return vms_prefix(error, "an old index file cannot be put back; \"restic "
                                     "rebuild-index\" makes a new one");
        vms_failpoint("prune.index-put-back");
        at += entry->size;
    }
    return true;
}

static bool delete_indexes(Attic *attic, GError **error)
{
    VmsPrune *prune = attic->prune;

    for (guint i = 0; i < prune->indexes->len; i++)
        if (prune->stale[i] &&
            !delete_index(attic, &g_array_index(prune->indexes, VmsObjectEntry, i), error))
            return false;
    return true;
}

static bool change(VmsPrune *prune, VmsRepoLock *lock, Attic *attic, GError **error)
{
    GError *local = NULL;

    if (!vms_prune_rewrite(prune, error))
        return false;
    vms_failpoint("prune.rewritten");
    if (!vms_prune_db_note_doomed(prune->db, error))
        return false;
    vms_failpoint("prune.noted");
    if (!vms_repo_lock_check(lock, error) || !vms_prune_check_alone(prune, error) ||
        !delete_indexes(attic, error))
        return false;
    vms_failpoint("prune.indexes-removed");
    if (!vms_repo_lock_check(lock, &local) || !vms_prune_check_alone(prune, &local)) {
        g_autoptr(GError) worse = NULL;

        if (!put_back(attic, &worse))
            g_prefix_error(&local, "%s; ", worse->message);
        g_propagate_error(error, local);
        return false;
    }
    prune->stats.indexes_written = prune->written->len;
    if (!vms_prune_delete(prune, lock, error))
        return false;
    vms_failpoint("prune.packs-removed");
    if (!vms_prune_db_forget_notes(prune->db, error))
        return false;
    vms_failpoint("prune.notes-forgotten");
    return vms_repo_sync_index(prune->repo, prune->cancellable, error);
}

static bool run(VmsPrune *prune, VmsRepoLock *lock, GError **error)
{
    Attic attic = {.prune = prune};

    if (!look(prune, error))
        return false;
    vms_failpoint("prune.looked");
    if (prune->options->dry_run)
        return true;
    attic.fd = vms_spool_open(NULL, error);
    if (attic.fd < 0)
        return false;
    attic.entries = g_array_new(FALSE, FALSE, sizeof(VmsObjectEntry));
    bool ok = change(prune, lock, &attic, error);
    g_array_unref(attic.entries);
    close(attic.fd);
    return ok;
}

bool vms_prune(VmsRepo *repo, VmsRepoLock *lock, const VmsPruneOptions *options,
               VmsPruneStats *ret_stats, GCancellable *cancellable, GError **error)
{
    VmsPrune prune = {.repo = repo, .options = options, .cancellable = cancellable};

    prune.written = g_array_new(FALSE, FALSE, sizeof(VmsId));
    bool ok = run(&prune, lock, error) || vms_prefix(error, "prune");
    if (ok)
        *ret_stats = prune.stats;
    vms_prune_db_free(prune.db);
    g_clear_pointer(&prune.snapshots, g_ptr_array_unref);
    g_clear_pointer(&prune.indexes, g_array_unref);
    g_array_unref(prune.written);
    g_free(prune.stale);
    g_free(prune.missing_pack);
    return ok;
}
