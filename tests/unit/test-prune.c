/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Prune: what it takes away, what a crash or somebody else leaves between any two of its steps, and
 * what it refuses. */
#include "prune-fixture.h"

#include "repo/index-file.h"

static const VmsPruneOptions all = {.max_unused = {.bytes = 0}};

/* Gone is in packs of its own, Half shares every second blob with Kept. */
static const Range gone = {1000, 1060, 1}, half = {0, 120, 1}, kept = {0, 150, 2};

typedef struct {
    Fixture f;
    VmsId kept, other;
} State;

static void forget_snapshot(Fixture *f, const VmsId *id)
{
    g_autofree char *name = vms_object_name("snapshots", id);

    assert_ok(vms_store_remove(f->store, name, NULL, ERR));
}

static bool list_again(void *user, const VmsId *pack, const VmsPackBlob *blobs, size_t count,
                       GError **error)
{
    vms_index_file_pack(user, pack, blobs, count);
    return true;
}

/* One index file for all that there is, as other programs write it. */
static void merge_indexes(Fixture *f)
{
    g_autoptr(GPtrArray) old = names(f, "index/");
    GString *text = vms_index_file_begin();
    VmsId id;

    for (guint i = 0; i < old->len; i++) {
        g_autoptr(GBytes) part = NULL;

        assert_ok(vms_id_parse(strrchr(old->pdata[i], '/') + 1, &id, ERR));
        assert_ok((part = vms_object_load(f->repo, "index", &id, NULL, ERR)) != NULL);
        assert_ok(vms_index_file_parse(g_bytes_get_data(part, NULL), g_bytes_get_size(part),
                                       list_again, text, ERR));
        assert_ok(vms_store_remove(f->store, old->pdata[i], NULL, ERR));
    }
    vms_index_file_end(text);
    assert_ok(vms_object_save(f->repo, "index", text->str, text->len, &id, NULL, NULL, ERR));
    g_string_free(text, TRUE);
}

/* Three index files: of Half and Other together, of Gone, of Kept. */
static void set_up_state(State *s, const void *unused)
{
    set_up(&s->f, NULL);
    VmsId second = add_snapshot_as(&s->f, s->f.repo, half);
    s->other = add_snapshot_as(&s->f, s->f.repo, (Range){500, 530, 1});
    merge_indexes(&s->f);
    VmsId first = add_snapshot_as(&s->f, s->f.repo, gone);
    s->kept = add_snapshot_as(&s->f, s->f.repo, kept);
    forget_snapshot(&s->f, &first);
    forget_snapshot(&s->f, &second);
}

static void tear_down_state(State *s, const void *unused)
{
    release_lock();
    tear_down(&s->f, NULL);
}

static void assert_kept(State *s, Fixture *f)
{
    g_assert_true(is_whole(f, &s->kept, kept));
    g_assert_true(is_whole(f, &s->other, (Range){500, 530, 1}));
}

static bool assert_stored(void *user, const VmsId *pack, const VmsPackBlob *blobs, size_t count,
                          GError **error)
{
    Fixture *f = user;
    g_autofree char *name = vms_object_pack_name(pack);

    g_assert_cmpuint(size_of(f, name), >, 0);
    return true;
}

/* No index file names a pack that is not there. */
static void assert_index(Fixture *f)
{
    g_autoptr(GArray) indexes = NULL;

    assert_ok((indexes = vms_object_list(f->store, "index", NULL, ERR)) != NULL);
    for (guint i = 0; i < indexes->len; i++) {
        g_autoptr(GBytes) text = NULL;
        const VmsId *id = &g_array_index(indexes, VmsObjectEntry, i).id;

        assert_ok((text = vms_object_load(f->repo, "index", id, NULL, ERR)) != NULL);
        assert_ok(vms_index_file_parse(g_bytes_get_data(text, NULL), g_bytes_get_size(text),
                                       assert_stored, f, ERR));
    }
}

static void assert_clean(State *s, Fixture *f)
{
    VmsPruneOptions dry = {.max_unused = {.bytes = 0}, .dry_run = true};
    VmsPruneStats stats;

    assert_kept(s, f);
    assert_index(f);
    assert_ok(prune(f, &dry, &stats, ERR));
    g_assert_cmpuint(stats.bytes_unused, ==, 0);
    g_assert_cmpuint(stats.bytes_removed, ==, 0);
    g_assert_cmpuint(stats.packs_unindexed, ==, 0);
    g_assert_cmpuint(stats.blobs, ==, 75 + 30 + 4);
}

