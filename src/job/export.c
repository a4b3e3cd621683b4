/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Packs, then index, then the snapshot file: only the last makes the snapshot exist (P4). Before it
 * is written, libvirt is asked once more whether the frozen images are still frozen, and the lock
 * whether it still holds. Until then the record says captured-to-be again on every error. */
#include "job/export.h"

#include "base/error.h"
#include "job/bitmaps.h"
#include "job/claim.h"
#include "job/location.h"
#include "job/overlays.h"
#include "job/plain-snapshot.h"
#include "job/plain.h"
#include "job/store-tree.h"
#include "repo/lock.h"
#include "repo/snapshot.h"
#include "virt/facts.h"

#include <unistd.h>

typedef struct {
    VmsContext *context;
    const VmsExportOptions *options;
    VmsCatalog *catalog;
    VmsRecord *record;
    virDomainPtr domain; /* nullable: no longer defined */
    VmsLocation *location;
    char *place; /* nullable: id of a place of plain images */
    VmsExportResult *result;
} Export;

void vms_export_result_free(VmsExportResult *result)
{
    if (!result)
        return;
    vms_record_free(result->record);
    g_free(result->full_reason);
    g_free(result);
}

static bool can_export(const VmsRecord *record, GError **error)
{
    switch (record->status) {
    case VMS_STATUS_CAPTURED:
    case VMS_STATUS_EXPORTING: /* interrupted; we hold the domain's lock */
    case VMS_STATUS_EXPORTED:  /* once more, to another repository */
        return true;
    case VMS_STATUS_DONE:
        return vms_fail(
            error, VMS_ERROR_REFUSED,
            "snapshot %s is exported to %s and merged already; nothing of it is left on "
            "this host",
            record->id, record->repository);
    default:
        return vms_fail(error, VMS_ERROR_REFUSED, "snapshot %s is %s: it cannot be exported",
                        record->id, vms_status_name(record->status));
    }
}

static bool is_waiting(const VmsRecord *record)
{
    return record->status == VMS_STATUS_CAPTURED || record->status == VMS_STATUS_EXPORTING;
}

/* A domain that is gone does not hold up the export of its snapshot. */
static bool find_domain(Export *e, GError **error)
{
    g_autoptr(GError) cause = NULL;
    VmsConn *conn = vms_context_conn(e->context, error);
    if (!conn)
        return false;
    e->domain = vms_conn_lookup(conn, e->record->uuid, &cause);
    if (e->domain || vms_error_is(cause, VMS_ERROR_NOT_FOUND))
        return true;
    g_propagate_error(error, g_steal_pointer(&cause));
    return false;
}

static VmsManifest *describe(Export *e)
{
    const VmsRecord *record = e->record;
    VmsManifest *manifest = vms_manifest_new();
    unsigned long libvirt = vms_conn_libvirt_version(e->context->conn);
    unsigned qemu = 0;
    manifest->id = g_strdup(record->id);
    manifest->domain = g_strdup(record->domain);
    manifest->uuid = g_strdup(record->uuid);
    manifest->host = g_strdup(g_get_host_name());
    manifest->time_us = record->created_us;
    manifest->engine = record->engine;
    manifest->consistency = record->consistency;
    manifest->frozen_filesystems = record->frozen_filesystems;
    manifest->version_vmsnap = g_strdup(VMS_VERSION);
    manifest->version_libvirt =
        g_strdup_printf("%lu.%lu.%lu", libvirt / 1000000, libvirt / 1000 % 1000, libvirt % 1000);
    if (e->domain && vms_facts_qemu_version(e->domain, &qemu, NULL))
        manifest->version_qemu =
            g_strdup_printf("%u.%u.%u", qemu / 1000000, qemu / 1000 % 1000, qemu % 1000);
    for (guint i = 0; i < record->notes->len; i++) {
        const VmsNote *note = record->notes->pdata[i];
        vms_notes_add(manifest->notes, note->code, note->text);
    }
    return manifest;
}

/* restic shows the snapshot before of the same domain as the parent. */
static void find_parent(const Export *e, const GPtrArray *all, VmsRepoSnapshot *snapshot)
{
    for (guint i = 0; i < all->len; i++) {
        const VmsRepoSnapshot *other = all->pdata[i];
        if (g_strcmp0(vms_repo_snapshot_tag(other, "uuid"), e->record->uuid) != 0)
            continue;
        snapshot->has_parent = true;
        snapshot->parent = other->id;
    }
}

static void fill_snapshot(Export *e, VmsRepoSnapshot *snapshot)
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

/* What storing it has brought to light; the manifest began with the record's own notes. */
static void take_notes(Export *e, const VmsManifest *manifest)
{
    for (guint i = e->record->notes->len; i < manifest->notes->len; i++) {
        const VmsNote *note = manifest->notes->pdata[i];
        vms_record_add_note(e->record, note->code, "%s", note->text);
    }
}

