/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files that are whole or absent after a crash: temporary file, write, fdatasync, rename, fsync of
 * the directory. Everything that writes state uses these. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Writes len bytes to path with mode, replacing what is there. NO_SPACE, AUTH, FAILED. The
 * temporary file is removed on failure. */
bool vms_durable_write(const char *path, const void *data, size_t len, mode_t mode, GError **error);

/* Same, but fails with EXISTS where path exists already (link(2), so two racers cannot both win).
 */
bool vms_durable_create(const char *path, const void *data, size_t len, mode_t mode,
                        GError **error);

/* A file that is written piece by piece and seen only when it is whole. */
typedef struct VmsDurableFile VmsDurableFile;

/* Makes the temporary file beside path and takes size bytes of space for it where the file system
 * can. NO_SPACE, AUTH, NOT_FOUND, FAILED. */
VmsDurableFile *vms_durable_open(const char *path, uint64_t size, mode_t mode, GError **error);
/* The temporary file's descriptor, to write to. Stays the file's. */
int vms_durable_fd(const VmsDurableFile *file);
/* The file is path from now on, replacing what is there. */
bool vms_durable_finish(VmsDurableFile *file, GError **error);
/* Removes the temporary file unless it is finished. Nullable. */
void vms_durable_free(VmsDurableFile *file);

/* fsync of the directory that holds path. */
bool vms_durable_sync_parent(const char *path, GError **error);

/* mkdir -p with mode for the directories that are made; fsyncs each parent. */
bool vms_durable_mkdir(const char *path, mode_t mode, GError **error);

/* Writes all len bytes at the descriptor's offset, retrying short writes. */
bool vms_durable_write_all(int fd, const void *data, size_t len, GError **error);
/* The same at offset; the descriptor's own stays. */
bool vms_durable_write_at(int fd, const void *data, size_t len, uint64_t offset, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsDurableFile, vms_durable_free)
