/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writing a restored disk: a sparse raw or qcow2 image that appears under its final name only when
 * it is whole. */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>

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

/* Without finish: removes the partial file. */
void vms_sink_free(VmsSink *sink);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsSink, vms_sink_free)
