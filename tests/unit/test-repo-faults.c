/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A repository on a store of which every single request fails once, is done without an answer, or
 * gives damaged bytes: what is said, what is left, and that the same once more succeeds. */
#include "prune-fixture.h"

#include "store/fault.h"
#include "store/retry.h"

static const Range before = {0, 30, 1}, fresh = {20, 80, 1};

static const VmsFault none = {.mode = VMS_FAULT_REFUSE};

/* A repository with one snapshot on a store with faults; wrapped: and retry around it. */
typedef struct {
    Fixture f;
    VmsStore *fault;
    VmsId id; /* of before */
} Faulty;

static void set_up_faulty(Faulty *faulty, bool wrapped)
{
    static const VmsRetryOptions options = {.first_delay_ms = 1, .max_tries = 3};
    faulty->fault = vms_fault_new(vms_mem_new());
    set_up_on(&faulty->f, wrapped ? vms_retry_new(faulty->fault, &options) : faulty->fault);
    faulty->id = add_snapshot_as(&faulty->f, faulty->f.repo, before);
}

static bool add_blobs(VmsRepoWriter *writer, Range range, VmsContent *content, GError **error)
{
    VmsId id;
    for (uint32_t at = range.first; at < range.end; at++) {
        g_autofree uint8_t *data = noise(BLOB, at);
        if (!vms_repo_writer_add(writer, VMS_BLOB_DATA, data, BLOB, &id, error) ||
            !vms_content_set(content, at - range.first, &id, error))
            return false;
    }
    return true;
}

static bool add_trees(VmsRepoWriter *writer, Range range, VmsContent *content, VmsId *ret_root,
                      GError **error)
{
    g_autoptr(VmsTreeBuilder) root = vms_tree_builder_new(0), dir = vms_tree_builder_new(0);
    VmsId id;
    vms_tree_builder_add_file(dir, "disk.raw", (uint64_t)(range.end - range.first) * BLOB, content);
    if (!vms_tree_builder_save(dir, writer, &id, error))
        return false;
    vms_tree_builder_add_dir(root, "web01", &id);
    return vms_tree_builder_save(root, writer, ret_root, error);
}

/* A whole run of its own, as a process makes it. */
static bool backup(Fixture *f, Range range, GError **error)
{
    VmsRepoWriterOptions options = {.pack_size = 1 << 20, .uploads = 2};
    char *paths[] = {"/web01", NULL}, *tags[] = {"vmsnap", NULL};
    VmsRepoSnapshot snapshot = {.time_us = g_get_real_time(), .paths = paths, .tags = tags};
    g_autoptr(VmsContent) content = vms_content_new(range.end - range.first, error);
    g_autoptr(VmsRepo) repo =
        vms_repo_open_with_key(f->store, g_memdup2(f->key, sizeof *f->key), NULL, NULL, error);
    if (!content || !repo || !vms_repo_sync_index(repo, NULL, error))
        return false;
    g_autoptr(VmsRepoWriter) writer = vms_repo_writer_new(repo, &options, NULL, error);
    return writer && add_blobs(writer, range, content, error) &&
           add_trees(writer, range, content, &snapshot.tree, error) &&
           vms_repo_writer_flush(writer, error) &&
           vms_repo_snapshot_save(repo, &snapshot, NULL, error);
}

/* Every snapshot in the repository is whole. Returns how many there are. */
static unsigned check_all(Faulty *faulty)
{
    g_autoptr(GPtrArray) list = names(&faulty->f, "snapshots/");
    for (unsigned i = 0; i < list->len; i++) {
        VmsId id;
        assert_ok(vms_id_parse(strrchr(list->pdata[i], '/') + 1, &id, ERR));
        bool is_first = vms_id_equal(&id, &faulty->id);
        g_assert_true(is_whole(&faulty->f, &id, is_first ? before : fresh));
    }
    return list->len;
}

static void assert_told(const GError *error, VmsErrorCode code, const char *word)
{
    g_assert_error(error, VMS_ERROR, (int)code);
    g_assert_nonnull(strstr(error->message, word));
}

