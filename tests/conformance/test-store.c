/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What store.h promises, tried on the store named by the first argument (see open-store.h). Names
 * in the store begin with the test's own, so that a bucket may be shared and need not be empty. */
#include "base/error.h"
#include "open-store.h"

#include <stdlib.h>
#include <string.h>

static VmsStore *store;

static GBytes *bytes_of(const char *text)
{
    return g_bytes_new(text, strlen(text));
}

/* Bytes that do not repeat at any power of two, the same for the same seed. */
static GBytes *pattern(size_t len, uint32_t seed)
{
    uint8_t *data = g_malloc(len + 4);
    uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    for (size_t i = 0; i < len; i += 4) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint32_t word = (uint32_t)(state >> 32);
        memcpy(data + i, &word, 4);
    }
    return g_bytes_new_take(data, len);
}

static void put(const char *name, GBytes *data)
{
    g_autoptr(GError) error = NULL;
    vms_store_put(store, name, data, false, NULL, &error);
    g_assert_no_error(error);
}

static void put_text(const char *name, const char *text)
{
    g_autoptr(GBytes) data = bytes_of(text);
    put(name, data);
}

static void assert_content(const char *name, GBytes *data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) got = vms_store_get(store, name, 0, UINT64_MAX, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(g_bytes_get_size(got), ==, g_bytes_get_size(data));
    g_assert_true(g_bytes_equal(got, data));
}

static void assert_code(const GError *error, VmsErrorCode code)
{
    g_assert_error(error, VMS_ERROR, (int)code);
}

static void test_put_get(void)
{
    g_autoptr(GBytes) first = bytes_of("first");
    g_autoptr(GBytes) second = bytes_of("the second is longer");
    put("t/put/config", first);
    assert_content("t/put/config", first);
    put("t/put/config", second); /* replaces */
    assert_content("t/put/config", second);
    put("t/put/data/3f/3fa9.x_y-z", first);
    assert_content("t/put/data/3f/3fa9.x_y-z", first);
    g_autoptr(GError) error = NULL;
    g_assert_null(vms_store_get(store, "t/put/none", 0, UINT64_MAX, NULL, &error));
    assert_code(error, VMS_ERROR_NOT_FOUND);
    g_clear_error(&error);
    g_assert_null(vms_store_get(store, "t/put/none", 3, 4, NULL, &error));
    assert_code(error, VMS_ERROR_NOT_FOUND);
    g_clear_error(&error);
    g_assert_null(vms_store_get(store, "t/put/none", 0, 0, NULL, &error));
    assert_code(error, VMS_ERROR_NOT_FOUND);
}

static void test_empty(void)
{
    g_autoptr(GBytes) empty = g_bytes_new(NULL, 0);
    put("t/empty", empty);
    assert_content("t/empty", empty);
    g_autoptr(GError) error = NULL;
    bool exists = false;
    uint64_t size = 99;
    g_assert_true(vms_store_has(store, "t/empty", &exists, &size, NULL, &error));
    g_assert_true(exists);
    g_assert_cmpuint(size, ==, 0);
    g_assert_null(vms_store_get(store, "t/empty", 0, 1, NULL, &error));
    assert_code(error, VMS_ERROR_CORRUPT);
}

static void test_ranges(void)
{
    enum { SIZE = 100000 };
    static const struct {
        uint64_t offset, length;
        bool ok;
    } cases[] = {
        {0, SIZE, true},
        {0, 1, true},
        {SIZE - 1, 1, true},
        {777, 65536, true},
        {0, 0, true},
        {SIZE, 0, true},
        {5, UINT64_MAX, true},
        {SIZE, UINT64_MAX, true},
        {0, SIZE + 1, false},
        {SIZE - 1, 2, false},
        {SIZE, 1, false},
        {SIZE + 1, 0, false},
        {SIZE + 5, 10, false},
        {SIZE + 1, UINT64_MAX, false},
        {UINT64_MAX - 1, 1, false},
        {1, UINT64_MAX - 1, false},
    };
    g_autoptr(GBytes) data = pattern(SIZE, 1);
    put("t/range", data);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        uint64_t offset = cases[i].offset, length = cases[i].length;
        g_test_message("offset %" G_GUINT64_FORMAT " length %" G_GUINT64_FORMAT, offset, length);
        g_autoptr(GError) error = NULL;
        g_autoptr(GBytes) got = vms_store_get(store, "t/range", offset, length, NULL, &error);
        if (!cases[i].ok) {
            g_assert_null(got);
            assert_code(error, VMS_ERROR_CORRUPT);
            continue;
        }
        g_assert_no_error(error);
        g_autoptr(GBytes) want =
            g_bytes_new_from_bytes(data, offset, length == UINT64_MAX ? SIZE - offset : length);
        g_assert_true(g_bytes_equal(got, want));
    }
}

