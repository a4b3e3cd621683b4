/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A listening socket that has no name any more; made and connected to inside of block/ only. */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Both descriptors (close-on-exec) are the caller's: one that listens, for the server, and an
 * O_PATH one of the same socket for vms_nbd_socket_connect. */
bool vms_nbd_socket_make(int *ret_listen, int *ret_path, GError **error);

/* Removes what processes that were killed while they made one have left. */
void vms_nbd_socket_remove_dead(void);

/* A new connection; -1 with *error. It queues until the server accepts. */
int vms_nbd_socket_connect(int path, GError **error);