static void test_prune(State *s, const void *unused)
{
    VmsPruneStats dry, stats;
    VmsPruneOptions look = {.max_unused = {.bytes = 0}, .dry_run = true};
    g_autoptr(GPtrArray) before = NULL, after = NULL;

    assert_ok(prune(&s->f, &look, &dry, ERR));
    before = names(&s->f, "");
    assert_ok(prune(&s->f, &look, &dry, ERR));
    g_autoptr(GPtrArray) same = names(&s->f, "");
    g_assert_cmpuint(same->len, ==, before->len);
    assert_ok(prune(&s->f, &all, &stats, ERR));
    g_assert_cmpuint(stats.bytes_removed, ==, dry.bytes_removed);
    g_assert_cmpuint(stats.packs_removed, >=, 4);  /* 60 blobs, and their trees */
    g_assert_cmpuint(stats.packs_repacked, >=, 4); /* of 120, every second is used */
    g_assert_cmpuint(stats.bytes_unused, >, (60 + 60) * BLOB);
    g_assert_cmpuint(stats.bytes_unused_left, ==, 0);
    g_assert_cmpuint(stats.snapshots, ==, 2);
    assert_clean(s, &s->f);

    /* Nothing to do: nothing is written. */
    after = names(&s->f, "");
    assert_ok(prune(&s->f, &all, &stats, ERR));
    g_autoptr(GPtrArray) again = names(&s->f, "");
    g_assert_cmpuint(stats.indexes_written + stats.indexes_removed, ==, 0);
    g_assert_cmpuint(again->len, ==, after->len);
}

/* What is tolerated stays, and no more; whole packs go in any case. */
static void test_limit(State *s, const void *unused)
{
    VmsPruneOptions options = {0};
    VmsPruneStats stats;

    assert_ok(vms_prune_limit_parse("30%", &options.max_unused, ERR));
    assert_ok(prune(&s->f, &options, &stats, ERR));
    g_assert_cmpuint(stats.packs_removed, >=, 4);
    g_assert_cmpuint(stats.packs_repacked, >, 0);
    g_assert_cmpuint(stats.bytes_unused_left, >, 0);
    g_assert_cmpfloat((double)stats.bytes_unused_left, <=, 0.43 * (double)stats.bytes_used);
    assert_ok(vms_prune_limit_parse("unlimited", &options.max_unused, ERR));
    assert_ok(prune(&s->f, &options, &stats, ERR));
    g_assert_cmpuint(stats.packs_repacked + stats.packs_removed, ==, 0);
    assert_kept(s, &s->f);
    g_assert_false(vms_prune_limit_parse("101%", &options.max_unused, NULL));
    g_assert_false(vms_prune_limit_parse("many", &options.max_unused, NULL));
    g_assert_false(vms_prune_limit_parse("-1%", &options.max_unused, NULL));
}

/* Two that store the same at once, and an index that lists a pack twice. */
static void test_duplicates(State *s, const void *unused)
{
    g_autoptr(VmsRepo) blind = open_again(&s->f, NULL);
    g_autoptr(GArray) indexes = NULL;
    VmsPruneStats stats;
    VmsId id;

    assert_ok((indexes = vms_object_list(s->f.store, "index", NULL, ERR)) != NULL);
    g_autoptr(GBytes) text = NULL;
    assert_ok((text = vms_object_load(s->f.repo, "index",
                                      &g_array_index(indexes, VmsObjectEntry, 0).id, NULL, ERR)));
    assert_ok(vms_object_save(s->f.repo, "index", g_bytes_get_data(text, NULL),
                              g_bytes_get_size(text), &id, NULL, NULL, ERR));
    for (uint32_t i = 500; i < 520; i++) {
        g_autofree uint8_t *data = noise(BLOB, i);
        g_autoptr(VmsRepoWriter) writer = NULL;

        assert_ok((writer = vms_repo_writer_new(blind, NULL, NULL, ERR)) != NULL);
        assert_ok(vms_repo_writer_add(writer, VMS_BLOB_DATA, data, BLOB, &id, ERR));
        assert_ok(vms_repo_writer_flush(writer, ERR));
    }
    assert_ok(prune(&s->f, &all, &stats, ERR));
    g_assert_cmpuint(stats.bytes_unused, >=, (60 + 60 + 20) * BLOB);
    assert_clean(s, &s->f);
}

