/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/parent.h"

#include "base/error.h"
#include "job/manifest.h"
#include "job/pipeline.h"

#define BATCH 1024 /* ids read at once */

typedef struct {
    VmsRepo *repo;
    const VmsRepoSnapshot *snapshot;
    const VmsRecordDisk *disk;
    uint64_t chunk_size;
    GCancellable *cancellable;
} Load;

void vms_parent_disk_clear(VmsParentDisk *parent)
{
    if (parent->tree)
        vms_tree_free(parent->tree);
    *parent = (VmsParentDisk){0};
}

static VmsManifest *read_manifest(const Load *load, GError **error)
{
    gsize len;
    g_autofree char *path = g_strdup_printf("%s/vmsnap.json", load->snapshot->paths[0]);
    g_autoptr(GBytes) bytes =
        vms_tree_read_file(load->repo, &load->snapshot->tree, path, load->cancellable, error);
    if (!bytes)
        return NULL;
    const char *text = g_bytes_get_data(bytes, &len);
    return vms_manifest_parse(text ? text : "", len, error);
}

static bool check_manifest(const Load *load, const VmsRecord *record, const char **ret_reason,
                           GError **error)
{
    g_autoptr(VmsManifest) manifest = read_manifest(load, error);
    if (!manifest)
        return false;
    if (!g_str_equal(manifest->id, record->id) || !g_str_equal(manifest->uuid, record->uuid))
        return vms_fail(error, VMS_ERROR_CORRUPT, "its manifest is of another snapshot");
    const VmsManifestDisk *disk = vms_manifest_disk(manifest, load->disk->target);
    if (!disk)
        return vms_fail(error, VMS_ERROR_CORRUPT, "its manifest does not name the disk");
    if (disk->size != load->disk->capacity)
        *ret_reason = "size-changed";
    else if (disk->chunk_size != load->chunk_size)
        *ret_reason = "chunk-size-changed";
    return true;
}

static bool load_tree(const Load *load, VmsParentDisk *parent, GError **error)
{
    g_autofree char *path = g_strdup_printf("%s/%s", load->snapshot->paths[0], load->disk->target);
    VmsNode *node;
    g_autoptr(VmsTree) folder = NULL;
    if (!vms_tree_lookup(load->repo, &load->snapshot->tree, path, &folder, &node, load->cancellable,
                         error))
        return false;
    if (node->type != VMS_NODE_DIR)
        return vms_fail(error, VMS_ERROR_CORRUPT, "%s is no folder", path);
    parent->subtree = node->subtree;
    parent->tree = vms_tree_load(load->repo, &parent->subtree, load->cancellable, error);
    node = parent->tree ? vms_tree_find(parent->tree, "disk.raw") : NULL;
    if (!parent->tree)
        return false;
    if (!node || parent->tree->nodes->len != 1 || node->type != VMS_NODE_FILE || !node->content ||
        node->size != load->disk->capacity ||
        vms_content_count(node->content) != vms_pipeline_chunks(node->size, load->chunk_size))
        return vms_fail(error, VMS_ERROR_CORRUPT, "%s does not hold the disk", path);
    parent->content = node->content;
    return true;
}

/* Of a run of the same blob, which is what zeroes are, the index is asked once. */
static bool check_blobs(const Load *load, const VmsContent *content, GError **error)
{
    g_autofree VmsId *ids = g_new(VmsId, BATCH);
    uint64_t count = vms_content_count(content), known = 0;
    VmsId last = {0};
    for (uint64_t at = 0; at < count; at++) {
        uint64_t want = MIN(load->chunk_size, load->disk->capacity - at * load->chunk_size);
        bool found = true;
        if (at % BATCH == 0 && (!vms_check_cancelled(load->cancellable, error) ||
                                !vms_content_read(content, at, MIN(BATCH, count - at), ids, error)))
            return false;
        const VmsId *id = &ids[at % BATCH];
        if (known == 0 || !vms_id_equal(id, &last)) {
            if (!vms_repo_has_blob(load->repo, VMS_BLOB_DATA, id, &found, &known, error))
                return false;
            last = *id;
        }
        if (!found || known != want)
            return vms_fail(error, VMS_ERROR_CORRUPT,
                            "chunk %" G_GUINT64_FORMAT " is not in the repository", at);
    }
    return true;
}

bool vms_parent_is_damage(const GError *cause)
{
    return vms_error_is(cause, VMS_ERROR_NOT_FOUND) || vms_error_is(cause, VMS_ERROR_CORRUPT) ||
           vms_error_is(cause, VMS_ERROR_INVALID) || vms_error_is(cause, VMS_ERROR_UNSUPPORTED);
}

bool vms_parent_disk_load(VmsRepo *repo, const VmsRepoSnapshot *snapshot, const VmsRecord *record,
                          const VmsRecordDisk *disk, uint64_t chunk_size, GCancellable *cancellable,
                          VmsParentDisk *ret_parent, const char **ret_reason, char **ret_text,
                          GError **error)
{
    Load load = {repo, snapshot, disk, chunk_size, cancellable};
    g_autoptr(GError) cause = NULL;
    *ret_parent = (VmsParentDisk){0};
    *ret_reason = NULL;
    *ret_text = NULL;
    bool ok = snapshot->paths && snapshot->paths[0]
                  ? check_manifest(&load, record, ret_reason, &cause)
                  : vms_fail(&cause, VMS_ERROR_CORRUPT, "it names no path");
    ok = ok && (*ret_reason || (load_tree(&load, ret_parent, &cause) &&
                                check_blobs(&load, ret_parent->content, &cause)));
    if (ok)
        return true;
    vms_parent_disk_clear(ret_parent);
    if (!vms_parent_is_damage(cause)) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    *ret_reason = "parent-damaged";
    *ret_text = g_strdup(cause->message);
    return true;
}
