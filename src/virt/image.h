/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What an image file is made of: the layers it stands on, and its dirty bitmaps. Read with qemu-img
 * while a guest may be using it. */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>

/* One file or block device of a chain. */
typedef struct {
    char *identity; /* device, inode and time of birth; of block devices the device number */
    char *changed;  /* when its bytes were last written, "-" for block devices */
    char *path;
} VmsLayer;

/* The image and what it stands on, topmost first: GPtrArray of VmsLayer*. Layers behind one that is
 * no local file are not looked at. */
GPtrArray *vms_image_chain(const char *path, const char *format, GCancellable *cancellable,
                           GError **error);

/* One line per layer, to be kept, and back; NULL for a text that is none. */
char *vms_layers_to_text(const GPtrArray *layers);
GPtrArray *vms_layers_parse(const char *text);

/* Are layers[from…] the same files as other[0…], and (but for the topmost, where skip_top_time)
 * never written between? */
bool vms_layers_equal(const GPtrArray *layers, guint from, const GPtrArray *other,
                      bool skip_top_time);

typedef enum {
    VMS_BITMAP_MISSING,
    VMS_BITMAP_INCONSISTENT, /* QEMU ended without writing it back */
    VMS_BITMAP_DISABLED,     /* somebody stopped it: writes since are not in it */
    VMS_BITMAP_GOOD
} VmsBitmapState;

typedef struct {
    bool can_have_bitmaps;   /* qcow2 of version 3, not encrypted */
    bool internal_snapshots; /* QEMU cannot go back to these while there are bitmaps */
    GPtrArray *bitmaps;      /* of char*: names */
    GArray *states;          /* of VmsBitmapState, in the same order */
} VmsImageInfo;

VmsImageInfo *vms_image_info_read(const char *path, const char *format, GCancellable *cancellable,
                                  GError **error);
void vms_image_info_free(VmsImageInfo *info);
VmsBitmapState vms_image_info_bitmap(const VmsImageInfo *info, const char *name);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsImageInfo, vms_image_info_free)
