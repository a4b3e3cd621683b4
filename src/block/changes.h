/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What has changed in a frozen image, from its metadata alone: which parts lie in its topmost
 * layers, or which a dirty bitmap in it names. */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>

/* Called for each changed range in order, in bytes. Return false with *error to stop. */
typedef bool (*VmsChangesFunc)(void *user, uint64_t offset, uint64_t length, GError **error);

/* All that the topmost layers (1: the image itself) hold, data as well as zeroes and discards.
 * path, format: as vms_server_start. */
bool vms_changes_overlays(const char *path, const char *format, unsigned layers,
                          VmsChangesFunc func, void *user, GCancellable *cancellable,
                          GError **error);

/* All that the persistent bitmap of the qcow2 image at path names. Whether the bitmap is to be
 * trusted is asked before (virt/image.h). */
bool vms_changes_bitmap(const char *path, const char *bitmap, VmsChangesFunc func, void *user,
                        GCancellable *cancellable, GError **error);
