/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where the newest copy of each page of guest memory lies in a migration stream: 8 bytes per page
 * in a file of the caller's, a few of its parts cached. Private to block/. One thread. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Values below any offset that page data can have. */
#define VMS_RAM_ABSENT 0u /* the stream does not mention the page */
#define VMS_RAM_ZERO 1u

typedef struct VmsRamIndex VmsRamIndex;

/* fd: an empty file, read and written; stays the caller's. */
VmsRamIndex *vms_ram_index_new(int fd);
void vms_ram_index_free(VmsRamIndex *index);

/* page: number, counted over all blocks. place: offset of its data, or VMS_RAM_ZERO. */
bool vms_ram_index_set(VmsRamIndex *index, uint64_t page, uint64_t place, GError **error);
/* VMS_RAM_ABSENT for what was never set. */
bool vms_ram_index_get(VmsRamIndex *index, uint64_t page, uint64_t *ret_place, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsRamIndex, vms_ram_index_free)