/* Killed before any change: the repository is right as it is, and the next run finishes. */
static void test_crash(State *s, const void *unused)
{
    unsigned steps = 0;

    for (unsigned at = 1; at == 1 || at <= steps + 1; at++) {
        g_autoptr(GError) error = NULL;
        VmsPruneStats stats;
        Copy copy = {0};

        copy_repository(&s->f, &copy);
        copy.store->stop_at = at;
        bool ok = prune(&copy.f, &all, &stats, &error);
        g_assert_cmpint(ok, ==, !copy.store->dead);
        if (!ok)
            steps = at;
        copy.store->stop_at = 0;
        copy.store->dead = false;
        assert_kept(s, &copy.f);
        assert_index(&copy.f);
        bool began = copy.store->removals > 0;
        assert_ok(prune(&copy.f, &all, &stats, ERR));
        if (began) /* what was on the way out need not wait */
            g_assert_cmpuint(stats.packs_unindexed, ==, 0);
        if (stats.packs_unindexed > 0) { /* a new pack that got no index */
            VmsPruneOptions later = all;
            later.unindexed_age_us = -1;
            assert_ok(prune(&copy.f, &later, &stats, ERR));
        }
        assert_clean(s, &copy.f);
        free_copy(&copy);
        if (ok)
            break;
    }
    g_assert_cmpuint(steps, >=, 12);
}

typedef struct {
    Copy *copy;
    VmsRepo *repo; /* that of somebody else: it has synced before */
    VmsId snapshot;
    bool done;
} Intruder;

/* Takes for stored what prune is about to delete. */
static void intrude(void *user)
{
    Intruder *intruder = user;
    g_autoptr(VmsTreeBuilder) root = vms_tree_builder_new(0);
    Fixture beside = {.store = intruder->copy->store->inner, .key = intruder->copy->f.key};

    intruder->done = true;
    intruder->snapshot = add_snapshot_as(&beside, intruder->repo, gone);
}

/* Somebody who ignores the lock finishes a snapshot of blobs that prune is about to delete. Until
 * the first pack is deleted, he is noticed and loses nothing. */
static void test_intruder(State *s, const void *unused)
{
    unsigned refused = 0;

    for (unsigned at = 1;; at++) {
        g_autoptr(GError) error = NULL;
        VmsPruneStats stats;
        Copy copy = {0};

        copy_repository(&s->f, &copy);
        Fixture beside = {.store = copy.store->inner, .key = copy.f.key};
        g_autoptr(VmsRepo) other = open_again(&beside, NULL);
        Intruder intruder = {&copy, other, {{0}}, false};
        assert_ok(vms_repo_sync_index(other, NULL, ERR));
        copy.store->stop_at = at;
        copy.store->call = intrude;
        copy.store->user = &intruder;
        bool ok = prune(&copy.f, &all, &stats, &error);
        assert_kept(s, &copy.f);
        assert_index(&copy.f);
        g_assert_true(intruder.done);
        bool too_late = copy.store->first_pack > 0 && copy.store->first_pack <= at;
        if (!too_late) {
            g_assert_false(ok);
            g_assert_error(error, VMS_ERROR, VMS_ERROR_LOCKED);
            g_assert_cmpuint(copy.store->first_pack, ==, 0);
            g_assert_true(is_whole(&copy.f, &intruder.snapshot, gone));
            refused++;
        }
        free_copy(&copy);
        if (too_late)
            break;
    }
    g_assert_cmpuint(refused, ==, 5); /* pack, its index, a new index; two old ones go */
}

/* A pack on its way: no index lists it yet. */
static void test_unindexed(State *s, const void *unused)
{
    g_autoptr(GBytes) bytes = g_bytes_new_static("a pack to be", 12);
    VmsPruneOptions options = all;
    VmsPruneStats stats;
    bool exists = false;
    VmsId id;
    Copy copy = {0};

    copy_repository(&s->f, &copy);
    vms_hash("a pack to be", 12, id.bytes);
    g_autofree char *name = vms_object_pack_name(&id);
    assert_ok(vms_store_put(copy.f.store, name, bytes, true, NULL, ERR));
    for (int i = 0; i < 2; i++) {
        assert_ok(prune(&copy.f, &options, &stats, ERR));
        g_assert_cmpuint(stats.packs_unindexed, ==, 1);
        g_assert_cmpuint(size_of(&copy.f, name), ==, 12);
    }
    options.unindexed_age_us = 1; /* it was seen by an earlier run, longer ago than that */
    assert_ok(prune(&copy.f, &options, &stats, ERR));
    g_assert_cmpuint(stats.packs_removed, ==, 1);
    assert_ok(vms_store_has(copy.f.store, name, &exists, NULL, NULL, ERR));
    g_assert_false(exists);
    assert_clean(s, &copy.f);
    free_copy(&copy);
}

