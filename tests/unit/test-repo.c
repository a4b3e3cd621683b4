/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making, opening, writing, and the index cache. */
#include "repo-fixture.h"

#include "repo/key-file.h"
#include "repo/writer-private.h"

#include <glib/gstdio.h>
#include <pthread.h>

static VmsRepo *open_with(VmsStore *store, const char *password, GError **error)
{
    g_autoptr(VmsSecret) secret = vms_secret_new_string(password);

    return vms_repo_open(store, secret, NULL, NULL, error);
}

/* The bad-input list: wrong password, no repository, an existing one, the remains of one. */
static void test_init_and_open(void)
{
    g_autoptr(VmsStore) store = vms_mem_new();
    g_autoptr(VmsSecret) password = vms_secret_new_string("correct horse");
    g_autoptr(VmsSecret) empty = vms_secret_new_string("");
    g_autoptr(GError) error = NULL;
    char hex[VMS_ID_HEX_LEN + 1];
    VmsId id;

    g_assert_null(open_with(store, "correct horse", &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_NOT_FOUND);
    g_assert_nonnull(strstr(error->message, "vmsnap init"));
    g_clear_error(&error);
    g_assert_false(vms_repo_init(store, empty, &id, NULL, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_INVALID);
    g_clear_error(&error);
    assert_ok(vms_repo_init(store, password, &id, NULL, ERR));

    g_autoptr(VmsRepo) repo = open_with(store, "correct horse", &error);
    g_assert_no_error(error);
    vms_id_hex(&id, hex);
    g_assert_cmpstr(vms_repo_id(repo), ==, hex);
    g_assert_null(open_with(store, "Correct horse", &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_AUTH);
    g_clear_error(&error);
    g_assert_false(vms_repo_init(store, password, &id, NULL, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_EXISTS);
    g_clear_error(&error);
    assert_ok(vms_store_remove(store, "config", NULL, ERR));
    g_assert_false(vms_repo_init(store, password, &id, NULL, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_EXISTS);
    g_assert_nonnull(strstr(error->message, "keys"));
}

/* Any byte of a key file or the config: refused, never opened as something else. */
static void test_damaged_key_and_config(void)
{
    Fixture f = {.store = vms_mem_new()};
    g_autoptr(VmsStore) store = f.store;
    g_autoptr(VmsSecret) password = vms_secret_new_string("pw");

    assert_ok(vms_repo_init(store, password, NULL, NULL, ERR));
    g_autoptr(GPtrArray) keys = names(&f, "keys/");
    g_assert_cmpuint(keys->len, ==, 1);
    const char *key = g_ptr_array_index(keys, 0);
    for (size_t at = 0; at < size_of(&f, key); at++) {
        g_autoptr(GError) error = NULL;

        flip(&f, key, at, 0x20);
        g_assert_null(open_with(store, "pw", &error));
        g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
        g_assert_nonnull(strstr(error->message, key));
        flip(&f, key, at, 0x20);
    }
    for (size_t at = 0; at < size_of(&f, "config"); at += 50) {
        g_autoptr(GError) error = NULL;

        flip(&f, "config", at, 1);
        g_assert_null(open_with(store, "pw", &error));
        g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
        g_assert_nonnull(strstr(error->message, "config"));
        flip(&f, "config", at, 1);
    }
    VmsRepo *repo;
    assert_ok((repo = open_with(store, "pw", ERR)) != NULL);
    vms_repo_free(repo);
}

/* Any key opens; one that asks for years of scrypt is passed over. */
static void test_several_keys(Fixture *f, const void *unused)
{
    static const char years[] = "{\"kdf\":\"scrypt\",\"N\":1099511627776,\"r\":8,\"p\":1,"
                                "\"salt\":\"AAAA\",\"data\":\"AAAA\"}";
    const char *passwords[] = {"one", "two"};
    g_autoptr(GError) error = NULL;

    for (int i = 0; i <= 2; i++) {
        g_autofree char *text = NULL;
        VmsId id;

        if (i < 2) {
            g_autoptr(VmsSecret) secret = vms_secret_new_string(passwords[i]);
            assert_ok((text = vms_key_file_build(f->key, secret, &vms_kdf_default, ERR)) != NULL);
        } else {
            text = g_strdup(years);
        }
        vms_hash(text, strlen(text), id.bytes);
        g_autofree char *name = vms_object_name("keys", &id);
        g_autoptr(GBytes) bytes = g_bytes_new(text, strlen(text));
        assert_ok(vms_store_put(f->store, name, bytes, true, NULL, ERR));
    }
    for (int i = 0; i < 2; i++) {
        VmsRepo *repo;

        assert_ok((repo = open_with(f->store, passwords[i], ERR)) != NULL);
        g_assert_cmpstr(vms_repo_id(repo), ==, vms_repo_id(f->repo));
        vms_repo_free(repo);
    }
    g_assert_null(open_with(f->store, "three", &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT); /* the third might have been it */
}

static void test_roundtrip(Fixture *f, const void *unused)
{
    static const size_t sizes[] = {0, 1, 100, 4096, 1 << 20, 5000000};
    static const VmsCompression modes[] = {VMS_COMPRESSION_AUTO, VMS_COMPRESSION_OFF,
                                           VMS_COMPRESSION_MAX};
    VmsId ids[G_N_ELEMENTS(modes)][G_N_ELEMENTS(sizes)];

    for (size_t m = 0; m < G_N_ELEMENTS(modes); m++) {
        VmsRepoWriterOptions options = {.compression = modes[m], .pack_size = 1 << 20};
        g_autoptr(VmsRepoWriter) writer = new_writer(f, &options);

        for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
            g_autofree uint8_t *data = noise(sizes[i], (uint32_t)(m * 100 + i));

            memset(data, 'z', sizes[i] / 3);
            assert_ok(vms_repo_writer_add(writer, i % 2 == 0 ? VMS_BLOB_DATA : VMS_BLOB_TREE, data,
                                          sizes[i], &ids[m][i], ERR));
        }
        assert_ok(vms_repo_writer_flush(writer, ERR));
    }
    g_autoptr(VmsRepo) other = open_again(f, NULL);
    assert_ok(vms_repo_sync_index(other, NULL, ERR));
    for (size_t m = 0; m < G_N_ELEMENTS(modes); m++) {
        for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
            g_autofree uint8_t *data = noise(sizes[i], (uint32_t)(m * 100 + i));
            VmsBlobType type = i % 2 == 0 ? VMS_BLOB_DATA : VMS_BLOB_TREE;

            memset(data, 'z', sizes[i] / 3);
            assert_blob(f->repo, type, &ids[m][i], data, sizes[i]);
            assert_blob(other, type, &ids[m][i], data, sizes[i]);
        }
    }
}

static void test_unknown_blob(Fixture *f, const void *unused)
{
    g_autoptr(VmsRepoWriter) writer = new_writer(f, NULL);
    g_autoptr(GError) error = NULL;
    VmsId id = {{1, 2, 3}};
    bool found = true;

    assert_ok(vms_repo_has_blob(f->repo, VMS_BLOB_DATA, &id, &found, NULL, ERR));
    g_assert_false(found);
    g_assert_null(vms_repo_read_blob(f->repo, VMS_BLOB_DATA, &id, NULL, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_NOT_FOUND);
    g_clear_error(&error);
    g_assert_false(vms_repo_writer_add_known(writer, VMS_BLOB_DATA, &id, NULL, 5, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_NOT_FOUND);
}

#define BLOBS 100

static void *add_same(void *user)
{
    for (uint32_t i = 0; i < BLOBS; i++) {
        g_autofree uint8_t *data = noise(20000, i);
        VmsId id;

        assert_ok(vms_repo_writer_add(user, VMS_BLOB_DATA, data, 20000, &id, ERR));
    }
    return NULL;
}

static void test_dedup(Fixture *f, const void *unused)
{
    VmsRepoWriterOptions options = {.pack_size = 1 << 20};
    g_autoptr(VmsRepoWriter) writer = new_writer(f, &options);
    VmsRepoWriterStats stats;
    GThread *threads[8];

    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("add", add_same, writer);
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
        g_thread_join(threads[i]);
    assert_ok(vms_repo_writer_flush(writer, ERR));
    add_same(writer);
    assert_ok(vms_repo_writer_flush(writer, ERR));
    vms_repo_writer_stats(writer, &stats);
    g_assert_cmpuint(stats.blobs_new, ==, BLOBS);
    g_assert_cmpuint(stats.blobs_known, ==, 8 * BLOBS);
    g_assert_cmpuint(stats.bytes_new, ==, BLOBS * 20000);
    g_assert_cmpuint(stats.bytes_read, ==, 9 * BLOBS * 20000);
    g_assert_cmpuint(stats.packs, ==, 2);
    g_autoptr(GPtrArray) indexes = names(f, "index/");
    g_assert_cmpuint(indexes->len, ==, 1); /* the second flush had nothing to say */

    g_autoptr(VmsRepoWriter) again = new_writer(f, NULL);
    add_same(again);
    vms_repo_writer_stats(again, &stats);
    g_assert_cmpuint(stats.blobs_new, ==, 0);
    g_autofree uint8_t *data = noise(20000, 7);
    VmsId id;
    vms_hash(data, 20000, id.bytes);
    assert_ok(vms_repo_writer_add_known(again, VMS_BLOB_DATA, &id, NULL, 20000, ERR));
    /* the same bytes as a tree are another blob */
    assert_ok(vms_repo_writer_add(again, VMS_BLOB_TREE, data, 20000, &id, ERR));
    vms_repo_writer_stats(again, &stats);
    g_assert_cmpuint(stats.blobs_new, ==, 1);
}

#define CLAIMS 500

typedef struct {
    VmsRepoWriter *writer;
    pthread_barrier_t barrier;
    gint won;
} Claims;

static void *claim_all(void *user)
{
    Claims *claims = user;

    for (uint32_t i = 0; i < CLAIMS; i++) {
        VmsId id = {{(uint8_t)i, (uint8_t)(i >> 8)}};
        bool known = true;

        pthread_barrier_wait(&claims->barrier);
        assert_ok(vms_repo_writer_claim(claims->writer, VMS_BLOB_DATA, &id, &known, ERR));
        if (!known)
            g_atomic_int_inc(&claims->won);
    }
    return NULL;
}

/* Of those that come with the same blob at the same moment, one stores it. */
static void test_claim(Fixture *f, const void *unused)
{
    g_autoptr(VmsRepoWriter) writer = new_writer(f, NULL);
    Claims claims = {.writer = writer};
    GThread *threads[4];

    pthread_barrier_init(&claims.barrier, NULL, G_N_ELEMENTS(threads));
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("claim", claim_all, &claims);
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
        g_thread_join(threads[i]);
    pthread_barrier_destroy(&claims.barrier);
    g_assert_cmpint(claims.won, ==, CLAIMS);
}

/* What was uploaded before a run was given up is not uploaded again by the next. */
static void test_abandoned(Fixture *f, const void *unused)
{
    VmsRepoWriterOptions options = {.pack_size = 1 << 20};
    VmsRepoWriter *writer = new_writer(f, &options);
    VmsRepoWriterStats stats;
    VmsId id;

    for (uint32_t i = 0; i < 40; i++) {
        g_autofree uint8_t *data = noise(1 << 20, i);

        assert_ok(vms_repo_writer_add(writer, VMS_BLOB_DATA, data, 1 << 20, &id, ERR));
    }
    vms_repo_writer_free(writer);
    g_autoptr(VmsRepo) other = open_again(f, NULL);
    assert_ok(vms_repo_sync_index(other, NULL, ERR));
    assert_ok((writer = vms_repo_writer_new(other, &options, NULL, ERR)) != NULL);
    for (uint32_t i = 0; i < 40; i++) {
        g_autofree uint8_t *data = noise(1 << 20, i);

        assert_ok(vms_repo_writer_add(writer, VMS_BLOB_DATA, data, 1 << 20, &id, ERR));
    }
    assert_ok(vms_repo_writer_flush(writer, ERR));
    vms_repo_writer_stats(writer, &stats);
    vms_repo_writer_free(writer);
    g_assert_cmpuint(stats.blobs_known, >=, 30); /* but for the packs that were under way */
    g_assert_cmpuint(stats.blobs_known + stats.blobs_new, ==, 40);
}

static bool knows(VmsRepo *repo, const VmsId *id)
{
    bool found = false;

    assert_ok(vms_repo_has_blob(repo, VMS_BLOB_DATA, id, &found, NULL, ERR));
    return found;
}

/* Another host writes, another prunes: a sync sees both. */
static void test_other_hosts(Fixture *f, const void *unused)
{
    Fixture other = {.store = f->store, .key = f->key, .repo = open_again(f, NULL)};
    VmsId a = add_blob(f, "a", 1);
    VmsId b = add_blob(&other, "b", 1);
    g_autoptr(GPtrArray) indexes = names(f, "index/");

    g_assert_true(knows(f->repo, &a));
    g_assert_false(knows(f->repo, &b));
    assert_ok(vms_repo_sync_index(f->repo, NULL, ERR));
    g_assert_true(knows(f->repo, &b));
    for (guint i = 0; i < indexes->len; i++)
        assert_ok(vms_store_remove(f->store, g_ptr_array_index(indexes, i), NULL, ERR));
    VmsId c = add_blob(&other, "c", 1);
    assert_ok(vms_repo_sync_index(f->repo, NULL, ERR));
    g_assert_false(knows(f->repo, &a));
    g_assert_false(knows(f->repo, &b));
    g_assert_true(knows(f->repo, &c));
    vms_repo_free(other.repo);
}

static void remove_dir(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *file = g_build_filename(path, name, NULL);

        g_unlink(file);
    }
    g_rmdir(path);
}

/* The cache is disposable: damaged, foreign or gone, before a run or in the middle of it. */
static void test_cache_damage(Fixture *f, const void *unused)
{
    g_autofree char *dir = g_dir_make_tmp("vmsnap-test-XXXXXX", NULL);
    g_autofree char *path = g_strdup_printf("%s/index-%s.db", dir, vms_repo_id(f->repo));
    g_autofree char *wal = g_strconcat(path, "-wal", NULL);
    g_autofree uint8_t *garbage = noise(200000, 1);
    VmsId id = add_blob(f, "blob", 4);
    VmsRepo *repo = open_again(f, dir);

    assert_ok(vms_repo_sync_index(repo, NULL, ERR));
    g_assert_true(knows(repo, &id));
    vms_repo_free(repo);
    repo = open_again(f, dir); /* known without a sync: the cache is kept */
    g_assert_true(knows(repo, &id));
    vms_repo_free(repo);

    g_assert_true(g_file_set_contents(path, (char *)garbage, 200000, NULL));
    repo = open_again(f, dir);
    assert_ok(vms_repo_sync_index(repo, NULL, ERR));
    g_assert_true(knows(repo, &id));
    vms_repo_free(repo);

    g_assert_true(g_file_set_contents(path, "SQLite", 6, NULL));
    repo = open_again(f, dir);
    assert_ok(vms_repo_sync_index(repo, NULL, ERR));
    g_assert_true(knows(repo, &id));
    vms_repo_free(repo);

    /* Below an open handle: the pages behind the first are destroyed. */
    repo = open_again(f, dir);
    FILE *file = fopen(path, "r+b");
    fseek(file, 100, SEEK_SET);
    fwrite(garbage, 1, 40000, file);
    fclose(file);
    g_unlink(wal);
    assert_ok(vms_repo_sync_index(repo, NULL, ERR));
    g_assert_true(knows(repo, &id));
    assert_blob(repo, VMS_BLOB_DATA, &id, "blob", 4);
    vms_repo_free(repo);
    remove_dir(dir);
}

#define ADD(name, func) g_test_add("/repo/" name, Fixture, NULL, set_up, func, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/repo/init-and-open", test_init_and_open);
    g_test_add_func("/repo/damaged-key-and-config", test_damaged_key_and_config);
    ADD("several-keys", test_several_keys);
    ADD("roundtrip", test_roundtrip);
    ADD("unknown-blob", test_unknown_blob);
    ADD("dedup", test_dedup);
    ADD("claim", test_claim);
    ADD("abandoned", test_abandoned);
    ADD("other-hosts", test_other_hosts);
    ADD("cache-damage", test_cache_damage);
    return g_test_run();
}
