/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writing restored disks: sparse, whole or absent, and never over what was there (P3, P5). */
#include "images.h"

#include "base/error.h"
#include "block/sink.h"
#include "block/source.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB (1 << 20)

static VmsSink *create(const char *path, const char *format, uint64_t size, bool replace)
{
    g_autoptr(GError) error = NULL;
    VmsSink *sink = vms_sink_create(path, format, size, replace, NULL, &error);
    g_assert_no_error(error);
    return sink;
}

static void put(VmsSink *sink, uint64_t offset, uint8_t value, size_t length)
{
    g_autoptr(GError) error = NULL;
    g_autofree uint8_t *bytes = g_malloc(length);
    memset(bytes, value, length);
    vms_sink_write(sink, offset, bytes, length, &error);
    g_assert_no_error(error);
}

static void finish(VmsSink *sink)
{
    g_autoptr(GError) error = NULL;
    vms_sink_finish(sink, &error);
    g_assert_no_error(error);
}

static void expect_byte(VmsSource *source, uint64_t offset, uint8_t wanted)
{
    uint8_t byte = ~wanted;
    g_assert_true(vms_source_read(source, offset, &byte, 1, NULL));
    g_assert_cmpuint(byte, ==, wanted);
}

/* Both formats: bytes read back, sizes right, nothing visible before the end, holes stay holes. */
static void check_format(const char *format)
{
    g_autofree char *in_scratch = images_path("whole");
    g_autofree char *partial = g_strconcat(in_scratch, ".vmsnap-partial", NULL);
    g_autoptr(VmsSink) sink = create(in_scratch, format, 256 * MIB, false);
    g_autofree uint8_t *mixed = g_malloc0(MIB);
    struct stat status;
    mixed[0] = 1;
    mixed[700000] = 2;
    put(sink, 200 * MIB, 3, MIB);
    put(sink, 10 * MIB + 512, 4, 3 * MIB);
    put(sink, 100 * MIB, 0, 8 * MIB);
    g_assert_true(vms_sink_write(sink, 50 * MIB, mixed, MIB, NULL));
    put(sink, 12 * MIB, 0, 512 * 1024); /* zeroes over data */
    g_assert_cmpint(stat(in_scratch, &status), <, 0);
    g_assert_cmpint(stat(partial, &status), ==, 0);
    g_assert_cmpuint(status.st_mode & 07777, ==, 0600);
    finish(sink);
    g_assert_cmpint(stat(partial, &status), <, 0);
    g_assert_cmpint(stat(in_scratch, &status), ==, 0);
    g_assert_cmpuint(status.st_mode & 07777, ==, 0600);
    g_assert_cmpuint(images_allocated(in_scratch), <, 7 * MIB);
    g_autoptr(VmsServer) server = vms_server_start(in_scratch, format, NULL, NULL);
    g_autoptr(VmsSource) source = vms_source_open(server, NULL);
    g_assert_cmpuint(vms_source_size(source), ==, 256 * MIB);
    expect_byte(source, 200 * MIB, 3);
    expect_byte(source, 10 * MIB + 511, 0);
    expect_byte(source, 10 * MIB + 512, 4);
    expect_byte(source, 12 * MIB, 0);
    expect_byte(source, 12 * MIB + 512 * 1024 - 1, 0);
    expect_byte(source, 12 * MIB + 512 * 1024, 4);
    expect_byte(source, 50 * MIB, 1);
    expect_byte(source, 50 * MIB + 700000, 2);
    expect_byte(source, 104 * MIB, 0);
    g_clear_pointer(&source, vms_source_free);
    g_clear_pointer(&server, vms_server_free);
    if (strcmp(format, "qcow2") == 0)
        images_run("qemu-img", "check", "-q", in_scratch, NULL);
    g_remove(in_scratch);
}

static void test_raw(void)
{
    check_format("raw");
}

/* Data that lies on a page, as a repository's blobs do, goes past the page cache where it can:
 * mixed with what cannot, in any order, up to an end in the middle of a page. */
