/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What store/upload.h promises, tried on the store named by the first argument (see open-store.h).
 * Names begin with the test's own, so that a bucket may be shared and need not be empty. */
#include "base/error.h"
#include "open-store.h"
#include "store/upload.h"

#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define PART (16 * MIB)

static VmsStore *store;

static void assert_code(const GError *error, VmsErrorCode code)
{
    g_assert_error(error, VMS_ERROR, (int)code);
}

/* Of the byte at each offset, so that parts cannot change places; offsets are multiples of 8. */
static void fill(uint64_t *words, size_t count, uint64_t offset, uint64_t seed)
{
    for (size_t i = 0; i < count; i++)
        words[i] = (offset / 8 + i + seed) * UINT64_C(0x9e3779b97f4a7c15);
}

/* Begins an object and writes the first bytes of it, in pieces that fit into no part. */
static VmsStoreUpload *begin(const char *name, uint64_t size, uint64_t written, uint64_t seed,
                             GCancellable *cancellable)
{
    enum { WORDS = 12345 };
    g_autofree uint64_t *words = g_new(uint64_t, WORDS);
    g_autoptr(GError) error = NULL;
    VmsStoreUpload *upload = vms_store_upload_new(store, name, size, cancellable, &error);
    g_assert_no_error(error);
    for (uint64_t at = 0; at < written; at += (uint64_t)WORDS * 8) {
        fill(words, WORDS, at, seed);
        g_assert_true(vms_store_upload_write(upload, words, MIN(written - at, WORDS * 8), &error));
        g_assert_no_error(error);
    }
    return upload;
}

static void upload_whole(const char *name, uint64_t size, uint64_t seed)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsStoreUpload) upload = begin(name, size, size, seed, NULL);
    g_assert_true(vms_store_upload_finish(upload, &error));
    g_assert_no_error(error);
}

static void assert_content(const char *name, uint64_t size, uint64_t seed)
{
    g_autoptr(GError) error = NULL;
    bool exists = false;
    uint64_t there = 0;
    g_assert_true(vms_store_has(store, name, &exists, &there, NULL, &error));
    g_assert_true(exists);
    g_assert_cmpuint(there, ==, size);
    g_autofree uint64_t *words = g_new(uint64_t, MIB / 8);
    for (uint64_t at = 0; at < size; at += MIB) {
        uint64_t len = MIN(MIB, size - at);
        g_autoptr(GBytes) got = vms_store_get(store, name, at, len, NULL, &error);
        g_assert_no_error(error);
        fill(words, MIB / 8, at, seed);
        g_assert_cmpmem(g_bytes_get_data(got, NULL), g_bytes_get_size(got), words, len);
    }
}

static bool exists(const char *name)
{
    bool is = false;
    g_assert_true(vms_store_has(store, name, &is, NULL, NULL, NULL));
    return is;
}

/* Nothing unfinished is left in the store, of any age. */
static void assert_nothing_left(void)
{
    g_autoptr(GError) error = NULL;
    unsigned count = 99;
    g_assert_true(vms_store_abort_uploads(store, 0, &count, NULL, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(count, ==, 0);
}

static void test_sizes(void)
{
    static const uint64_t sizes[] = {0, 1, PART - 1, PART, PART + 1, 3 * PART, 7 * PART + 12345};
    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_test_message("%" G_GUINT64_FORMAT " bytes", sizes[i]);
        g_autofree char *name = g_strdup_printf("u/sizes/deep/%u.qcow2", i);
        upload_whole(name, sizes[i], i);
        assert_content(name, sizes[i], i);
    }
    upload_whole("u/sizes/deep/6.qcow2", 2 * PART + 8, 42); /* replaces */
    assert_content("u/sizes/deep/6.qcow2", 2 * PART + 8, 42);
    assert_nothing_left();
}

static void test_unseen(void)
{
    g_autoptr(GError) error = NULL;
    upload_whole("u/unseen/old", 5, 1);
    g_autoptr(VmsStoreUpload) fresh = begin("u/unseen/fresh", 2 * PART, 2 * PART, 2, NULL);
    g_autoptr(VmsStoreUpload) old = begin("u/unseen/old", 2 * PART, 2 * PART, 2, NULL);
    g_assert_false(exists("u/unseen/fresh"));
    assert_content("u/unseen/old", 5, 1);
    g_assert_true(vms_store_upload_finish(fresh, &error));
    g_clear_pointer(&old, vms_store_upload_free);
    assert_content("u/unseen/fresh", 2 * PART, 2);
    assert_content("u/unseen/old", 5, 1);
    assert_nothing_left();
}

/* Fewer bytes than announced, at three places. */
static void test_too_few(void)
{
    static const uint64_t written[] = {0, PART, 2 * PART + 7};
    for (unsigned i = 0; i < G_N_ELEMENTS(written); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(VmsStoreUpload) upload = begin("u/few", 3 * PART, written[i], 1, NULL);
        g_assert_false(vms_store_upload_finish(upload, &error));
        assert_code(error, VMS_ERROR_INVALID);
        g_clear_error(&error);
        g_assert_false(vms_store_upload_finish(upload, &error));
        assert_code(error, VMS_ERROR_INVALID);
    }
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsStoreUpload) small = begin("u/few", 10, 9, 1, NULL);
    g_assert_false(vms_store_upload_finish(small, &error));
    assert_code(error, VMS_ERROR_INVALID);
    g_assert_false(exists("u/few"));
    assert_nothing_left();
}

