/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A stored save image with another domain XML in its header, readable at any place without being
 * written anywhere. Private to job/. */
#pragma once

#include "job/fetch.h"

typedef struct VmsMemoryImage VmsMemoryImage;

/* Gives the XML for the header, from the one in the image (transfer full). */
typedef char *(*VmsMemoryXmlFunc)(void *user, const char *xml, GError **error);

/* options' repository, progress and cancellable, and node, must outlive it. */
VmsMemoryImage *vms_memory_image_open(const VmsFetchOptions *options, const VmsNode *node,
                                      VmsMemoryXmlFunc func, void *user, GError **error);
void vms_memory_image_free(VmsMemoryImage *image);

uint64_t vms_memory_image_size(const VmsMemoryImage *image); /* bytes */

/* Bytes that came from the store so far. */
uint64_t vms_memory_image_fetched(VmsMemoryImage *image);

/* The bytes [offset, offset + length), all within the image; the QEMU stream follows the new header
 * unchanged. From any number of threads. Tells progress by the furthest byte that was read. */
bool vms_memory_image_read(VmsMemoryImage *image, uint64_t offset, void *buffer, size_t length,
                           GError **error);

/* NO_SPACE, with the numbers, where a file of need bytes does not fit into dir, which is made. */
bool vms_memory_image_space(const char *dir, uint64_t need, GError **error);

/* All of it into a new sparse file (0600; its directory is made). NO_SPACE before it is begun. */
bool vms_memory_image_write(VmsMemoryImage *image, const char *path, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsMemoryImage, vms_memory_image_free)
