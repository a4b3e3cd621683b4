/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writing a restored disk: a sparse raw or qcow2 image that appears under its final name only when
 * it is whole. */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

typedef struct VmsSink VmsSink;

/* Makes PATH.vmsnap-partial (0600) of virtual size bytes; format "raw" or "qcow2" (through a
 * writable qemu-nbd). EXISTS where path exists and replace is false (checked now and again at
 * finish). */
VmsSink *vms_sink_create(const char *path, const char *format, uint64_t size, bool replace,
                         GCancellable *cancellable, GError **error);

/* Any order; thread-safe. Ranges never written read as zeroes. NO_SPACE. */
bool vms_sink_write(VmsSink *sink, uint64_t offset, const void *data, size_t length,
                    GError **error);

/* Flush, fsync, rename to the final name. */
bool vms_sink_finish(VmsSink *sink, GError **error);

/* The file's device and inode, which stay when it gets its name. */
bool vms_sink_stat(const VmsSink *sink, struct stat *ret_st, GError **error);

/* Removes the partial file of PATH that a run which was killed has left; a missing one is fine.
 * LOCKED where that run is alive, EXISTS where it is not from us. */
bool vms_sink_discard(const char *path, GError **error);

/* Without finish: removes the partial file. */
void vms_sink_free(VmsSink *sink);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsSink, vms_sink_free)
