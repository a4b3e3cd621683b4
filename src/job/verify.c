/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/verify.h"

#include "base/error.h"
#include "job/fetch.h"
#include "job/stored.h"

void vms_verify_result_free(VmsVerifyResult *result)
{
    if (!result)
        return;
    g_free(result->snapshot);
    g_free(result->domain);
    g_free(result);
}

typedef struct {
    VmsContext *context;
    VmsStored *stored;
    VmsVerifyResult *result;
    uint64_t done, total; /* bytes */
} Verify;

/* Every chunk that comes here is authenticated and re-hashed already. */
static bool ignore(void *user, uint64_t offset, const void *data, size_t len, GError **error)
{
    return true;
}

static bool verify_file(Verify *v, const char *item, const char *file, uint64_t size,
                        uint64_t chunk_size, GError **error)
{
    VmsRepo *repo = v->stored->location->repo;
    g_autofree char *path = g_strdup_printf("/%s/%s/%s", v->stored->manifest->domain, item, file);
    g_autoptr(VmsTree) tree = NULL;
    VmsNode *node = NULL;
    VmsFetchStats stats;
    VmsFetchOptions options = {repo,     v->context->progress,   "verify", item, v->done,
                               v->total, v->context->cancellable};
    if (!vms_tree_lookup(repo, &v->stored->tree, path, &tree, &node, v->context->cancellable,
                         error))
        return false;
    if (node->size != size)
        return vms_fail(error, VMS_ERROR_CORRUPT,
                        "%s has %" G_GUINT64_FORMAT " bytes, the manifest says %" G_GUINT64_FORMAT,
                        path, node->size, size);
    if (!vms_fetch_file(&options, node, chunk_size, ignore, NULL, &stats, error))
        return false;
    v->done += size;
    v->result->chunks += stats.chunks;
    v->result->bytes += stats.bytes;
    v->result->bytes_zero += stats.bytes_zero;
    return true;
}

static bool verify_small(Verify *v, const char *name, GError **error)
{
    g_autofree char *path = g_strdup_printf("/%s/%s", v->stored->manifest->domain, name);
    g_autoptr(GBytes) bytes = vms_tree_read_file(v->stored->location->repo, &v->stored->tree, path,
                                                 v->context->cancellable, error);
    if (!bytes)
        return false;
    v->result->chunks++;
    v->result->bytes += g_bytes_get_size(bytes);
    return true;
}

/* The TPM's files are not listed in the manifest: whatever is in the folder. */
static bool verify_tpm(Verify *v, GError **error)
{
    VmsRepo *repo = v->stored->location->repo;
    GCancellable *cancellable = v->context->cancellable;
    g_autofree char *path = g_strdup_printf("/%s/tpm", v->stored->manifest->domain);
    g_autoptr(VmsTree) parent = NULL;
    VmsNode *node = NULL;
    if (!vms_tree_lookup(repo, &v->stored->tree, path, &parent, &node, cancellable, error))
        return false;
    g_autoptr(VmsTree) folder = vms_tree_load(repo, &node->subtree, cancellable, error);
    for (guint i = 0; folder && i < folder->nodes->len; i++) {
        g_autofree char *name =
            g_strdup_printf("tpm/%s", ((const VmsNode *)folder->nodes->pdata[i])->name);
        if (!verify_small(v, name, error))
            return false;
    }
    return folder != NULL;
}

static bool verify_all(Verify *v, GError **error)
{
    const VmsManifest *manifest = v->stored->manifest;
    v->total = manifest->memory_size;
    for (guint i = 0; i < manifest->disks->len; i++)
        v->total += ((const VmsManifestDisk *)manifest->disks->pdata[i])->size;
    for (guint i = 0; i < manifest->disks->len; i++) {
        const VmsManifestDisk *disk = manifest->disks->pdata[i];
        if (!verify_file(v, disk->target, "disk.raw", disk->size, disk->chunk_size, error))
            return vms_prefix(error, "disk %s", disk->target);
        v->result->disks++;
    }
    if (manifest->memory_size > 0 &&
        !verify_file(v, "memory", "memory.save", manifest->memory_size, 0, error))
        return vms_prefix(error, "memory");
    if ((manifest->nvram && !verify_small(v, "nvram.fd", error)) ||
        (manifest->tpm && !verify_tpm(v, error)))
        return false;
    return verify_small(v, "domain.xml", error);
}

VmsVerifyResult *vms_verify(VmsContext *context, const char *repository, const char *snapshot,
                            GError **error)
{
    int64_t begin = g_get_monotonic_time();
    g_autoptr(VmsStored) stored = vms_stored_open(context, repository, snapshot, error);
    if (!stored)
        return NULL;
    g_autoptr(VmsVerifyResult) result = g_new0(VmsVerifyResult, 1);
    result->snapshot = g_strdup(stored->hex);
    result->domain = g_strdup(stored->manifest->domain);
    Verify v = {context, stored, result, 0, 0};
    if (!verify_all(&v, error)) {
        vms_prefix(error, "snapshot %.8s", stored->hex);
        return NULL;
    }
    result->duration_us = g_get_monotonic_time() - begin;
    return g_steal_pointer(&result);
}