static void test_too_many(void)
{
    static const uint64_t sizes[] = {0, 10, PART, 2 * PART};
    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(VmsStoreUpload) upload = begin("u/many", sizes[i], sizes[i], 1, NULL);
        g_assert_false(vms_store_upload_write(upload, "x", 1, &error));
        assert_code(error, VMS_ERROR_INVALID);
        g_clear_error(&error);
        g_assert_false(vms_store_upload_finish(upload, &error));
        assert_code(error, VMS_ERROR_INVALID);
    }
    g_assert_false(exists("u/many"));
    assert_nothing_left();
}

static void test_names(void)
{
    static const char *const bad[] = {"", "/a", "a/", "../a", "A", "a b", "a+b"};
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(vms_store_upload_new(store, bad[i], 2 * PART, NULL, &error));
        assert_code(error, VMS_ERROR_INVALID);
    }
}

static void *upload_in_thread(void *number)
{
    g_autofree char *name = g_strdup_printf("u/threads/%u", GPOINTER_TO_UINT(number));
    upload_whole(name, 2 * PART + 99, GPOINTER_TO_UINT(number));
    return NULL;
}

static void test_threads(void)
{
    GThread *threads[3];
    for (unsigned i = 0; i < 3; i++)
        threads[i] = g_thread_new("upload", upload_in_thread, GUINT_TO_POINTER(i));
    for (unsigned i = 0; i < 3; i++)
        g_thread_join(threads[i]);
    for (unsigned i = 0; i < 3; i++) {
        g_autofree char *name = g_strdup_printf("u/threads/%u", i);
        assert_content(name, 2 * PART + 99, i);
    }
    assert_nothing_left();
}

/* At each step of an object of parts, and of one that is one put. */
static void test_cancelled(void)
{
    g_autoptr(GError) error = NULL;
    static const uint64_t sizes[] = {10, 3 * PART};
    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++)
        for (unsigned step = 0; step < 3; step++) {
            g_autoptr(GCancellable) cancellable = g_cancellable_new();
            if (step == 0) {
                g_cancellable_cancel(cancellable);
                g_assert_null(
                    vms_store_upload_new(store, "u/cancelled", sizes[i], cancellable, &error));
                assert_code(error, VMS_ERROR_CANCELLED);
                g_clear_error(&error);
                continue;
            }
            uint64_t written = step == 1 ? sizes[i] - 1 : sizes[i];
            g_autoptr(VmsStoreUpload) upload =
                begin("u/cancelled", sizes[i], written, 1, cancellable);
            g_cancellable_cancel(cancellable);
            g_assert_false(step == 1 ? vms_store_upload_write(upload, "x", 1, &error)
                                     : vms_store_upload_finish(upload, &error));
            assert_code(error, VMS_ERROR_CANCELLED);
            g_clear_error(&error);
        }
    g_assert_false(exists("u/cancelled"));
    assert_nothing_left();
}

static bool remove_listed(void *user, const char *name, uint64_t size, GError **error)
{
    return vms_store_remove(store, name, NULL, error);
}

static void test_tidy(void)
{
    g_autoptr(GError) error = NULL;
    vms_store_list(store, "u/", remove_listed, NULL, NULL, &error);
    g_assert_no_error(error);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_autoptr(GError) error = NULL;
    store = argc == 2 ? open_store(argv[1], &error) : NULL;
    if (!store)
        g_error("%s", error ? error->message : "usage: test-uploads STORE");
    g_test_add_func("/uploads/sizes", test_sizes);
    g_test_add_func("/uploads/unseen", test_unseen);
    g_test_add_func("/uploads/too-few", test_too_few);
    g_test_add_func("/uploads/too-many", test_too_many);
    g_test_add_func("/uploads/names", test_names);
    g_test_add_func("/uploads/threads", test_threads);
    g_test_add_func("/uploads/cancelled", test_cancelled);
    g_test_add_func("/uploads/tidy", test_tidy);
    int failed = g_test_run();
    vms_store_free(store);
    return failed;
}
