/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the conformance suite cannot ask of every store: the directory's own promises, and what the
 * limit of uploads holds up. */
#include "base/error.h"
#include "store/dir.h"
#include "store/mem.h"
#include "store/rate.h"
#include "store/upload.h"

#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char *scratch;

static void assert_code(const GError *error, VmsErrorCode code)
{
    g_assert_error(error, VMS_ERROR, (int)code);
}

static bool put_text(VmsStore *store, const char *name, const char *text, bool only_new,
                     GError **error)
{
    g_autoptr(GBytes) data = g_bytes_new(text, strlen(text));
    return vms_store_put(store, name, data, only_new, NULL, error);
}

static bool add_name(void *user, const char *name, uint64_t size, GError **error)
{
    g_string_append_printf(user, "%s ", name);
    return true;
}

static void test_dir_missing(void)
{
    g_autofree char *path = g_build_filename(scratch, "missing", "deep", NULL);
    g_autoptr(GError) error = NULL;
    g_assert_null(vms_dir_open(path, false, &error));
    assert_code(error, VMS_ERROR_NOT_FOUND);
    g_assert_nonnull(strstr(error->message, path));
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    g_autoptr(VmsStore) store = vms_dir_open(path, true, NULL);
    g_assert_nonnull(store);
    g_autofree char *file = g_build_filename(scratch, "file", NULL);
    g_assert_true(g_file_set_contents(file, "x", 1, NULL));
    g_clear_error(&error);
    g_assert_null(vms_dir_open(file, false, &error));
    assert_code(error, VMS_ERROR_INVALID);
}

static void assert_mode(const char *path, unsigned mode)
{
    struct stat st;
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_cmphex(st.st_mode & 07777, ==, mode);
}

static void test_dir_modes(void)
{
    g_autofree char *path = g_build_filename(scratch, "modes", NULL);
    g_autofree char *below = g_build_filename(path, "data/3f", NULL);
    g_autofree char *file = g_build_filename(below, "3fa9", NULL);
    mode_t before = umask(0); /* the modes are asked for, not left over */
    g_autoptr(VmsStore) store = vms_dir_open(path, true, NULL);
    g_assert_true(put_text(store, "data/3f/3fa9", "secret", false, NULL));
    umask(before);
    assert_mode(path, 0700);
    assert_mode(below, 0700);
    assert_mode(file, 0600);
}

static void touch(const char *directory, const char *name)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);
    g_assert_true(g_file_set_contents(path, "x", 1, NULL));
}

static void test_dir_foreign_files(void)
{
    g_autofree char *path = g_build_filename(scratch, "foreign", NULL);
    g_autoptr(VmsStore) store = vms_dir_open(path, true, NULL);
    g_assert_true(put_text(store, "data/a", "1", false, NULL));
    touch(path, "data/b.tmp-x1y2z3"); /* left behind by a crash */
    touch(path, "data/Read Me");
    g_autoptr(GString) names = g_string_new(NULL);
    g_assert_true(vms_store_list(store, "", add_name, names, NULL, NULL));
    g_assert_cmpstr(names->str, ==, "data/a ");
    bool exists = true;
    g_assert_true(vms_store_has(store, "data/b.tmp-x1y2z3", &exists, NULL, NULL, NULL));
    g_assert_false(exists);
    g_autoptr(GError) error = NULL;
    g_assert_null(vms_store_get(store, "data/b.tmp-x1y2z3", 0, UINT64_MAX, NULL, &error));
    assert_code(error, VMS_ERROR_NOT_FOUND);
    g_clear_error(&error);
    g_assert_false(put_text(store, "data/c.tmp-x1y2z3", "1", false, &error));
    assert_code(error, VMS_ERROR_INVALID);
    g_clear_error(&error);
    g_autofree char *fifo = g_build_filename(path, "fifo", NULL);
    g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
    g_assert_null(vms_store_get(store, "fifo", 0, UINT64_MAX, NULL, &error)); /* does not hang */
    assert_code(error, VMS_ERROR_NOT_FOUND);
}

static bool is_there(const char *directory, const char *name)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);
    return g_file_test(path, G_FILE_TEST_EXISTS);
}

