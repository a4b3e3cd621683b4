/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files that are whole or absent after a crash: temporary file, write, fdatasync, rename, fsync of
 * the directory. Everything that writes state uses these. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Writes len bytes to path with mode, replacing what is there. NO_SPACE, AUTH, FAILED. The
 * temporary file is removed on failure. */
bool vms_durable_write(const char *path, const void *data, size_t len, mode_t mode, GError **error);

/* Same, but fails with EXISTS where path exists already (link(2), so two racers cannot both win).
 */
bool vms_durable_create(const char *path, const void *data, size_t len, mode_t mode,
                        GError **error);

/* fsync of the directory that holds path. */
bool vms_durable_sync_parent(const char *path, GError **error);

/* mkdir -p with mode for the directories that are made; fsyncs each parent. */
bool vms_durable_mkdir(const char *path, mode_t mode, GError **error);

/* Writes all len bytes at the descriptor's offset, retrying short writes. */
bool vms_durable_write_all(int fd, const void *data, size_t len, GError **error);
