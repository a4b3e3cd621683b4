/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside of block/: one libnbd connection with deadlines on every wait. */
#pragma once

#include "block/server.h"

typedef struct VmsHandle VmsHandle; /* one thread at a time */

VmsHandle *vms_handle_open(VmsServer *server, GError **error);
/* With another metadata context than base:allocation. */
VmsHandle *vms_handle_open_context(VmsServer *server, const char *context, GError **error);
void vms_handle_free(VmsHandle *handle);
struct nbd_handle *vms_handle_get(VmsHandle *handle);
uint64_t vms_handle_size(const VmsHandle *handle); /* bytes */
size_t vms_handle_limit(const VmsHandle *handle);  /* most bytes in one request */

/* Waits for the command with this cookie (what nbd_aio_… returned; -1 is turned into its error).
 * After an error of the connection the handle answers with the same kind of error for ever. what:
 * "read" … */
bool vms_handle_wait(VmsHandle *handle, int64_t cookie, const char *what, GError **error);

/* Waits until at most most of the *in_flight commands are left, which their callbacks count down.
 */
bool vms_handle_settle(VmsHandle *handle, const unsigned *in_flight, unsigned most,
                       const char *what, GError **error);

/* Gives the connection up: no command of it touches a buffer any more. Only free may follow. */
void vms_handle_abandon(VmsHandle *handle);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsHandle, vms_handle_free)
