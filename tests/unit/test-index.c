/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The index cache: what it gives back, and what other hosts and processes do meanwhile. */
#include "repo-fixture.h"

#include "repo/index-file.h"
#include "repo/index-part.h"

#define PACKS 300

/* A pack number n that nobody has stored: n % 40 blobs, some in gaps, some in reverse order. */
static GArray *make_pack(uint32_t n, VmsId *ret_id)
{
    GArray *blobs = g_array_new(FALSE, FALSE, sizeof(VmsPackBlob));
    uint32_t offset = 0;

    vms_hash(&n, sizeof(n), ret_id->bytes);
    for (uint32_t i = 0; i < n % 40; i++) {
        VmsPackBlob blob = {.type = (n + i) % 7 == 0 ? VMS_BLOB_TREE : VMS_BLOB_DATA,
                            .offset = offset + (i % 5 == 0 ? i * 1000 : 0),
                            .length = 32 + n * i,
                            .plain_length = i % 3 == 0 ? 0 : 1u << (i % 32)};
        uint32_t seed[2] = {n, i};

        vms_hash(seed, sizeof(seed), blob.id.bytes);
        offset = blob.offset + blob.length;
        if (n % 9 == 0)
            g_array_prepend_val(blobs, blob);
        else
            g_array_append_val(blobs, blob);
    }
    return blobs;
}

/* An index file that lists the packs from first to last, with so many blobs each at most. */
static VmsId save_index_of(Fixture *f, uint32_t first, uint32_t last, guint most)
{
    GString *text = vms_index_file_begin();
    VmsId pack, id;

    for (uint32_t n = first; n <= last; n++) {
        g_autoptr(GArray) blobs = make_pack(n, &pack);

        vms_index_file_pack(text, &pack, (VmsPackBlob *)blobs->data, MIN(blobs->len, most));
    }
    vms_index_file_end(text);
    assert_ok(vms_object_save(f->repo, "index", text->str, text->len, &id, NULL, NULL, ERR));
    g_string_free(text, TRUE);
    return id;
}

static VmsId save_index(Fixture *f, uint32_t first, uint32_t last)
{
    return save_index_of(f, first, last, G_MAXUINT);
}

static void remove_index(Fixture *f, const VmsId *id)
{
    g_autofree char *name = vms_object_name("index", id);

    assert_ok(vms_store_remove(f->store, name, NULL, ERR));
}

/* Everything that the index knows of the packs from first to last is right, blob by blob. */
static void assert_knows(VmsRepo *repo, uint32_t first, uint32_t last, bool known)
{
    for (uint32_t n = first; n <= last; n++) {
        VmsId pack;
        g_autoptr(GArray) blobs = make_pack(n, &pack);

        for (guint i = 0; i < blobs->len; i++) {
            const VmsPackBlob *blob = &g_array_index(blobs, VmsPackBlob, i);
            VmsIndexPlace places[VMS_INDEX_MAX_PLACES];
            size_t count = 9;

            assert_ok(
                vms_index_find(repo->index, repo, blob->type, &blob->id, places, &count, ERR));
            g_assert_cmpuint(count, ==, known ? 1 : 0);
            if (known) {
                g_assert_true(vms_id_equal(&places[0].pack, &pack));
                g_assert_true(vms_id_equal(&places[0].blob.id, &blob->id));
                g_assert_cmpuint(places[0].blob.type, ==, blob->type);
                g_assert_cmpuint(places[0].blob.offset, ==, blob->offset);
                g_assert_cmpuint(places[0].blob.length, ==, blob->length);
                g_assert_cmpuint(places[0].blob.plain_length, ==, blob->plain_length);
            }
        }
    }
}