static void largest(Fixture *f, const char *prefix, char **ret_name)
{
    g_autoptr(GPtrArray) list = names(f, prefix);
    size_t best = 0;

    for (guint i = 0; i < list->len; i++) {
        size_t size = size_of(f, list->pdata[i]);

        if (size > best) {
            g_free(*ret_name);
            *ret_name = g_strdup(list->pdata[i]);
        }
        best = MAX(best, size);
    }
}

/* Removes name, cuts it or changes a byte of it; then nothing may be deleted. */
static void assert_refused(State *s, Fixture *f, const char *name, const char *how)
{
    g_autoptr(GError) error = NULL;
    VmsPruneStats stats;

    if (strcmp(how, "missing") == 0) {
        assert_ok(vms_store_remove(f->store, name, NULL, ERR));
    } else if (strcmp(how, "flipped") == 0) {
        flip(f, name, 100, 1);
    } else {
        g_autoptr(GBytes) part = NULL;

        assert_ok((part = vms_store_get(f->store, name, 0, size_of(f, name) - 1, NULL, ERR)));
        assert_ok(vms_store_put(f->store, name, part, false, NULL, ERR));
    }
    g_autoptr(GPtrArray) before = names(f, "");
    g_assert_false(prune(f, &all, &stats, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
    g_test_message("%s %s: %s", name, how, error->message);
    g_assert_nonnull(strstr(error->message, strrchr(name, '/') + 1));
    for (guint i = 0; i < before->len; i++)
        g_assert_cmpuint(size_of(f, before->pdata[i]), >, 0);
}

static void test_refused(State *s, const void *unused)
{
    static const struct {
        const char *prefix, *how;
    } cases[] = {{"data/", "missing"}, {"data/", "cut"},          {"index/", "flipped"},
                 {"index/", "cut"},    {"snapshots/", "flipped"}, {"snapshots/", "cut"}};

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        Copy copy = {0};
        char *name = NULL;

        copy_repository(&s->f, &copy);
        /* All that is left to be damaged is in use. */
        if (strcmp(cases[i].how, "flipped") != 0)
            assert_ok(prune(&copy.f, &all, &(VmsPruneStats){0}, ERR));
        largest(&copy.f, cases[i].prefix, &name);
        assert_refused(s, &copy.f, name, cases[i].how);
        g_free(name);
        free_copy(&copy);
    }
}

/* Damage is not copied into a new pack. */
static void test_damaged_pack(State *s, const void *unused)
{
    g_autoptr(GPtrArray) before = names(&s->f, "");
    g_autoptr(GError) error = NULL;
    VmsPruneStats stats;

    for (guint i = 0; i < before->len; i++) /* the first blob of every pack of data */
        if (g_str_has_prefix(before->pdata[i], "data/") &&
            size_of(&s->f, before->pdata[i]) > 3 * BLOB)
            flip(&s->f, before->pdata[i], 100, 1);
    g_assert_false(prune(&s->f, &all, &stats, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
    g_assert_nonnull(strstr(error->message, "data/"));
    g_assert_nonnull(strstr(error->message, "blob "));
    for (guint i = 0; i < before->len; i++)
        g_assert_cmpuint(size_of(&s->f, before->pdata[i]), >, 0);
}

/* Without the index of what a snapshot needs, nothing is deleted. */
static void test_lost_index(State *s, const void *unused)
{
    g_autoptr(GPtrArray) indexes = names(&s->f, "index/");
    unsigned refused = 0;

    for (guint i = 0; i < indexes->len; i++) {
        g_autoptr(GError) error = NULL;
        VmsPruneStats stats;
        Copy copy = {0};

        copy_repository(&s->f, &copy);
        assert_ok(vms_store_remove(copy.f.store, indexes->pdata[i], NULL, ERR));
        g_autoptr(GPtrArray) before = names(&copy.f, "data/");
        if (!prune(&copy.f, &all, &stats, &error)) {
            g_autoptr(GPtrArray) after = names(&copy.f, "data/");

            refused++;
            g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
            g_assert_cmpuint(after->len, ==, before->len);
        }
        free_copy(&copy);
    }
    g_assert_cmpuint(refused, ==, 2); /* of 3; the one of Gone nobody needs */
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*test)(State *, const void *);
    } tests[] = {
        {"/prune/prune", test_prune},
        {"/prune/limit", test_limit},
        {"/prune/duplicates", test_duplicates},
        {"/prune/crash", test_crash},
        {"/prune/intruder", test_intruder},
        {"/prune/unindexed", test_unindexed},
        {"/prune/refused", test_refused},
        {"/prune/lost-index", test_lost_index},
        {"/prune/damaged-pack", test_damaged_pack},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, State, NULL, set_up_state, tests[i].test, tear_down_state);
    return g_test_run();
}
