/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside of block/: qemu-nbd as a child process, and libnbd handles to it. */
#pragma once

#include "block/source.h"

#include <libnbd.h>

/* As vms_server_start, for writing (sink), to the open file fd; path is for messages. */
VmsServer *vms_server_start_writable(int fd, const char *path, const char *format,
                                     GCancellable *cancellable, GError **error);

/* As vms_server_start, with further options of qemu-nbd, NULL-terminated. */
VmsServer *vms_server_start_with(const char *path, const char *format, const char *const *more,
                                 GCancellable *cancellable, GError **error);

/* A connected socket to the server (owned by the caller). TRANSIENT never: a server that died is
 * reported with what it said. */
int vms_server_socket(VmsServer *server, GError **error);

/* Ends qemu-nbd and waits for it. FAILED with its last words if it did not end cleanly. */
bool vms_server_stop(VmsServer *server, GError **error);

/* If qemu-nbd is gone or goes within a moment, replaces *error by what it said. Returns false. */
bool vms_server_blame(VmsServer *server, GError **error);