/* One more request each time, until there is none left that could fail. */
static void test_backup(gconstpointer mode)
{
    bool over = false;
    for (unsigned at = 1; !over; at++) {
        Faulty faulty;
        g_autoptr(GError) error = NULL;
        set_up_faulty(&faulty, false);
        VmsFault fault = {GPOINTER_TO_INT(mode), VMS_FAULT_ANY, NULL, at, 1, VMS_ERROR_NO_SPACE};
        vms_fault_set(faulty.fault, &fault);
        bool ok = backup(&faulty.f, fresh, &error);
        over = vms_fault_calls(faulty.fault) < at;
        vms_fault_set(faulty.fault, &none);
        g_assert_true(ok == over);
        if (!ok)
            assert_told(error, VMS_ERROR_NO_SPACE, "memory: ");
        unsigned left = check_all(&faulty);
        g_assert_cmpuint(left, >=, ok ? 2 : 1);
        if (!ok)
            assert_ok(backup(&faulty.f, fresh, ERR));
        g_assert_cmpuint(check_all(&faulty), ==, left + !ok);
        tear_down(&faulty.f, NULL);
        g_assert_cmpuint(at, <, 100);
        g_assert_true(!over || at > 8); /* so many requests does it take at least */
    }
}

/* The same with retry in between: nobody notices, and nothing is there twice. */
static void test_retried(gconstpointer mode)
{
    bool over = false;
    for (unsigned at = 1; !over; at++) {
        Faulty faulty;
        set_up_faulty(&faulty, true);
        VmsFault fault = {GPOINTER_TO_INT(mode), VMS_FAULT_ANY, NULL, at, 1, VMS_ERROR_TRANSIENT};
        vms_fault_set(faulty.fault, &fault);
        assert_ok(backup(&faulty.f, fresh, ERR));
        over = vms_fault_calls(faulty.fault) < at;
        vms_fault_set(faulty.fault, &none);
        g_assert_cmpuint(check_all(&faulty), ==, 2);
        tear_down(&faulty.f, NULL);
    }
}

static bool read_back(Faulty *faulty, GError **error)
{
    g_autoptr(VmsRepo) repo = vms_repo_open_with_key(
        faulty->f.store, g_memdup2(faulty->f.key, sizeof *faulty->f.key), NULL, NULL, error);
    if (!repo || !vms_repo_sync_index(repo, NULL, error))
        return false;
    g_autoptr(VmsRepoSnapshot) snapshot = vms_repo_snapshot_find(repo, "latest", NULL, error);
    g_autoptr(VmsTree) tree = NULL;
    VmsNode *node = NULL;
    if (!snapshot ||
        !vms_tree_lookup(repo, &snapshot->tree, "/web01/disk.raw", &tree, &node, NULL, error))
        return false;
    for (uint32_t at = before.first; at < before.end; at++) {
        VmsId id;
        assert_ok(vms_content_get(node->content, at, &id, ERR));
        g_autofree uint8_t *data = noise(BLOB, at);
        g_autoptr(GBytes) bytes = vms_repo_read_blob(repo, VMS_BLOB_DATA, &id, NULL, error);
        if (!bytes)
            return false;
        g_assert_cmpmem(data, BLOB, g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes));
    }
    return true;
}

static void assert_named(const GError *error)
{
    static const char *const kinds[] = {"config", "index/", "snapshots/", "data/"};
    bool named = false;
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++)
        named |= strstr(error->message, kinds[i]) != NULL;
    g_test_message("%s", error->message);
    g_assert_true(named);
}

/* Damaged bytes are never given out, whatever they belong to, and the object is named; what is
 * damaged only on its way, that is once, and is no config, is read again. */
