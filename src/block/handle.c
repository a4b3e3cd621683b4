/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libnbd's synchronous calls wait without end; these use its asynchronous ones and poll with a
 * deadline, so that storage that hangs is an error and not a silent stop. */
#include "block/handle.h"

#include "base/error.h"

#include <errno.h>
#include <unistd.h>

#define CONNECT_DEADLINE_US (60 * G_USEC_PER_SEC)
#define COMMAND_DEADLINE_US (300 * G_USEC_PER_SEC)
#define POLL_MS 1000 /* between looks at the deadline; nbd_poll wakes at once for data */
#define MOST_REQUEST (32u << 20)

struct VmsHandle {
    VmsServer *server; /* not owned; outlives the handle */
    struct nbd_handle *nbd;
    uint64_t size;
    size_t limit;
    bool dead;
};

/* Converts libnbd's last error of this thread. */
static bool nbd_fail(GError **error, const char *what)
{
    int errnum = nbd_get_errno();
    const char *text = errnum ? g_strerror(errnum) : nbd_get_error();
    VmsErrorCode code = VMS_ERROR_FAILED;
    if (errnum == ENOSPC || errnum == EDQUOT)
        code = VMS_ERROR_NO_SPACE;
    else if (errnum == EPERM || errnum == EACCES)
        code = VMS_ERROR_AUTH;
    return vms_fail(error, code, "%s: %s", what, text ? text : "unknown NBD error");
}

static bool wait_ready(VmsHandle *handle, GError **error)
{
    gint64 deadline = g_get_monotonic_time() + CONNECT_DEADLINE_US;
    while (nbd_aio_is_connecting(handle->nbd) == 1) {
        if (g_get_monotonic_time() > deadline)
            return vms_fail(error, VMS_ERROR_FAILED, "qemu-nbd did not answer within 60 s");
        if (nbd_poll(handle->nbd, POLL_MS) < 0)
            break;
    }
    if (nbd_aio_is_ready(handle->nbd) == 1)
        return true;
    nbd_fail(error, "connect");
    return vms_server_blame(handle->server, error);
}

static bool start_connecting(VmsHandle *handle, const char *context, GError **error)
{
    int fd = vms_server_socket(handle->server, error);
    if (fd < 0)
        return false;
    handle->nbd = nbd_create();
    if (!handle->nbd) {
        close(fd);
        return nbd_fail(error, "make an NBD handle");
    }
    nbd_set_pread_initialize(handle->nbd, false); /* what a failed read left is never looked at */
#if LIBNBD_HAVE_NBD_SET_REQUEST_EXTENDED_HEADERS
    /* keep block status on 32-bit extents on every libnbd: one way to be tested */
    nbd_set_request_extended_headers(handle->nbd, false);
#endif
    if (nbd_add_meta_context(handle->nbd, context) < 0) {
        close(fd);
        return nbd_fail(error, "ask for block status");
    }
    if (nbd_aio_connect_socket(handle->nbd, fd) < 0) { /* the handle closes fd */
        nbd_fail(error, "connect");
        return vms_server_blame(handle->server, error);
    }
    return true;
}

VmsHandle *vms_handle_open(VmsServer *server, GError **error)
{
    return vms_handle_open_context(server, LIBNBD_CONTEXT_BASE_ALLOCATION, error);
}

VmsHandle *vms_handle_open_context(VmsServer *server, const char *context, GError **error)
{
    g_autoptr(VmsHandle) handle = g_new0(VmsHandle, 1);
    handle->server = server;
    if (!start_connecting(handle, context, error) || !wait_ready(handle, error))
        return NULL;
    int64_t size = nbd_get_size(handle->nbd);
    if (size < 0) {
        nbd_fail(error, "size of the image");
        return NULL;
    }
    handle->size = (uint64_t)size;
    int64_t most = nbd_get_block_size(handle->nbd, LIBNBD_SIZE_MAXIMUM);
    handle->limit = most > 0 && most < MOST_REQUEST ? (size_t)most : MOST_REQUEST;
    return g_steal_pointer(&handle);
}

void vms_handle_free(VmsHandle *handle)
{
    if (!handle)
        return;
    if (handle->nbd) {
        if (!handle->dead && nbd_aio_is_ready(handle->nbd) == 1)
            nbd_aio_disconnect(handle->nbd, 0); /* queued; close need not wait for the answer */
        nbd_close(handle->nbd);
    }
    g_free(handle);
}

struct nbd_handle *vms_handle_get(VmsHandle *handle)
{
    return handle->nbd;
}

uint64_t vms_handle_size(const VmsHandle *handle)
{
    return handle->size;
}

size_t vms_handle_limit(const VmsHandle *handle)
{
    return handle->limit;
}

/* The command failed: was it the request, or is the whole connection gone? */
static bool command_failed(VmsHandle *handle, const char *what, GError **error)
{
    nbd_fail(error, what);
    if (nbd_aio_is_ready(handle->nbd) == 1 || nbd_aio_is_processing(handle->nbd) == 1)
        return false;
    handle->dead = true;
    return vms_server_blame(handle->server, error);
}

static bool no_answer(VmsHandle *handle, const char *what, GError **error)
{
    handle->dead = true; /* the answer may still come: never touch the socket again */
    return vms_fail(error, VMS_ERROR_FAILED, "%s: no answer from storage for 300 s", what);
}

bool vms_handle_settle(VmsHandle *handle, const unsigned *in_flight, unsigned most,
                       const char *what, GError **error)
{
    if (handle->dead)
        return vms_fail(error, VMS_ERROR_FAILED, "%s: the connection to qemu-nbd is lost", what);
    gint64 deadline = g_get_monotonic_time() + COMMAND_DEADLINE_US;
    for (unsigned seen = *in_flight; *in_flight > most;) {
        if (g_get_monotonic_time() > deadline)
            return no_answer(handle, what, error);
        if (nbd_poll(handle->nbd, POLL_MS) < 0)
            return command_failed(handle, what, error);
        if (*in_flight != seen) {
            seen = *in_flight;
            deadline = g_get_monotonic_time() + COMMAND_DEADLINE_US;
        }
    }
    return true;
}

void vms_handle_abandon(VmsHandle *handle)
{
    handle->dead = true;
    nbd_close(handle->nbd);
    handle->nbd = NULL;
}

bool vms_handle_wait(VmsHandle *handle, int64_t cookie, const char *what, GError **error)
{
    if (handle->dead)
        return vms_fail(error, VMS_ERROR_FAILED, "%s: the connection to qemu-nbd is lost", what);
    if (cookie < 0)
        return command_failed(handle, what, error);
    gint64 deadline = g_get_monotonic_time() + COMMAND_DEADLINE_US;
    int completed;
    while ((completed = nbd_aio_command_completed(handle->nbd, (uint64_t)cookie)) == 0) {
        if (g_get_monotonic_time() > deadline)
            return no_answer(handle, what, error);
        if (nbd_poll(handle->nbd, POLL_MS) < 0)
            return command_failed(handle, what, error);
    }
    return completed == 1 || command_failed(handle, what, error);
}
