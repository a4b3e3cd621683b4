/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/listing.h"

#include "base/error.h"
#include "job/catalog.h"
#include "job/plain-read.h"
#include "job/stored.h"
#include "repo/snapshot.h"

GPtrArray *vms_listing_local(VmsContext *context, const char *domain, bool all, GError **error)
{
    g_autoptr(VmsCatalog) catalog = vms_catalog_open(context->config, error);
    return catalog ? vms_catalog_list(catalog, domain, all, error) : NULL;
}

VmsRecord *vms_listing_find(VmsContext *context, const char *snapshot, GError **error)
{
    g_autoptr(VmsCatalog) catalog = vms_catalog_open(context->config, error);
    return catalog ? vms_catalog_find(catalog, snapshot, error) : NULL;
}

static bool is_ours(const VmsRepoSnapshot *snapshot, const char *domain)
{
    if (!snapshot->tags || !g_strv_contains((const char *const *)snapshot->tags, "vmsnap"))
        return false;
    return !domain || g_strcmp0(vms_repo_snapshot_tag(snapshot, "domain"), domain) == 0 ||
           g_strcmp0(vms_repo_snapshot_tag(snapshot, "uuid"), domain) == 0;
}

GPtrArray *vms_listing_repository(VmsContext *context, const char *repository, const char *domain,
                                  GError **error)
{
    g_autoptr(VmsLocation) location = vms_location_open_any(context, repository, error);
    if (!location)
        return NULL;
    if (location->images)
        return vms_plain_list(location->store, domain, context->cancellable, error);
    g_autoptr(GPtrArray) snapshots =
        vms_repo_snapshot_list(location->repo, context->cancellable, error);
    if (!snapshots)
        return NULL;
    g_autoptr(GPtrArray) manifests =
        g_ptr_array_new_with_free_func((GDestroyNotify)vms_manifest_free);
    for (guint i = 0; i < snapshots->len; i++) {
        const VmsRepoSnapshot *snapshot = snapshots->pdata[i];
        if (!is_ours(snapshot, domain) || !snapshot->paths || !snapshot->paths[0])
            continue;
        VmsManifest *manifest = vms_stored_manifest(context, location->repo, &snapshot->id,
                                                    &snapshot->tree, snapshot->paths[0], error);
        if (!manifest) {
            vms_prefix(error, "snapshot %02x%02x%02x%02x", snapshot->id.bytes[0],
                       snapshot->id.bytes[1], snapshot->id.bytes[2], snapshot->id.bytes[3]);
            return NULL;
        }
        g_ptr_array_add(manifests, manifest);
    }
    return g_steal_pointer(&manifests);
}

VmsManifest *vms_listing_find_repository(VmsContext *context, const char *repository,
                                         const char *snapshot, GError **error)
{
    g_autoptr(VmsStored) stored = vms_stored_open(context, repository, snapshot, error);
    return stored ? g_steal_pointer(&stored->manifest) : NULL;
}
