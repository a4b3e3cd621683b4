/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Percent are of room = what the overlays have + what is free. Overlays that grow by one byte take
 * one byte of what is free, and a merge may then need one more: so half of what is left counts. */
#include "job/growth.h"

#include "base/error.h"
#include "base/text.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define MIB (UINT64_C(1) << 20)
#define ROOM_TO_RUN (4 * MIB)
#define BLOCK 512 /* bytes, of st_blocks */
#define MOST_HELD (1024 * MIB)
#define MOST_FOR_GUEST (64 * MIB)
#define UNKNOWN ((uint64_t)G_MAXINT64) /* bytes free, where the file system does not tell */

/* The part of one file system. thin: bytes that images can grow by. */
typedef struct {
    dev_t device;
    uint64_t taken, merge, thin, free;
    const char *file;
} System;

static void disk_free(void *data)
{
    VmsGrowthDisk *disk = data;
    g_free(disk->target);
    g_free(disk->overlay);
    g_free(disk->base);
    g_free(disk);
}

GPtrArray *vms_growth_disks(const VmsRecord *record)
{
    GPtrArray *disks = g_ptr_array_new_with_free_func(disk_free);
    for (guint i = 0; i < record->disks->len; i++) {
        const VmsRecordDisk *from = record->disks->pdata[i];
        if (from->merged || !from->overlay)
            continue;
        VmsGrowthDisk *disk = g_new0(VmsGrowthDisk, 1);
        disk->target = g_strdup(from->target);
        disk->overlay = g_strdup(from->overlay);
        disk->base = g_strdup(from->base);
        disk->capacity = from->capacity;
        g_ptr_array_add(disks, disk);
    }
    return disks;
}

static System *find_system(GArray *systems, dev_t device, const char *file,
                           const VmsReserve *reserve, GError **error)
{
    struct statvfs space;
    for (guint i = 0; i < systems->len; i++)
        if (g_array_index(systems, System, i).device == device)
            return &g_array_index(systems, System, i);
    if (statvfs(file, &space) < 0) {
        vms_fail_errno(error, errno, "%s", file);
        return NULL;
    }
    /* QEMU is not root: what is kept for root is not for it. */
    System found = {.device = device, .file = file};
    found.free = space.f_blocks == 0
                     ? UNKNOWN
                     : (uint64_t)space.f_bavail * space.f_frsize + vms_reserve_on(reserve, device);
    g_array_append_val(systems, found);
    return &g_array_index(systems, System, systems->len - 1);
}

/* What of the overlay is new to the image; a block device has all of it already. */
static bool add_merge(GArray *systems, const VmsGrowthDisk *disk, uint64_t taken,
                      const VmsReserve *reserve, GError **error)
{
    struct stat st;
    if (stat(disk->base, &st) < 0)
        return errno == ENOENT || vms_fail_errno(error, errno, "%s", disk->base);
    uint64_t has = (uint64_t)st.st_blocks * BLOCK;
    if (!S_ISREG(st.st_mode) || has >= disk->capacity)
        return true;
    System *system = find_system(systems, st.st_dev, disk->base, reserve, error);
    if (!system)
        return false;
    uint64_t merged = disk->is_merging && has > disk->base_had ? has - disk->base_had : 0;
    system->merge += MIN(taken - MIN(merged, taken), disk->capacity - has);
    system->thin += disk->capacity - has;
    return true;
}

static bool add_disk(GArray *systems, const VmsGrowthDisk *disk, const VmsReserve *reserve,
                     GError **error)
{
    struct stat st;
    if (stat(disk->overlay, &st) < 0)
        return errno == ENOENT || vms_fail_errno(error, errno, "%s", disk->overlay);
    System *system = find_system(systems, st.st_dev, disk->overlay, reserve, error);
    if (!system)
        return false;
    uint64_t taken = (uint64_t)st.st_blocks * BLOCK;
    system->taken += taken;
    return add_merge(systems, disk, taken, reserve, error);
}

/* Of System; NULL on error. */
static GArray *survey(const GPtrArray *disks, const VmsReserve *reserve, GError **error)
{
    g_autoptr(GArray) systems = g_array_new(FALSE, FALSE, sizeof(System));
    for (guint i = 0; i < disks->len; i++)
        if (!add_disk(systems, disks->pdata[i], reserve, error))
            return NULL;
    return g_steal_pointer(&systems);
}

static unsigned percent_of(uint64_t part, uint64_t whole)
{
    double percent = whole > 0 ? 100.0 * (double)part / (double)whole : part > 0 ? 999 : 0;
    return percent > 999 ? 999 : (unsigned)percent;
}

/* Bytes from part to so many percent of whole. */
static uint64_t until(uint64_t part, uint64_t whole, unsigned percent)
{
    uint64_t level = whole / 100 * (percent < VMS_GROWTH_WARN ? VMS_GROWTH_WARN : VMS_GROWTH_STOP);
    return level > part ? level - part : 0;
}

