/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Locks and snapshot files. */
#include "repo-fixture.h"

#include "repo/lock-file.h"
#include "repo/lock.h"
#include "repo/snapshot.h"

static VmsRepoLock *lock(VmsRepo *repo, bool exclusive)
{
    VmsRepoLock *held;

    assert_ok((held = vms_repo_lock(repo, exclusive, NULL, ERR)) != NULL);
    return held;
}

static void assert_locked(VmsRepo *repo, bool exclusive, const char *part)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(vms_repo_lock(repo, exclusive, NULL, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_LOCKED);
    g_assert_nonnull(strstr(error->message, part));
}

static guint count_locks(Fixture *f)
{
    g_autoptr(GPtrArray) locks = names(f, "locks/");

    return locks->len;
}

static void test_conflicts(Fixture *f, const void *unused)
{
    g_autofree char *pid = g_strdup_printf("process %d of", (int)getpid());
    VmsRepoLock *first = lock(f->repo, false);
    VmsRepoLock *second = lock(f->repo, false);

    assert_ok(vms_repo_lock_check(first, ERR));
    assert_locked(f->repo, true, pid);
    g_assert_cmpuint(count_locks(f), ==, 2); /* who was refused leaves nothing */
    vms_repo_lock_free(first);
    vms_repo_lock_free(second);
    g_assert_cmpuint(count_locks(f), ==, 0);
    first = lock(f->repo, true);
    assert_locked(f->repo, false, "exclusively");
    assert_locked(f->repo, true, "exclusively");
    vms_repo_lock_free(first);
    vms_repo_lock_free(lock(f->repo, false));
}

static void put_lock(Fixture *f, const VmsLockFile *file)
{
    g_autofree char *text = vms_lock_file_build(file);
    VmsId id;

    assert_ok(vms_object_save(f->repo, "locks", text, strlen(text), &id, NULL, NULL, ERR));
}

/* A lock of a dead process here, or of anybody half an hour ago, is nobody's. */
static void test_stale(Fixture *f, const void *unused)
{
    g_autoptr(VmsLockFile) file = vms_lock_file_new(true);

    file->pid = 4194304 + 1; /* beyond the kernel's highest */
    put_lock(f, file);
    vms_repo_lock_free(lock(f->repo, true));
    g_assert_cmpuint(count_locks(f), ==, 0);

    g_free(file->hostname);
    file->hostname = g_strdup("elsewhere");
    put_lock(f, file);
    assert_locked(f->repo, false, "on elsewhere");
    file->time_us -= 29 * 60 * G_USEC_PER_SEC;
    put_lock(f, file);
    assert_locked(f->repo, false, "elsewhere");
    g_autoptr(GPtrArray) locks = names(f, "locks/");
    for (guint i = 0; i < locks->len; i++)
        assert_ok(vms_store_remove(f->store, g_ptr_array_index(locks, i), NULL, ERR));
    file->time_us -= 2 * 60 * G_USEC_PER_SEC;
    put_lock(f, file);
    vms_repo_lock_free(lock(f->repo, true));
    g_assert_cmpuint(count_locks(f), ==, 0);
}

static void put_raw(Fixture *f, const char *name, const char *text)
{
    g_autoptr(GBytes) bytes = g_bytes_new(text, strlen(text));

    assert_ok(vms_store_put(f->store, name, bytes, false, NULL, ERR));
}

static void test_unreadable(Fixture *f, const void *unused)
{
    static const char name[] =
        "locks/00000000000000000000000000000000000000000000000000000000000000aa";

    put_raw(f, name, "");
    vms_repo_lock_free(lock(f->repo, true)); /* a torn upload */
    put_raw(f, name, "not a lock");
    assert_locked(f->repo, false, name);
}

