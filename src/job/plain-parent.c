/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An overlay is worth what it stands on: before one is made, every image below is looked for, by
 * the sizes in the listing. Which snapshot it is says the hash of its manifest, in the catalog. */
#include "job/plain-parent.h"

#include "base/error.h"
#include "base/text.h"
#include "job/parent.h"
#include "job/plain-name.h"
#include "job/plain-read.h"
#include "repo/snapshot.h"

#define MOST_LAYERS 100 /* libvirt takes chains of 200 */

void vms_plain_place_free(VmsPlainPlace *place)
{
    if (!place)
        return;
    g_hash_table_unref(place->objects);
    g_hash_table_unref(place->known);
    g_ptr_array_unref(place->snapshots);
    g_free(place->folder);
    g_free(place->id);
    g_free(place);
}

static bool on_object(void *user, const char *name, uint64_t size, GError **error)
{
    VmsPlainPlace *place = user;
    g_hash_table_insert(place->objects, g_strdup(name), g_memdup2(&size, sizeof size));
    return true;
}

bool vms_plain_place_has(const VmsPlainPlace *place, const char *id, const char *name,
                         uint64_t bytes)
{
    g_autofree char *object = vms_plain_object(place->folder, id, name);
    const uint64_t *size = g_hash_table_lookup(place->objects, object);
    return size && *size == bytes;
}

bool vms_plain_place_has_manifest(const VmsPlainPlace *place, const char *id)
{
    g_autofree char *object = vms_plain_object(place->folder, id, VMS_PLAIN_MANIFEST);
    return g_hash_table_contains(place->objects, object);
}

const VmsManifest *vms_plain_place_manifest(VmsPlainPlace *place, const char *id,
                                            GCancellable *cancellable, GError **error)
{
    VmsManifest *manifest = g_hash_table_lookup(place->known, id);
    if (manifest)
        return manifest;
    manifest = vms_plain_read_manifest(place->store, place->folder, id, cancellable, error);
    if (manifest)
        g_hash_table_insert(place->known, g_strdup(id), manifest);
    return manifest;
}

static void add_snapshot(VmsPlainPlace *place, const char *uuid, const VmsId *id)
{
    VmsRepoSnapshot *snapshot = g_new0(VmsRepoSnapshot, 1);
    char *tags[] = {g_strdup_printf("uuid=%s", uuid), NULL};
    snapshot->id = *id;
    snapshot->tags = g_strdupv(tags);
    g_free(tags[0]);
    g_ptr_array_add(place->snapshots, snapshot);
}

/* Those that this host has stored there and that are still there. */
static void add_known(VmsPlainPlace *place, const GPtrArray *records)
{
    for (guint i = 0; i < records->len; i++) {
        const VmsRecord *record = records->pdata[i];
        const VmsRecordExport *export = vms_record_export(record, place->id);
        VmsId id;
        if (export && vms_plain_place_has_manifest(place, record->id) &&
            vms_text_unhex(export->snapshot, id.bytes, sizeof id.bytes, NULL))
            add_snapshot(place, record->uuid, &id);
    }
}

static char *snapshot_of(const char *object)
{
    g_auto(GStrv) parts = g_strsplit(object, "/", 0);
    bool good = g_strv_length(parts) == 3 && g_str_equal(parts[2], VMS_PLAIN_MANIFEST);
    return good ? g_strdup(parts[1]) : NULL;
}

/* One of the domain that another host, or a catalog that is lost, has stored there: one is enough
 * to say that there are such. What cannot be read says nothing. */
static bool add_foreign(VmsPlainPlace *place, const char *uuid, GCancellable *cancellable,
                        GError **error)
{
    GHashTableIter iter;
    void *object;
    g_hash_table_iter_init(&iter, place->objects);
    while (place->snapshots->len == 0 && g_hash_table_iter_next(&iter, &object, NULL)) {
        g_autofree char *id = snapshot_of(object);
        g_autoptr(GError) cause = NULL;
        if (!id)
            continue;
        const VmsManifest *manifest = vms_plain_place_manifest(place, id, cancellable, &cause);
        if (manifest && g_str_equal(manifest->uuid, uuid))
            add_snapshot(place, uuid, &manifest->repository_id);
        if (cause && !vms_parent_is_damage(cause)) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return false;
        }
    }
    return true;
}