static void test_raw_pages(void)
{
    const struct {
        uint64_t offset;
        size_t length, shift;
    } writes[] = {{3 * MIB, MIB, 0},
                  {0, MIB, 0},
                  {MIB, MIB, 16},
                  {2 * MIB, MIB - 100, 0},
                  {3 * MIB - 100, 200, 0},
                  {4 * MIB + 512, MIB - 512, 0},
                  {5 * MIB, 4096, 0},
                  {5 * MIB + 4096, 64 * 1024, 4096},
                  {512 * 1024, 128 * 1024, 0},
                  {6 * MIB, MIB + 700, 0}};
    const size_t size = 7 * MIB + 700;
    g_autofree char *path = images_path("pages");
    g_autofree uint8_t *wanted = g_malloc0(size);
    uint8_t *pages = g_aligned_alloc(1, 2 * MIB, 4096);
    g_autoptr(VmsSink) sink = create(path, "raw", size, false);
    for (size_t i = 0; i < G_N_ELEMENTS(writes); i++) {
        for (size_t at = 0; at < 2 * MIB; at++)
            pages[at] = (uint8_t)(at / 512 * 7 + at + i + 1) | 1;
        memcpy(wanted + writes[i].offset, pages + writes[i].shift, writes[i].length);
        g_assert_true(vms_sink_write(sink, writes[i].offset, pages + writes[i].shift,
                                     writes[i].length, NULL));
    }
    finish(sink);
    g_autofree char *got = NULL;
    gsize length = 0;
    g_assert_true(g_file_get_contents(path, &got, &length, NULL));
    g_assert_cmpmem(got, length, wanted, size);
    g_aligned_free(pages);
    g_remove(path);
}

static void test_qcow2(void)
{
    check_format("qcow2");
}

/* --- many threads --- */

typedef struct {
    VmsSink *sink;
    uint64_t first;
} Part;

static void *write_part(void *user)
{
    const Part *part = user;
    for (uint64_t at = part->first; at < 64; at += 8)
        put(part->sink, at * MIB, (uint8_t)(at + 1), MIB);
    return NULL;
}

static void test_threads(void)
{
    g_autofree char *path = images_path("threads.qcow2");
    g_autoptr(VmsSink) sink = create(path, "qcow2", 64 * MIB, false);
    GThread *threads[8];
    Part parts[8];
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++) {
        parts[i] = (Part){sink, i};
        threads[i] = g_thread_new("writer", write_part, &parts[i]);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
        g_thread_join(threads[i]);
    finish(sink);
    g_autoptr(VmsServer) server = vms_server_start(path, "qcow2", NULL, NULL);
    g_autoptr(VmsSource) source = vms_source_open(server, NULL);
    for (uint64_t at = 0; at < 64; at++)
        expect_byte(source, at * MIB + 4711, (uint8_t)(at + 1));
}

/* --- names --- */

static void expect_refusal(const char *path, bool replace, VmsErrorCode code)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsSink) sink = vms_sink_create(path, "raw", MIB, replace, NULL, &error);
    g_assert_null(sink);
    g_test_message("%s", error->message);
    g_assert_true(vms_error_is(error, code));
}

static void test_exists(void)
{
    g_autofree char *path = images_path("precious");
    g_autofree char *text = NULL;
    g_assert_true(g_file_set_contents(path, "precious", -1, NULL));
    expect_refusal(path, false, VMS_ERROR_EXISTS);
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "precious");
    g_autoptr(VmsSink) sink = create(path, "raw", MIB, true);
    put(sink, 0, 1, MIB);
    finish(sink);
    struct stat status;
    g_assert_cmpint(stat(path, &status), ==, 0);
    g_assert_cmpuint((uint64_t)status.st_size, ==, MIB);
}

/* Somebody else puts a file there while we write. */
static void test_exists_at_the_end(void)
{
    g_autofree char *path = images_path("raced");
    g_autofree char *partial = g_strconcat(path, ".vmsnap-partial", NULL);
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    VmsSink *sink = create(path, "raw", MIB, false);
    g_assert_true(g_file_set_contents(path, "precious", -1, NULL));
    g_assert_false(vms_sink_finish(sink, &error));
    g_assert_true(vms_error_is(error, VMS_ERROR_EXISTS));
    vms_sink_free(sink);
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "precious");
    g_assert_false(g_file_test(partial, G_FILE_TEST_EXISTS));
}

static void test_not_a_file(void)
{
    g_autofree char *dir = images_path("a-directory");
    g_autofree char *link = images_path("a-link");
    g_assert_cmpint(g_mkdir(dir, 0700), ==, 0);
    g_assert_cmpint(symlink("/etc/passwd", link), ==, 0);
    expect_refusal(dir, true, VMS_ERROR_EXISTS);
    expect_refusal(link, true, VMS_ERROR_EXISTS);
    expect_refusal("/dev/null", true, VMS_ERROR_EXISTS);
    expect_refusal("/nowhere/at/all", false, VMS_ERROR_NOT_FOUND);
}

