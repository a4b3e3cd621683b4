/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The image as libvirt shall see it is the new header, in memory, and behind it the stored file
 * from where its stream begins.
 *
 * The lock guards furthest and is held while progress is told, so that it never goes back. */
#include "job/memory-image.h"

#include "base/durable.h"
#include "base/error.h"
#include "base/text.h"
#include "block/sink.h"
#include "job/stored-file.h"
#include "virt/save-image.h"

#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>

#define PIECE (1u << 20) /* bytes, of copying into a file */

struct VmsMemoryImage {
    VmsFetchOptions options;
    VmsStoredFile *file;
    GBytes *header;
    uint64_t header_len;
    uint64_t data_offset; /* of the stream in the stored file */
    GMutex lock;
    uint64_t furthest; /* byte of the stored file that was read */
};

static bool read_exactly(VmsStoredFile *file, uint64_t offset, void *buffer, size_t length,
                         GError **error)
{
    size_t got;
    return vms_stored_file_read(file, offset, buffer, length, &got, error) &&
           (got == length ||
            vms_fail(error, VMS_ERROR_CORRUPT, "the save image ends within its header"));
}

static VmsSaveImage *read_header(VmsStoredFile *file, GError **error)
{
    g_autofree uint8_t *head = NULL;
    uint64_t have = 0, need = VMS_SAVE_HEADER_LEN;
    while (have < need) {
        g_autoptr(GError) cause = NULL;
        have = need;
        head = g_realloc(head, have);
        if (!read_exactly(file, 0, head, have, error))
            return NULL;
        VmsSaveImage *image = vms_save_image_parse(head, have, &need, &cause);
        if (image)
            return image;
        if (need <= have)
            g_propagate_error(error, g_steal_pointer(&cause));
    }
    return NULL;
}

VmsMemoryImage *vms_memory_image_open(const VmsFetchOptions *options, const VmsNode *node,
                                      VmsMemoryXmlFunc func, void *user, GError **error)
{
    g_autoptr(VmsStoredFile) file =
        vms_stored_file_open(options->repo, node, options->cancellable, error);
    g_autoptr(VmsSaveImage) save = file ? read_header(file, error) : NULL;
    g_autofree char *xml = save ? func(user, save->xml, error) : NULL;
    if (!xml)
        return NULL;
    VmsMemoryImage *image = g_new0(VmsMemoryImage, 1);
    image->options = *options;
    image->file = g_steal_pointer(&file);
    image->header = vms_save_image_header(save, xml);
    image->header_len = g_bytes_get_size(image->header);
    image->data_offset = save->data_offset;
    g_mutex_init(&image->lock);
    return image;
}

void vms_memory_image_free(VmsMemoryImage *image)
{
    if (!image)
        return;
    vms_stored_file_free(image->file);
    g_bytes_unref(image->header);
    g_mutex_clear(&image->lock);
    g_free(image);
}

uint64_t vms_memory_image_size(const VmsMemoryImage *image)
{
    return image->header_len + vms_stored_file_size(image->file) - image->data_offset;
}

uint64_t vms_memory_image_fetched(VmsMemoryImage *image)
{
    VmsStoredFileStats stats;
    vms_stored_file_stats(image->file, &stats);
    return stats.bytes_fetched;
}

static void tell_progress(VmsMemoryImage *image, uint64_t end)
{
    const VmsFetchOptions *options = &image->options;
    g_mutex_lock(&image->lock);
    if (end > image->furthest) {
        image->furthest = end;
        vms_progress_update(options->progress, options->phase, options->item,
                            options->progress_before + end, options->progress_total);
    }
    g_mutex_unlock(&image->lock);
}

bool vms_memory_image_read(VmsMemoryImage *image, uint64_t offset, void *buffer, size_t length,
                           GError **error)
{
    uint8_t *to = buffer;
    if (!vms_check_cancelled(image->options.cancellable, error))
        return false;
    if (offset < image->header_len) {
        size_t n = MIN(length, image->header_len - offset);
        memcpy(to, (const uint8_t *)g_bytes_get_data(image->header, NULL) + offset, n);
        offset += n;
        to += n;
        length -= n;
    }
    if (length == 0)
        return true;
    uint64_t from = offset - image->header_len + image->data_offset;
    if (!read_exactly(image->file, from, to, length, error))
        return false;
    tell_progress(image, from + length);
    return true;
}

static bool copy(VmsMemoryImage *image, VmsSink *sink, GError **error)
{
    g_autofree uint8_t *piece = g_malloc(PIECE);
    uint64_t size = vms_memory_image_size(image);
    for (uint64_t at = 0; at < size; at += PIECE) {
        size_t n = MIN(PIECE, size - at);
        if (!vms_memory_image_read(image, at, piece, n, error) ||
            !vms_sink_write(sink, at, piece, n, error))
            return false;
    }
    return vms_sink_finish(sink, error);
}

bool vms_memory_image_space(const char *dir, uint64_t need, GError **error)
{
    struct statvfs fs;
    if (!vms_durable_mkdir(dir, 0711, error))
        return false;
    if (statvfs(dir, &fs) < 0)
        return vms_fail_errno(error, errno, "%s", dir);
    uint64_t have = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (have >= need)
        return true;
    g_autofree char *have_text = vms_text_size(have), *need_text = vms_text_size(need);
    return vms_fail(error, VMS_ERROR_NO_SPACE,
                    "%s: %s are free, %s are needed for the memory in a temporary file; free some "
                    "space, or restore without memory (--no-memory)",
                    dir, have_text, need_text);
}

bool vms_memory_image_write(VmsMemoryImage *image, const char *path, GError **error)
{
    g_autofree char *dir = g_path_get_dirname(path);
    uint64_t size = vms_memory_image_size(image);
    if (!vms_memory_image_space(dir, size, error))
        return false;
    g_autoptr(VmsSink) sink =
        vms_sink_create(path, "raw", size, false, image->options.cancellable, error);
    return sink && copy(image, sink, error);
}
