/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/verify.h"

#include "base/error.h"
#include "job/fetch.h"
#include "job/plain-chain.h"
#include "job/plain-memory.h"
#include "job/plain-name.h"
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
    g_autoptr(GBytes) bytes = vms_stored_read_file(v->context, v->stored, name, error);
    if (!bytes)
        return false;
    v->result->chunks++;
    v->result->bytes += g_bytes_get_size(bytes);
    return true;
}

/* The TPM's files are not listed in the manifest of a repository: whatever is in the folder. */
static bool verify_tpm(Verify *v, GError **error)
{
    g_auto(GStrv) names = vms_stored_tpm_files(v->context, v->stored, error);
    for (char **name = names; name && *name; name++) {
        g_autofree char *file = g_strdup_printf("tpm/%s", *name);
        if (!verify_small(v, file, error))
            return false;
    }
    return names != NULL;
}

static bool verify_small_ones(Verify *v, GError **error)
{
    const VmsManifest *manifest = v->stored->manifest;
    if ((manifest->nvram && !verify_small(v, "nvram.fd", error)) ||
        (manifest->tpm && !verify_tpm(v, error)))
        return false;
    return verify_small(v, "domain.xml", error);
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
    return verify_small_ones(v, error);
}

/* --- plain images --- */

static VmsPlainReadOptions read_options(const Verify *v, const char *item)
{
    return (VmsPlainReadOptions){
        .store = v->stored->location->store,
        .progress = v->context->progress,
        .phase = "verify",
        .item = item,
        .progress_before = v->done,
        .progress_total = v->total,
        .cancellable = v->context->cancellable,
    };
}

static void count_objects(Verify *v, unsigned objects, uint64_t bytes)
{
    v->done += bytes;
    v->result->chunks += objects;
    v->result->bytes += bytes;
}

static bool verify_chain(Verify *v, const VmsPlainChain *chain, const VmsManifestDisk *disk,
                         GError **error)
{
    VmsPlainReadOptions options = read_options(v, disk->target);
    unsigned images = 0;
    if (!vms_plain_chain_verify(chain, &options, &images, error))
        return vms_prefix(error, "disk %s", disk->target);
    count_objects(v, images, vms_plain_chain_bytes(chain));
    v->result->disks++;
    return true;
}

static bool verify_memory_image(Verify *v, GError **error)
{
    VmsPlainReadOptions options = read_options(v, "memory");
    g_autofree char *object =
        vms_plain_object(v->stored->images, v->stored->manifest->id, VMS_PLAIN_MEMORY);
    const VmsManifestFile *file = vms_stored_find_file(v->stored, VMS_PLAIN_MEMORY, error);
    if (!file || !vms_plain_read(&options, object, file, ignore, NULL, error))
        return vms_prefix(error, "memory");
    count_objects(v, 1, file->bytes);
    return true;
}

/* Of every disk its image and all that it stands on. */
static bool verify_images(Verify *v, GError **error)
{
    const VmsManifest *manifest = v->stored->manifest;
    g_autoptr(GPtrArray) chains =
        g_ptr_array_new_with_free_func((GDestroyNotify)vms_plain_chain_free);
    v->total = manifest->memory_size;
    for (guint i = 0; i < manifest->disks->len; i++) {
        const VmsManifestDisk *disk = manifest->disks->pdata[i];
        VmsPlainChain *chain = vms_plain_chain_open(v->stored->location->store, v->stored->images,
                                                    manifest, disk, v->context->cancellable, error);
        if (!chain)
            return vms_prefix(error, "disk %s", disk->target);
        g_ptr_array_add(chains, chain);
        v->total += vms_plain_chain_bytes(chain);
    }
    for (guint i = 0; i < chains->len; i++)
        if (!verify_chain(v, chains->pdata[i], manifest->disks->pdata[i], error))
            return false;
    return (manifest->memory_size == 0 || verify_memory_image(v, error)) &&
           verify_small_ones(v, error);
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
    result->images = stored->images != NULL;
    if (!(stored->images ? verify_images(&v, error) : verify_all(&v, error))) {
        vms_prefix(error, "snapshot %.8s", stored->hex);
        return NULL;
    }
    result->duration_us = g_get_monotonic_time() - begin;
    return g_steal_pointer(&result);
}
