/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Packs, then index, then the snapshot file: only the last makes the snapshot exist (P4). Before it
 * is written, libvirt is asked once more whether the frozen images are still frozen, and the lock
 * whether it still holds (export-repo, export-plain). Until then the record says captured-to-be
 * again on every error. */
#include "job/export.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "job/bitmaps.h"
#include "job/claim.h"
#include "job/export-private.h"
#include "job/merge.h"
#include "job/overlays.h"
#include "job/plain.h"
#include "job/recover-guest.h"
#include "virt/facts.h"

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
    if (vms_merge_is_dropped(record))
        return vms_fail(error, VMS_ERROR_REFUSED,
                        "the drop of snapshot %s was interrupted: nothing of it can be exported; "
                        "\"vmsnap recover %s\" ends the drop",
                        record->id, record->domain);
    if (vms_merge_is_begun(record))
        return vms_fail(error, VMS_ERROR_REFUSED,
                        "merging the overlays of snapshot %s was begun: it is in %s and cannot be "
                        "exported once more; \"vmsnap commit %s\" ends the merge",
                        record->id, record->repository, record->domain);
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
static bool find_domain(VmsExportJob *e, GError **error)
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

VmsManifest *vms_export_describe(VmsExportJob *e)
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

/* The manifest began with the record's own notes. */
void vms_export_take(VmsExportJob *e, const VmsManifest *manifest)
{
    for (guint i = e->record->notes->len; i < manifest->notes->len; i++) {
        const VmsNote *note = manifest->notes->pdata[i];
        vms_record_add_note(e->record, note->code, "%s", note->text);
    }
    for (guint i = 0; i < manifest->disks->len; i++) {
        const VmsManifestDisk *stored = manifest->disks->pdata[i];
        VmsRecordDisk *disk = vms_record_disk(e->record, stored->target);
        if (disk)
            vms_disk_tracking_copy(&disk->tracking, &stored->tracking);
    }
    e->result->full_reason = g_strdup(manifest->full_reason);
}

bool vms_export_record(VmsExportJob *e, VmsFormat format, const char *id, const VmsId *snapshot,
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

static bool set_status(VmsExportJob *e, VmsStatus status, GError **error)
{
    e->record->status = status;
    return vms_catalog_save(e->catalog, e->record, error);
}

static bool merge(VmsExportJob *e, GError **error)
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
    bool ok = false;
    do
        ok = vms_overlays_merge(e->context, e->catalog, &e->domain, e->record, true, &cause);
    while (!ok && vms_overlay_guard_again(e->guard, &cause));
    vms_overlay_guard_rest(e->guard, false);
    vms_failpoint("export.overlays-merged");
    ok = ok && vms_overlays_remove_side_files(e->record, &cause);
    vms_failpoint("export.files-removed");
    vms_overlay_guard_note(e->guard, e->record);
    ok = ok && set_status(e, VMS_STATUS_DONE, &cause);
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

static bool run(VmsExportJob *e, GError **error)
{
    int64_t start = g_get_monotonic_time();
    VmsStatus before =
        e->record->status == VMS_STATUS_EXPORTED ? VMS_STATUS_EXPORTED : VMS_STATUS_CAPTURED;
    if (!find_domain(e, error) || !vms_overlays_frozen(e->domain, e->record, error))
        return false;
    e->context->limit_upload = e->options->transfer.limit_upload;
    vms_failpoint("export.claimed");
    e->guard = vms_overlay_guard_new(e->context);
    if (e->domain &&
        !vms_overlay_guard_watch(e->guard, e->domain, e->record, !e->options->give_up, error))
        return false;
    e->location = open_place(e->context, e->options, &e->place, error);
    bool stored = e->location && set_status(e, VMS_STATUS_EXPORTING, error);
    vms_failpoint("export.exporting");
    stored =
        stored && (e->place ? vms_export_to_place(e, error) : vms_export_to_repository(e, error));
    bool given_up = !stored && vms_overlay_guard_stopped(e->guard, e->record, error);
    vms_overlay_guard_rest(e->guard, given_up || (stored && !e->options->keep_overlays));
    if (!stored) {
        set_status(e, before, NULL);
        return given_up && vms_overlay_guard_give_up(e->guard, e->catalog, e->record, error);
    }
    vms_overlay_guard_note(e->guard, e->record);
    e->result->duration_us = g_get_monotonic_time() - start;
    vms_failpoint("export.stored");
    /* The merge is meant from here on: recover ends it. */
    bool merges = e->domain && !e->options->keep_overlays;
    if (!set_status(e, merges ? VMS_STATUS_COMMITTING : VMS_STATUS_EXPORTED, error))
        return false;
    vms_failpoint("export.exported");
    bool ok = merge(e, error);
    if (ok && e->domain)
        vms_bitmaps_expire(e->catalog, e->domain, e->record);
    vms_failpoint("export.ended");
    return ok;
}

VmsExportResult *vms_export(VmsContext *context, const char *domain,
                            const VmsExportOptions *options, GError **error)
{
    g_autoptr(VmsClaim) claim = vms_claim(context, domain, options->snapshot, is_waiting, error);
    if (!claim)
        return NULL;
    vms_recover_guest_claimed(context, claim->catalog, claim->record->uuid);
    g_autoptr(VmsExportResult) result = g_new0(VmsExportResult, 1);
    VmsRecord *record = result->record = g_steal_pointer(&claim->record);
    VmsExportJob e = {
        .context = context,
        .options = options,
        .catalog = claim->catalog,
        .record = record,
        .result = result,
    };
    bool ok = can_export(record, error) && run(&e, error);
    vms_location_free(e.location);
    vms_overlay_guard_free(e.guard);
    g_free(e.place);
    if (e.domain)
        virDomainFree(e.domain);
    if (!ok) {
        vms_prefix(error, "%s", record->domain);
        return NULL;
    }
    return g_steal_pointer(&result);
}
