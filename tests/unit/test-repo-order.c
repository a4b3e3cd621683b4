/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* P4: packs, then index; and what happens when the store fails on the way. */
#include "repo-fixture.h"

#include "repo/reader.h"

#include "repo/index-file.h"

/* Order-checking store: packs take their time, and an index names only what is there. */
typedef struct {
    VmsStore base;
    VmsStore *inner;
    const VmsSealKey *key;
    unsigned indexes;    /* seen */
    const char *fail_at; /* nullable: puts below this prefix fail */
} OrderStore;

static bool check_pack(void *user, const VmsId *pack, const VmsPackBlob *blobs, size_t count,
                       GError **error)
{
    OrderStore *store = user;
    g_autofree char *name = vms_object_pack_name(pack);
    bool exists = false;

    g_assert_true(vms_store_has(store->inner, name, &exists, NULL, NULL, NULL));
    g_assert_true(exists);
    return true;
}

static bool order_put(VmsStore *base, const char *name, GBytes *data, bool only_new,
                      GCancellable *cancellable, GError **error)
{
    OrderStore *store = (OrderStore *)base;

    if (store->fail_at != NULL && g_str_has_prefix(name, store->fail_at))
        return vms_fail(error, VMS_ERROR_NO_SPACE, "%s: the disk is full", name);
    if (g_str_has_prefix(name, "data/"))
        g_usleep(1000 * (unsigned)(name[5] % 7));
    if (g_str_has_prefix(name, "index/")) {
        g_autoptr(GBytes) text = NULL;

        assert_ok((text = vms_object_decode(store->key, g_bytes_get_data(data, NULL),
                                            g_bytes_get_size(data), ERR)) != NULL);
        assert_ok(vms_index_file_parse(g_bytes_get_data(text, NULL), g_bytes_get_size(text),
                                       check_pack, store, ERR));
        store->indexes++;
    }
    return vms_store_put(store->inner, name, data, only_new, cancellable, error);
}

static GBytes *order_get(VmsStore *base, const char *name, uint64_t offset, uint64_t length,
                         GCancellable *cancellable, GError **error)
{
    return vms_store_get(((OrderStore *)base)->inner, name, offset, length, cancellable, error);
}

static bool order_has(VmsStore *base, const char *name, bool *ret_exists, uint64_t *ret_size,
                      GCancellable *cancellable, GError **error)
{
    return vms_store_has(((OrderStore *)base)->inner, name, ret_exists, ret_size, cancellable,
                         error);
}

static bool order_list(VmsStore *base, const char *prefix, VmsStoreListFunc func, void *user,
                       GCancellable *cancellable, GError **error)
{
    return vms_store_list(((OrderStore *)base)->inner, prefix, func, user, cancellable, error);
}

static bool order_remove(VmsStore *base, const char *name, GCancellable *cancellable,
                         GError **error)
{
    return vms_store_remove(((OrderStore *)base)->inner, name, cancellable, error);
}

static void order_free(VmsStore *base)
{
    vms_store_free(((OrderStore *)base)->inner);
    g_free(base->location);
    g_free(base);
}

static const VmsStoreOps order_ops = {
    .put = order_put,
    .get = order_get,
    .has = order_has,
    .list = order_list,
    .remove = order_remove,
    .free = order_free,
};

static OrderStore *order_store(void)
{
    OrderStore *store = g_new0(OrderStore, 1);

    store->base.ops = &order_ops;
    store->base.location = g_strdup("order");
    store->inner = vms_mem_new();
    return store;
}

static void test_write_order(void)
{
    OrderStore *store = order_store();
    Fixture f;
    VmsRepoWriterOptions options = {.pack_size = 1 << 20, .uploads = 8};
    VmsId id;

    set_up_on(&f, &store->base);
    store->key = f.key;
    VmsRepoWriter *writer = new_writer(&f, &options);
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 100; i++) {
            g_autofree uint8_t *data = noise(200000, i + 1000 * (uint32_t)round);

            assert_ok(vms_repo_writer_add(writer, i % 9 == 0 ? VMS_BLOB_TREE : VMS_BLOB_DATA, data,
                                          200000, &id, ERR));
        }
        if (round < 2)
            assert_ok(vms_repo_writer_flush(writer, ERR));
    }
    vms_repo_writer_free(writer); /* its index, too, names only what is there */
    g_assert_cmpuint(store->indexes, ==, 3);
    tear_down(&f, NULL);
}

