/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A file with a migration stream (a save image, say), put in order: same bytes before and after
 * guest memory, and in between every page once, by block and address. Cut into pieces that follow
 * guest addresses, so that what changes between two images of one guest changes few pieces.
 *
 * The image is equivalent to the original: QEMU restores the same guest from it. */
#pragma once

#include "base/progress.h"

#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>

#define VMS_RAM_GROUP (128u << 10)      /* bytes of guest memory to a piece */
#define VMS_RAM_ZERO_RUN (64u << 20)    /* the same for memory that is all zeroes */
#define VMS_RAM_PIECE_MAX (1024u << 10) /* bytes: no piece is longer */

typedef struct VmsRamImage VmsRamImage;

/* The file; everything stays the caller's and must outlive the image. */
typedef struct {
    int fd;
    uint64_t size;             /* bytes */
    uint64_t begin;            /* of the stream */
    VmsProgress *progress;     /* nullable: phase "scan", item "memory" */
    GCancellable *cancellable; /* nullable */
} VmsRamFile;

typedef struct {
    uint64_t size;           /* of the image in order, bytes */
    uint64_t pieces;         /* that it is cut into */
    uint64_t pages_data;     /* pages with contents, once each */
    uint64_t pages_zero;     /* pages of zeroes */
    uint64_t pages_repeated; /* records left out: a newer one followed */
} VmsRamImageStats;

/* Reads the file once. index_fd: an empty temporary file of the caller's, which gets 8 bytes per
 * page of guest memory and must outlive the image. UNSUPPORTED, with what and where, for a stream
 * that is not fully understood: it is then not damaged, only to be kept as it is. */
VmsRamImage *vms_ram_image_open(const VmsRamFile *file, int index_fd, GError **error);
void vms_ram_image_free(VmsRamImage *image);
void vms_ram_image_stats(const VmsRamImage *image, VmsRamImageStats *ret_stats);

/* The next piece into buffer (VMS_RAM_PIECE_MAX bytes). *ret_length 0: that was all. */
bool vms_ram_image_next(VmsRamImage *image, void *buffer, size_t *ret_length, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsRamImage, vms_ram_image_free)
