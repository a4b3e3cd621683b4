/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Needs are added up per file system: two overlays and the memory file may share one. */
#include "base/text.h"
#include "virt/check-private.h"
#include "virt/cow.h"
#include "virt/overlay.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define LEAST_GROWTH (64 * MIB)
#define MOST_GROWTH (8192 * MIB)

typedef struct {
    dev_t device;
    uint64_t need;
    uint64_t free;   /* for QEMU */
    const char *dir; /* one in it; not owned */
} FileSystem;

/* What will hold dir once it is made. */
static char *existing_part(const char *dir)
{
    char *at = g_strdup(dir);
    while (access(at, F_OK) < 0 && errno == ENOENT && at[0] && at[1]) {
        char *up = g_path_get_dirname(at);
        g_free(at);
        at = up;
    }
    return at;
}

/* The code says what it would be for; target nullable. NULL with a finding where there is no such
 * place. */
static FileSystem *find(const VmsChecking *c, GArray *systems, const char *dir, const char *code,
                        const char *target)
{
    g_autofree char *at = existing_part(dir);
    struct stat status;
    struct statvfs space;
    int reason = 0;
    if (stat(at, &status) < 0 || statvfs(at, &space) < 0 || access(at, W_OK | X_OK) < 0)
        reason = errno;
    else if (!S_ISDIR(status.st_mode))
        reason = ENOTDIR;
    if (reason) {
        vms_check_add(c, VMS_FINDING_REFUSAL, code, target,
                      "make it writable for vmsnap, or choose another directory",
                      "nothing can be written to %s: %s", dir, g_strerror(reason));
        return NULL;
    }
    for (guint i = 0; i < systems->len; i++) {
        FileSystem *known = &g_array_index(systems, FileSystem, i);
        if (known->device == status.st_dev)
            return known;
    }
    /* QEMU writes there, which is not root: what is kept for root is not for it. */
    uint64_t left = (uint64_t)space.f_bavail * space.f_frsize;
    FileSystem found = {.device = status.st_dev, .free = left, .dir = dir};
    g_array_append_val(systems, found);
    return &g_array_index(systems, FileSystem, systems->len - 1);
}

static uint64_t growth(const VmsCheckOptions *options, uint64_t capacity)
{
    if (options->overlay_reserve)
        return options->overlay_reserve;
    /* A small disk's overlay cannot grow much beyond the disk. */
    return MIN(CLAMP(capacity / 20, LEAST_GROWTH, MOST_GROWTH), capacity + MIB);
}

static void report(const VmsChecking *c, const FileSystem *system, const char *code,
                   const char *what)
{
    if (system->need <= system->free)
        return;
    g_autofree char *need = vms_text_size(system->need);
    g_autofree char *left = vms_text_size(system->free);
    vms_check_add(c, VMS_FINDING_REFUSAL, code, NULL,
                  "free some space there, or choose another directory",
                  "%s of space for %s are needed on the file system of %s, and %s are free", need,
                  what, system->dir, left);
}

static void add_overlays(const VmsChecking *c, GArray *systems)
{
    for (guint i = 0; i < c->check->disks->len; i++) {
        const VmsCheckDisk *disk = c->check->disks->pdata[i];
        uint64_t need = growth(c->options, disk->capacity);
        c->check->overlay_need += need;
        FileSystem *system =
            find(c, systems, disk->overlay_dir, "overlay-dir-unwritable", disk->target);
        if (system)
            system->need += need;
    }
}

void vms_check_space(const VmsChecking *c)
{
    VmsCheck *check = c->check;
    g_autoptr(GArray) systems = g_array_new(FALSE, FALSE, sizeof(FileSystem));
    add_overlays(c, systems);
    for (guint i = 0; i < systems->len; i++)
        report(c, &g_array_index(systems, FileSystem, i), "no-space-overlay", "the overlays");
    if (check->engine == VMS_CHECK_ENGINE_NONE)
        return;
    check->memory_need = check->engine == VMS_CHECK_ENGINE_COW ? vms_cow_memory_need(c->facts)
                                                               : vms_overlay_memory_need(c->facts);
    if (!c->options->memory_dir)
        return;
    FileSystem *system = find(c, systems, c->options->memory_dir, "memory-dir-unwritable", NULL);
    if (!system)
        return;
    bool reported = system->need > system->free;
    system->need += check->memory_need;
    if (!reported)
        report(c, system, "no-space-memory", "the memory file and the overlays");
}