/* `restic unlock --remove-all` while we work: noticed before the commit point. */
static void test_removed(Fixture *f, const void *unused)
{
    VmsRepoLock *held = lock(f->repo, false);
    g_autoptr(GPtrArray) locks = names(f, "locks/");
    g_autoptr(GError) error = NULL;

    assert_ok(vms_store_remove(f->store, g_ptr_array_index(locks, 0), NULL, ERR));
    g_assert_false(vms_repo_lock_check(held, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_LOCKED);
    vms_repo_lock_free(held);
}

/* Who comes in beside an exclusive lock is noticed before the commit point; beside a shared one he
 * may. */
static void test_came_in(Fixture *f, const void *unused)
{
    g_autoptr(VmsLockFile) file = vms_lock_file_new(false);
    VmsRepoLock *held = lock(f->repo, true);
    g_autoptr(GError) error = NULL;

    assert_ok(vms_repo_lock_check(held, ERR));
    put_lock(f, file);
    g_assert_false(vms_repo_lock_check(held, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_LOCKED);
    vms_repo_lock_free(held);
    held = lock(f->repo, false);
    assert_ok(vms_repo_lock_check(held, ERR));
    vms_repo_lock_free(held);
}

/* Two that come at once: never both, and nothing is left behind. */
static void *try_exclusive(void *user)
{
    VmsRepoLock *held = vms_repo_lock(user, true, NULL, NULL);

    return held;
}

static void test_race(Fixture *f, const void *unused)
{
    GThread *threads[6];
    unsigned winners = 0;
    VmsRepoLock *won = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("lock", try_exclusive, f->repo);
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++) {
        VmsRepoLock *held = g_thread_join(threads[i]);

        winners += held != NULL;
        won = held != NULL ? held : won;
    }
    g_assert_cmpuint(winners, <=, 1);
    g_assert_cmpuint(count_locks(f), ==, winners);
    vms_repo_lock_free(won);
}

/* Somebody who locks between the first look and the lock's file. */
typedef struct {
    VmsStoreOps ops;
    const VmsStoreOps *real;
    const char *name;
    GBytes *bytes;
} Between;

static Between between;

static bool put_between(VmsStore *store, const char *name, GBytes *data, bool only_new,
                        GCancellable *cancellable, GError **error)
{
    return between.real->put(store, between.name, between.bytes, false, NULL, error) &&
           between.real->put(store, name, data, only_new, cancellable, error);
}

/* He has not seen us, prunes, and may be gone before we look for the last time: nothing is read
 * beside him. */
static void test_between(Fixture *f, const void *unused)
{
    g_autoptr(VmsLockFile) file = vms_lock_file_new(true);
    g_autoptr(GError) error = NULL;

    put_lock(f, file);
    g_autoptr(GPtrArray) theirs = names(f, "locks/");
    const char *name = g_ptr_array_index(theirs, 0);
    g_autoptr(GBytes) bytes = NULL;
    assert_ok((bytes = vms_store_get(f->store, name, 0, UINT64_MAX, NULL, ERR)) != NULL);
    assert_ok(vms_store_remove(f->store, name, NULL, ERR));
    between = (Between){*f->store->ops, f->store->ops, name, bytes};
    between.ops.put = put_between;
    f->store->ops = &between.ops;
    g_assert_null(vms_repo_lock_begin(f->repo, false, NULL, &error));
    f->store->ops = between.real;
    g_assert_error(error, VMS_ERROR, VMS_ERROR_LOCKED);
    g_autoptr(GPtrArray) left = names(f, "locks/");
    g_assert_cmpuint(left->len, ==, 1); /* his */
    g_assert_cmpstr(g_ptr_array_index(left, 0), ==, name);
}

/* Who comes in while a lock settles: a writer that was given it puts nothing. */
static void test_begun(Fixture *f, const void *unused)
{
    g_autoptr(VmsLockFile) file = vms_lock_file_new(true);
    g_autoptr(VmsRepoLock) held = NULL;
    g_autoptr(GError) error = NULL;
    VmsId id;

    assert_ok((held = vms_repo_lock_begin(f->repo, false, NULL, ERR)) != NULL);
    g_assert_cmpuint(count_locks(f), ==, 1);
    put_lock(f, file);
    VmsRepoWriterOptions options = {.lock = held};
    VmsRepoWriter *writer = new_writer(f, &options);
    assert_ok(vms_repo_writer_add(writer, VMS_BLOB_DATA, "data", 4, &id, ERR));
    g_assert_false(vms_repo_writer_flush(writer, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_LOCKED);
    vms_repo_writer_free(writer);
    g_clear_error(&error);
    g_assert_false(vms_repo_lock_check(held, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_LOCKED);
    g_autoptr(GPtrArray) packs = names(f, "data/"), indexes = names(f, "index/");
    g_assert_cmpuint(packs->len + indexes->len, ==, 0);
}

/* Nobody came: the same goes on. */
static void test_settled(Fixture *f, const void *unused)
{
    g_autoptr(VmsRepoLock) held = NULL;

    assert_ok((held = vms_repo_lock_begin(f->repo, false, NULL, ERR)) != NULL);
    VmsRepoWriterOptions options = {.lock = held};
    g_autoptr(VmsRepoWriter) writer = new_writer(f, &options);
    VmsId id;

    assert_ok(vms_repo_writer_add(writer, VMS_BLOB_DATA, "data", 4, &id, ERR));
    assert_ok(vms_repo_writer_flush(writer, ERR));
    assert_ok(vms_repo_lock_settle(held, NULL, ERR));
    assert_ok(vms_repo_lock_check(held, ERR));
    assert_blob(f->repo, VMS_BLOB_DATA, &id, "data", 4);
}

static VmsId save_snapshot(Fixture *f, const char *path, int64_t time_us)
{
    char *paths[] = {(char *)path, NULL}, *tags[] = {"vmsnap", "domain=web01", "uuid=", NULL};
    VmsRepoSnapshot snapshot = {.time_us = time_us,
                                .tree = {{7}},
                                .paths = paths,
                                .tags = tags,
                                .hostname = "h\303\266st",
                                .username = "root",
                                .program_version = "vmsnap 1",
                                .has_parent = true,
                                .parent = {{9}}};

    assert_ok(vms_repo_snapshot_save(f->repo, &snapshot, NULL, ERR));
    return snapshot.id;
}

static void test_snapshots(Fixture *f, const void *unused)
{
    g_autoptr(GError) error = NULL;
    char hex[VMS_ID_HEX_LEN + 1];

    g_assert_null(vms_repo_snapshot_find(f->repo, "latest", NULL, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_NOT_FOUND);
    g_clear_error(&error);
    VmsId newer = save_snapshot(f, "/new", 1700000000000001);
    VmsId older = save_snapshot(f, "/old", 1600000000000000);
    g_autoptr(GPtrArray) list = NULL;
    assert_ok((list = vms_repo_snapshot_list(f->repo, NULL, ERR)) != NULL);
    g_assert_cmpuint(list->len, ==, 2);
    const VmsRepoSnapshot *first = g_ptr_array_index(list, 0);
    g_assert_true(vms_id_equal(&first->id, &older));
    g_assert_cmpint(first->time_us, ==, 1600000000000000);
    g_assert_cmpstr(first->paths[0], ==, "/old");
    g_assert_cmpstr(first->hostname, ==, "h\303\266st");
    g_assert_cmpstr(first->program_version, ==, "vmsnap 1");
    g_assert_cmpint(first->parent.bytes[0], ==, 9);
    g_assert_cmpint(first->tree.bytes[0], ==, 7);
    g_assert_cmpstr(vms_repo_snapshot_tag(first, "domain"), ==, "web01");
    g_assert_cmpstr(vms_repo_snapshot_tag(first, "uuid"), ==, "");
    g_assert_null(vms_repo_snapshot_tag(first, "vmsnap"));
    g_assert_null(vms_repo_snapshot_tag(first, "dom"));

    g_autoptr(VmsRepoSnapshot) latest = NULL;
    assert_ok((latest = vms_repo_snapshot_find(f->repo, "latest", NULL, ERR)) != NULL);
    g_assert_true(vms_id_equal(&latest->id, &newer));
    vms_id_hex(&older, hex);
    hex[10] = '\0';
    hex[0] = g_ascii_toupper(hex[0]);
    g_autoptr(VmsRepoSnapshot) found = NULL;
    assert_ok((found = vms_repo_snapshot_find(f->repo, hex, NULL, ERR)) != NULL);
    g_assert_true(vms_id_equal(&found->id, &older));
}

static void test_snapshot_names(Fixture *f, const void *unused)
{
    static const char *const invalid[] = {"", "abc", "wxyz", "../../config", "abcd/"};
    g_autoptr(GError) error = NULL;

    put_raw(f, "snapshots/abcd000000000000000000000000000000000000000000000000000000000000", "");
    put_raw(f, "snapshots/abcd100000000000000000000000000000000000000000000000000000000000", "");
    g_assert_null(vms_repo_snapshot_find(f->repo, "abcd", NULL, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, "abcd0000"));
    g_assert_nonnull(strstr(error->message, "abcd1000"));
    g_clear_error(&error);
    g_assert_null(vms_repo_snapshot_find(f->repo, "abcd1", NULL, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
    g_clear_error(&error);
    g_assert_null(vms_repo_snapshot_find(f->repo, "abce", NULL, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_NOT_FOUND);
    for (size_t i = 0; i < G_N_ELEMENTS(invalid); i++) {
        g_clear_error(&error);
        g_assert_null(vms_repo_snapshot_find(f->repo, invalid[i], NULL, &error));
        g_assert_error(error, VMS_ERROR, VMS_ERROR_INVALID);
    }
}

static void test_damaged_snapshot(Fixture *f, const void *unused)
{
    VmsId id = save_snapshot(f, "/web01", 1700000000000001);
    g_autofree char *name = vms_object_name("snapshots", &id);

    for (size_t at = 0; at < size_of(f, name); at++) {
        g_autoptr(GError) error = NULL;

        flip(f, name, at, 2);
        g_assert_null(vms_repo_snapshot_list(f->repo, NULL, &error));
        g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
        g_assert_nonnull(strstr(error->message, name));
        flip(f, name, at, 2);
    }
    g_autoptr(GPtrArray) list = NULL;
    assert_ok((list = vms_repo_snapshot_list(f->repo, NULL, ERR)) != NULL);
}

/* An authentic snapshot under another name: somebody exchanged files. */
static void test_renamed_snapshot(Fixture *f, const void *unused)
{
    VmsId id = save_snapshot(f, "/web01", 1700000000000001);
    g_autofree char *name = vms_object_name("snapshots", &id);
    g_autoptr(GBytes) bytes = NULL;
    g_autoptr(GError) error = NULL;

    assert_ok((bytes = vms_store_get(f->store, name, 0, UINT64_MAX, NULL, ERR)) != NULL);
    id.bytes[5] ^= 1;
    g_autofree char *other = vms_object_name("snapshots", &id);
    assert_ok(vms_store_put(f->store, other, bytes, true, NULL, ERR));
    g_assert_null(vms_repo_snapshot_list(f->repo, NULL, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
    g_assert_nonnull(strstr(error->message, other));
}

#define ADD(name, func) g_test_add("/repo-lock/" name, Fixture, NULL, set_up, func, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("conflicts", test_conflicts);
    ADD("stale", test_stale);
    ADD("unreadable", test_unreadable);
    ADD("removed", test_removed);
    ADD("came-in", test_came_in);
    ADD("between", test_between);
    ADD("begun", test_begun);
    ADD("settled", test_settled);
    ADD("race", test_race);
    ADD("snapshots", test_snapshots);
    ADD("snapshot-names", test_snapshot_names);
    ADD("damaged-snapshot", test_damaged_snapshot);
    ADD("renamed-snapshot", test_renamed_snapshot);
    return g_test_run();
}
