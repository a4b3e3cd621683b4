/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A reader that goes forward through a stored file is not one request at a time: several are on
 * their way, and never more than that. */
#include "repo-fixture.h"

#include "job/stored-file.h"

#define BLOB (1u << 20)
#define BLOBS 64
#define SIZE ((uint64_t)BLOB * BLOBS)

/* A store that can be shut: gets wait, but for the first few. */
typedef struct {
    VmsStore store;
    VmsStore *inner;
    GMutex lock;
    GCond changed;
    bool shut;
    unsigned admitted; /* while shut */
    unsigned waiting;
    uint64_t passed;
} Gate;

static GBytes *gate_get(VmsStore *store, const char *name, uint64_t offset, uint64_t length,
                        GCancellable *cancellable, GError **error)
{
    Gate *gate = (Gate *)store;
    g_mutex_lock(&gate->lock);
    gate->waiting++;
    g_cond_broadcast(&gate->changed);
    while (gate->shut && gate->admitted == 0)
        g_cond_wait(&gate->changed, &gate->lock);
    if (gate->shut)
        gate->admitted--;
    gate->waiting--;
    gate->passed++;
    g_mutex_unlock(&gate->lock);
    return vms_store_get(gate->inner, name, offset, length, cancellable, error);
}

static bool gate_put(VmsStore *store, const char *name, GBytes *data, bool only_new,
                     GCancellable *cancellable, GError **error)
{
    return vms_store_put(((Gate *)store)->inner, name, data, only_new, cancellable, error);
}

static bool gate_has(VmsStore *store, const char *name, bool *ret_exists, uint64_t *ret_size,
                     GCancellable *cancellable, GError **error)
{
    return vms_store_has(((Gate *)store)->inner, name, ret_exists, ret_size, cancellable, error);
}

static bool gate_list(VmsStore *store, const char *prefix, VmsStoreListFunc func, void *user,
                      GCancellable *cancellable, GError **error)
{
    return vms_store_list(((Gate *)store)->inner, prefix, func, user, cancellable, error);
}

static void gate_free(VmsStore *store)
{
    Gate *gate = (Gate *)store;
    vms_store_free(gate->inner);
    g_mutex_clear(&gate->lock);
    g_cond_clear(&gate->changed);
    g_free(gate->store.location);
    g_free(gate);
}

static Gate *gate_new(void)
{
    static const VmsStoreOps ops = {
        .put = gate_put, .get = gate_get, .has = gate_has, .list = gate_list, .free = gate_free};
    Gate *gate = g_new0(Gate, 1);
    gate->store.ops = &ops;
    gate->store.location = g_strdup("gate");
    gate->inner = vms_mem_new();
    g_mutex_init(&gate->lock);
    g_cond_init(&gate->changed);
    return gate;
}

static void set_shut(Gate *gate, bool shut, unsigned admitted)
{
    g_mutex_lock(&gate->lock);
    gate->shut = shut;
    gate->admitted = admitted;
    g_cond_broadcast(&gate->changed);
    g_mutex_unlock(&gate->lock);
}

/* Until so many gets wait; false where they never come. */
static bool wait_for(Gate *gate, unsigned count)
{
    int64_t end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    bool there = true;
    g_mutex_lock(&gate->lock);
    while (there && gate->waiting < count)
        there = g_cond_wait_until(&gate->changed, &gate->lock, end);
    g_mutex_unlock(&gate->lock);
    return there;
}

static VmsContent *store_blobs(Fixture *f)
{
    g_autoptr(VmsRepoWriter) writer = new_writer(f, NULL);
    VmsContent *content;
    assert_ok((content = vms_content_new(BLOBS, ERR)) != NULL);
    for (uint32_t i = 0; i < BLOBS; i++) {
        g_autofree uint8_t *data = noise(BLOB, i + 1);
        VmsId id;
        assert_ok(vms_repo_writer_add(writer, VMS_BLOB_DATA, data, BLOB, &id, ERR));
        assert_ok(vms_content_set(content, i, &id, ERR));
    }
    assert_ok(vms_repo_writer_flush(writer, ERR));
    return content;
}

static void test_ahead(void)
{
    Fixture f;
    Gate *gate = gate_new();
    set_up_on(&f, &gate->store);
    g_autoptr(VmsContent) content = store_blobs(&f);
    VmsNode node = {.type = VMS_NODE_FILE, .size = SIZE, .content = content};
    VmsStoredFile *file;
    uint8_t byte;
    size_t got;
    assert_ok((file = vms_stored_file_open(f.repo, &node, NULL, ERR)) != NULL);
    set_shut(gate, true, 1);
    assert_ok(vms_stored_file_read(file, 0, &byte, 1, &got, ERR));
    g_assert_true(wait_for(gate, 4)); /* at once, while the reader asks for nothing */
    g_mutex_lock(&gate->lock);
    g_assert_cmpuint(gate->waiting, <=, 8); /* a window may lie in two packs */
    g_mutex_unlock(&gate->lock);
    set_shut(gate, false, 0);
    vms_stored_file_free(file);
    tear_down(&f, NULL);
}

/* Somebody who jumps about has nothing fetched in advance. */
static void test_random(void)
{
    Fixture f;
    Gate *gate = gate_new();
    set_up_on(&f, &gate->store);
    g_autoptr(VmsContent) content = store_blobs(&f);
    VmsNode node = {.type = VMS_NODE_FILE, .size = SIZE, .content = content};
    VmsStoredFile *file;
    uint8_t byte;
    size_t got;
    assert_ok((file = vms_stored_file_open(f.repo, &node, NULL, ERR)) != NULL);
    uint64_t before = gate->passed;
    for (uint64_t mib = 60; mib > 20; mib -= 16)
        assert_ok(vms_stored_file_read(file, mib * BLOB, &byte, 1, &got, ERR));
    vms_stored_file_free(file);
    g_assert_cmpuint(gate->passed - before, <=, 2 * 3);
    tear_down(&f, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/stored-ahead/forward", test_ahead);
    g_test_add_func("/stored-ahead/random", test_random);
    return g_test_run();
}
