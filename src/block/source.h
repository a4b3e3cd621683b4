/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading a frozen disk image: qemu-nbd read-only on a private unix socket, and libnbd. */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct VmsServer VmsServer; /* a running qemu-nbd */
typedef struct VmsSource VmsSource; /* one connection: one thread at a time */

/* Serves path (format "raw", "qcow2" …: never probed; backing files as the image says) read-only.
 * The socket lives in a fresh 0700 directory. qemu-nbd dies with us (also on kill -9). */
VmsServer *vms_server_start(const char *path, const char *format, GCancellable *cancellable,
                            GError **error);
/* Ends qemu-nbd and removes the socket. */
void vms_server_free(VmsServer *server);

VmsSource *vms_source_open(VmsServer *server, GError **error);
void vms_source_free(VmsSource *source);
uint64_t vms_source_size(const VmsSource *source); /* bytes, virtual */

/* Called for each extent in order, without gaps; zero: hole or known zeroes, need not be read.
 * offset and length in bytes. Return false with *error to stop. */
typedef bool (*VmsExtentFunc)(void *user, uint64_t offset, uint64_t length, bool zero,
                              GError **error);
bool vms_source_extents(VmsSource *source, uint64_t offset, uint64_t length, VmsExtentFunc func,
                        void *user, GCancellable *cancellable, GError **error);

/* Reads exactly length bytes (split into requests as the server wants). */
bool vms_source_read(VmsSource *source, uint64_t offset, void *buffer, size_t length,
                     GError **error);

/* Several reads at once. start waits while most of them
 * are under way. done is called from start, drain or extents, in any order, when buffer is filled;
 * never after an error, which start or drain returns. drain waits for all of them; afterwards,
 * failed or not, no read touches its buffer any more. */
typedef void (*VmsReadDone)(void *user);
bool vms_source_read_start(VmsSource *source, uint64_t offset, void *buffer, size_t length,
                           unsigned most, VmsReadDone done, void *user, GError **error);
bool vms_source_read_drain(VmsSource *source, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsServer, vms_server_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsSource, vms_source_free)