/* A run that was killed leaves its partial file without a lock; a live one has it locked. */
static void test_partial_files(void)
{
    g_autofree char *path = images_path("twice");
    g_autofree char *partial = g_strconcat(path, ".vmsnap-partial", NULL);
    g_assert_true(g_file_set_contents(partial, "left by a run that was killed", -1, NULL));
    VmsSink *first = create(path, "raw", MIB, false);
    g_assert_cmpuint(images_allocated(partial), ==, 0);
    expect_refusal(path, false, VMS_ERROR_LOCKED);
    g_assert_true(g_file_test(partial, G_FILE_TEST_EXISTS));
    vms_sink_free(first);
    g_assert_false(g_file_test(partial, G_FILE_TEST_EXISTS));
    g_assert_cmpint(symlink("/etc/passwd", partial), ==, 0);
    expect_refusal(path, false, VMS_ERROR_FAILED);
    g_assert_true(g_file_test("/etc/passwd", G_FILE_TEST_EXISTS));
    g_assert_cmpint(g_remove(partial), ==, 0);
}

/* Not finished: nothing is left, for both formats. */
static void test_abandoned(void)
{
    static const char *const formats[] = {"raw", "qcow2"};
    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        g_autofree char *path = images_path("abandoned");
        g_autofree char *partial = g_strconcat(path, ".vmsnap-partial", NULL);
        VmsSink *sink = create(path, formats[i], MIB, false);
        put(sink, 0, 1, 4096);
        vms_sink_free(sink);
        g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
        g_assert_false(g_file_test(partial, G_FILE_TEST_EXISTS));
        g_assert_cmpint(images_server_pid(), ==, 0);
    }
}

static void test_bad_arguments(void)
{
    g_autofree char *path = images_path("odd");
    g_autofree char *partial = g_strconcat(path, ".vmsnap-partial", NULL);
    g_autoptr(GError) odd = NULL, format = NULL, past = NULL;
    g_assert_null(vms_sink_create(path, "qcow2", 1000, false, NULL, &odd));
    g_assert_true(vms_error_is(odd, VMS_ERROR_INVALID));
    g_assert_null(vms_sink_create(path, "vmdk", MIB, false, NULL, &format));
    g_assert_true(vms_error_is(format, VMS_ERROR_UNSUPPORTED));
    g_assert_false(g_file_test(partial, G_FILE_TEST_EXISTS));
    g_autoptr(VmsSink) sink = create(path, "raw", 1000, false);
    g_assert_false(vms_sink_write(sink, 999, "ab", 2, &past));
    g_assert_true(vms_error_is(past, VMS_ERROR_INVALID));
    g_assert_true(vms_sink_write(sink, 998, "ab", 2, NULL));
}

/* P5: no half-written image under its name, and the code that becomes exit status 9. */
static void test_no_space(void)
{
    static const char *const formats[] = {"raw", "qcow2"};
    g_autofree char *dir = images_small_fs("small", 4 * MIB);
    if (!dir) {
        g_test_skip("mounting a tmpfs is not permitted");
        return;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        g_autofree char *path = g_build_filename(dir, formats[i], NULL);
        g_autofree char *partial = g_strconcat(path, ".vmsnap-partial", NULL);
        g_autoptr(GError) error = NULL;
        g_autofree uint8_t *bytes = g_malloc(8 * MIB);
        VmsSink *sink = create(path, formats[i], 64 * MIB, false);
        memset(bytes, 1, 8 * MIB);
        g_assert_false(vms_sink_write(sink, 0, bytes, 8 * MIB, &error));
        g_test_message("%s", error->message);
        g_assert_true(vms_error_is(error, VMS_ERROR_NO_SPACE));
        vms_sink_free(sink);
        g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
        g_assert_false(g_file_test(partial, G_FILE_TEST_EXISTS));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    images_setup();
    g_test_add_func("/sink/raw", test_raw);
    g_test_add_func("/sink/raw-pages", test_raw_pages);
    g_test_add_func("/sink/qcow2", test_qcow2);
    g_test_add_func("/sink/threads", test_threads);
    g_test_add_func("/sink/exists", test_exists);
    g_test_add_func("/sink/exists-at-the-end", test_exists_at_the_end);
    g_test_add_func("/sink/not-a-file", test_not_a_file);
    g_test_add_func("/sink/partial-files", test_partial_files);
    g_test_add_func("/sink/abandoned", test_abandoned);
    g_test_add_func("/sink/bad-arguments", test_bad_arguments);
    g_test_add_func("/sink/no-space", test_no_space);
    int failed = g_test_run();
    images_teardown();
    return failed;
}