/* How each disk was tracked, from the manifest to the record. */
static void take_tracking(Export *e, const VmsManifest *manifest)
{
    for (guint i = 0; i < manifest->disks->len; i++) {
        const VmsManifestDisk *stored = manifest->disks->pdata[i];
        VmsRecordDisk *disk = vms_record_disk(e->record, stored->target);
        if (disk)
            vms_disk_tracking_copy(&disk->tracking, &stored->tracking);
    }
    e->result->full_reason = g_strdup(manifest->full_reason);
}

static bool store_tree(Export *e, VmsRepoSnapshot *snapshot, VmsManifest *manifest,
                       const GPtrArray *all, GError **error)
{
    VmsRepo *repo = e->location->repo;
    VmsStoredTree stored;
    const VmsTransfer *transfer = &e->options->transfer;
    VmsRepoWriterOptions how = {.compression = transfer->compression};
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

/* id: of the repository or the place. */
static bool record_export(Export *e, VmsFormat format, const char *id, const VmsId *snapshot,
                          GError **error)
{
    int64_t sequence;
    char hex[VMS_ID_HEX_LEN + 1];
    vms_id_hex(snapshot, hex);
    g_free(e->record->repository_snapshot);
    g_free(e->record->repository);
    e->record->repository_snapshot = g_strdup(hex);
    e->record->repository = g_strdup(e->location->store->location);
    if (!vms_catalog_next_export(e->catalog, &sequence, error))
        return false;
    vms_record_set_export(e->record, format, id, hex, sequence);
    return true;
}

/* Everything up to and including the commit point. */
static bool store(Export *e, GError **error)
{
    VmsRepo *repo = e->location->repo;
    GCancellable *cancellable = e->context->cancellable;
    g_autoptr(VmsRepoSnapshot) snapshot = g_new0(VmsRepoSnapshot, 1);
    g_autoptr(VmsRepoLock) lock = vms_repo_lock(repo, false, cancellable, error);
    if (!lock || !vms_repo_sync_index(repo, cancellable, error))
        return false;
    g_autoptr(GPtrArray) all = vms_repo_snapshot_list(repo, cancellable, error);
    if (!all)
        return false;
    find_parent(e, all, snapshot);
    g_autoptr(VmsManifest) manifest = describe(e);
    if (!store_tree(e, snapshot, manifest, all, error))
        return false;
    take_notes(e, manifest);
    fill_snapshot(e, snapshot);
    if (!vms_overlays_frozen(e->domain, e->record, error) || !vms_repo_lock_check(lock, error) ||
        !vms_check_cancelled(cancellable, error) ||
        !vms_repo_snapshot_save(repo, snapshot, cancellable, error))
        return false;
    take_tracking(e, manifest);
    return record_export(e, VMS_FORMAT_RESTIC, vms_repo_id(repo), &snapshot->id, error);
}

static void take_plain_stats(Export *e, const VmsPlainStored *stored)
{
    const VmsPlainStats *stats = &stored->stats;
    e->result->bytes_total = stored->bytes_total;
    e->result->bytes_zero = stored->bytes_zero;
    e->result->read_us = stats->read_us;
    e->result->stats = (VmsRepoWriterStats){
        .bytes_read = stats->bytes_read,
        .bytes_new = stats->bytes_uploaded,
        .bytes_uploaded = stats->bytes_uploaded,
        .hash_us = stats->hash_us,
        .upload_us = stats->upload_us,
        .wait_us = stats->wait_us,
    };
}

/* Up to and including the manifest, which is the commit point. */
static bool store_images(Export *e, VmsPlainPlace *place, const GPtrArray *records,
                         VmsManifest *manifest, GError **error)
{
    GCancellable *cancellable = e->context->cancellable;
    VmsPlainStored stored;
    if (!vms_plain_snapshot_store(e->context, e->record, records, place, &e->options->transfer,
                                  manifest, &stored, error))
        return false;
    take_plain_stats(e, &stored);
    take_notes(e, manifest);
    return vms_overlays_frozen(e->domain, e->record, error) &&
           vms_check_cancelled(cancellable, error) &&
           vms_plain_snapshot_commit(place, manifest, cancellable, error);
}

/* A run that was killed right after the commit point has left the catalog behind: what is there
 * whole is not stored again. */
static bool store_plain(Export *e, GError **error)
{
    GCancellable *cancellable = e->context->cancellable;
    const VmsManifest *there = NULL;
    g_autoptr(GPtrArray) records = vms_catalog_list(e->catalog, e->record->uuid, true, error);
    g_autoptr(VmsPlainPlace) place =
        records ? vms_plain_place_new(e->location->store, e->place, e->record, records, cancellable,
                                      error)
                : NULL;
    if (!place || !vms_plain_snapshot_find(place, e->record, &there, cancellable, error))
        return false;
    g_autoptr(VmsManifest) manifest = there ? NULL : describe(e);
    if (there)
        vms_progress_message(e->context->progress, "%s: snapshot %s is there already, whole",
                             e->record->domain, e->record->id);
    else if (!store_images(e, place, records, manifest, error))
        return false;
    take_tracking(e, there ? there : manifest);
    return record_export(e, VMS_FORMAT_QCOW2, e->place,
                         there ? &there->repository_id : &manifest->repository_id, error);
}

static bool set_status(Export *e, VmsStatus status, GError **error)
{
    e->record->status = status;
    return vms_catalog_save(e->catalog, e->record, error);
}

static bool merge(Export *e, GError **error)
{
    int64_t start = g_get_monotonic_time();
    if (e->options->keep_overlays)
        return true;
    if (!e->domain) {
        vms_record_add_note(
            e->record, "domain-gone",
            "the domain is no longer defined, so its overlays were left as they are");
        return set_status(e, VMS_STATUS_EXPORTED, error);
    }
    g_autoptr(GError) cause = NULL;
    if (!set_status(e, VMS_STATUS_COMMITTING, error))
        return false;
    bool ok = vms_overlays_merge(e->context, e->catalog, e->domain, e->record, true, &cause) &&
              vms_overlays_remove_side_files(e->record, &cause) &&
              set_status(e, VMS_STATUS_DONE, &cause);
    e->result->commit_us = g_get_monotonic_time() - start;
    if (ok)
        return true;
    set_status(e, VMS_STATUS_EXPORTED, NULL);
    if (vms_error_is(cause, VMS_ERROR_REFUSED)) {
        /* Not a failure: a newer snapshot needs this overlay. The export itself is done. */
        vms_record_add_note(e->record, "overlays-kept", "%s", cause->message);
        return set_status(e, VMS_STATUS_EXPORTED, error);
    }
    g_propagate_error(error, g_steal_pointer(&cause));
    return vms_prefix(error,
                      "snapshot %s is exported, but its overlays are not merged (run \"vmsnap "
                      "commit %s\")",
                      e->record->id, e->record->domain);
}

/* *ret_place: id of a place of plain images, else NULL. */
static VmsLocation *open_place(VmsContext *context, const VmsExportOptions *options,
                               char **ret_place, GError **error)
{
    *ret_place = NULL;
    if (options->format == VMS_FORMAT_RESTIC)
        return vms_location_open(context, options->repository, error);
    g_autoptr(VmsLocation) location =
        vms_location_open_store(context, options->repository, true, error);
    if (!location || !(*ret_place = vms_plain_create(location->store, context->cancellable, error)))
        return NULL;
    return g_steal_pointer(&location);
}

bool vms_export_check_place(VmsContext *context, const VmsExportOptions *options, GError **error)
{
    g_autofree char *place = NULL;
    g_autoptr(VmsLocation) location = open_place(context, options, &place, error);
    return location;
}

static bool run(Export *e, GError **error)
{
    int64_t start = g_get_monotonic_time();
    VmsStatus before =
        e->record->status == VMS_STATUS_EXPORTED ? VMS_STATUS_EXPORTED : VMS_STATUS_CAPTURED;
    if (!find_domain(e, error) || !vms_overlays_frozen(e->domain, e->record, error))
        return false;
    e->context->limit_upload = e->options->transfer.limit_upload;
    e->location = open_place(e->context, e->options, &e->place, error);
    if (!e->location || !set_status(e, VMS_STATUS_EXPORTING, error))
        return false;
    if (!(e->place ? store_plain(e, error) : store(e, error))) {
        set_status(e, before, NULL);
        return false;
    }
    e->result->duration_us = g_get_monotonic_time() - start;
    bool ok = set_status(e, VMS_STATUS_EXPORTED, error) && merge(e, error);
    if (ok && e->domain)
        vms_bitmaps_expire(e->catalog, e->domain, e->record);
    return ok;
}

VmsExportResult *vms_export(VmsContext *context, const char *domain,
                            const VmsExportOptions *options, GError **error)
{
    g_autoptr(VmsClaim) claim = vms_claim(context, domain, options->snapshot, is_waiting, error);
    if (!claim)
        return NULL;
    g_autoptr(VmsExportResult) result = g_new0(VmsExportResult, 1);
    VmsRecord *record = result->record = g_steal_pointer(&claim->record);
    Export e = {context, options, claim->catalog, record, NULL, NULL, NULL, result};
    bool ok = can_export(record, error) && run(&e, error);
    vms_location_free(e.location);
    g_free(e.place);
    if (e.domain)
        virDomainFree(e.domain);
    if (!ok) {
        vms_prefix(error, "%s", record->domain);
        return NULL;
    }
    return g_steal_pointer(&result);
}
