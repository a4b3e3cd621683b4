/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What may happen to the index cache's file: damage, other owners, other processes, no room. */
#include "repo-fixture.h"

#include "base/db.h"
#include "repo/index-file.h"
#include "store/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILES 12
#define PER_FILE 400

typedef struct {
    Fixture f;
    char *folder; /* a repository, so that other processes may open it */
    char *cache, *path;
} Shared;

static VmsId blob_id(uint32_t n)
{
    VmsId id;

    vms_hash(&n, sizeof(n), id.bytes);
    return id;
}

/* Index file number n, of packs that nobody has stored. */
static void save_index(Fixture *f, uint32_t n)
{
    GString *text = vms_index_file_begin();
    VmsId id;

    for (uint32_t i = n * PER_FILE; i < (n + 1) * PER_FILE; i += 20) {
        VmsPackBlob blobs[20];
        VmsId pack = blob_id(~i);

        for (uint32_t at = 0; at < 20; at++)
            blobs[at] =
                (VmsPackBlob){.id = blob_id(i + at), .offset = at * 1000, .length = 33 + at};
        vms_index_file_pack(text, &pack, blobs, 20);
    }
    vms_index_file_end(text);
    assert_ok(vms_object_save(f->repo, "index", text->str, text->len, &id, NULL, NULL, ERR));
    g_string_free(text, TRUE);
}

static void set_up_shared(Shared *s, const void *unused)
{
    VmsStore *store;

    s->folder = g_dir_make_tmp("vmsnap-test-XXXXXX", NULL);
    s->cache = g_dir_make_tmp("vmsnap-test-XXXXXX", NULL);
    assert_ok((store = vms_dir_open(s->folder, false, ERR)) != NULL);
    set_up_on(&s->f, store);
    s->path = g_strdup_printf("%s/index-%s.db", s->cache, vms_repo_id(s->f.repo));
    for (uint32_t n = 0; n < FILES; n++)
        save_index(&s->f, n);
}

static void remove_tree(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *entry = g_build_filename(path, name, NULL);

        if (g_unlink(entry) != 0)
            remove_tree(entry);
    }
    g_rmdir(path);
}

static void tear_down_shared(Shared *s, const void *unused)
{
    tear_down(&s->f, NULL);
    remove_tree(s->folder);
    remove_tree(s->cache);
    g_free(s->folder);
    g_free(s->cache);
    g_free(s->path);
}

static size_t count_known(VmsRepo *repo)
{
    size_t known = 0;

    for (uint32_t n = 0; n < FILES * PER_FILE; n++) {
        VmsId id = blob_id(n);
        uint64_t size = 0;
        bool found = false;

        assert_ok(vms_repo_has_blob(repo, VMS_BLOB_DATA, &id, &found, &size, ERR));
        g_assert_true(!found || size == 1 + n % 20);
        known += found;
    }
    return known;
}

/* Opens the cache as it is and finds everything. */
static void assert_whole(Shared *s)
{
    g_autoptr(VmsRepo) repo = open_again(&s->f, s->cache);

    assert_ok(vms_repo_sync_index(repo, NULL, ERR));
    g_assert_cmpuint(count_known(repo), ==, FILES * PER_FILE);
}

static bool nothing(void *user, const VmsId *pack, const VmsPackBlob *blobs, size_t count,
                    GError **error)
{
    *(size_t *)user += count;
    return true;
}

/* Whatever page is destroyed, and however it is cut off: what is read is right, and an enumeration
 * is whole. */
static void test_damaged(Shared *s, const void *unused)
{
    g_autofree char *whole = NULL;
    g_autofree uint8_t *garbage = noise(4096, 5);
    gsize len = 0;

    assert_whole(s);
    g_assert_true(g_file_get_contents(s->path, &whole, &len, NULL));
    g_assert_cmpuint(len, >, 60 * 4096);
    for (gsize at = 0; at < len; at += 7 * 4096) {
        g_autofree char *changed = g_memdup2(whole, len);
        size_t blobs = 0;

        memcpy(changed + at, garbage, 4096);
        g_assert_true(g_file_set_contents(s->path, changed, (gssize)len, NULL));
        VmsRepo *repo = open_again(&s->f, s->cache);
        assert_ok(vms_repo_sync_index(repo, NULL, ERR));
        assert_ok(vms_index_foreach(repo->index, repo, nothing, &blobs, NULL, ERR));
        g_assert_cmpuint(blobs, ==, FILES * PER_FILE);
        g_assert_cmpuint(count_known(repo), ==, FILES * PER_FILE);
        vms_repo_free(repo);

        g_assert_true(g_file_set_contents(s->path, whole, (gssize)at + 1000, NULL));
        assert_whole(s);
    }
}

