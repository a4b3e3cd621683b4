/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One read-only file in a FUSE mount of its own, served by threads of this process: for programs
 * that want a path where we have bytes that lie elsewhere. */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct VmsMount VmsMount;

/* The bytes [offset, offset + length), which lie within the file. From several threads at once. An
 * error becomes EIO for who reads the file, and is kept for vms_mount_check(). */
typedef bool (*VmsMountRead)(void *user, uint64_t offset, void *buffer, size_t length,
                             GError **error);

typedef struct {
    const char *name; /* without a slash */
    uint64_t size;    /* bytes */
    VmsMountRead read;
    void *user; /* read's; outlives the mount */
} VmsMountFile;

/* Mounts in a new folder of parent, which is made (0700) where it is not there; dead mounts that
 * killed processes left in it are removed first. UNSUPPORTED: there is no FUSE here, or we may not
 * mount. */
VmsMount *vms_mount_new(const char *parent, const VmsMountFile *file, GError **error);

/* Removes dead mounts that killed processes have left in parent; those of living ones stay. */
void vms_mount_remove_dead(const char *parent);

/* Unmounts, also while the file is open somewhere: its readers get an error from then on. Waits for
 * reads that are under way. */
void vms_mount_free(VmsMount *mount);

const char *vms_mount_path(const VmsMount *mount);

/* Has anybody opened the file yet? */
bool vms_mount_was_opened(VmsMount *mount);

/* True as long as no read has failed; the first error after that. */
bool vms_mount_check(VmsMount *mount, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsMount, vms_mount_free)
