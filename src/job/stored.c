/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/stored.h"

#include "base/error.h"
#include "job/catalog.h"
#include "repo/snapshot.h"
#include "repo/tree.h"

#include <string.h>

/* What the catalog knows of it: a local id becomes the repository's, and its repository the
 * default. Another host's snapshot is simply not known here. */
static void ask_catalog(VmsContext *context, const char *snapshot, char **ret_repository,
                        char **ret_snapshot)
{
    g_autoptr(VmsCatalog) catalog = vms_catalog_open(context->config, NULL);
    g_autoptr(VmsRecord) record = catalog ? vms_catalog_find(catalog, snapshot, NULL) : NULL;
    if (!record || !record->repository_snapshot)
        return;
    *ret_snapshot = g_strdup(record->repository_snapshot);
    *ret_repository = g_strdup(record->repository);
}

VmsManifest *vms_stored_manifest(VmsContext *context, VmsRepo *repo, const VmsId *id,
                                 const VmsId *tree, const char *path, GError **error)
{
    g_autofree char *file = g_strdup_printf("%s/vmsnap.json", path);
    g_autoptr(GBytes) bytes = vms_tree_read_file(repo, tree, file, context->cancellable, error);
    if (!bytes)
        return NULL;
    size_t len;
    const char *data = g_bytes_get_data(bytes, &len);
    g_autoptr(VmsManifest) manifest = vms_manifest_parse(data, len, error);
    if (!manifest)
        return NULL;
    /* The folder is where everything else of it is looked for. */
    if (!g_str_equal(path + 1, manifest->domain))
        return vms_fail_null(error, VMS_ERROR_CORRUPT,
                             "vmsnap.json says domain \"%.60s\", the snapshot's path is %s",
                             manifest->domain, path);
    manifest->repository_id = *id;
    return g_steal_pointer(&manifest);
}

static bool read_snapshot(VmsContext *context, VmsStored *stored, const char *snapshot,
                          GError **error)
{
    VmsRepo *repo = stored->location->repo;
    g_autoptr(VmsRepoSnapshot) file =
        vms_repo_snapshot_find(repo, snapshot, context->cancellable, error);
    if (!file)
        return false;
    char hex[VMS_ID_HEX_LEN + 1];
    vms_id_hex(&file->id, hex);
    stored->hex = g_strdup(hex);
    if (!file->paths || !file->paths[0] || file->paths[0][0] != '/' || file->paths[1] ||
        strchr(file->paths[0] + 1, '/') ||
        !g_strv_contains((const char *const *)file->tags, "vmsnap"))
        return vms_fail(
            error, VMS_ERROR_INVALID,
            "snapshot %.8s was not made by vmsnap; restore it with the program that made "
            "it",
            hex);
    stored->tree = file->tree;
    stored->manifest =
        vms_stored_manifest(context, repo, &file->id, &file->tree, file->paths[0], error);
    return stored->manifest || vms_prefix(error, "snapshot %.8s", hex);
}

VmsStored *vms_stored_open(VmsContext *context, const char *repository, const char *snapshot,
                           GError **error)
{
    g_autoptr(VmsStored) stored = g_new0(VmsStored, 1);
    g_autofree char *known_repository = NULL, *known_snapshot = NULL;
    if (!g_str_equal(snapshot, "latest"))
        ask_catalog(context, snapshot, &known_repository, &known_snapshot);
    stored->location =
        vms_location_open(context, repository ? repository : known_repository, error);
    if (!stored->location)
        return NULL;
    stored->lock = vms_repo_lock(stored->location->repo, false, context->cancellable, error);
    if (!stored->lock ||
        !vms_repo_sync_index(stored->location->repo, context->cancellable, error) ||
        !read_snapshot(context, stored, known_snapshot ? known_snapshot : snapshot, error))
        return NULL;
    return g_steal_pointer(&stored);
}

void vms_stored_free(VmsStored *stored)
{
    if (!stored)
        return;
    vms_manifest_free(stored->manifest);
    vms_repo_lock_free(stored->lock);
    vms_location_free(stored->location);
    g_free(stored->hex);
    g_free(stored);
}
