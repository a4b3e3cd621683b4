/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Room that is held back beside overlays, in files without a name: a crash leaves none behind. */
#pragma once

#include <glib.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct VmsReserve VmsReserve;

VmsReserve *vms_reserve_new(void);

/* So many bytes on that file system, in dir; what is held there already, where there is no room for
 * more; none where that is too little to be of use. */
void vms_reserve_set(VmsReserve *reserve, dev_t device, const char *dir, uint64_t bytes);

/* Bytes that are held there; 0 for NULL. */
uint64_t vms_reserve_on(const VmsReserve *reserve, dev_t device);

/* Gives up all but so many bytes on each. NULL is fine. */
void vms_reserve_shrink(VmsReserve *reserve, uint64_t bytes);

/* Gives the room up. NULL is fine. */
void vms_reserve_free(VmsReserve *reserve);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsReserve, vms_reserve_free)
