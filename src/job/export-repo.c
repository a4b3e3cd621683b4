/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* To a repository: packs, then index, then the snapshot file. */
#include "job/export-private.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "job/overlays.h"
#include "job/store-tree.h"
#include "job/stored.h"
#include "repo/lock.h"
#include "repo/snapshot.h"

/* restic shows the snapshot before of the same domain as the parent. */
static void find_parent(const VmsExportJob *e, const GPtrArray *all, VmsRepoSnapshot *snapshot)
{
    for (guint i = 0; i < all->len; i++) {
        const VmsRepoSnapshot *other = all->pdata[i];
        if (g_strcmp0(vms_repo_snapshot_tag(other, "uuid"), e->record->uuid) != 0)
            continue;
        snapshot->has_parent = true;
        snapshot->parent = other->id;
    }
}

static void fill_snapshot(VmsExportJob *e, VmsRepoSnapshot *snapshot)
{
    const VmsRecord *record = e->record;
    g_autoptr(GStrvBuilder) tags = g_strv_builder_new(), paths = g_strv_builder_new();
    g_autofree char *path = g_strdup_printf("/%s", record->domain);
    g_autofree char *domain = g_strdup_printf("domain=%s", record->domain);
    g_autofree char *uuid = g_strdup_printf("uuid=%s", record->uuid);
    g_autofree char *consistency =
        g_strdup_printf("consistency=%s", vms_consistency_name(record->consistency));
    g_strv_builder_add_many(tags, "vmsnap", domain, uuid, consistency, NULL);
    g_strv_builder_add(paths, path);
    snapshot->time_us = record->created_us;
    snapshot->paths = g_strv_builder_end(paths);
    snapshot->tags = g_strv_builder_end(tags);
    snapshot->hostname = g_strdup(g_get_host_name());
    snapshot->username = g_strdup(g_get_user_name());
    snapshot->program_version = g_strdup("vmsnap " VMS_VERSION);
}

static bool store_tree(VmsExportJob *e, VmsRepoSnapshot *snapshot, VmsManifest *manifest,
                       const GPtrArray *all, VmsRepoLock *lock, GError **error)
{
    VmsRepo *repo = e->location->repo;
    VmsStoredTree stored;
    const VmsTransfer *transfer = &e->options->transfer;
    VmsRepoWriterOptions how = {.compression = transfer->compression, .lock = lock};
    g_autoptr(GPtrArray) records = vms_catalog_list(e->catalog, e->record->uuid, true, error);
    g_autoptr(VmsRepoWriter) writer =
        records ? vms_repo_writer_new(repo, &how, e->context->cancellable, error) : NULL;
    if (!writer)
        return false;
    VmsTrackingScope scope = {records, vms_repo_id(repo), all};
    VmsStoreTreeOptions options = {repo, writer, &scope, transfer};
    bool ok = vms_store_tree(e->context, e->record, manifest, &options, &stored, error) &&
              vms_repo_writer_flush(writer, error);
    vms_repo_writer_stats(writer, &e->result->stats);
    if (!ok)
        return false;
    e->result->bytes_total = stored.bytes_total;
    e->result->bytes_zero = stored.bytes_zero;
    e->result->read_us = stored.read_us;
    snapshot->tree = stored.tree;
    return true;
}

/* Of this very snapshot, by its local id; the newest. A manifest that cannot be read is none. */
static bool find_stored(VmsExportJob *e, const GPtrArray *all, VmsManifest **ret_manifest,
                        GError **error)
{
    VmsRepo *repo = e->location->repo;
    if (vms_record_export(e->record, vms_repo_id(repo))) /* it is to be stored once more */
        return true;
    for (guint i = all->len; i-- > 0;) {
        const VmsRepoSnapshot *other = all->pdata[i];
        g_autoptr(GError) cause = NULL;
        if (other->time_us != e->record->created_us || !other->paths || !other->paths[0] ||
            other->paths[0][0] != '/' ||
            g_strcmp0(vms_repo_snapshot_tag(other, "uuid"), e->record->uuid) != 0)
            continue;
        g_autoptr(VmsManifest) manifest = vms_stored_manifest(
            e->context, repo, &other->id, &other->tree, other->paths[0], &cause);
        if (manifest && g_str_equal(manifest->id, e->record->id)) {
            *ret_manifest = g_steal_pointer(&manifest);
            return true;
        }
        if (cause && !vms_error_is(cause, VMS_ERROR_CORRUPT) &&
            !vms_error_is(cause, VMS_ERROR_INVALID) && !vms_error_is(cause, VMS_ERROR_NOT_FOUND)) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return false;
        }
    }
    return true;
}

static bool store_new(VmsExportJob *e, const GPtrArray *all, VmsRepoLock *lock, GError **error)
{
    VmsRepo *repo = e->location->repo;
    GCancellable *cancellable = e->context->cancellable;
    g_autoptr(VmsRepoSnapshot) snapshot = g_new0(VmsRepoSnapshot, 1);
    g_autoptr(VmsManifest) manifest = vms_export_describe(e);
    find_parent(e, all, snapshot);
    if (!store_tree(e, snapshot, manifest, all, lock, error))
        return false;
    vms_failpoint("export.tree-stored");
    fill_snapshot(e, snapshot);
    if (!vms_overlays_frozen(e->domain, e->record, error) || !vms_repo_lock_check(lock, error) ||
        !vms_check_cancelled(cancellable, error))
        return false;
    vms_failpoint("export.snapshot-next");
    if (!vms_repo_snapshot_save(repo, snapshot, cancellable, error))
        return false;
    vms_failpoint("export.snapshot-stored");
    vms_export_take(e, manifest);
    return vms_export_record(e, VMS_FORMAT_RESTIC, vms_repo_id(repo), &snapshot->id, error);
}

bool vms_export_to_repository(VmsExportJob *e, GError **error)
{
    VmsRepo *repo = e->location->repo;
    GCancellable *cancellable = e->context->cancellable;
    g_autoptr(VmsManifest) there = NULL;
    g_autoptr(VmsRepoLock) lock = vms_repo_lock_begin(repo, false, cancellable, error);
    if (!lock)
        return false;
    vms_failpoint("export.locked");
    if (!vms_repo_sync_index(repo, cancellable, error))
        return false;
    vms_failpoint("export.index-synced");
    g_autoptr(GPtrArray) all = vms_repo_snapshot_list(repo, cancellable, error);
    if (!all || !find_stored(e, all, &there, error))
        return false;
    if (!there)
        return store_new(e, all, lock, error);
    vms_progress_message(e->context->progress, "%s: snapshot %s is there already, whole",
                         e->record->domain, e->record->id);
    vms_export_take(e, there);
    return vms_export_record(e, VMS_FORMAT_RESTIC, vms_repo_id(repo), &there->repository_id, error);
}
