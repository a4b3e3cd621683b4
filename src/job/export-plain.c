/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* To a place of plain images: the images, then the manifest. */
#include "job/export-private.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "job/overlays.h"
#include "job/plain-snapshot.h"
#include "job/plain.h"

static void take_plain_stats(VmsExportJob *e, const VmsPlainStored *stored)
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
static bool store_images(VmsExportJob *e, VmsPlainPlace *place, const GPtrArray *records,
                         VmsManifest *manifest, GError **error)
{
    GCancellable *cancellable = e->context->cancellable;
    VmsPlainStored stored;
    if (!vms_plain_snapshot_store(e->context, e->record, records, place, &e->options->transfer,
                                  manifest, &stored, error))
        return false;
    take_plain_stats(e, &stored);
    vms_failpoint("export.images-stored");
    if (!vms_overlays_frozen(e->domain, e->record, error) ||
        !vms_check_cancelled(cancellable, error) ||
        !vms_plain_snapshot_commit(place, manifest, cancellable, error))
        return false;
    vms_failpoint("export.manifest-stored");
    return true;
}

bool vms_export_to_place(VmsExportJob *e, GError **error)
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
    g_autoptr(VmsManifest) manifest = there ? NULL : vms_export_describe(e);
    if (there)
        vms_progress_message(e->context->progress, "%s: snapshot %s is there already, whole",
                             e->record->domain, e->record->id);
    else if (!store_images(e, place, records, manifest, error))
        return false;
    vms_export_take(e, there ? there : manifest);
    return vms_export_record(e, VMS_FORMAT_QCOW2, e->place,
                             there ? &there->repository_id : &manifest->repository_id, error);
}