static void test_read(gconstpointer mode)
{
    Faulty faulty;
    set_up_faulty(&faulty, false);
    for (unsigned times = 1; times <= 2; times++) {
        bool over = false;
        for (unsigned at = 1; !over; at++) {
            g_autoptr(GError) error = NULL;
            VmsFault fault = {GPOINTER_TO_INT(mode), VMS_FAULT_GET, NULL, at, times,
                              VMS_ERROR_FAILED};
            vms_fault_set(faulty.fault, &fault);
            bool ok = read_back(&faulty, &error), damages = fault.mode != VMS_FAULT_REFUSE;
            over = vms_fault_calls(faulty.fault) < at;
            bool mended = damages && times == 1 && at > 1;
            g_assert_true(ok == (over || mended));
            if (ok)
                continue;
            assert_named(error);
            assert_told(error, damages ? VMS_ERROR_CORRUPT : VMS_ERROR_FAILED, "");
        }
    }
    vms_fault_set(faulty.fault, &none);
    assert_ok(read_back(&faulty, ERR));
    tear_down(&faulty.f, NULL);
}

/* Changes that fail, or whose answer gets lost: what is kept stays whole, and the next run ends it.
 */
static void test_prune(gconstpointer mode)
{
    static const VmsPruneOptions all = {.max_unused = {.bytes = 0}};
    unsigned passed = 0; /* turns without a fault, one after the other */
    for (unsigned at = 1; passed < 2; at++) {
        Faulty faulty;
        g_autoptr(GError) error = NULL;
        VmsPruneStats stats;
        set_up_faulty(&faulty, false);
        assert_ok(backup(&faulty.f, fresh, ERR));
        g_autofree char *old = vms_object_name("snapshots", &faulty.id);
        assert_ok(vms_store_remove(faulty.f.store, old, NULL, ERR));
        bool index = at % 2 == 0; /* packs and index files in turns: their numbers differ */
        VmsFault fault = {.mode = GPOINTER_TO_INT(mode),
                          .kinds = VMS_FAULT_PUT | VMS_FAULT_REMOVE,
                          .prefix = index ? "index/" : "data/",
                          .at = (at + 1) / 2,
                          .times = 1,
                          .code = VMS_ERROR_FAILED};
        assert_ok(vms_repo_sync_index(faulty.f.repo, NULL, ERR));
        vms_fault_set(faulty.fault, &fault);
        bool ok = prune(&faulty.f, &all, &stats, &error);
        passed = vms_fault_calls(faulty.fault) < fault.at ? passed + 1 : 0;
        vms_fault_set(faulty.fault, &none);
        g_assert_true(ok == (passed > 0));
        if (!ok)
            assert_told(error, VMS_ERROR_FAILED, index ? "index/" : "data/");
        g_assert_cmpuint(check_all(&faulty), ==, 1);
        assert_ok(prune(&faulty.f, &all, &stats, ERR));
        g_assert_cmpuint(check_all(&faulty), ==, 1);
        release_lock();
        tear_down(&faulty.f, NULL);
        g_assert_cmpuint(at, <, 40);
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        VmsFaultMode mode;
    } modes[] = {{"refuse", VMS_FAULT_REFUSE},
                 {"lose", VMS_FAULT_LOSE},
                 {"short", VMS_FAULT_SHORT},
                 {"wrong", VMS_FAULT_WRONG}};
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        void *mode = GINT_TO_POINTER(modes[i].mode);
        bool changes = modes[i].mode == VMS_FAULT_REFUSE || modes[i].mode == VMS_FAULT_LOSE;
        const char *const tests[] = {"backup", "retried", "prune", "read"};
        static const GTestDataFunc functions[] = {test_backup, test_retried, test_prune, test_read};
        for (unsigned t = 0; t < G_N_ELEMENTS(tests); t++) {
            bool reads = functions[t] == test_read;
            if (reads ? modes[i].mode == VMS_FAULT_LOSE : !changes)
                continue;
            g_autofree char *path = g_strdup_printf("/repo-faults/%s/%s", tests[t], modes[i].name);
            g_test_add_data_func(path, mode, functions[t]);
        }
    }
    return g_test_run();
}
