/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A repository with snapshots that share some of their blobs, on a store that dies, or lets
 * somebody in, at any change that is asked for. */
#pragma once

#include "repo-fixture.h"

#include "repo/lock.h"
#include "repo/prune.h"
#include "repo/snapshot.h"
#include "repo/tree.h"

#include <glib/gstdio.h>

#define BLOB 40000 /* bytes */

/* Changes: puts and removals, but those of locks. */
typedef struct {
    VmsStore base;
    VmsStore *inner;
    unsigned changes;    /* so far */
    unsigned removals;   /* of these, carried out */
    unsigned first_pack; /* the change that removed the first pack; 0: none yet */
    unsigned stop_at;    /* before this change (from 1 on): die, or call; 0: never */
    bool dead;
    void (*call)(void *user);
    void *user;
    GMutex mutex; /* guards the numbers and dead: packs are deleted by several threads */
} StepStore;

static bool step(StepStore *store, const char *name, bool removal, GError **error)
{
    if (g_str_has_prefix(name, "locks/"))
        return true;
    g_mutex_lock(&store->mutex);
    bool now = ++store->changes == store->stop_at;
    if (now && store->call == NULL)
        store->dead = true;
    if (removal && g_str_has_prefix(name, "data/") && store->first_pack == 0)
        store->first_pack = store->changes;
    bool dead = store->dead;
    store->removals += removal && !dead;
    g_mutex_unlock(&store->mutex);
    if (now && store->call != NULL)
        store->call(store->user);
    return !dead || vms_fail(error, VMS_ERROR_FAILED, "dead");
}

static bool step_put(VmsStore *base, const char *name, GBytes *data, bool only_new,
                     GCancellable *cancellable, GError **error)
{
    StepStore *store = (StepStore *)base;

    return step(store, name, false, error) &&
           vms_store_put(store->inner, name, data, only_new, cancellable, error);
}

static GBytes *step_get(VmsStore *base, const char *name, uint64_t offset, uint64_t length,
                        GCancellable *cancellable, GError **error)
{
    return vms_store_get(((StepStore *)base)->inner, name, offset, length, cancellable, error);
}

static bool step_has(VmsStore *base, const char *name, bool *ret_exists, uint64_t *ret_size,
                     GCancellable *cancellable, GError **error)
{
    return vms_store_has(((StepStore *)base)->inner, name, ret_exists, ret_size, cancellable,
                         error);
}

static bool step_list(VmsStore *base, const char *prefix, VmsStoreListFunc func, void *user,
                      GCancellable *cancellable, GError **error)
{
    return vms_store_list(((StepStore *)base)->inner, prefix, func, user, cancellable, error);
}

static bool step_remove(VmsStore *base, const char *name, GCancellable *cancellable, GError **error)
{
    StepStore *store = (StepStore *)base;

    return step(store, name, true, error) &&
           vms_store_remove(store->inner, name, cancellable, error);
}

static void step_free(VmsStore *base)
{
    vms_store_free(((StepStore *)base)->inner);
    g_mutex_clear(&((StepStore *)base)->mutex);
    g_free(base->location);
    g_free(base);
}

static const VmsStoreOps step_ops = {
    .put = step_put,
    .get = step_get,
    .has = step_has,
    .list = step_list,
    .remove = step_remove,
    .free = step_free,
};

static bool copy_object(void *user, const char *name, uint64_t size, GError **error)
{
    VmsStore **stores = user;
    g_autoptr(GBytes) bytes = vms_store_get(stores[0], name, 0, UINT64_MAX, NULL, error);

    return bytes != NULL && vms_store_put(stores[1], name, bytes, false, NULL, error);
}

/* A copy of f's repository on a store of its own, with a cache directory of its own. */
typedef struct {
    Fixture f;
    StepStore *store;
    char *cache;
} Copy;

G_GNUC_UNUSED static void copy_repository(Fixture *f, Copy *copy)
{
    VmsStore *stores[2] = {f->store, vms_mem_new()};

    copy->store = g_new0(StepStore, 1);
    copy->store->base.ops = &step_ops;
    copy->store->base.location = g_strdup("steps");
    g_mutex_init(&copy->store->mutex);
    copy->store->inner = stores[1];
    assert_ok(vms_store_list(f->store, "", copy_object, stores, NULL, ERR));
    assert_ok((copy->cache = g_dir_make_tmp("prune-XXXXXX", ERR)) != NULL);
    copy->f.store = &copy->store->base;
    copy->f.key = g_memdup2(f->key, sizeof(*f->key));
    copy->f.repo = open_again(&copy->f, copy->cache);
}