static void change(Shared *s, const char *sql)
{
    static const char *const none[] = {"", "", NULL};
    VmsDb *db;

    assert_ok((db = vms_db_open(s->path, false, none, ERR)) != NULL);
    assert_ok(vms_db_exec(db, sql, ERR));
    vms_db_free(db);
}

/* Damage that no page shows: rows that are gone or of other bytes. */
static void test_damaged_rows(Shared *s, const void *unused)
{
    static const char *const changes[] = {
        "DELETE FROM blob",
        "DELETE FROM part WHERE n % 3 = 0",
        "UPDATE part SET body = substr(body, 1, 40) || x'00' || substr(body, 42)",
        "UPDATE part SET body = substr(body, 1, 65) || x'7f' || substr(body, 67)", /* a length */
        "DELETE FROM pack WHERE n = 3",
        "PRAGMA user_version = 99",
        "DROP TABLE link",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(changes); i++) {
        VmsIndexPlace places[VMS_INDEX_MAX_PLACES];
        size_t count = 0, blobs = 0;

        assert_whole(s);
        change(s, changes[i]);
        g_autoptr(VmsRepo) repo = open_again(&s->f, s->cache);
        assert_ok(vms_repo_sync_index(repo, NULL, ERR));
        for (uint32_t n = 0; n < 500; n++) {
            VmsId id = blob_id(n);

            assert_ok(vms_index_locate(repo->index, repo, VMS_BLOB_DATA, &id, places, &count, ERR));
            g_assert_cmpuint(count, ==, 1);
            g_assert_cmpuint(places[0].blob.length, ==, 33 + n % 20);
        }
        assert_ok(vms_index_foreach(repo->index, repo, nothing, &blobs, NULL, ERR));
        g_assert_cmpuint(blobs, ==, FILES * PER_FILE);
        g_assert_cmpuint(count_known(repo), ==, FILES * PER_FILE);
    }
}

/* The cache of another repository under this one's name. */
static void test_foreign(Shared *s, const void *unused)
{
    g_autofree char *contents = NULL;
    Shared other = {0};
    gsize len = 0;
    VmsId id = blob_id(FILES * PER_FILE + 1);
    bool found = true;

    set_up_shared(&other, NULL);
    save_index(&other.f, FILES); /* something that this repository does not have */
    assert_whole(&other);
    g_assert_true(g_file_get_contents(other.path, &contents, &len, NULL));
    g_assert_true(g_file_set_contents(s->path, contents, (gssize)len, NULL));
    tear_down_shared(&other, NULL);
    g_autoptr(VmsRepo) repo = open_again(&s->f, s->cache);
    assert_ok(vms_repo_sync_index(repo, NULL, ERR));
    g_assert_cmpuint(count_known(repo), ==, FILES * PER_FILE);
    assert_ok(vms_repo_has_blob(repo, VMS_BLOB_DATA, &id, &found, NULL, ERR));
    g_assert_false(found);
}

/* Removed while it is open, by an operator or by a process that found it damaged. */
static void test_removed(Shared *s, const void *unused)
{
    g_autofree char *wal = g_strconcat(s->path, "-wal", NULL);
    g_autofree char *shm = g_strconcat(s->path, "-shm", NULL);
    VmsRepo *first = open_again(&s->f, s->cache);

    assert_ok(vms_repo_sync_index(first, NULL, ERR));
    g_unlink(s->path);
    g_unlink(wal);
    g_unlink(shm);
    VmsRepo *second = open_again(&s->f, s->cache);
    assert_ok(vms_repo_sync_index(second, NULL, ERR));
    add_blob(&(Fixture){.store = s->f.store, .key = s->f.key, .repo = first}, "x", 1);
    vms_repo_free(first); /* takes nothing of the second's away */
    g_assert_true(g_file_test(wal, G_FILE_TEST_EXISTS));
    g_assert_cmpuint(count_known(second), ==, FILES * PER_FILE);
    assert_whole(s);
    vms_repo_free(second);
    assert_whole(s);
}

/* A store that ends the process, or waits for the word, at the nth index file that is read. */
typedef struct {
    VmsStore base;
    VmsStore *inner;
    gint left;
} KillStore;

