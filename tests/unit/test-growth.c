/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How full overlays are: of their file system's room, and of what is allowed. */
#include "base/error.h"
#include "job/growth.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            g_printerr("%s:%d: %s\n", __FILE__, __LINE__, #condition);                             \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static char *fill(const char *dir, const char *name, uint64_t bytes)
{
    char *path = g_build_filename(dir, name, NULL);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    CHECK(fd >= 0 && (bytes == 0 || posix_fallocate(fd, 0, (off_t)bytes) == 0));
    close(fd);
    return path;
}

/* A snapshot whose one disk has these bytes in the overlay and in the image. */
static VmsRecord *record_of(const char *dir, uint64_t overlay, uint64_t base, uint64_t capacity)
{
    VmsRecord *record = vms_record_new();
    VmsRecordDisk *disk = vms_record_add_disk(record, "vda");
    disk->overlay = fill(dir, "overlay", overlay);
    disk->base = fill(dir, "base", base);
    disk->capacity = capacity;
    return record;
}

static VmsGrowth measure(const VmsRecord *record, uint64_t limit, const VmsReserve *reserve)
{
    g_autoptr(GPtrArray) disks = vms_growth_disks(record);
    VmsGrowth growth;
    CHECK(vms_growth_measure(disks, limit, reserve, &growth, NULL));
    return growth;
}

/* 100 MiB: 20 of the overlay, 10 of the image, so 70 are free. */
static void measure_in(const char *dir)
{
    g_autoptr(VmsRecord) thin = record_of(dir, 20 * MIB, 10 * MIB, 64 * MIB);
    g_auto(VmsGrowth) all = measure(thin, VMS_GROWTH_AUTO, NULL);
    CHECK(all.taken == 20 * MIB && all.merge == 20 * MIB && all.free == 70 * MIB);
    CHECK(all.percent == 44 && !all.by_limit && g_str_equal(all.place, dir));
    /* until 54 of 90: half of 14, for each byte may need another */
    CHECK(all.left > 6 * MIB && all.left <= 7 * MIB);

    VmsRecordDisk *disk = thin->disks->pdata[0];
    disk->capacity = 15 * MIB; /* 5 more, at most */
    g_auto(VmsGrowth) nearly = measure(thin, VMS_GROWTH_AUTO, NULL);
    CHECK(nearly.merge == 5 * MIB && nearly.percent == 27);
    disk->capacity = 10 * MIB;
    g_auto(VmsGrowth) full = measure(thin, VMS_GROWTH_OFF, NULL);
    CHECK(full.merge == 0 && full.percent == 22 && full.limit == VMS_GROWTH_AUTO);

    g_auto(VmsGrowth) limited = measure(thin, 24 * MIB, NULL);
    CHECK(limited.by_limit && limited.percent == 83 && limited.left == 0);
    g_auto(VmsGrowth) wide = measure(thin, 2000 * MIB, NULL);
    CHECK(!wide.by_limit && wide.percent == 22);

    disk->merged = true;
    g_auto(VmsGrowth) merged = measure(thin, VMS_GROWTH_AUTO, NULL);
    CHECK(merged.place == NULL && merged.taken == 0);
    disk->merged = false;
    CHECK(g_unlink(disk->overlay) == 0);
    g_auto(VmsGrowth) gone = measure(thin, VMS_GROWTH_AUTO, NULL);
    CHECK(gone.place == NULL && gone.taken == 0);
}

static dev_t device_of(const char *dir)
{
    struct stat st;
    CHECK(stat(dir, &st) == 0);
    return st.st_dev;
}

static uint64_t free_in(const char *dir)
{
    struct statvfs space;
    CHECK(statvfs(dir, &space) == 0);
    return (uint64_t)space.f_bavail * space.f_frsize;
}

/* What can be held is held, and counts as free for who may give it up. */
static void reserve_in(const char *dir)
{
    dev_t device = device_of(dir);
    g_autoptr(VmsRecord) record = record_of(dir, 20 * MIB, 10 * MIB, 10 * MIB);
    g_autoptr(VmsReserve) reserve = vms_reserve_new();
    vms_reserve_set(reserve, device, dir, 8 * MIB);
    CHECK(vms_reserve_on(reserve, device) == 8 * MIB && free_in(dir) == 62 * MIB);
    g_auto(VmsGrowth) held = measure(record, VMS_GROWTH_AUTO, NULL);
    CHECK(held.free == 62 * MIB && held.spare == G_MAXUINT64);
    g_auto(VmsGrowth) counted = measure(record, VMS_GROWTH_AUTO, reserve);
    CHECK(counted.free == 70 * MIB && counted.percent == 22);
    vms_reserve_set(reserve, device, dir, 500 * MIB);
    CHECK(vms_reserve_on(reserve, device) == 8 * MIB && free_in(dir) == 62 * MIB);
    vms_reserve_shrink(reserve, 9 * MIB);
    CHECK(vms_reserve_on(reserve, device) == 8 * MIB);
    vms_reserve_shrink(reserve, 3 * MIB);
    CHECK(vms_reserve_on(reserve, device) == 3 * MIB && free_in(dir) == 67 * MIB);
    vms_reserve_set(reserve, device, dir, MIB - 1);
    CHECK(vms_reserve_on(reserve, device) == 0 && free_in(dir) == 70 * MIB);
    vms_reserve_set(reserve, device, dir, 200 * MIB);
    CHECK(vms_reserve_on(reserve, device) == 0 && free_in(dir) == 70 * MIB);
}