/* Any byte of a part that changes is noticed. */
static void test_part(void)
{
    for (uint32_t n = 0; n < 40; n += 13) {
        VmsId pack, read;
        g_autoptr(GArray) blobs = make_pack(n, &pack);
        g_autoptr(GArray) all = g_array_new(FALSE, FALSE, sizeof(VmsPackBlob));

        for (size_t at = 0; at < vms_index_parts(blobs->len); at++) {
            g_autoptr(GByteArray) part =
                vms_index_part_encode(&pack, (VmsPackBlob *)blobs->data, blobs->len, at);

            assert_ok(vms_index_part_decode(part->data, part->len, &read, all, ERR));
            g_assert_true(vms_id_equal(&read, &pack));
            for (guint i = 0; i < part->len; i++) {
                g_autoptr(GError) error = NULL;
                guint before = all->len;

                part->data[i] ^= 0x10;
                g_assert_false(vms_index_part_decode(part->data, part->len, &read, all, &error));
                g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
                g_assert_cmpuint(all->len, ==, before);
                g_assert_false(vms_index_part_decode(part->data, i, &read, all, NULL));
                part->data[i] ^= 0x10;
            }
        }
        g_assert_cmpmem(all->data, all->len * sizeof(VmsPackBlob), blobs->data,
                        blobs->len * sizeof(VmsPackBlob));
    }
}

typedef struct {
    VmsRepo *repo;
    GHashTable *seen; /* hex of packs */
    size_t blobs;
    VmsId last;
    uint32_t stop_after;
} Each;

static bool count_pack(void *user, const VmsId *pack, const VmsPackBlob *blobs, size_t count,
                       GError **error)
{
    Each *each = user;
    char hex[VMS_ID_HEX_LEN + 1];
    bool found = false;

    vms_id_hex(pack, hex);
    g_assert_cmpint(memcmp(each->last.bytes, pack->bytes, VMS_ID_LEN), <, 0);
    each->last = *pack;
    g_assert_true(g_hash_table_add(each->seen, g_strdup(hex)));
    for (size_t i = 0; i < count; i++) {
        g_assert_true(i == 0 || blobs[i].offset > blobs[i - 1].offset);
        assert_ok(vms_repo_has_blob(each->repo, blobs[i].type, &blobs[i].id, &found, NULL, ERR));
        g_assert_true(found);
    }
    each->blobs += count;
    return g_hash_table_size(each->seen) != each->stop_after ||
           vms_fail(error, VMS_ERROR_CANCELLED, "enough");
}

/* Sees exactly the packs from first to last. */
static void assert_foreach(VmsRepo *repo, uint32_t first, uint32_t last)
{
    Each each = {.repo = repo,
                 .seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL)};
    size_t blobs = 0;

    assert_ok(vms_index_foreach(repo->index, repo, count_pack, &each, NULL, ERR));
    g_assert_cmpuint(g_hash_table_size(each.seen), ==, last + 1 - first);
    for (uint32_t n = first; n <= last; n++) {
        VmsId pack;
        char hex[VMS_ID_HEX_LEN + 1];
        g_autoptr(GArray) list = make_pack(n, &pack);

        vms_id_hex(&pack, hex);
        g_assert_true(g_hash_table_contains(each.seen, hex));
        blobs += list->len;
    }
    g_assert_cmpuint(each.blobs, ==, blobs);
    g_hash_table_unref(each.seen);
}