static GBytes *kill_get(VmsStore *store, const char *name, uint64_t offset, uint64_t length,
                        GCancellable *cancellable, GError **error)
{
    KillStore *self = (KillStore *)store;

    if (g_str_has_prefix(name, "index/") && g_atomic_int_dec_and_test(&self->left))
        raise(SIGKILL);
    return vms_store_get(self->inner, name, offset, length, cancellable, error);
}

static bool kill_list(VmsStore *store, const char *prefix, VmsStoreListFunc func, void *user,
                      GCancellable *cancellable, GError **error)
{
    return vms_store_list(((KillStore *)store)->inner, prefix, func, user, cancellable, error);
}

/* In a child: opens and fills the cache, and dies when it reads the nth index file; 0: never. */
static pid_t fill_in_child(Shared *s, int nth)
{
    static const VmsStoreOps ops = {.get = kill_get, .list = kill_list};
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    KillStore store = {
        .base = {.ops = &ops, .location = (char *)"kill"}, .inner = s->f.store, .left = nth};
    VmsRepo *repo = vms_repo_open_with_key(&store.base, g_memdup2(s->f.key, sizeof(*s->f.key)),
                                           s->cache, NULL, NULL);
    if (repo == NULL || !vms_repo_sync_index(repo, NULL, NULL) ||
        count_known(repo) != FILES * PER_FILE)
        _exit(1);
    vms_repo_free(repo);
    _exit(0);
}

static int status_of(pid_t pid)
{
    int status = -1;

    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    return status;
}

static void test_killed(Shared *s, const void *unused)
{
    for (int nth = 1; nth <= FILES; nth += 4) {
        int status = status_of(fill_in_child(s, nth));

        g_assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        assert_whole(s);
        remove_tree(s->cache);
    }
}

/* Several processes fill it, and add to it, at once; some of them are killed. */
static void test_together(Shared *s, const void *unused)
{
    pid_t pids[6];

    for (size_t i = 0; i < G_N_ELEMENTS(pids); i++)
        pids[i] = fill_in_child(s, i % 3 == 2 ? 5 : 0);
    for (size_t i = 0; i < G_N_ELEMENTS(pids); i++) {
        int status = status_of(pids[i]);

        g_assert_true(i % 3 == 2 ? status != 256 : status == 0);
    }
    assert_whole(s);
}

static bool is_empty(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);

    return dir != NULL && g_dir_read_name(dir) == NULL;
}

/* In a child with a file system of its own for the cache: 0 if all was right. */
static int fill_without_room(Shared *s)
{
    g_autoptr(GError) error = NULL;

    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", s->cache, "tmpfs", 0, "size=320k") != 0)
        return 77;
    g_autofree char *spare = g_build_filename(s->cache, "spare", NULL);
    g_autoptr(VmsRepo) repo = open_again(&s->f, s->cache);
    g_setenv("TMPDIR", spare, TRUE); /* is not there: no room in two places */
    if (vms_repo_sync_index(repo, NULL, &error) || !vms_error_is(error, VMS_ERROR_NO_SPACE) ||
        strstr(error->message, s->path) == NULL || strstr(error->message, "[paths] cache") == NULL)
        return 2;
    if (g_mkdir(spare, 0700) != 0 || mount("none", spare, "tmpfs", 0, "size=16m") != 0)
        return 3;
    if (!vms_repo_sync_index(repo, NULL, NULL) || !vms_repo_sync_index(repo, NULL, NULL))
        return 4;
    if (count_known(repo) != FILES * PER_FILE || is_empty(spare))
        return 5;
    g_clear_pointer(&repo, vms_repo_free);
    return is_empty(spare) ? 0 : 6;
}

/* The disk is full: a temporary cache does for this run, and goes with it. Where there is no room
 * for that either it is said, with what to do. */
static void test_no_room(Shared *s, const void *unused)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(fill_without_room(s));
    int status = status_of(pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        g_test_skip("needs root, for a file system of its own");
    else
        g_assert_cmpint(status, ==, 0);
}

#define ADD(name, func)                                                                            \
    g_test_add("/index-cache/" name, Shared, NULL, set_up_shared, func, tear_down_shared)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("damaged", test_damaged);
    ADD("damaged-rows", test_damaged_rows);
    ADD("foreign", test_foreign);
    ADD("removed", test_removed);
    ADD("killed", test_killed);
    ADD("together", test_together);
    ADD("no-room", test_no_room);
    return g_test_run();
}
