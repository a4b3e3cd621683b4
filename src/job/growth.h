/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How full the overlays of a snapshot are. They share file systems with the images below them, and
 * merging may make those grow by as much again, so what a merge may need counts as taken. */
#pragma once

#include "job/record.h"
#include "job/reserve.h"

/* What the overlays of one snapshot may take, all together: bytes, or one of these. */
#define VMS_GROWTH_AUTO UINT64_C(0) /* as much as their file systems have room for */
#define VMS_GROWTH_OFF G_MAXUINT64  /* nobody watches */

#define VMS_GROWTH_WARN 60 /* percent */
#define VMS_GROWTH_STOP 80

/* One that is not merged yet. */
typedef struct {
    char *target;
    char *overlay;
    char *base;
    uint64_t capacity; /* bytes the guest sees */
    bool is_merging;   /* since base had so many bytes on disk: */
    uint64_t base_had;
} VmsGrowthDisk;

typedef struct {
    uint64_t taken;   /* bytes of all overlays on disk */
    uint64_t merge;   /* bytes that merging them may need */
    uint64_t thin;    /* bytes that the images below can still grow by, whatever the guest writes */
    uint64_t limit;   /* bytes allowed; VMS_GROWTH_AUTO: no limit but room */
    uint64_t free;    /* bytes that QEMU can still have on the fullest of the file systems */
    uint64_t least;   /* likewise on the one that has fewest */
    uint64_t spare;   /* bytes of free that no merge needs, where one needs most of it;
                       * G_MAXUINT64: none needs any */
    char *place;      /* a directory on that one; NULL where no overlay was found */
    bool by_limit;    /* percent is of the limit, not of that file system's room */
    unsigned percent; /* may be above 100 */
    uint64_t left;    /* bytes that the overlays may grow until VMS_GROWTH_WARN percent, or, above
                       * that, until VMS_GROWTH_STOP */
} VmsGrowth;

/* Of the disks that are not merged: GPtrArray of VmsGrowthDisk*. */
GPtrArray *vms_growth_disks(const VmsRecord *record);

/* limit: VMS_GROWTH_OFF counts as AUTO. What reserve (nullable) holds counts as free. Overlays that
 * are not there any more take nothing. NOT_FOUND …: a file system that does not say how full it is.
 */
bool vms_growth_measure(const GPtrArray *disks, uint64_t limit, const VmsReserve *reserve,
                        VmsGrowth *ret_growth, GError **error);
void vms_growth_clear(VmsGrowth *growth);

/* From here on the images below grow by what is merged: that needs no more room. */
void vms_growth_begin_merge(GPtrArray *disks);

/* Holds back, or gives up, so much that there will be room to merge whatever the guest writes: what
 * thin images can still grow by, at most half of what is free and 1 GiB beyond what merging needs
 * now; and a little for the guest itself. */
void vms_growth_hold_back(const GPtrArray *disks, VmsReserve *reserve);

/* Could a guest that stands for want of room go on, and leave what a merge needs? That may be in
 * reserve (nullable). Overlays that are gone need none. */
bool vms_growth_has_room(const GPtrArray *disks, const VmsReserve *reserve);

/* "62 % of 2.0 GiB allowed", "62 % of the room on the file system of DIR, where …" (transfer full).
 */
char *vms_growth_text(const VmsGrowth *growth);

/* "auto", "off", or a size of at least 1 MiB. USAGE. */
bool vms_growth_parse(const char *text, uint64_t *ret_limit, GError **error);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VmsGrowth, vms_growth_clear)
