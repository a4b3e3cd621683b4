/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Drives src/repo from the outside, for test_restic.py. The password is in VMS_TEST_PASSWORD.
 *
 *   init REPO                        make a repository, print its id
 *   init-quick REPO                  the same, but opened in no time (quick-repo.h)
 *   backup REPO HOST NAME FILE...    one snapshot: /NAME/vmsnap.json and /NAME/BASE/BASE per FILE
 *   list REPO                        "ID TREE HOST PATH TAGS" per snapshot
 *   cat REPO SNAPSHOT PATH           a small file, to stdout
 *   restore REPO SNAPSHOT PATH OUT   a file, with the bulk reader
 *   lock REPO shared|exclusive       lock, print "locked", hold until stdin ends
 *   huge REPO CHUNKS zero|mixed      a disk of CHUNKS MiB: write its tree, read it back
 *   stop REPO FILE                   add FILE, wait for its first pack, give up
 *
 * REPO is a directory, or "retry+s3:path" with the server in the environment.
 */
#include "quick-repo.h"

#include "base/error.h"
#include "codec/hash.h"
#include "open-store.h"
#include "repo/lock.h"
#include "repo/reader.h"
#include "repo/snapshot.h"
#include "repo/tree.h"
#include "store/dir.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK (1u << 20)

typedef struct {
    VmsStore *store;
    VmsRepo *repo;
} Opened;

static VmsSecret *password(void)
{
    const char *text = g_getenv("VMS_TEST_PASSWORD");

    return vms_secret_new_string(text != NULL ? text : "");
}

static void print_id(const VmsId *id)
{
    char hex[VMS_ID_HEX_LEN + 1];

    vms_id_hex(id, hex);
    printf("%s\n", hex);
}

/* A directory, or what open-store.h says. */
static VmsStore *open_place(const char *place, bool create, GError **error)
{
    return strstr(place, "s3:") ? open_store(place, error) : vms_dir_open(place, create, error);
}

static bool open_repo(Opened *opened, const char *path, GError **error)
{
    g_autoptr(VmsSecret) secret = password();

    opened->store = open_place(path, false, error);
    if (opened->store == NULL)
        return false;
    opened->repo = vms_repo_open(opened->store, secret, g_getenv("VMS_TEST_CACHE"), NULL, error);
    return opened->repo != NULL && vms_repo_sync_index(opened->repo, NULL, error);
}

static bool init(Opened *opened, char **argv, GError **error)
{
    g_autoptr(VmsSecret) secret = password();
    VmsId id;

    opened->store = open_place(argv[0], true, error);
    if (opened->store == NULL || !vms_repo_init(opened->store, secret, &id, NULL, error))
        return false;
    print_id(&id);
    return true;
}

static bool init_quick(Opened *opened, char **argv, GError **error)
{
    g_autoptr(VmsSecret) secret = password();
    VmsId id;

    opened->store = open_place(argv[0], true, error);
    if (opened->store == NULL || !quick_repo_init(opened->store, secret, &id, error))
        return false;
    print_id(&id);
    return true;
}

static VmsContent *add_disk(VmsRepoWriter *writer, const char *path, uint64_t *ret_size,
                            GError **error)
{
    g_autofree uint8_t *chunk = g_malloc(CHUNK);
    g_autoptr(VmsContent) content = NULL;
    FILE *file = fopen(path, "rb");
    struct stat st;

    if (file == NULL || fstat(fileno(file), &st) != 0)
        return vms_fail_null(error, VMS_ERROR_FAILED, "%s", path);
    content = vms_content_new(((uint64_t)st.st_size + CHUNK - 1) / CHUNK, error);
    for (uint64_t at = 0; content != NULL && at < vms_content_count(content); at++) {
        size_t len = fread(chunk, 1, CHUNK, file);
        VmsId id;

        if (!vms_repo_writer_add(writer, VMS_BLOB_DATA, chunk, len, &id, error) ||
            !vms_content_set(content, at, &id, error))
            g_clear_pointer(&content, vms_content_free);
    }
    fclose(file);
    *ret_size = (uint64_t)st.st_size;
    return g_steal_pointer(&content);
}

