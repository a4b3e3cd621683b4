/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The image comes front to back, and its header is the front: the new one is written as soon as the
 * old one is whole, and the stream behind it as it comes. */
#include "job/plain-memory.h"

#include "base/error.h"
#include "block/sink.h"
#include "virt/save-image.h"

typedef struct {
    const VmsManifestFile *file;
    const char *path;
    VmsMemoryXmlFunc func;
    void *user;
    GCancellable *cancellable;
    GByteArray *head; /* until the header is whole */
    VmsSink *sink;    /* from then on */
    uint64_t header_len, data_offset;
} Writing;

static bool write_stream(Writing *w, uint64_t offset, const void *data, size_t len, GError **error)
{
    return vms_sink_write(w->sink, offset - w->data_offset + w->header_len, data, len, error);
}

static bool begin(Writing *w, const VmsSaveImage *save, GError **error)
{
    g_autofree char *xml = w->func(w->user, save->xml, error);
    if (!xml)
        return false;
    g_autoptr(GBytes) header = vms_save_image_header(save, xml);
    size_t len;
    const void *bytes = g_bytes_get_data(header, &len);
    w->header_len = len;
    w->data_offset = save->data_offset;
    w->sink = vms_sink_create(w->path, "raw", len + w->file->bytes - save->data_offset, false,
                              w->cancellable, error);
    return w->sink && vms_sink_write(w->sink, 0, bytes, len, error) &&
           write_stream(w, save->data_offset, w->head->data + save->data_offset,
                        w->head->len - (size_t)save->data_offset, error);
}

static bool on_piece(void *user, uint64_t offset, const void *data, size_t len, GError **error)
{
    Writing *w = user;
    if (w->sink)
        return write_stream(w, offset, data, len, error);
    g_autoptr(GError) cause = NULL;
    uint64_t need = 0;
    g_byte_array_append(w->head, data, (guint)len);
    g_autoptr(VmsSaveImage) save = vms_save_image_parse(w->head->data, w->head->len, &need, &cause);
    if (save && save->data_offset <= w->head->len)
        return begin(w, save, error);
    if ((save || need > w->head->len) && offset + len < w->file->bytes)
        return true;
    if (cause)
        g_propagate_error(error, g_steal_pointer(&cause));
    else
        vms_fail(error, VMS_ERROR_CORRUPT, "the save image ends within its header");
    return false;
}

bool vms_plain_memory_write(const VmsPlainReadOptions *options, const char *object,
                            const VmsManifestFile *file, const char *path, VmsMemoryXmlFunc func,
                            void *user, GError **error)
{
    g_autofree char *dir = g_path_get_dirname(path);
    if (!vms_memory_image_space(dir, file->bytes, error))
        return false;
    Writing w = {.file = file,
                 .path = path,
                 .func = func,
                 .user = user,
                 .cancellable = options->cancellable,
                 .head = g_byte_array_new()};
    bool ok = vms_plain_read(options, object, file, on_piece, &w, error);
    if (ok && !w.sink)
        ok = vms_fail(error, VMS_ERROR_CORRUPT, "%s is empty", object);
    ok = ok && vms_sink_finish(w.sink, error);
    vms_sink_free(w.sink);
    g_byte_array_unref(w.head);
    return ok;
}