static void test_foreach(Fixture *f, const void *unused)
{
    g_autoptr(GError) error = NULL;

    assert_foreach(f->repo, 1, 0);
    save_index(f, 1, 200);
    save_index(f, 150, PACKS); /* half of it for the second time */
    assert_ok(vms_repo_sync_index(f->repo, NULL, ERR));
    assert_knows(f->repo, 1, PACKS, true);
    assert_foreach(f->repo, 1, PACKS);
    VmsId part = save_index_of(f, 20, 30, 3); /* the same packs, with fewer blobs */
    assert_ok(vms_repo_sync_index(f->repo, NULL, ERR));
    assert_foreach(f->repo, 1, PACKS);
    remove_index(f, &part);
    assert_ok(vms_repo_sync_index(f->repo, NULL, ERR));
    assert_knows(f->repo, 1, PACKS, true);

    Each each = {.repo = f->repo,
                 .seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
                 .stop_after = 7};
    g_assert_false(vms_index_foreach(f->repo->index, f->repo, count_pack, &each, NULL, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_CANCELLED);
    g_assert_cmpuint(g_hash_table_size(each.seen), ==, 7);
    g_hash_table_unref(each.seen);
}

/* Index files come and go; what none lists any more is forgotten, all else stays. */
static void test_forget(Fixture *f, const void *unused)
{
    VmsId a = save_index(f, 1, 100), b = save_index(f, 50, 150);

    assert_ok(vms_repo_sync_index(f->repo, NULL, ERR));
    remove_index(f, &a);
    assert_ok(vms_repo_sync_index(f->repo, NULL, ERR));
    assert_knows(f->repo, 1, 49, false);
    assert_knows(f->repo, 50, 150, true);
    assert_foreach(f->repo, 50, 150);

    VmsId c = save_index(f, 60, PACKS);
    remove_index(f, &b);
    assert_ok(vms_repo_sync_index(f->repo, NULL, ERR));
    assert_knows(f->repo, 50, 59, false);
    assert_knows(f->repo, 60, PACKS, true);
    assert_foreach(f->repo, 60, PACKS);
    remove_index(f, &c);
    assert_ok(vms_repo_sync_index(f->repo, NULL, ERR));
    assert_knows(f->repo, 1, PACKS, false);
    assert_foreach(f->repo, 1, 0);
}

/* A store on which something happens when the first index file is read. */
typedef struct {
    VmsStore base;
    Fixture *f;
    VmsStore *inner;
    VmsId old;
    bool pruning, vanishing;
} PruneStore;

static GBytes *prune_get(VmsStore *store, const char *name, uint64_t offset, uint64_t length,
                         GCancellable *cancellable, GError **error)
{
    PruneStore *self = (PruneStore *)store;

    if (self->vanishing && g_str_has_prefix(name, "index/"))
        return vms_fail_null(error, VMS_ERROR_NOT_FOUND, "%s", name);
    if (self->pruning && g_str_has_prefix(name, "index/")) {
        self->pruning = false;
        save_index(self->f, 1, 30);
        remove_index(self->f, &self->old);
    }
    return vms_store_get(self->inner, name, offset, length, cancellable, error);
}

static bool prune_list(VmsStore *store, const char *prefix, VmsStoreListFunc func, void *user,
                       GCancellable *cancellable, GError **error)
{
    return vms_store_list(((PruneStore *)store)->inner, prefix, func, user, cancellable, error);
}

/* A prune between the listing and the reading: what it moved is known all the same. */
static void test_prune_meanwhile(Fixture *f, const void *unused)
{
    static const VmsStoreOps ops = {.get = prune_get, .list = prune_list};
    PruneStore store = {
        .base = {.ops = &ops, .location = (char *)"prune"}, .f = f, .inner = f->store};
    g_autoptr(GError) error = NULL;

    store.old = save_index(f, 1, 40);
    g_autoptr(VmsRepo) repo = NULL;
    assert_ok((repo = vms_repo_open_with_key(&store.base, g_memdup2(f->key, sizeof(*f->key)), NULL,
                                             NULL, ERR)) != NULL);
    store.pruning = true;
    assert_ok(vms_repo_sync_index(repo, NULL, ERR));
    g_assert_false(store.pruning);
    assert_knows(repo, 1, 30, true);
    assert_knows(repo, 31, 40, false);

    /* Listed, and never there: no gap is taken for an answer. */
    store.vanishing = true;
    save_index(f, 50, 60);
    g_assert_false(vms_repo_sync_index(repo, NULL, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_LOCKED);
}

#define ADD(name, func) g_test_add("/index/" name, Fixture, NULL, set_up, func, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/index/part", test_part);
    ADD("foreach", test_foreach);
    ADD("forget", test_forget);
    ADD("prune-meanwhile", test_prune_meanwhile);
    return g_test_run();
}