/* Of uploads that never ended, by the names that durable.h really gives; and nothing else. */
static void test_dir_leftovers(void)
{
    static const char *const others[] = {"data/a", "data/B.tmp-abcdef", "data/b.tmp-abcde",
                                         "data/c.tmp-a/bcde"};
    g_autofree char *path = g_build_filename(scratch, "leftovers", NULL);
    g_autofree char *inner = g_build_filename(path, "data/c.tmp-a", NULL);
    g_autoptr(VmsStore) store = vms_dir_open(path, true, NULL);
    g_autoptr(GError) error = NULL;
    VmsStoreUpload *uploads[10];
    unsigned count = 0;
    g_assert_cmpint(g_mkdir_with_parents(inner, 0700), ==, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(others); i++)
        touch(path, others[i]);
    for (unsigned i = 0; i < G_N_ELEMENTS(uploads); i++) {
        uploads[i] = vms_store_upload_new(store, "data/deep/d", 17 << 20, NULL, &error);
        g_assert_no_error(error);
    }
    g_assert_true(vms_store_abort_uploads(store, 3600, &count, NULL, &error));
    g_assert_cmpuint(count, ==, 0);
    g_assert_true(vms_store_abort_uploads(store, 0, &count, NULL, &error));
    g_assert_cmpuint(count, ==, G_N_ELEMENTS(uploads));
    for (unsigned i = 0; i < G_N_ELEMENTS(uploads); i++)
        vms_store_upload_free(uploads[i]);
    for (unsigned i = 0; i < G_N_ELEMENTS(others); i++)
        g_assert_true(is_there(path, others[i]));
}

/* The mount point of a file system that went away must not fill up instead. */
static void test_dir_replaced(void)
{
    g_autofree char *path = g_build_filename(scratch, "mount", NULL);
    g_autofree char *aside = g_build_filename(scratch, "mount-aside", NULL);
    g_autoptr(VmsStore) store = vms_dir_open(path, true, NULL);
    g_assert_cmpint(rename(path, aside), ==, 0);
    g_autoptr(GError) error = NULL;
    g_assert_false(put_text(store, "config", "1", false, &error));
    assert_code(error, VMS_ERROR_NOT_FOUND);
    g_clear_error(&error);
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    g_assert_cmpint(g_mkdir(path, 0700), ==, 0);
    g_assert_false(put_text(store, "config", "1", false, &error));
    assert_code(error, VMS_ERROR_NOT_FOUND);
    g_clear_error(&error);
    g_autoptr(GString) names = g_string_new(NULL);
    g_assert_false(vms_store_list(store, "", add_name, names, NULL, &error));
    assert_code(error, VMS_ERROR_NOT_FOUND); /* and not: an empty repository */
    g_assert_cmpint(g_rmdir(path), ==, 0);   /* nothing was put into it */
}

static void test_dir_full(void)
{
    g_autofree char *path = g_build_filename(scratch, "full", NULL);
    g_autoptr(VmsStore) store = vms_dir_open(path, true, NULL);
    g_autofree char *text = g_strnfill(65536, 'x');
    struct rlimit before, small;
    g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &before), ==, 0);
    small = (struct rlimit){4096, before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &small), ==, 0);
    g_autoptr(GError) error = NULL;
    bool ok = put_text(store, "data/big", text, false, &error);
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &before), ==, 0);
    g_assert_false(ok);
    assert_code(error, VMS_ERROR_NO_SPACE);
    g_autofree char *below = g_build_filename(path, "data", NULL);
    g_autoptr(GDir) left = g_dir_open(below, 0, NULL);
    g_assert_null(g_dir_read_name(left));
}

static void remove_scratch(void)
{
    const char *argv[] = {"rm", "-rf", scratch, NULL};
    g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL,
                 NULL);
    g_free(scratch);
}

static void *cancel_soon(void *cancellable)
{
    g_usleep(100000);
    g_cancellable_cancel(cancellable);
    return NULL;
}

static bool put_zeroes(VmsStore *store, const char *name, GCancellable *cancellable, GError **error)
{
    g_autoptr(GBytes) data = g_bytes_new_take(g_malloc0(100000), 100000);
    return vms_store_put(store, name, data, false, cancellable, error);
}

/* A day is owed after the first object: the next one waits; a lock does not, nor does what is left
 * to do after a cancel. */
static void test_rate_waits(void)
{
    g_autoptr(VmsStore) store = vms_rate_store_new(vms_mem_new(), 1);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autoptr(GError) error = NULL;
    bool exists = true;
    g_assert_true(put_zeroes(store, "data/a", cancellable, &error));
    g_assert_true(put_zeroes(store, "locks/b", cancellable, &error));
    GThread *thread = g_thread_new("cancel", cancel_soon, cancellable);
    g_assert_false(put_zeroes(store, "data/c", cancellable, &error));
    assert_code(error, VMS_ERROR_CANCELLED);
    g_thread_join(thread);
    g_assert_true(vms_store_has(store, "data/c", &exists, NULL, NULL, NULL));
    g_assert_false(exists);
    g_assert_true(put_zeroes(store, "index/d", NULL, NULL));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    scratch = g_dir_make_tmp("test-store-XXXXXX", NULL);
    g_test_add_func("/dir/missing", test_dir_missing);
    g_test_add_func("/dir/modes", test_dir_modes);
    g_test_add_func("/dir/foreign-files", test_dir_foreign_files);
    g_test_add_func("/dir/leftovers", test_dir_leftovers);
    g_test_add_func("/dir/replaced", test_dir_replaced);
    g_test_add_func("/dir/full", test_dir_full);
    g_test_add_func("/rate/waits", test_rate_waits);
    int result = g_test_run();
    remove_scratch();
    return result;
}