/* /NAME/BASE/BASE, as exports are laid out. */
static bool add_file(VmsRepoWriter *writer, VmsTreeBuilder *domain, int64_t now, const char *path,
                     GError **error)
{
    g_autofree char *base = g_path_get_basename(path);
    g_autoptr(VmsTreeBuilder) dir = vms_tree_builder_new(now);
    uint64_t size = 0;
    VmsId id;
    g_autoptr(VmsContent) content = add_disk(writer, path, &size, error);

    if (content == NULL)
        return false;
    vms_tree_builder_add_file(dir, base, size, content);
    if (!vms_tree_builder_save(dir, writer, &id, error))
        return false;
    vms_tree_builder_add_dir(domain, base, &id);
    return true;
}

static bool save_trees(VmsRepoWriter *writer, char **argv, VmsRepoSnapshot *snapshot,
                       GError **error)
{
    static const char manifest[] = "{\"test\": true}\n";
    int64_t now = snapshot->time_us;
    g_autoptr(VmsTreeBuilder) root = vms_tree_builder_new(now);
    g_autoptr(VmsTreeBuilder) domain = vms_tree_builder_new(now);
    VmsId id;

    if (!vms_tree_builder_add_bytes(domain, writer, "vmsnap.json", manifest, strlen(manifest),
                                    error))
        return false;
    for (char **path = argv + 2; *path != NULL; path++)
        if (!add_file(writer, domain, now, *path, error))
            return false;
    if (!vms_tree_builder_save(domain, writer, &id, error))
        return false;
    vms_tree_builder_add_dir(root, argv[1], &id);
    return vms_tree_builder_save(root, writer, &snapshot->tree, error) &&
           vms_repo_writer_flush(writer, error);
}

static bool backup(Opened *opened, char **argv, GError **error)
{
    g_autofree char *path = g_strdup_printf("/%s", argv[2]);
    g_autofree char *tag = g_strdup_printf("domain=%s", argv[2]);
    char *paths[] = {path, NULL}, *tags[] = {"vmsnap", tag, NULL};
    VmsRepoSnapshot snapshot = {
        .time_us = g_get_real_time(), .paths = paths, .tags = tags, .hostname = argv[1]};
    VmsRepoWriterOptions options = {0};
    VmsRepoWriterStats stats;

    if (g_strcmp0(g_getenv("VMS_TEST_COMPRESSION"), "off") == 0)
        options.compression = VMS_COMPRESSION_OFF;
    if (!open_repo(opened, argv[0], error))
        return false;
    g_autoptr(VmsRepoLock) lock = vms_repo_lock(opened->repo, false, NULL, error);
    g_autoptr(VmsRepoWriter) writer =
        lock != NULL ? vms_repo_writer_new(opened->repo, &options, NULL, error) : NULL;
    if (writer == NULL || !save_trees(writer, argv + 1, &snapshot, error) ||
        !vms_repo_lock_check(lock, error) ||
        !vms_repo_snapshot_save(opened->repo, &snapshot, NULL, error))
        return false;
    vms_repo_writer_stats(writer, &stats);
    print_id(&snapshot.id);
    fprintf(stderr,
            "new=%" G_GUINT64_FORMAT " known=%" G_GUINT64_FORMAT " uploaded=%" G_GUINT64_FORMAT
            "\n",
            stats.blobs_new, stats.blobs_known, stats.bytes_uploaded);
    return true;
}

static bool list(Opened *opened, char **argv, GError **error)
{
    if (!open_repo(opened, argv[0], error))
        return false;
    g_autoptr(GPtrArray) snapshots = vms_repo_snapshot_list(opened->repo, NULL, error);
    for (guint i = 0; snapshots != NULL && i < snapshots->len; i++) {
        const VmsRepoSnapshot *snapshot = g_ptr_array_index(snapshots, i);
        g_autofree char *tags = g_strjoinv(",", snapshot->tags);
        char id[VMS_ID_HEX_LEN + 1], tree[VMS_ID_HEX_LEN + 1];

        vms_id_hex(&snapshot->id, id);
        vms_id_hex(&snapshot->tree, tree);
        printf("%s %s %s %s %s\n", id, tree, snapshot->hostname, snapshot->paths[0], tags);
    }
    return snapshots != NULL;
}

static bool cat(Opened *opened, char **argv, GError **error)
{
    if (!open_repo(opened, argv[0], error))
        return false;
    g_autoptr(VmsRepoSnapshot) snapshot =
        vms_repo_snapshot_find(opened->repo, argv[1], NULL, error);
    g_autoptr(GBytes) bytes =
        snapshot != NULL ? vms_tree_read_file(opened->repo, &snapshot->tree, argv[2], NULL, error)
                         : NULL;
    if (bytes == NULL)
        return false;
    fwrite(g_bytes_get_data(bytes, NULL), 1, g_bytes_get_size(bytes), stdout);
    return true;
}