static void test_has_remove(void)
{
    g_autoptr(GError) error = NULL;
    bool exists = true;
    uint64_t size = 0;
    g_assert_true(vms_store_has(store, "t/has/none", &exists, &size, NULL, &error));
    g_assert_false(exists);
    put_text("t/has/one", "12345");
    g_assert_true(vms_store_has(store, "t/has/one", &exists, &size, NULL, &error));
    g_assert_true(exists);
    g_assert_cmpuint(size, ==, 5);
    g_assert_true(vms_store_has(store, "t/has", &exists, NULL, NULL, &error));
    g_assert_false(exists); /* what is between the slashes is no object */
    g_assert_true(vms_store_remove(store, "t/has/one", NULL, &error));
    g_assert_true(vms_store_has(store, "t/has/one", &exists, NULL, NULL, &error));
    g_assert_false(exists);
    g_assert_true(vms_store_remove(store, "t/has/one", NULL, &error));
    g_assert_true(vms_store_remove(store, "t/nothing/here", NULL, &error));
    g_assert_no_error(error);
}

static void test_names(void)
{
    static const char *const bad[] = {
        "",  "/a",  "a/",  "a//b", ".",    "..", "a/../b", "a/./b", "../a",
        "A", "a b", "a+b", "a\\b", "a\nb", "ä",  "a%2fb",  "a?b",   "a~b",
    };
    g_autoptr(GBytes) data = bytes_of("x");
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        bool exists;
        g_test_message("name \"%s\"", bad[i]);
        g_assert_false(vms_store_put(store, bad[i], data, false, NULL, &error));
        assert_code(error, VMS_ERROR_INVALID);
        g_clear_error(&error);
        g_assert_null(vms_store_get(store, bad[i], 0, UINT64_MAX, NULL, &error));
        assert_code(error, VMS_ERROR_INVALID);
        g_clear_error(&error);
        g_assert_false(vms_store_has(store, bad[i], &exists, NULL, NULL, &error));
        assert_code(error, VMS_ERROR_INVALID);
        g_clear_error(&error);
        g_assert_false(vms_store_remove(store, bad[i], NULL, &error));
        assert_code(error, VMS_ERROR_INVALID);
    }
    g_autofree char *part = g_strnfill(201, 'a');
    g_autoptr(GError) error = NULL;
    g_assert_false(vms_store_put(store, part, data, false, NULL, &error));
    assert_code(error, VMS_ERROR_INVALID);
    part[200] = '\0';
    put(part, data);
    assert_content(part, data);
    g_assert_true(vms_store_remove(store, part, NULL, NULL));
}

static bool add_name(void *user, const char *name, uint64_t size, GError **error)
{
    GHashTable *found = user;
    g_assert_true(g_hash_table_insert(found, g_strdup(name), GSIZE_TO_POINTER(size + 1)));
    return true;
}

static GHashTable *list(const char *prefix)
{
    g_autoptr(GError) error = NULL;
    GHashTable *found = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    vms_store_list(store, prefix, add_name, found, NULL, &error);
    g_assert_no_error(error);
    return found;
}

static bool stop_at_second(void *user, const char *name, uint64_t size, GError **error)
{
    unsigned *calls = user;
    return ++*calls < 2 || vms_fail(error, VMS_ERROR_REFUSED, "enough");
}

