/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where everything lies in a qcow2 image that is written front to back, in one pass: version 3, 64
 * KiB clusters, 16-bit refcounts, not compressed. The order is header, refcount table, refcount
 * blocks, L1 table, L2 tables, and then the data in the order of the disk, so the length is known
 * before the first byte. Nothing here does I/O on the image. */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VMS_QCOW2_CLUSTER (UINT64_C(1) << 16) /* bytes */

typedef struct VmsQcow2Layout VmsQcow2Layout;

/* size: of the disk in bytes, a multiple of 512 (INVALID), up to 2 PiB (UNSUPPORTED). backing:
 * nullable, the backing file as the image names it, a qcow2 of the same size; 1023 bytes at most.
 */
VmsQcow2Layout *vms_qcow2_layout_new(uint64_t size, const char *backing, GError **error);
void vms_qcow2_layout_free(VmsQcow2Layout *layout);

/* The extents of the disk, in bytes, ascending, not overlapping. What is left out is the backing
 * file's, or zeroes where there is none. A cluster that is not zero all over becomes a cluster of
 * data even if only a part of it was given. Memory does not grow: what is many goes to a temporary
 * file. */
bool vms_qcow2_layout_add(VmsQcow2Layout *layout, uint64_t offset, uint64_t length, bool zero,
                          GError **error);
/* No more extents; needed before anything below. */
bool vms_qcow2_layout_end(VmsQcow2Layout *layout, GError **error);

uint64_t vms_qcow2_layout_bytes(const VmsQcow2Layout *layout); /* of the whole image */
uint64_t vms_qcow2_layout_data(const VmsQcow2Layout *layout);  /* of these, of the disk's data */

typedef bool (*VmsQcow2WriteFunc)(void *user, const void *data, size_t len, GError **error);
/* Everything in front of the data. */
bool vms_qcow2_layout_metadata(VmsQcow2Layout *layout, VmsQcow2WriteFunc func, void *user,
                               GError **error);

/* What follows: ranges of the disk in ascending order, whole clusters; the last one may reach
 * beyond the end of the disk, where it is to be filled with zeroes. */
typedef bool (*VmsQcow2DataFunc)(void *user, uint64_t offset, uint64_t length, GError **error);
bool vms_qcow2_layout_each_data(VmsQcow2Layout *layout, VmsQcow2DataFunc func, void *user,
                                GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsQcow2Layout, vms_qcow2_layout_free)
