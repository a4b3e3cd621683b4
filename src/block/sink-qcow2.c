/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A qcow2 image is written through qemu-nbd. Each writing thread takes one of a few connections
 * from a queue and puts it back: qemu-nbd serves them in parallel onto one open image, so one flush
 * at the end covers them all. */
#include "base/error.h"
#include "base/process.h"
#include "block/handle.h"
#include "block/sink-backend.h"

#define CONNECTIONS 4

typedef struct {
    VmsSinkBackend base;
    VmsServer *server;
    VmsHandle *handles[CONNECTIONS]; /* owned here; the free ones are also in idle */
    GAsyncQueue *idle;
} Qcow2;

static bool pwrite_in_limits(VmsHandle *handle, uint64_t offset, const uint8_t *data, size_t length,
                             GError **error)
{
    while (length > 0) {
        size_t here = MIN(length, vms_handle_limit(handle));
        int64_t cookie =
            nbd_aio_pwrite(vms_handle_get(handle), data, here, offset, NBD_NULL_COMPLETION, 0);
        if (!vms_handle_wait(handle, cookie, "write", error))
            return vms_prefix(error, "at %" G_GUINT64_FORMAT, offset);
        data += here;
        offset += here;
        length -= here;
    }
    return true;
}

static bool qcow2_write(VmsSinkBackend *backend, uint64_t offset, const void *data, size_t length,
                        bool zero, GError **error)
{
    Qcow2 *qcow2 = (Qcow2 *)backend;
    VmsHandle *handle = g_async_queue_pop(qcow2->idle);
    bool ok;
    if (zero && nbd_can_zero(vms_handle_get(handle)) == 1) {
        int64_t cookie =
            nbd_aio_zero(vms_handle_get(handle), length, offset, NBD_NULL_COMPLETION, 0);
        ok = vms_handle_wait(handle, cookie, "write zeroes", error);
    } else {
        ok = pwrite_in_limits(handle, offset, data, length, error);
    }
    g_async_queue_push(qcow2->idle, handle);
    return ok;
}

static void drop_handles(Qcow2 *qcow2)
{
    for (int i = 0; i < CONNECTIONS; i++)
        g_clear_pointer(&qcow2->handles[i], vms_handle_free);
}

static bool qcow2_close(VmsSinkBackend *backend, GError **error)
{
    Qcow2 *qcow2 = (Qcow2 *)backend;
    VmsHandle *handle = qcow2->handles[0];
    int64_t cookie = nbd_aio_flush(vms_handle_get(handle), NBD_NULL_COMPLETION, 0);
    if (!vms_handle_wait(handle, cookie, "flush", error))
        return false;
    drop_handles(qcow2);
    return vms_server_stop(qcow2->server, error);
}

static void qcow2_free(VmsSinkBackend *backend)
{
    Qcow2 *qcow2 = (Qcow2 *)backend;
    drop_handles(qcow2);
    vms_server_free(qcow2->server);
    g_async_queue_unref(qcow2->idle);
    g_free(qcow2);
}

static bool create_image(int fd, uint64_t size, GCancellable *cancellable, GError **error)
{
    g_autofree char *bytes = g_strdup_printf("%" G_GUINT64_FORMAT, size);
    /* truncates the empty file in place: inode, mode and our lock stay */
    const char *argv[] = {"qemu-img", "create",       "-q",  "-f", "qcow2",
                          "--",       VMS_PROCESS_FD, bytes, NULL};
    return vms_process_run_on(fd, argv, cancellable, error);
}

VmsSinkBackend *vms_sink_qcow2_new(int fd, const char *path, uint64_t size,
                                   GCancellable *cancellable, GError **error)
{
    static const VmsSinkOps ops = {qcow2_write, qcow2_close, qcow2_free};
    if (size % 512 != 0)
        return vms_fail_null(error, VMS_ERROR_INVALID,
                             "a qcow2 image cannot have %" G_GUINT64_FORMAT
                             " bytes (not a multiple of 512); restore to raw",
                             size);
    if (!create_image(fd, size, cancellable, error))
        return NULL;
    VmsServer *server = vms_server_start_writable(fd, path, "qcow2", cancellable, error);
    if (!server)
        return NULL;
    Qcow2 *qcow2 = g_new0(Qcow2, 1);
    qcow2->base.ops = &ops;
    qcow2->server = server;
    qcow2->idle = g_async_queue_new();
    for (int i = 0; i < CONNECTIONS; i++) {
        qcow2->handles[i] = vms_handle_open(server, error);
        if (!qcow2->handles[i]) {
            qcow2_free(&qcow2->base);
            return NULL;
        }
        g_async_queue_push(qcow2->idle, qcow2->handles[i]);
    }
    return &qcow2->base;
}
