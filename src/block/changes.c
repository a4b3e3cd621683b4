/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A qemu-nbd of its own, which only answers block status. qemu:allocation-depth gives for each
 * extent the number of the layer it lies in, counted from 1 at the top, 0 for none;
 * qemu:dirty-bitmap:NAME has bit 0 for dirty. */
#include "block/changes.h"

#include "base/error.h"
#include "block/handle.h"

#define SPAN (UINT64_C(1) << 30) /* bytes asked about at once */
#define DIRTY 1u

typedef struct {
    VmsHandle *handle;
    unsigned layers; /* 0: a bitmap */
    GArray *entries; /* of one reply: length and value in turn */
    VmsChangesFunc func;
    void *user;
    uint64_t begin, end; /* a changed range that may still grow; begin == end: none */
    GCancellable *cancellable;
} Changes;

static bool is_changed(const Changes *c, uint32_t value)
{
    if (c->layers == 0)
        return (value & DIRTY) != 0;
    return value >= 1 && value <= c->layers;
}

/* The caller's function runs afterwards, when the handle is free again. */
static int on_entries(void *user, const char *context, uint64_t offset, uint32_t *entries, size_t n,
                      int *nbd_error)
{
    g_array_append_vals(user, entries, (guint)n);
    return 0;
}

static bool flush(Changes *c, GError **error)
{
    uint64_t begin = c->begin, end = c->end;
    c->begin = c->end;
    return begin == end || c->func(c->user, begin, end - begin, error);
}

static bool add(Changes *c, uint64_t offset, uint64_t length, GError **error)
{
    if (c->end != offset) {
        if (!flush(c, error))
            return false;
        c->begin = offset;
    }
    c->end = offset + length;
    return true;
}

/* From *offset on; moves it forward. */
static bool ask(Changes *c, uint64_t *offset, GError **error)
{
    uint64_t size = vms_handle_size(c->handle), before = *offset;
    uint64_t span = MIN(size - before, SPAN);
    nbd_extent_callback callback = {.callback = on_entries, .user_data = c->entries};
    g_array_set_size(c->entries, 0);
    int64_t cookie = nbd_aio_block_status(vms_handle_get(c->handle), span, before, callback,
                                          NBD_NULL_COMPLETION, 0);
    if (!vms_handle_wait(c->handle, cookie, "block status", error))
        return false;
    for (guint i = 0; i + 1 < c->entries->len && *offset < size; i += 2) {
        uint64_t here = MIN(g_array_index(c->entries, uint32_t, i), size - *offset);
        if (is_changed(c, g_array_index(c->entries, uint32_t, i + 1)) &&
            !add(c, *offset, here, error))
            return false;
        *offset += here;
    }
    return *offset > before ||
           vms_fail(error, VMS_ERROR_FAILED, "qemu-nbd gave no block status at %" G_GUINT64_FORMAT,
                    before);
}

static bool run(Changes *c, VmsServer *server, const char *context, GError **error)
{
    g_autoptr(VmsHandle) handle = vms_handle_open_context(server, context, error);
    g_autoptr(GArray) entries = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    if (!handle)
        return false;
    if (nbd_can_meta_context(vms_handle_get(handle), context) != 1)
        return vms_fail(error, VMS_ERROR_UNSUPPORTED, "qemu-nbd does not offer %s", context);
    c->handle = handle;
    c->entries = entries;
    for (uint64_t offset = 0; offset < vms_handle_size(handle);)
        if (!vms_check_cancelled(c->cancellable, error) || !ask(c, &offset, error))
            return false;
    return flush(c, error);
}

bool vms_changes_overlays(const char *path, const char *format, unsigned layers,
                          VmsChangesFunc func, void *user, GCancellable *cancellable,
                          GError **error)
{
    static const char *const more[] = {"-A", NULL};
    Changes c = {.layers = layers, .func = func, .user = user, .cancellable = cancellable};
    g_autoptr(VmsServer) server = vms_server_start_with(path, format, more, cancellable, error);
    return server && run(&c, server, "qemu:allocation-depth", error);
}

bool vms_changes_bitmap(const char *path, const char *bitmap, VmsChangesFunc func, void *user,
                        GCancellable *cancellable, GError **error)
{
    const char *const more[] = {"-B", bitmap, NULL};
    Changes c = {.func = func, .user = user, .cancellable = cancellable};
    g_autofree char *context = g_strconcat("qemu:dirty-bitmap:", bitmap, NULL);
    g_autoptr(VmsServer) server = vms_server_start_with(path, "qcow2", more, cancellable, error);
    return server && run(&c, server, context, error);
}
