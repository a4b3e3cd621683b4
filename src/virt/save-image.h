/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirt's save image: a 92-byte header, the domain XML, an optional cookie, then QEMU's stream.
 * Read from untrusted storage: every length is checked. */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>

#define VMS_SAVE_HEADER_LEN 92

typedef struct {
    char *xml;
    char *cookie; /* nullable */
    bool was_running;
    unsigned format;      /* 0: raw, 1 to 5: compressed; 6 (sparse) and later are UNSUPPORTED */
    uint64_t data_offset; /* bytes from the start of the file to QEMU's stream */
} VmsSaveImage;

/* Reads header, XML and cookie from data (the first len bytes of an image). If len is too short,
 * fails with INVALID and sets *ret_need to the bytes wanted (≤ 16 MiB). */
VmsSaveImage *vms_save_image_parse(const void *data, size_t len, uint64_t *ret_need,
                                   GError **error);
void vms_save_image_free(VmsSaveImage *image);

/* Header + XML + cookie for the image with xml instead: what must be written before the stream. */
GBytes *vms_save_image_header(const VmsSaveImage *image, const char *xml);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsSaveImage, vms_save_image_free)
