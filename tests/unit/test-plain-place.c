/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/error.h"
#include "job/plain.h"
#include "store/mem.h"

#include <string.h>

#define ID "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"

static void put(VmsStore *store, const char *name, const char *text)
{
    g_autoptr(GBytes) bytes = g_bytes_new(text, strlen(text));
    g_assert_true(vms_store_put(store, name, bytes, false, NULL, NULL));
}

static void test_create(void)
{
    g_autoptr(VmsStore) store = vms_mem_new();
    g_autoptr(GError) error = NULL;
    g_autofree char *none = NULL, *found = NULL;
    g_assert_true(vms_plain_find(store, &none, NULL, &error));
    g_assert_null(none);
    g_autofree char *id = vms_plain_create(store, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(strspn(id, "0123456789abcdef"), ==, 64);
    put(store, "web01/0123456789abcdef/vmsnap.json", "{}");
    g_autofree char *again = vms_plain_create(store, NULL, &error);
    g_assert_cmpstr(again, ==, id);
    g_assert_true(vms_plain_find(store, &found, NULL, &error));
    g_assert_cmpstr(found, ==, id);
}

static void test_not_empty(void)
{
    static const struct {
        const char *name, *says;
    } cases[] = {{"config", "is a repository"}, {"letters/a", "letters/a is there"}};
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(VmsStore) store = vms_mem_new();
        g_autoptr(GError) error = NULL;
        bool made = true;
        put(store, cases[i].name, "x");
        g_assert_null(vms_plain_create(store, NULL, &error));
        g_assert_error(error, VMS_ERROR, VMS_ERROR_REFUSED);
        g_assert_nonnull(strstr(error->message, cases[i].says));
        g_assert_true(vms_store_has(store, VMS_PLAIN_MARK, &made, NULL, NULL, NULL));
        g_assert_false(made);
    }
}

static void test_marks(void)
{
    static const struct {
        const char *text;
        int code; /* -1: fine */
    } cases[] = {
        {"{\"version\":1,\"id\":\"" ID "\"}", -1},
        {"{\"version\":2,\"id\":\"" ID "\"}", VMS_ERROR_UNSUPPORTED},
        {"{\"version\":1,\"id\":\"0011\"}", VMS_ERROR_INVALID},
        {"{\"version\":1}", VMS_ERROR_INVALID},
        {"{\"version\":\"1\",\"id\":\"" ID "\"}", VMS_ERROR_INVALID},
        {"{\"version\":1,\"id\":\"" ID, VMS_ERROR_INVALID},
        {"", VMS_ERROR_INVALID},
        {"\xff\xfe", VMS_ERROR_INVALID},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(VmsStore) store = vms_mem_new();
        g_autoptr(GError) error = NULL;
        g_autofree char *id = NULL, *want = g_ascii_strdown(ID, -1);
        put(store, VMS_PLAIN_MARK, cases[i].text);
        bool ok = vms_plain_find(store, &id, NULL, &error);
        if (cases[i].code < 0) {
            g_assert_no_error(error);
            g_assert_cmpstr(id, ==, want);
            continue;
        }
        g_assert_false(ok);
        g_assert_error(error, VMS_ERROR, cases[i].code);
        g_assert_nonnull(strstr(error->message, VMS_PLAIN_MARK));
        g_clear_error(&error);
        g_assert_null(vms_plain_create(store, NULL, &error)); /* and it is left alone */
        g_assert_error(error, VMS_ERROR, cases[i].code);
    }
}

static void *create(void *store)
{
    return vms_plain_create(store, NULL, NULL);
}

/* All who come at once get the one id. */
static void test_race(void)
{
    enum { THREADS = 8 };
    g_autoptr(VmsStore) store = vms_mem_new();
    GThread *threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++)
        threads[i] = g_thread_new("create", create, store);
    g_autofree char *first = NULL;
    for (unsigned i = 0; i < THREADS; i++) {
        g_autofree char *id = g_thread_join(threads[i]);
        g_assert_nonnull(id);
        if (!first)
            first = g_strdup(id);
        g_assert_cmpstr(id, ==, first);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/plain/create", test_create);
    g_test_add_func("/plain/not-empty", test_not_empty);
    g_test_add_func("/plain/marks", test_marks);
    g_test_add_func("/plain/race", test_race);
    return g_test_run();
}
