/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/stored.h"

#include "base/error.h"
#include "base/text.h"
#include "job/catalog.h"
#include "job/plain-name.h"
#include "job/plain-read.h"
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

static bool read_images(VmsContext *context, VmsStored *stored, const char *snapshot,
                        GError **error)
{
    stored->manifest =
        vms_plain_find_snapshot(stored->location->store, snapshot, context->cancellable, error);
    if (!stored->manifest)
        return false;
    const VmsId *id = &stored->manifest->repository_id;
    stored->hex = vms_text_hex(id->bytes, sizeof id->bytes);
    stored->images = vms_plain_folder(stored->manifest->domain);
    return true;
}

static bool read_repository(VmsContext *context, VmsStored *stored, const char *snapshot,
                            GError **error)
{
    stored->lock = vms_repo_lock(stored->location->repo, false, context->cancellable, error);
    return stored->lock &&
           vms_repo_sync_index(stored->location->repo, context->cancellable, error) &&
           read_snapshot(context, stored, snapshot, error);
}

VmsStored *vms_stored_open(VmsContext *context, const char *repository, const char *snapshot,
                           GError **error)
{
    g_autoptr(VmsStored) stored = g_new0(VmsStored, 1);
    g_autofree char *known_repository = NULL, *known_snapshot = NULL;
    if (!g_str_equal(snapshot, "latest"))
        ask_catalog(context, snapshot, &known_repository, &known_snapshot);
    stored->location =
        vms_location_open_any(context, repository ? repository : known_repository, error);
    if (!stored->location)
        return NULL;
    const char *wanted = known_snapshot ? known_snapshot : snapshot;
    bool ok = stored->location->images ? read_images(context, stored, wanted, error)
                                       : read_repository(context, stored, wanted, error);
    return ok ? g_steal_pointer(&stored) : NULL;
}

const VmsManifestFile *vms_stored_find_file(const VmsStored *stored, const char *name,
                                            GError **error)
{
    const GPtrArray *files = stored->manifest->files;
    for (guint i = 0; i < files->len; i++)
        if (g_str_equal(((const VmsManifestFile *)files->pdata[i])->name, name))
            return files->pdata[i];
    return vms_fail_null(error, VMS_ERROR_CORRUPT, "the manifest does not name %s", name);
}

GBytes *vms_stored_read_file(VmsContext *context, const VmsStored *stored, const char *name,
                             GError **error)
{
    const VmsManifest *manifest = stored->manifest;
    if (!stored->images) {
        g_autofree char *path = g_strdup_printf("/%s/%s", manifest->domain, name);
        return vms_tree_read_file(stored->location->repo, &stored->tree, path, context->cancellable,
                                  error);
    }
    const VmsManifestFile *file = vms_stored_find_file(stored, name, error);
    g_autofree char *object = vms_plain_object(stored->images, manifest->id, name);
    return file ? vms_plain_read_small(stored->location->store, object, file, context->cancellable,
                                       error)
                : NULL;
}

static bool add_tree_names(VmsContext *context, const VmsStored *stored, GStrvBuilder *names,
                           GError **error)
{
    VmsRepo *repo = stored->location->repo;
    g_autofree char *path = g_strdup_printf("/%s/tpm", stored->manifest->domain);
    g_autoptr(VmsTree) parent = NULL;
    VmsNode *node = NULL;
    if (!vms_tree_lookup(repo, &stored->tree, path, &parent, &node, context->cancellable, error))
        return false;
    g_autoptr(VmsTree) folder = vms_tree_load(repo, &node->subtree, context->cancellable, error);
    for (guint i = 0; folder && i < folder->nodes->len; i++)
        g_strv_builder_add(names, ((const VmsNode *)folder->nodes->pdata[i])->name);
    return folder != NULL;
}

char **vms_stored_tpm_files(VmsContext *context, const VmsStored *stored, GError **error)
{
    g_autoptr(GStrvBuilder) names = g_strv_builder_new();
    const GPtrArray *files = stored->manifest->files;
    if (!stored->images && !add_tree_names(context, stored, names, error))
        return NULL;
    for (guint i = 0; stored->images && i < files->len; i++) {
        const char *name = ((const VmsManifestFile *)files->pdata[i])->name;
        if (g_str_has_prefix(name, "tpm/"))
            g_strv_builder_add(names, name + strlen("tpm/"));
    }
    return g_strv_builder_end(names);
}

void vms_stored_free(VmsStored *stored)
{
    if (!stored)
        return;
    vms_manifest_free(stored->manifest);
    vms_repo_lock_free(stored->lock);
    vms_location_free(stored->location);
    g_free(stored->images);
    g_free(stored->hex);
    g_free(stored);
}