typedef struct {
    int fd;
    const uint64_t *offsets; /* per chunk */
} Output;

static bool write_chunk(void *user, uint64_t at, const void *data, size_t len, GError **error)
{
    Output *output = user;

    return pwrite(output->fd, data, len, (off_t)output->offsets[at]) == (ssize_t)len ||
           vms_fail(error, VMS_ERROR_FAILED, "write");
}

static bool restore(Opened *opened, char **argv, GError **error)
{
    g_autoptr(VmsTree) tree = NULL;
    VmsNode *node = NULL;
    uint64_t at = 0, count, offset = 0;

    if (!open_repo(opened, argv[0], error))
        return false;
    g_autoptr(VmsRepoSnapshot) snapshot =
        vms_repo_snapshot_find(opened->repo, argv[1], NULL, error);
    if (snapshot == NULL ||
        !vms_tree_lookup(opened->repo, &snapshot->tree, argv[2], &tree, &node, NULL, error))
        return false;
    count = vms_content_count(node->content);
    g_autofree uint64_t *offsets = g_new(uint64_t, count + 1);
    for (; at < count; at++) { /* restic's chunks are of any size */
        bool found = false;
        uint64_t size = 0;
        VmsId id;

        if (!vms_content_get(node->content, at, &id, error) ||
            !vms_repo_has_blob(opened->repo, VMS_BLOB_DATA, &id, &found, &size, error))
            return false;
        offsets[at] = offset;
        offset += size;
    }
    Output output = {.fd = open(argv[3], O_CREAT | O_EXCL | O_WRONLY, 0600), .offsets = offsets};
    bool ok = vms_reader_run(opened->repo, node->content, NULL, write_chunk, &output, NULL, NULL,
                             error) &&
              (offset == node->size || vms_fail(error, VMS_ERROR_FAILED, "size"));
    close(output.fd);
    return ok;
}

static bool lock(Opened *opened, char **argv, GError **error)
{
    if (!open_repo(opened, argv[0], error))
        return false;
    g_autoptr(VmsRepoLock) held =
        vms_repo_lock(opened->repo, strcmp(argv[1], "exclusive") == 0, NULL, error);
    if (held == NULL)
        return false;
    printf("locked\n");
    fflush(stdout);
    while (getchar() != EOF)
        ;
    return vms_repo_lock_check(held, error);
}

/* Ids of chunks that are really in the repository: a few, or the zero chunk alone. */
static bool fill_huge(VmsRepoWriter *writer, VmsContent *content, bool mixed, GError **error)
{
    g_autofree uint8_t *chunk = g_malloc0(CHUNK);
    VmsId ids[64];

    for (unsigned i = 0; i < G_N_ELEMENTS(ids); i++) {
        chunk[0] = (uint8_t)i; /* 0: the zero chunk */
        if (!vms_repo_writer_add(writer, VMS_BLOB_DATA, chunk, CHUNK, &ids[i], error))
            return false;
    }
    for (uint64_t at = 0; at < vms_content_count(content); at++) {
        const VmsId *id = &ids[mixed ? at * 2654435761u % G_N_ELEMENTS(ids) : 0];

        if (!vms_repo_writer_add_known(writer, VMS_BLOB_DATA, id, NULL, CHUNK, error) ||
            !vms_content_set(content, at, id, error))
            return false;
    }
    return true;
}

static bool fill_random(VmsContent *content, GError **error)
{
    for (uint64_t at = 0; at < vms_content_count(content); at++) {
        VmsId id;

        vms_hash(&at, sizeof(at), id.bytes);
        if (!vms_content_set(content, at, &id, error))
            return false;
    }
    return true;
}

static bool compare_huge(VmsRepo *repo, const VmsId *tree_id, const VmsContent *content,
                         GError **error)
{
    g_autoptr(VmsTree) tree = vms_tree_load(repo, tree_id, NULL, error);
    VmsNode *node = tree != NULL ? vms_tree_find(tree, "disk.raw") : NULL;
    uint64_t count = vms_content_count(content);

    if (node == NULL)
        return false;
    if (vms_content_count(node->content) != count || node->size != count * CHUNK)
        return vms_fail(error, VMS_ERROR_FAILED, "the list has another length");
    for (uint64_t at = 0; at < count; at++) {
        VmsId a, b;

        if (!vms_content_get(content, at, &a, error) ||
            !vms_content_get(node->content, at, &b, error))
            return false;
        if (!vms_id_equal(&a, &b))
            return vms_fail(error, VMS_ERROR_FAILED, "chunk %" G_GUINT64_FORMAT " differs", at);
    }
    return true;
}

