/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An image is not believed: QEMU would open whatever its header names. So before QEMU sees one, its
 * header must name the image below, as we have put it there, and nothing else; the images lie in
 * the temporary directory as they do in their place, and the flat disk is read through qemu-nbd. */
#include "job/plain-chain.h"

#include "base/durable.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "block/source.h"
#include "job/plain-header.h"
#include "job/plain-name.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_LAYERS 200 /* libvirt takes no more */
#define PIECE (4u << 20)

typedef struct {
    char *id;     /* of its snapshot */
    char *object; /* in the store */
    const VmsManifestFile *image;
    uint64_t size;         /* virtual */
    VmsManifest *manifest; /* owned; NULL for the top one */
} Layer;

struct VmsPlainChain {
    VmsStore *store;
    GPtrArray *layers; /* of Layer*, topmost first */
};

static void layer_free(void *data)
{
    Layer *layer = data;
    g_free(layer->id);
    g_free(layer->object);
    vms_manifest_free(layer->manifest);
    g_free(layer);
}

void vms_plain_chain_free(VmsPlainChain *chain)
{
    if (!chain)
        return;
    g_ptr_array_unref(chain->layers);
    g_free(chain);
}

static bool add_layer(VmsPlainChain *chain, const char *folder, const char *id, Layer *layer,
                      const VmsManifestDisk *disk, GCancellable *cancellable, GError **error)
{
    g_ptr_array_add(chain->layers, layer);
    layer->id = g_strdup(id);
    layer->image = disk->image;
    layer->size = disk->size;
    layer->object = vms_plain_object(folder, id, disk->image->name);
    return vms_plain_check_size(chain->store, layer->object, layer->image, cancellable, error);
}

static bool no_manifest(const char *id, GError **error)
{
    if (!error || !vms_error_is(*error, VMS_ERROR_NOT_FOUND))
        return vms_prefix(error, "its image stands on that of snapshot %s", id);
    g_clear_error(error);
    return vms_fail(error, VMS_ERROR_CORRUPT,
                    "its image stands on that of snapshot %s, which is not there", id);
}

/* The next one below; needs what it stands on to be of the same size. */
static bool add_below(VmsPlainChain *chain, const char *folder, const char *id,
                      const VmsManifestDisk *top, GCancellable *cancellable, GError **error)
{
    if (chain->layers->len >= MAX_LAYERS)
        return vms_fail(error, VMS_ERROR_CORRUPT, "more than %d images stand on each other",
                        MAX_LAYERS);
    VmsManifest *manifest = vms_plain_read_manifest(chain->store, folder, id, cancellable, error);
    if (!manifest)
        return no_manifest(id, error);
    Layer *layer = g_new0(Layer, 1);
    layer->manifest = manifest;
    const VmsManifestDisk *disk = vms_manifest_disk(manifest, top->target);
    if (disk && disk->image && disk->size == top->size)
        return add_layer(chain, folder, id, layer, disk, cancellable, error);
    layer_free(layer);
    return vms_fail(error, VMS_ERROR_CORRUPT,
                    "its image stands on that of snapshot %s, which has no such disk of the same "
                    "size",
                    id);
}

VmsPlainChain *vms_plain_chain_open(VmsStore *store, const char *folder,
                                    const VmsManifest *manifest, const VmsManifestDisk *disk,
                                    GCancellable *cancellable, GError **error)
{
    g_autoptr(VmsPlainChain) chain = g_new0(VmsPlainChain, 1);
    chain->store = store;
    chain->layers = g_ptr_array_new_with_free_func(layer_free);
    if (!add_layer(chain, folder, manifest->id, g_new0(Layer, 1), disk, cancellable, error))
        return NULL;
    for (;;) {
        const Layer *last = chain->layers->pdata[chain->layers->len - 1];
        if (!last->image->backing)
            return g_steal_pointer(&chain);
        if (!add_below(chain, folder, last->image->backing, disk, cancellable, error))
            return NULL;
    }
}

uint64_t vms_plain_chain_bytes(const VmsPlainChain *chain)
{
    uint64_t bytes = 0;
    for (guint i = 0; i < chain->layers->len; i++)
        bytes += ((const Layer *)chain->layers->pdata[i])->image->bytes;
    return bytes;
}

static bool ignore(void *user, uint64_t offset, const void *data, size_t len, GError **error)
{
    return true;
}

bool vms_plain_chain_verify(const VmsPlainChain *chain, const VmsPlainReadOptions *options,
                            unsigned *ret_images, GError **error)
{
    VmsPlainReadOptions own = *options;
    for (guint i = 0; i < chain->layers->len; i++) {
        const Layer *layer = chain->layers->pdata[i];
        if (!vms_plain_read(&own, layer->object, layer->image, ignore, NULL, error))
            return false;
        own.progress_before += layer->image->bytes;
    }
    *ret_images = chain->layers->len;
    return true;
}