static void test_list(void)
{
    put_text("t/list/a", "1");
    put_text("t/list/b/c", "22");
    put_text("t/list/b/d/e", "333");
    put_text("t/list-not", "");
    put_text("t/listing/x", "");
    g_autoptr(GHashTable) all = list("t/list/");
    g_assert_cmpuint(g_hash_table_size(all), ==, 3);
    g_assert_cmpuint(GPOINTER_TO_SIZE(g_hash_table_lookup(all, "t/list/a")), ==, 1 + 1);
    g_assert_cmpuint(GPOINTER_TO_SIZE(g_hash_table_lookup(all, "t/list/b/c")), ==, 2 + 1);
    g_assert_cmpuint(GPOINTER_TO_SIZE(g_hash_table_lookup(all, "t/list/b/d/e")), ==, 3 + 1);
    g_autoptr(GHashTable) below = list("t/list/b/");
    g_assert_cmpuint(g_hash_table_size(below), ==, 2);
    g_autoptr(GHashTable) none = list("t/list/none/");
    g_assert_cmpuint(g_hash_table_size(none), ==, 0);
    g_autoptr(GHashTable) everything = list("");
    g_assert_true(g_hash_table_contains(everything, "t/list-not"));
    g_assert_true(g_hash_table_contains(everything, "t/list/b/d/e"));
    g_autoptr(GError) error = NULL;
    unsigned calls = 0;
    g_assert_false(vms_store_list(store, "t/list/", stop_at_second, &calls, NULL, &error));
    assert_code(error, VMS_ERROR_REFUSED);
    g_assert_cmpuint(calls, ==, 2);
    g_clear_error(&error);
    g_assert_false(vms_store_list(store, "t/list", stop_at_second, &calls, NULL, &error));
    assert_code(error, VMS_ERROR_INVALID);
    g_clear_error(&error);
    g_assert_false(vms_store_list(store, "../", stop_at_second, &calls, NULL, &error));
    assert_code(error, VMS_ERROR_INVALID);
}

/* 16 threads, each does count steps of func(thread, step). */
typedef struct {
    unsigned thread, count;
    void (*func)(unsigned thread, unsigned step);
} Worker;

static void *worker_main(void *data)
{
    Worker *worker = data;
    for (unsigned step = 0; step < worker->count; step++)
        worker->func(worker->thread, step);
    return NULL;
}

static void in_threads(unsigned n, unsigned count, void (*func)(unsigned, unsigned))
{
    GThread *threads[16];
    Worker workers[16];
    for (unsigned i = 0; i < n; i++) {
        workers[i] = (Worker){i, count, func};
        threads[i] = g_thread_new("worker", worker_main, &workers[i]);
    }
    for (unsigned i = 0; i < n; i++)
        g_thread_join(threads[i]);
}

static void put_numbered(unsigned thread, unsigned step)
{
    g_autofree char *name = g_strdup_printf("t/many/%x/%u", step % 3, thread * 1000 + step);
    put_text(name, name);
}

static void remove_numbered(unsigned thread, unsigned step)
{
    g_autofree char *name = g_strdup_printf("t/many/%x/%u", step % 3, thread * 1000 + step);
    g_assert_true(vms_store_remove(store, name, NULL, NULL));
}

/* More than one page of 1,000 of an S3 listing. */
static void test_list_many(void)
{
    in_threads(15, 100, put_numbered);
    g_autoptr(GHashTable) all = list("t/many/");
    g_assert_cmpuint(g_hash_table_size(all), ==, 1500);
    g_assert_true(g_hash_table_contains(all, "t/many/0/0"));
    g_assert_true(g_hash_table_contains(all, "t/many/0/14099"));
    in_threads(15, 100, remove_numbered);
    g_autoptr(GHashTable) none = list("t/many/");
    g_assert_cmpuint(g_hash_table_size(none), ==, 0);
}

static int won, lost; /* atomic */

static void race(unsigned thread, unsigned step)
{
    g_autofree char *name = g_strdup_printf("t/race/%u", step);
    g_autofree char *text = g_strdup_printf("thread %u", thread);
    g_autoptr(GBytes) data = bytes_of(text);
    g_autoptr(GError) error = NULL;
    if (vms_store_put(store, name, data, true, NULL, &error)) {
        g_atomic_int_inc(&won);
        assert_content(name, data); /* and stays so: nobody else overwrites it */
        return;
    }
    assert_code(error, VMS_ERROR_EXISTS);
    g_atomic_int_inc(&lost);
}