/* A failing upload is told to the caller, and no index follows. */
static void test_upload_error(gconstpointer prefix)
{
    OrderStore *store = order_store();
    Fixture f;
    VmsRepoWriterOptions options = {.pack_size = 1 << 20};
    g_autoptr(GError) error = NULL;
    bool ok = true;
    VmsId id;

    set_up_on(&f, &store->base);
    store->key = f.key;
    store->fail_at = prefix;
    VmsRepoWriter *writer = new_writer(&f, &options);
    for (uint32_t i = 0; ok && i < 200; i++) {
        g_autofree uint8_t *data = noise(200000, i);

        ok = vms_repo_writer_add(writer, VMS_BLOB_DATA, data, 200000, &id, &error);
    }
    if (ok)
        ok = vms_repo_writer_flush(writer, &error);
    g_assert_false(ok);
    g_assert_error(error, VMS_ERROR, VMS_ERROR_NO_SPACE);
    g_clear_error(&error);
    g_assert_false(vms_repo_writer_add(writer, VMS_BLOB_DATA, "x", 1, &id, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_NO_SPACE);
    vms_repo_writer_free(writer);
    g_assert_cmpuint(store->indexes, ==, 0);
    tear_down(&f, NULL);
}

/* Nothing is left of an init that failed, above all no key that opens nothing. */
static void test_failed_init(void)
{
    OrderStore *order = order_store();
    g_autoptr(VmsStore) store = &order->base;
    g_autoptr(VmsSecret) password = vms_secret_new_string("pw");
    g_autoptr(GError) error = NULL;
    Fixture f = {.store = store};

    order->fail_at = "config";
    g_assert_false(vms_repo_init(store, password, NULL, NULL, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_NO_SPACE);
    g_autoptr(GPtrArray) left = names(&f, "");
    g_assert_cmpuint(left->len, ==, 0);
}

static bool check_order(void *user, uint64_t at, const void *data, size_t len, GError **error)
{
    uint64_t *next = user;

    g_assert_cmpuint(at, ==, (*next)++);
    return true;
}

/* Sixteen packs, whose names are in any order: one thread gets the chunks in that of the list. */
static void test_reader_order(Fixture *f, const void *unused)
{
    VmsRepoWriterOptions how = {.pack_size = 1 << 20};
    VmsRepoReaderOptions options = {.threads = 1};
    g_autoptr(VmsRepoWriter) writer = new_writer(f, &how);
    g_autoptr(VmsContent) content = NULL;
    uint64_t next = 0;
    VmsId id;

    assert_ok((content = vms_content_new(32, ERR)) != NULL);
    for (uint32_t at = 0; at < 32; at++) {
        g_autofree uint8_t *data = noise(1 << 19, at);

        assert_ok(vms_repo_writer_add(writer, VMS_BLOB_DATA, data, 1 << 19, &id, ERR) &&
                  vms_content_set(content, at, &id, ERR));
    }
    assert_ok(vms_repo_writer_flush(writer, ERR));
    assert_ok(vms_reader_run(f->repo, content, &options, check_order, &next, NULL, NULL, ERR));
    g_assert_cmpuint(next, ==, 32);
}

/* A short list, which is in memory, and one longer than what is written at once. */
static void test_fill_content(void)
{
    const uint64_t counts[] = {40, 3000};

    for (size_t i = 0; i < G_N_ELEMENTS(counts); i++) {
        const VmsId id = {{1, 2, 3}}, none = {{0}};
        g_autoptr(VmsContent) content = NULL;
        g_autoptr(GError) error = NULL;
        VmsId there;

        assert_ok((content = vms_content_new(counts[i], ERR)) != NULL);
        assert_ok(vms_content_fill(content, 7, counts[i] - 14, &id, ERR));
        for (uint64_t at = 0; at < counts[i]; at++) {
            assert_ok(vms_content_get(content, at, &there, ERR));
            g_assert_true(vms_id_equal(&there, at >= 7 && at < counts[i] - 7 ? &id : &none));
        }
        g_assert_false(vms_content_fill(content, 8, counts[i] - 7, &id, &error));
        g_assert_error(error, VMS_ERROR, VMS_ERROR_INVALID);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/repo-order/failed-init", test_failed_init);
    g_test_add_func("/repo-order/write-order", test_write_order);
    g_test_add_data_func("/repo-order/upload-error/pack", "data/", test_upload_error);
    g_test_add_data_func("/repo-order/upload-error/index", "index/", test_upload_error);
    g_test_add("/repo-order/reading", Fixture, NULL, set_up, test_reader_order, tear_down);
    g_test_add_func("/content/fill", test_fill_content);
    return g_test_run();
}
