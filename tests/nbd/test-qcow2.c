/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qcow2 images written front to back, judged by qemu-img: each must be without fault, and through
 * its backing files read as the disk it was made of. */
#include "images.h"

#include "base/error.h"
#include "block/qcow2-layout.h"

#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define CLUSTER VMS_QCOW2_CLUSTER
#define MIB (UINT64_C(1) << 20)

/* A disk as a raw file, and of each sector what an image of it is told. */
typedef struct {
    uint64_t size;
    char *path; /* of the raw file */
    int fd;
    uint8_t *given; /* per sector: LEFT_OUT, ZERO or DATA */
} Disk;

enum { LEFT_OUT, ZERO, DATA };

typedef struct {
    int disk, image;
    uint64_t disk_size, metadata, written;
} Output;

static Disk *disk_new(uint64_t size)
{
    Disk *disk = g_new0(Disk, 1);
    disk->size = size;
    disk->path = images_path("disk.raw");
    disk->fd = open(disk->path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    g_assert_cmpint(ftruncate(disk->fd, (off_t)size), ==, 0);
    disk->given = g_malloc0(size / 512 + 1);
    return disk;
}

static void disk_free(Disk *disk)
{
    close(disk->fd);
    g_free(disk->path);
    g_free(disk->given);
    g_free(disk);
}

/* In sectors. Data may well be zeroes. */
static void disk_write(Disk *disk, uint64_t first, uint64_t count, uint8_t kind, int byte)
{
    g_autofree uint8_t *bytes = g_malloc(count * 512);
    memset(bytes, kind == ZERO ? 0 : byte, count * 512);
    memset(disk->given + first, kind, count);
    g_assert_cmpint(pwrite(disk->fd, bytes, count * 512, (off_t)(first * 512)), ==, count * 512);
}

static bool write_out(void *user, const void *data, size_t len, GError **error)
{
    Output *out = user;
    g_assert_cmpint(write(out->image, data, len), ==, len);
    out->written += len;
    return true;
}

/* What reaches beyond the end of the disk is zeroes. */
static bool copy_range(void *user, uint64_t offset, uint64_t length, GError **error)
{
    Output *out = user;
    g_assert_cmpuint(offset % CLUSTER, ==, 0);
    g_assert_cmpuint(offset + length, <, out->disk_size + CLUSTER);
    g_autofree uint8_t *bytes = g_malloc0(length);
    g_assert_cmpint(pread(out->disk, bytes, length, (off_t)offset), >, 0);
    return write_out(user, bytes, length, error);
}

static void add_all(VmsQcow2Layout *layout, const Disk *disk)
{
    g_autoptr(GError) error = NULL;
    uint64_t sectors = disk->size / 512;
    for (uint64_t at = 0, end; at < sectors; at = end) {
        for (end = at + 1; end < sectors && disk->given[end] == disk->given[at]; end++)
            ;
        if (disk->given[at] != LEFT_OUT)
            vms_qcow2_layout_add(layout, at * 512, (end - at) * 512, disk->given[at] == ZERO,
                                 &error);
        g_assert_no_error(error);
    }
    vms_qcow2_layout_end(layout, &error);
    g_assert_no_error(error);
}

/* Clusters that must be stored, found cluster by cluster. */
static uint64_t count_data(const Disk *disk, bool backed)
{
    uint64_t found = 0;
    for (uint64_t begin = 0; begin < disk->size; begin += CLUSTER) {
        uint64_t sectors = MIN(CLUSTER, disk->size - begin) / 512, of[3] = {0};
        for (uint64_t i = 0; i < sectors; i++)
            of[disk->given[begin / 512 + i]]++;
        found += of[DATA] > 0 || (backed && of[ZERO] > 0 && of[ZERO] < sectors);
    }
    return found;
}

/* Writes it, and has it judged. */
static void make_image(const Disk *disk, const char *name, const char *backing)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = images_path(name);
    g_autoptr(VmsQcow2Layout) layout = vms_qcow2_layout_new(disk->size, backing, &error);
    g_assert_no_error(error);
    add_all(layout, disk);
    uint64_t data = vms_qcow2_layout_data(layout), bytes = vms_qcow2_layout_bytes(layout);
    g_assert_cmpuint(data, ==, count_data(disk, backing != NULL) * CLUSTER);
    Output out = {.disk = disk->fd, .disk_size = disk->size};
    out.image = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    vms_qcow2_layout_metadata(layout, write_out, &out, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(out.written, ==, bytes - data);
    vms_qcow2_layout_each_data(layout, copy_range, &out, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(out.written, ==, bytes);
    close(out.image);
    images_run("qemu-img", "check", "-f", "qcow2", path, NULL);
    images_run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", disk->path, path, NULL);
}

static void test_empty(void)
{
    static const uint64_t sizes[] = {0, 512, CLUSTER, 10 * MIB + 512, UINT64_C(1) << 40};
    for (size_t i = 0; i < G_N_ELEMENTS(sizes) - 1; i++) {
        Disk *disk = disk_new(sizes[i]);
        make_image(disk, "empty.qcow2", NULL);
        disk_free(disk);
    }
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsQcow2Layout) layout =
        vms_qcow2_layout_new(sizes[G_N_ELEMENTS(sizes) - 1], NULL, &error);
    vms_qcow2_layout_end(layout, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(vms_qcow2_layout_bytes(layout), ==, 4 * CLUSTER);
}

static void test_full(void)
{
    Disk *disk = disk_new(5 * MIB + 1536);
    disk_write(disk, 0, disk->size / 512, DATA, 77);
    make_image(disk, "full.qcow2", NULL);
    disk_write(disk, 0, disk->size / 512, DATA, 78);
    make_image(disk, "over.qcow2", "full.qcow2");
    disk_write(disk, 0, disk->size / 512, ZERO, 0);
    make_image(disk, "zero.qcow2", "over.qcow2");
    disk_free(disk);
}

/* Zeroes over data: a cluster that says so, one that needs data, and the end of the disk. */
static void test_zero_over_data(void)
{
    Disk *disk = disk_new(4 * CLUSTER + 512);
    disk_write(disk, 0, disk->size / 512, DATA, 1);
    make_image(disk, "base.qcow2", NULL);
    memset(disk->given, LEFT_OUT, disk->size / 512);
    disk_write(disk, 128, 128, ZERO, 0);       /* all of cluster 1 */
    disk_write(disk, 2 * 128 + 8, 8, ZERO, 0); /* some of cluster 2 */
    disk_write(disk, 4 * 128, 1, ZERO, 0);     /* all that there is of cluster 4 */
    make_image(disk, "over.qcow2", "base.qcow2");
    g_assert_cmpuint(count_data(disk, true), ==, 1);
    disk_free(disk);
}

/* Refcounts beyond one block: more than 2 GiB of image, nearly all of it a hole. */
static void test_large(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = images_path("large.qcow2");
    uint64_t size = UINT64_C(64) << 30;
    g_autoptr(VmsQcow2Layout) layout = vms_qcow2_layout_new(size, NULL, &error);
    for (uint64_t at = 0; at < size; at += 4 * CLUSTER)
        vms_qcow2_layout_add(layout, at, CLUSTER, false, &error);
    vms_qcow2_layout_end(layout, &error);
    g_assert_no_error(error);
    Output out = {.image = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600)};
    vms_qcow2_layout_metadata(layout, write_out, &out, &error);
    g_assert_no_error(error);
    g_assert_cmpint(ftruncate(out.image, (off_t)vms_qcow2_layout_bytes(layout)), ==, 0);
    close(out.image);
    images_run("qemu-img", "check", "-f", "qcow2", path, NULL);
}

static bool count_out(void *user, const void *data, size_t len, GError **error)
{
    *(uint64_t *)user += len;
    return true;
}

static bool count_range(void *user, uint64_t offset, uint64_t length, GError **error)
{
    *(uint64_t *)user += length;
    return true;
}

static uint64_t peak_rss(void)
{
    struct rusage usage;
    g_assert_cmpint(getrusage(RUSAGE_SELF, &usage), ==, 0);
    return (uint64_t)usage.ru_maxrss << 10;
}

/* A million runs on 1 TiB, of two kinds; kept in memory they would take 16 MiB at least. */
static void test_million_runs(void)
{
    g_autoptr(GError) error = NULL;
    uint64_t size = UINT64_C(1) << 40, metadata = 0, data = 0, before = peak_rss();
    g_autoptr(VmsQcow2Layout) layout = vms_qcow2_layout_new(size, "base.qcow2", &error);
    for (uint64_t at = 0; at < size; at += 32 * CLUSTER) {
        vms_qcow2_layout_add(layout, at, CLUSTER, false, &error);
        vms_qcow2_layout_add(layout, at + CLUSTER, CLUSTER, true, &error);
    }
    vms_qcow2_layout_end(layout, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(vms_qcow2_layout_data(layout), ==, size / 32);
    vms_qcow2_layout_metadata(layout, count_out, &metadata, &error);
    vms_qcow2_layout_each_data(layout, count_range, &data, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(data, ==, size / 32);
    g_assert_cmpuint(metadata + data, ==, vms_qcow2_layout_bytes(layout));
    g_assert_cmpuint(peak_rss() - before, <, 4 * MIB);
}

static void change_randomly(Disk *disk, GRand *rand)
{
    uint64_t sectors = disk->size / 512;
    memset(disk->given, LEFT_OUT, sectors);
    for (int n = g_rand_int_range(rand, 0, 12); n > 0; n--) {
        /* whole clusters, pieces of some sectors, and anything */
        uint64_t unit = g_rand_boolean(rand) ? 128 : 1;
        uint64_t first = g_rand_int_range(rand, 0, (gint32)sectors) / unit * unit;
        uint64_t most = g_rand_boolean(rand) ? 8 * unit : 300;
        uint64_t count = (uint64_t)g_rand_int_range(rand, 1, (gint32)most + 1);
        count = MIN((count + unit - 1) / unit * unit, sectors - first);
        uint8_t kind = g_rand_int_range(rand, 0, 3) == 0 ? ZERO : DATA;
        disk_write(disk, first, count, kind, g_rand_int_range(rand, 0, 256));
    }
}

static void test_random(void)
{
    static const char *const names[] = {NULL, "a.qcow2", "b.qcow2", "c.qcow2"};
    for (guint32 seed = 1; seed <= 25; seed++) {
        GRand *rand = g_rand_new_with_seed(seed);
        Disk *disk = disk_new(512 * (uint64_t)g_rand_int_range(rand, 1, 6000));
        g_test_message("seed %u: %" G_GUINT64_FORMAT " bytes", seed, disk->size);
        for (int level = 1; level < 4; level++) {
            change_randomly(disk, rand);
            make_image(disk, names[level], names[level - 1]);
        }
        disk_free(disk);
        g_rand_free(rand);
    }
}

static void test_refused(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *name = g_strnfill(1024, 'a');
    g_assert_null(vms_qcow2_layout_new(513, NULL, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_INVALID);
    g_clear_error(&error);
    g_assert_null(vms_qcow2_layout_new((UINT64_C(1) << 51) + 512, NULL, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_UNSUPPORTED);
    g_clear_error(&error);
    g_assert_null(vms_qcow2_layout_new(512, name, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_INVALID);
    g_clear_error(&error);
    g_autoptr(VmsQcow2Layout) layout = vms_qcow2_layout_new(MIB, name + 1, &error);
    g_assert_no_error(error);
    g_assert_true(vms_qcow2_layout_add(layout, CLUSTER, 512, false, &error));
    g_assert_false(vms_qcow2_layout_add(layout, CLUSTER, 512, false, &error)); /* once more */
    g_assert_error(error, VMS_ERROR, VMS_ERROR_INVALID);
    g_clear_error(&error);
    g_assert_false(vms_qcow2_layout_add(layout, MIB - 512, 1024, false, &error)); /* too long */
    g_assert_error(error, VMS_ERROR, VMS_ERROR_INVALID);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    images_setup();
    g_test_add_func("/qcow2/million-runs", test_million_runs); /* before others take memory */
    g_test_add_func("/qcow2/empty", test_empty);
    g_test_add_func("/qcow2/full", test_full);
    g_test_add_func("/qcow2/zero-over-data", test_zero_over_data);
    g_test_add_func("/qcow2/large", test_large);
    g_test_add_func("/qcow2/random", test_random);
    g_test_add_func("/qcow2/refused", test_refused);
    int status = g_test_run();
    images_teardown();
    return status;
}