VmsPlainPlace *vms_plain_place_new(VmsStore *store, const char *id, const VmsRecord *record,
                                   const GPtrArray *records, GCancellable *cancellable,
                                   GError **error)
{
    g_autoptr(VmsPlainPlace) place = g_new0(VmsPlainPlace, 1);
    place->store = store;
    place->id = g_strdup(id);
    place->folder = vms_plain_folder(record->domain);
    place->objects = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    place->known =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)vms_manifest_free);
    place->snapshots = g_ptr_array_new_with_free_func((GDestroyNotify)vms_repo_snapshot_free);
    g_autofree char *prefix = g_strconcat(place->folder, "/", NULL);
    if (!vms_store_list(store, prefix, on_object, place, cancellable, error))
        return NULL;
    add_known(place, records);
    if (place->snapshots->len == 0 && !add_foreign(place, record->uuid, cancellable, error))
        return NULL;
    return g_steal_pointer(&place);
}

/* --- one chain --- */

/* The image in that snapshot, whose object has the size that it should have. */
static const VmsManifestFile *find_image(VmsPlainPlace *place, const char *id,
                                         const VmsRecordDisk *disk, const char **ret_reason,
                                         GCancellable *cancellable, GError **error)
{
    const VmsManifest *manifest = vms_plain_place_manifest(place, id, cancellable, error);
    if (!manifest)
        return NULL;
    const VmsManifestDisk *stored = vms_manifest_disk(manifest, disk->target);
    if (!stored || !stored->image)
        return vms_fail_null(error, VMS_ERROR_CORRUPT, "the manifest of %s does not name the disk",
                             id);
    if (stored->size != disk->capacity)
        *ret_reason = "size-changed";
    if (!vms_plain_place_has(place, id, stored->image->name, stored->image->bytes))
        return vms_fail_null(error, VMS_ERROR_CORRUPT,
                             "%s/%s/%s is not there with its %" G_GUINT64_FORMAT " bytes",
                             place->folder, id, stored->image->name, stored->image->bytes);
    return stored->image;
}

static bool check_chain(VmsPlainPlace *place, const VmsRecord *parent, const VmsRecordDisk *disk,
                        const char **ret_reason, GCancellable *cancellable, GError **error)
{
    const VmsRecordExport *export = vms_record_export(parent, place->id);
    const VmsManifest *manifest = vms_plain_place_manifest(place, parent->id, cancellable, error);
    if (!manifest)
        return false;
    g_autofree char *hex =
        vms_text_hex(manifest->repository_id.bytes, sizeof manifest->repository_id.bytes);
    if (!g_str_equal(hex, export->snapshot) || !g_str_equal(manifest->uuid, parent->uuid))
        return vms_fail(error, VMS_ERROR_CORRUPT,
                        "the manifest of %s is not the one that was stored", parent->id);
    unsigned layers = 1;
    for (const char *id = parent->id; id && !*ret_reason; layers++) {
        const VmsManifestFile *image = find_image(place, id, disk, ret_reason, cancellable, error);
        if (!image)
            return false;
        if (layers >= MOST_LAYERS)
            *ret_reason = "chain-too-long";
        id = image->backing;
    }
    return true;
}

bool vms_plain_parent_check(VmsPlainPlace *place, const VmsRecord *parent,
                            const VmsRecordDisk *disk, GCancellable *cancellable,
                            const char **ret_reason, char **ret_text, GError **error)
{
    g_autoptr(GError) cause = NULL;
    *ret_reason = NULL;
    *ret_text = NULL;
    if (check_chain(place, parent, disk, ret_reason, cancellable, &cause))
        return true;
    if (!vms_parent_is_damage(cause)) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    *ret_reason = "parent-damaged";
    *ret_text = g_strdup(cause->message);
    return true;
}