static void test_only_new(void)
{
    for (unsigned i = 0; i < 10; i++) {
        g_autofree char *name = g_strdup_printf("t/race/%u", i);
        g_assert_true(vms_store_remove(store, name, NULL, NULL));
    }
    won = lost = 0;
    in_threads(8, 10, race);
    g_assert_cmpint(won, ==, 10);
    g_assert_cmpint(lost, ==, 70);
    g_autoptr(GBytes) again = bytes_of("again");
    g_autoptr(GError) error = NULL;
    g_assert_false(vms_store_put(store, "t/race/0", again, true, NULL, &error));
    assert_code(error, VMS_ERROR_EXISTS);
    g_assert_true(vms_store_remove(store, "t/race/0", NULL, NULL));
    g_assert_true(vms_store_put(store, "t/race/0", again, true, NULL, NULL));
    assert_content("t/race/0", again);
}

static void put_and_read_back(unsigned thread, unsigned step)
{
    g_autofree char *name = g_strdup_printf("t/threads/%u/%u", thread, step);
    g_autoptr(GBytes) data = pattern(step * 50000 + thread, thread * 100 + step);
    put(name, data);
    assert_content(name, data);
    if (step > 0) {
        uint64_t offset = step * 1000, length = 4096;
        g_autoptr(GBytes) want = g_bytes_new_from_bytes(data, offset, length);
        g_autoptr(GBytes) got = vms_store_get(store, name, offset, length, NULL, NULL);
        g_assert_nonnull(got);
        g_assert_true(g_bytes_equal(got, want));
    }
    g_assert_true(vms_store_remove(store, name, NULL, NULL));
}

static void test_threads(void)
{
    in_threads(16, 10, put_and_read_back);
}

static void test_large(void)
{
    g_autoptr(GBytes) data = pattern(64u << 20, 7);
    put("t/large", data);
    assert_content("t/large", data);
    g_assert_true(vms_store_remove(store, "t/large", NULL, NULL));
}

static void test_cancelled(void)
{
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_cancellable_cancel(cancellable);
    g_autoptr(GBytes) data = bytes_of("x");
    g_autoptr(GError) error = NULL;
    unsigned calls = 0;
    bool exists = true;
    g_assert_false(vms_store_put(store, "t/cancelled", data, false, cancellable, &error));
    assert_code(error, VMS_ERROR_CANCELLED);
    g_clear_error(&error);
    g_assert_null(vms_store_get(store, "t/empty", 0, UINT64_MAX, cancellable, &error));
    assert_code(error, VMS_ERROR_CANCELLED);
    g_clear_error(&error);
    g_assert_false(vms_store_list(store, "t/", stop_at_second, &calls, cancellable, &error));
    assert_code(error, VMS_ERROR_CANCELLED);
    g_assert_cmpuint(calls, ==, 0);
    g_assert_true(vms_store_has(store, "t/cancelled", &exists, NULL, NULL, NULL));
    g_assert_false(exists);
}

static bool remove_listed(void *user, const char *name, uint64_t size, GError **error)
{
    return vms_store_remove(store, name, NULL, error); /* func may call the store */
}

static void test_tidy(void)
{
    g_autoptr(GError) error = NULL;
    vms_store_list(store, "t/", remove_listed, NULL, NULL, &error);
    g_assert_no_error(error);
    g_autoptr(GHashTable) none = list("t/");
    g_assert_cmpuint(g_hash_table_size(none), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_autoptr(GError) error = NULL;
    store = argc == 2 ? open_store(argv[1], &error) : NULL;
    if (!store)
        g_error("%s", error ? error->message : "usage: test-store STORE");
    g_test_add_func("/store/put-get", test_put_get);
    g_test_add_func("/store/empty", test_empty);
    g_test_add_func("/store/ranges", test_ranges);
    g_test_add_func("/store/has-remove", test_has_remove);
    g_test_add_func("/store/names", test_names);
    g_test_add_func("/store/list", test_list);
    g_test_add_func("/store/list-many", test_list_many);
    g_test_add_func("/store/only-new", test_only_new);
    g_test_add_func("/store/threads", test_threads);
    g_test_add_func("/store/large", test_large);
    g_test_add_func("/store/cancelled", test_cancelled);
    g_test_add_func("/store/tidy", test_tidy);
    int result = g_test_run();
    vms_store_free(store);
    return result;
}
