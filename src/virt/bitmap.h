/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Persistent dirty bitmaps of our own in qcow2 images. From its begin on, whatever QEMU writes to
 * the image is entered in it; it is saved with the image. libvirt carries it into overlays and,
 * when they are merged, back. It is no libvirt checkpoint: with one of these, a domain cannot be
 * undefined as usual. */
#pragma once

#include "virt/conn.h"

#include <gio/gio.h>

/* Begins one in the active image of a disk, the qcow2 file at path; of a domain that runs or is
 * shut off. */
bool vms_bitmap_begin(virDomainPtr domain, const char *path, const char *name,
                      GCancellable *cancellable, GError **error);

/* Removes it from the image at path and the overlays above it. *ret_gone false: nothing was
 * changed, because it lies in a frozen image. */
bool vms_bitmap_remove(virDomainPtr domain, const char *path, const char *name, bool *ret_gone,
                       GError **error);
