/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A repository in memory for the tests of src/repo. Its master key is known, so that no test but
 * those of passwords pays for scrypt. */
#pragma once

#include "base/error.h"
#include "codec/hash.h"
#include "repo/config.h"
#include "repo/object.h"
#include "repo/repo-private.h"
#include "repo/writer.h"
#include "store/mem.h"

#include <string.h>

typedef struct {
    VmsStore *store;
    VmsSealKey *key;
    VmsRepo *repo;
} Fixture;

#define assert_ok(call)                                                                            \
    do {                                                                                           \
        GError *assert_error = NULL;                                                               \
        bool assert_result = (call);                                                               \
        g_assert_no_error(assert_error);                                                           \
        g_assert_true(assert_result);                                                              \
    } while (0)
#define ERR (&assert_error)

/* Another handle on the same store, as another host has. */
G_GNUC_UNUSED static VmsRepo *open_again(Fixture *f, const char *cache_dir)
{
    VmsRepo *repo;

    assert_ok((repo = vms_repo_open_with_key(f->store, g_memdup2(f->key, sizeof(*f->key)),
                                             cache_dir, NULL, ERR)) != NULL);
    return repo;
}

G_GNUC_UNUSED static void set_up_on(Fixture *f, VmsStore *store)
{
    VmsId id;
    g_autofree char *config = NULL;
    g_autoptr(GBytes) sealed = NULL;

    f->store = store;
    assert_ok((f->key = vms_seal_key_generate(ERR)) != NULL);
    assert_ok((config = vms_config_build(&id, ERR)) != NULL);
    assert_ok((sealed = vms_object_encode(f->key, config, strlen(config), false, ERR)) != NULL);
    assert_ok(vms_store_put(f->store, "config", sealed, true, NULL, ERR));
    f->repo = open_again(f, NULL);
}

G_GNUC_UNUSED static void set_up(Fixture *f, const void *unused)
{
    set_up_on(f, vms_mem_new());
}

G_GNUC_UNUSED static void tear_down(Fixture *f, const void *unused)
{
    vms_repo_free(f->repo);
    vms_seal_key_free(f->key);
    vms_store_free(f->store);
}

/* Bytes that zstd cannot shrink and that differ by seed. */
G_GNUC_UNUSED static uint8_t *noise(size_t len, uint32_t seed)
{
    GRand *rand = g_rand_new_with_seed(seed);
    uint8_t *data = g_malloc(len + 4);

    for (size_t i = 0; i < len; i += 4) {
        uint32_t value = g_rand_int(rand);

        memcpy(data + i, &value, 4);
    }
    g_rand_free(rand);
    return data;
}

G_GNUC_UNUSED static VmsRepoWriter *new_writer(Fixture *f, const VmsRepoWriterOptions *options)
{
    VmsRepoWriter *writer;

    assert_ok((writer = vms_repo_writer_new(f->repo, options, NULL, ERR)) != NULL);
    return writer;
}

/* Adds one data blob and flushes. */
G_GNUC_UNUSED static VmsId add_blob(Fixture *f, const void *data, size_t len)
{
    g_autoptr(VmsRepoWriter) writer = new_writer(f, NULL);
    VmsId id;

    assert_ok(vms_repo_writer_add(writer, VMS_BLOB_DATA, data, len, &id, ERR));
    assert_ok(vms_repo_writer_flush(writer, ERR));
    return id;
}

G_GNUC_UNUSED static void assert_blob(VmsRepo *repo, VmsBlobType type, const VmsId *id,
                                      const void *data, size_t len)
{
    g_autoptr(GBytes) bytes = NULL;

    assert_ok((bytes = vms_repo_read_blob(repo, type, id, NULL, ERR)) != NULL);
    g_assert_cmpmem(g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes), data, len);
}

G_GNUC_UNUSED static bool collect_name(void *user, const char *name, uint64_t size, GError **error)
{
    g_ptr_array_add(user, g_strdup(name));
    return true;
}

/* Names below prefix. */
G_GNUC_UNUSED static GPtrArray *names(Fixture *f, const char *prefix)
{
    GPtrArray *list = g_ptr_array_new_with_free_func(g_free);

    assert_ok(vms_store_list(f->store, prefix, collect_name, list, NULL, ERR));
    return list;
}

/* Changes one byte of an object. */
G_GNUC_UNUSED static void flip(Fixture *f, const char *name, size_t at, uint8_t mask)
{
    g_autoptr(GBytes) old = NULL;

    assert_ok((old = vms_store_get(f->store, name, 0, UINT64_MAX, NULL, ERR)) != NULL);
    size_t len = g_bytes_get_size(old);
    g_autofree uint8_t *data = g_memdup2(g_bytes_get_data(old, NULL), len);
    g_assert_cmpuint(at, <, len);
    data[at] ^= mask;
    g_autoptr(GBytes) changed = g_bytes_new(data, len);
    assert_ok(vms_store_put(f->store, name, changed, false, NULL, ERR));
}

G_GNUC_UNUSED static size_t size_of(Fixture *f, const char *name)
{
    bool exists = false;
    uint64_t size = 0;

    assert_ok(vms_store_has(f->store, name, &exists, &size, NULL, ERR));
    g_assert_true(exists);
    return size;
}