/* A snapshot of one file: blobs first, first + stride … below end. */
typedef struct {
    uint32_t first, end, stride;
} Range;

static VmsId add_snapshot_as(Fixture *f, VmsRepo *repo, Range range)
{
    VmsRepoWriterOptions options = {.pack_size = 1 << 20, .uploads = 1};
    uint32_t count = (range.end - range.first + range.stride - 1) / range.stride;
    char *paths[] = {"/web01", NULL}, *tags[] = {"vmsnap", NULL};
    VmsRepoSnapshot snapshot = {.time_us = g_get_real_time(), .paths = paths, .tags = tags};
    g_autoptr(VmsTreeBuilder) root = vms_tree_builder_new(0), dir = vms_tree_builder_new(0);
    g_autoptr(VmsRepoWriter) writer = NULL;
    g_autoptr(VmsContent) content = NULL;
    VmsId id;

    assert_ok(vms_repo_sync_index(repo, NULL, ERR));
    assert_ok((writer = vms_repo_writer_new(repo, &options, NULL, ERR)) != NULL);
    assert_ok((content = vms_content_new(count, ERR)) != NULL);
    for (uint32_t i = 0; i < count; i++) {
        g_autofree uint8_t *data = noise(BLOB, range.first + i * range.stride);

        assert_ok(vms_repo_writer_add(writer, VMS_BLOB_DATA, data, BLOB, &id, ERR));
        assert_ok(vms_content_set(content, i, &id, ERR));
    }
    vms_tree_builder_add_file(dir, "disk.raw", (uint64_t)count * BLOB, content);
    assert_ok(vms_tree_builder_save(dir, writer, &id, ERR));
    vms_tree_builder_add_dir(root, "web01", &id);
    assert_ok(vms_tree_builder_save(root, writer, &snapshot.tree, ERR));
    assert_ok(vms_repo_writer_flush(writer, ERR));
    assert_ok(vms_repo_snapshot_save(repo, &snapshot, NULL, ERR));
    return snapshot.id;
}

/* Reads it back whole, with a cache that knows nothing. */
static bool is_whole(Fixture *f, const VmsId *id, Range range)
{
    g_autoptr(VmsRepo) repo = open_again(f, NULL);
    g_autoptr(VmsRepoSnapshot) snapshot = NULL;
    g_autoptr(VmsTree) tree = NULL;
    char hex[VMS_ID_HEX_LEN + 1];
    VmsNode *node = NULL;
    bool whole = true;

    vms_id_hex(id, hex);
    assert_ok(vms_repo_sync_index(repo, NULL, ERR));
    assert_ok((snapshot = vms_repo_snapshot_find(repo, hex, NULL, ERR)) != NULL);
    if (!vms_tree_lookup(repo, &snapshot->tree, "/web01/disk.raw", &tree, &node, NULL, NULL))
        return false;
    for (uint32_t i = 0; whole && i < vms_content_count(node->content); i++) {
        g_autofree uint8_t *data = noise(BLOB, range.first + i * range.stride);
        VmsId blob;

        assert_ok(vms_content_get(node->content, i, &blob, ERR));
        g_autoptr(GBytes) bytes = vms_repo_read_blob(repo, VMS_BLOB_DATA, &blob, NULL, NULL);
        whole = bytes != NULL && g_bytes_get_size(bytes) == BLOB &&
                memcmp(g_bytes_get_data(bytes, NULL), data, BLOB) == 0;
    }
    return whole;
}

/* Taking a lock takes a fifth of a second: one per repository will do. */
static VmsRepoLock *held;
static VmsRepo *held_of;

static void release_lock(void)
{
    g_clear_pointer(&held, vms_repo_lock_free);
    held_of = NULL;
}

static bool prune(Fixture *f, const VmsPruneOptions *options, VmsPruneStats *stats, GError **error)
{
    if (held_of != f->repo) {
        release_lock();
        assert_ok((held = vms_repo_lock(f->repo, true, NULL, ERR)) != NULL);
        held_of = f->repo;
    }
    return vms_prune(f->repo, held, options, stats, NULL, error);
}

G_GNUC_UNUSED static void free_copy(Copy *copy)
{
    g_autoptr(GDir) dir = g_dir_open(copy->cache, 0, NULL);
    const char *name;

    release_lock();
    tear_down(&copy->f, NULL);
    while ((name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(copy->cache, name, NULL);

        g_unlink(path);
    }
    g_rmdir(copy->cache);
    g_free(copy->cache);
}