static void judge_system(const System *system, VmsGrowth *growth)
{
    uint64_t room = system->taken + system->free;
    unsigned percent = percent_of(system->taken + system->merge, room);
    growth->taken += system->taken;
    growth->merge += system->merge;
    growth->thin += system->thin;
    growth->least = MIN(growth->least, system->free);
    if (system->merge > 0)
        growth->spare = MIN(growth->spare, system->free - MIN(system->merge, system->free));
    if (growth->place && percent < growth->percent)
        return;
    g_free(growth->place);
    growth->place = g_path_get_dirname(system->file);
    growth->free = system->free;
    growth->percent = percent;
    growth->left = until(system->taken + system->merge, room, percent) / 2;
}

static void judge_limit(VmsGrowth *growth)
{
    unsigned percent = percent_of(growth->taken, growth->limit);
    if (growth->limit == VMS_GROWTH_AUTO)
        return;
    uint64_t left = until(growth->taken, growth->limit, percent);
    growth->by_limit = percent >= growth->percent;
    growth->left = MIN(left, growth->left);
    growth->percent = MAX(percent, growth->percent);
}

bool vms_growth_measure(const GPtrArray *disks, uint64_t limit, const VmsReserve *reserve,
                        VmsGrowth *ret_growth, GError **error)
{
    *ret_growth = (VmsGrowth){.limit = limit == VMS_GROWTH_OFF ? VMS_GROWTH_AUTO : limit,
                              .least = G_MAXUINT64,
                              .spare = G_MAXUINT64};
    g_autoptr(GArray) systems = survey(disks, reserve, error);
    if (!systems)
        return false;
    for (guint i = 0; i < systems->len; i++)
        judge_system(&g_array_index(systems, System, i), ret_growth);
    if (ret_growth->place)
        judge_limit(ret_growth);
    return true;
}

void vms_growth_begin_merge(GPtrArray *disks)
{
    struct stat st;
    for (guint i = 0; i < disks->len; i++) {
        VmsGrowthDisk *disk = disks->pdata[i];
        if (disk->is_merging || stat(disk->base, &st) < 0)
            continue;
        disk->is_merging = true;
        disk->base_had = (uint64_t)st.st_blocks * BLOCK;
    }
}

void vms_growth_hold_back(const GPtrArray *disks, VmsReserve *reserve)
{
    g_autoptr(GArray) systems = survey(disks, reserve, NULL);
    for (guint i = 0; systems && i < systems->len; i++) {
        const System *system = &g_array_index(systems, System, i);
        g_autofree char *dir = g_path_get_dirname(system->file);
        uint64_t spare = system->free - MIN(system->merge, system->free);
        uint64_t most = system->merge + MIN(spare / 2, MOST_HELD);
        uint64_t bytes = MIN(system->thin, most) + MIN(spare / 20, MOST_FOR_GUEST);
        if (system->free != UNKNOWN)
            vms_reserve_set(reserve, system->device, dir, spare > 0 ? bytes : 0);
    }
}

bool vms_growth_has_room(const GPtrArray *disks, const VmsReserve *reserve)
{
    g_auto(VmsGrowth) now = {0};
    g_auto(VmsGrowth) all = {0};
    return vms_growth_measure(disks, VMS_GROWTH_AUTO, NULL, &now, NULL) &&
           vms_growth_measure(disks, VMS_GROWTH_AUTO, reserve, &all, NULL) &&
           now.least >= ROOM_TO_RUN && all.spare >= ROOM_TO_RUN;
}

void vms_growth_clear(VmsGrowth *growth)
{
    g_clear_pointer(&growth->place, g_free);
}

char *vms_growth_text(const VmsGrowth *growth)
{
    g_autofree char *taken = vms_text_size(growth->taken);
    g_autofree char *limit = vms_text_size(growth->limit);
    g_autofree char *left = vms_text_size(growth->free);
    g_autofree char *merge = vms_text_size(growth->merge);
    if (growth->by_limit)
        return g_strdup_printf("the overlays have taken %s, %u %% of the %s that they may", taken,
                               growth->percent, limit);
    return g_strdup_printf("the overlays have taken %s and merging them may need %s: %u %% of the "
                           "room on the file system of %s, where %s are free",
                           taken, merge, growth->percent, growth->place, left);
}

bool vms_growth_parse(const char *text, uint64_t *ret_limit, GError **error)
{
    if (g_str_equal(text, "auto") || g_str_equal(text, "off")) {
        *ret_limit = g_str_equal(text, "auto") ? VMS_GROWTH_AUTO : VMS_GROWTH_OFF;
        return true;
    }
    if (vms_text_parse_size(text, ret_limit, NULL) && *ret_limit >= MIB && *ret_limit <= G_MAXINT64)
        return true;
    return vms_fail(error, VMS_ERROR_USAGE,
                    "\"%.40s\" is not one of auto, off, or a size like 20G, from 1M", text);
}