/* However much the guest writes until there is nothing left, merging finds room in what is held. */
static void hold_back_in(const char *dir)
{
    dev_t device = device_of(dir);
    g_autoptr(VmsRecord) record = record_of(dir, 20 * MIB, 10 * MIB, 64 * MIB);
    g_autoptr(GPtrArray) disks = vms_growth_disks(record);
    g_autoptr(VmsReserve) reserve = vms_reserve_new();
    vms_growth_hold_back(disks, reserve);
    /* 20 to merge now, half of the other 50, and a little */
    CHECK(vms_reserve_on(reserve, device) == 45 * MIB + 50 * MIB / 20);
    const VmsRecordDisk *disk = record->disks->pdata[0];
    for (int i = 0; i < 50; i++) {
        g_free(fill(dir, "overlay", (uint64_t)(20 + i) * MIB));
        g_auto(VmsGrowth) now = measure(record, VMS_GROWTH_AUTO, reserve);
        CHECK(now.merge + now.spare == now.free && now.merge <= vms_reserve_on(reserve, device));
        vms_growth_hold_back(disks, reserve);
        if (free_in(dir) <= MIB)
            break;
    }
    CHECK(free_in(dir) <= MIB && !vms_growth_has_room(disks, reserve));

    vms_growth_begin_merge(disks);
    g_auto(VmsGrowth) before = {0}, later = {0};
    CHECK(vms_growth_measure(disks, VMS_GROWTH_AUTO, NULL, &before, NULL) && before.spare == 0);
    g_clear_pointer(&reserve, vms_reserve_free);
    g_free(fill(dir, "base", 20 * MIB)); /* 10 of it are merged */
    CHECK(vms_growth_measure(disks, VMS_GROWTH_AUTO, NULL, &later, NULL));
    CHECK(later.merge == before.merge - 10 * MIB && later.merge <= later.free);
    CHECK(g_unlink(disk->overlay) == 0 && vms_growth_has_room(disks, NULL));
}

/* In a child, on a file system of its own. */
static void on_file_system(void (*func)(const char *dir))
{
    g_autofree char *dir = g_dir_make_tmp("vmsnap-test-XXXXXX", NULL);
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
            mount("none", dir, "tmpfs", 0, "size=100m") != 0)
            _exit(77);
        func(dir);
        _exit(0);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    g_rmdir(dir);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        g_test_skip("needs root, for a file system of its own");
    else
        g_assert_cmpint(status, ==, 0);
}

static void test_measure(void)
{
    on_file_system(measure_in);
}

static void test_reserve(void)
{
    on_file_system(reserve_in);
}

static void test_hold_back(void)
{
    on_file_system(hold_back_in);
}

static void test_parse(void)
{
    static const char *const wrong[] = {"", "none", "-1", "512K", "20X", "99999999999G"};
    uint64_t limit = 1;
    g_assert_true(vms_growth_parse("auto", &limit, NULL) && limit == VMS_GROWTH_AUTO);
    g_assert_true(vms_growth_parse("off", &limit, NULL) && limit == VMS_GROWTH_OFF);
    g_assert_true(vms_growth_parse("20M", &limit, NULL) && limit == 20 * MIB);
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_false(vms_growth_parse(wrong[i], &limit, &error));
        g_assert_true(vms_error_is(error, VMS_ERROR_USAGE));
    }
}

static void test_text(void)
{
    VmsGrowth growth = {.taken = 20 * MIB,
                        .merge = 5 * MIB,
                        .free = 70 * MIB,
                        .place = (char *)"/i",
                        .percent = 27};
    g_autofree char *room = vms_growth_text(&growth);
    g_assert_cmpstr(room, ==,
                    "the overlays have taken 20.0 MiB and merging them may need 5.0 MiB: 27 % of "
                    "the room on the file system of /i, where 70.0 MiB are free");
    growth.by_limit = true;
    growth.limit = 24 * MIB;
    growth.percent = 83;
    g_autofree char *limit = vms_growth_text(&growth);
    g_assert_cmpstr(limit, ==,
                    "the overlays have taken 20.0 MiB, 83 % of the 24.0 MiB that they may");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/growth/measure", test_measure);
    g_test_add_func("/growth/reserve", test_reserve);
    g_test_add_func("/growth/hold-back", test_hold_back);
    g_test_add_func("/growth/parse", test_parse);
    g_test_add_func("/growth/text", test_text);
    return g_test_run();
}
