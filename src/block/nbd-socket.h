/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside of block/: a listening socket that has no name any more. */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Both descriptors (close-on-exec) are the caller's: one that listens, for the server, and an
 * O_PATH one of the same socket for vms_nbd_socket_connect. */
bool vms_nbd_socket_make(int *ret_listen, int *ret_path, GError **error);

/* A new connection; -1 with *error. It queues until the server accepts. */
int vms_nbd_socket_connect(int path, GError **error);
