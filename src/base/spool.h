/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Unlinked temporary files: room for what is too long for memory. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A descriptor of an empty, unlinked, private file in dir (nullable: $TMPDIR, else /var/tmp), or -1
 * with *error. The caller closes it. */
int vms_spool_open(const char *dir, GError **error);

/* A new private folder there (transfer full), for what needs names; and its end, with the files in
 * it. */
char *vms_spool_folder(GError **error);
void vms_spool_remove_folder(const char *path);

/* All len bytes or an error: NO_SPACE, FAILED. Safe from several threads. */
bool vms_spool_write(int fd, uint64_t offset, const void *data, size_t len, GError **error);
/* CORRUPT where the file ends earlier. */
bool vms_spool_read(int fd, uint64_t offset, void *data, size_t len, GError **error);

/* The first len bytes as a read-only mapping, which outlives the descriptor. */
GBytes *vms_spool_map(int fd, size_t len, GError **error);