/* Of this program alone: ru_maxrss would remember what called it. */
static long peak_kib(void)
{
    g_autofree char *status = NULL;
    const char *line;

    g_file_get_contents("/proc/self/status", &status, NULL, NULL);
    line = status != NULL ? strstr(status, "VmHWM:") : NULL;
    return line != NULL ? atol(line + strlen("VmHWM:")) : -1;
}

static bool huge(Opened *opened, char **argv, GError **error)
{
    uint64_t count = g_ascii_strtoull(argv[1], NULL, 10);
    int64_t start = g_get_monotonic_time();
    char *paths[] = {"/disk.raw", NULL}, *tags[] = {"vmsnap", NULL};
    VmsRepoSnapshot snapshot = {
        .time_us = 1700000000123456, .paths = paths, .tags = tags, .hostname = "huge"};

    if (!open_repo(opened, argv[0], error))
        return false;
    g_autoptr(VmsRepoWriter) writer = vms_repo_writer_new(opened->repo, NULL, NULL, error);
    g_autoptr(VmsContent) content = vms_content_new(count, error);
    g_autoptr(VmsTreeBuilder) builder = vms_tree_builder_new(snapshot.time_us);
    bool random = strcmp(argv[2], "random") == 0;
    if (writer == NULL || content == NULL ||
        !(random ? fill_random(content, error)
                 : fill_huge(writer, content, strcmp(argv[2], "mixed") == 0, error)))
        return false;
    int64_t filled = g_get_monotonic_time();
    vms_tree_builder_add_file(builder, "disk.raw", count * CHUNK, content);
    if (!vms_tree_builder_save(builder, writer, &snapshot.tree, error) ||
        !vms_repo_writer_flush(writer, error) ||
        (!random && !vms_repo_snapshot_save(opened->repo, &snapshot, NULL, error)))
        return false;
    int64_t saved = g_get_monotonic_time();
    if (!compare_huge(opened->repo, &snapshot.tree, content, error))
        return false;
    print_id(&snapshot.id);
    printf("peak_kib=%ld fill_ms=%d save_ms=%d load_ms=%d\n", peak_kib(),
           (int)((filled - start) / 1000), (int)((saved - filled) / 1000),
           (int)((g_get_monotonic_time() - saved) / 1000));
    return true;
}

static bool stop(Opened *opened, char **argv, GError **error)
{
    uint64_t size = 0;

    if (!open_repo(opened, argv[0], error))
        return false;
    g_autoptr(VmsRepoWriter) writer = vms_repo_writer_new(opened->repo, NULL, NULL, error);
    g_autoptr(VmsContent) content = writer != NULL ? add_disk(writer, argv[1], &size, error) : NULL;
    VmsRepoWriterStats stats = {0};

    /* what is given up before it was stored leaves nothing; a minute at most */
    for (int i = 0; content != NULL && stats.packs == 0 && i < 6000; i++) {
        g_usleep(G_USEC_PER_SEC / 100);
        vms_repo_writer_stats(writer, &stats);
    }
    return content != NULL;
}

static const struct {
    const char *name;
    int arguments; /* at least */
    bool (*run)(Opened *opened, char **argv, GError **error);
} commands[] = {
    {"init", 1, init}, {"init-quick", 1, init_quick}, {"backup", 4, backup}, {"list", 1, list},
    {"cat", 3, cat},   {"restore", 4, restore},       {"lock", 2, lock},     {"huge", 3, huge},
    {"stop", 2, stop},
};

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;

    for (size_t i = 0; argc > 1 && i < G_N_ELEMENTS(commands); i++) {
        Opened opened = {0};

        if (strcmp(argv[1], commands[i].name) != 0 || argc - 2 < commands[i].arguments)
            continue;
        bool ok = commands[i].run(&opened, argv + 2, &error);
        vms_repo_free(opened.repo);
        vms_store_free(opened.store);
        if (!ok)
            fprintf(stderr, "%s: %s\n", vms_error_name(error), error->message);
        return ok ? 0 : vms_error_exit_status(error);
    }
    fprintf(stderr, "usage: see the head of repo-tool.c\n");
    return 2;
}