/* --- into files --- */

static char *layer_path(const char *temp, const Layer *layer)
{
    return g_strdup_printf("%s/%s/%s", temp, layer->id, layer->image->name);
}

static bool check_header(int fd, const Layer *layer, const Layer *below, GError **error)
{
    uint64_t size = 0;
    g_autofree char *name = vms_plain_header_read(fd, &size);
    g_autofree char *want = below ? vms_plain_backing(below->id, below->image->name) : g_strdup("");
    if (!name)
        return vms_fail(error, VMS_ERROR_CORRUPT, "%s is no qcow2 image of ours", layer->object);
    if (size != layer->size)
        return vms_fail(error, VMS_ERROR_CORRUPT,
                        "%s is a disk of %" G_GUINT64_FORMAT
                        " bytes, the manifest says %" G_GUINT64_FORMAT,
                        layer->object, size, layer->size);
    return g_str_equal(name, want) ||
           vms_fail(error, VMS_ERROR_CORRUPT, "%s stands on \"%.200s\", the manifest says \"%s\"",
                    layer->object, name, want);
}

static bool write_piece(void *user, uint64_t offset, const void *data, size_t len, GError **error)
{
    return vms_durable_write_at(*(int *)user, data, len, offset, error);
}

static bool fetch_layer(const VmsPlainReadOptions *options, const char *temp, const Layer *layer,
                        const Layer *below, GError **error)
{
    g_autofree char *dir = g_build_filename(temp, layer->id, NULL);
    g_autofree char *path = layer_path(temp, layer);
    if (mkdir(dir, 0700) < 0)
        return vms_fail_errno(error, errno, "%s", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return vms_fail_errno(error, errno, "%s", path);
    bool ok = vms_plain_read(options, layer->object, layer->image, write_piece, &fd, error) &&
              check_header(fd, layer, below, error);
    close(fd);
    return ok;
}

typedef struct {
    VmsSource *source;
    VmsSink *sink;
    uint8_t *buffer;
    GCancellable *cancellable;
} Copy;

static bool copy_extent(void *user, uint64_t offset, uint64_t length, bool zero, GError **error)
{
    Copy *copy = user;
    for (uint64_t at = offset; !zero && at < offset + length; at += PIECE) {
        size_t len = (size_t)MIN(PIECE, offset + length - at);
        if (!vms_check_cancelled(copy->cancellable, error) ||
            !vms_source_read(copy->source, at, copy->buffer, len, error) ||
            !vms_sink_write(copy->sink, at, copy->buffer, len, error))
            return false;
    }
    return true;
}

static bool flatten(const char *temp, const Layer *top, VmsSink *sink, GCancellable *cancellable,
                    GError **error)
{
    g_autofree char *path = layer_path(temp, top);
    g_autoptr(VmsServer) server = vms_server_start(path, "qcow2", cancellable, error);
    g_autoptr(VmsSource) source = server ? vms_source_open(server, error) : NULL;
    if (!source)
        return false;
    if (vms_source_size(source) != top->size)
        return vms_fail(error, VMS_ERROR_CORRUPT, "%s: QEMU sees another size", top->object);
    g_autofree uint8_t *buffer = g_malloc(PIECE);
    Copy copy = {source, sink, buffer, cancellable};
    return vms_source_extents(source, 0, top->size, copy_extent, &copy, cancellable, error);
}

static void remove_all(const VmsPlainChain *chain, const char *temp)
{
    for (guint i = 0; i < chain->layers->len; i++) {
        const Layer *layer = chain->layers->pdata[i];
        g_autofree char *path = layer_path(temp, layer);
        g_autofree char *dir = g_build_filename(temp, layer->id, NULL);
        unlink(path);
        rmdir(dir);
    }
    rmdir(temp);
}

bool vms_plain_chain_restore(const VmsPlainChain *chain, const VmsPlainReadOptions *options,
                             const char *temp, VmsSink *sink, GError **error)
{
    VmsPlainReadOptions own = *options;
    if (mkdir(temp, 0700) < 0)
        return vms_fail_errno(error, errno, "%s", temp);
    bool ok = true;
    for (guint i = 0; ok && i < chain->layers->len; i++) {
        const Layer *layer = chain->layers->pdata[i];
        const Layer *below = i + 1 < chain->layers->len ? chain->layers->pdata[i + 1] : NULL;
        ok = fetch_layer(&own, temp, layer, below, error);
        vms_failpoint("restore.image-fetched");
        own.progress_before += layer->image->bytes;
    }
    ok = ok && flatten(temp, chain->layers->pdata[0], sink, options->cancellable, error);
    remove_all(chain, temp);
    return ok;
}
