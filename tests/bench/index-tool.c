/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Drives src/repo/index.h for index-scale.py. Prints one JSON object. All ids are known: that of
 * blob n is the SHA-256 of n, so nothing has to be remembered.
 *
 *   make REPO BLOBS                 a repository of which only the index files exist
 *   open REPO CACHE LOOKUPS BLOBS   open, sync, look up: half of the blobs known, half not
 *   each REPO CACHE                 vms_index_foreach
 */
#include "base/error.h"
#include "codec/hash.h"
#include "repo/index-file.h"
#include "repo/object.h"
#include "repo/repo-private.h"
#include "store/dir.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define PER_FILE 50000 /* as restic and vmsnap write them */
#define PER_PACK 24    /* of 16 MiB, blobs of 1 MiB compressed by a third */
#define THREADS 4

static VmsSecret *password(void)
{
    return vms_secret_new_string("bench");
}

static double seconds_since(int64_t start)
{
    return (double)(g_get_monotonic_time() - start) / G_USEC_PER_SEC;
}

static double peak_mib(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024;
}

static VmsId id_of(uint64_t n)
{
    VmsId id;

    vms_hash(&n, sizeof(n), id.bytes);
    return id;
}

static uint32_t length_of(uint64_t n)
{
    return 500000 + (uint32_t)(n * 2654435761u % 548576);
}

typedef struct {
    VmsRepo *repo;
    uint64_t blobs;
    uint64_t next; /* first blob of the next index file; atomic through mutex */
    uint64_t files;
    GMutex mutex;
    GError *failed;
} Maker;

static void add_pack(GString *text, uint64_t first, uint64_t end)
{
    VmsPackBlob blobs[PER_PACK];
    VmsId pack = id_of(UINT64_MAX - first);
    uint32_t offset = 0;

    for (uint64_t n = first; n < end; n++) {
        blobs[n - first] = (VmsPackBlob){.id = id_of(n),
                                         .type = n % 1000 == 0 ? VMS_BLOB_TREE : VMS_BLOB_DATA,
                                         .offset = offset,
                                         .length = length_of(n),
                                         .plain_length = 1u << 20};
        offset += length_of(n);
    }
    vms_index_file_pack(text, &pack, blobs, end - first);
}

static bool make_file(Maker *maker, uint64_t first, GError **error)
{
    uint64_t end = MIN(first + PER_FILE, maker->blobs);
    GString *text = vms_index_file_begin();
    VmsId id;

    for (uint64_t n = first; n < end; n += PER_PACK)
        add_pack(text, n, MIN(n + PER_PACK, end));
    vms_index_file_end(text);
    bool ok = vms_object_save(maker->repo, "index", text->str, text->len, &id, NULL, NULL, error);
    g_string_free(text, TRUE);
    return ok;
}

static void *make_thread(void *user)
{
    Maker *maker = user;
    GError *error = NULL;

    for (;;) {
        g_mutex_lock(&maker->mutex);
        uint64_t first = maker->next;
        bool more = first < maker->blobs && maker->failed == NULL;
        maker->next += more ? PER_FILE : 0;
        maker->files += more;
        g_mutex_unlock(&maker->mutex);
        if (!more)
            return NULL;
        if (make_file(maker, first, &error))
            continue;
        g_mutex_lock(&maker->mutex);
        if (maker->failed == NULL)
            maker->failed = g_steal_pointer(&error);
        g_mutex_unlock(&maker->mutex);
        g_clear_error(&error);
    }
}

static bool make(char **argv, GError **error)
{
    g_autoptr(VmsSecret) secret = password();
    g_autoptr(VmsStore) store = vms_dir_open(argv[0], true, error);
    Maker maker = {.blobs = g_ascii_strtoull(argv[1], NULL, 10)};
    int64_t start = g_get_monotonic_time();
    GThread *threads[THREADS];

    if (store == NULL || !vms_repo_init(store, secret, NULL, NULL, error))
        return false;
    g_autoptr(VmsRepo) repo = vms_repo_open(store, secret, NULL, NULL, error);
    if (repo == NULL)
        return false;
    maker.repo = repo;
    g_mutex_init(&maker.mutex);
    for (size_t i = 0; i < THREADS; i++)
        threads[i] = g_thread_new("make", make_thread, &maker);
    for (size_t i = 0; i < THREADS; i++)
        g_thread_join(threads[i]);
    g_mutex_clear(&maker.mutex);
    if (maker.failed != NULL) {
        g_propagate_error(error, maker.failed);
        return false;
    }
    printf("{\"make_s\":%.3f,\"files\":%" G_GUINT64_FORMAT "}\n", seconds_since(start),
           maker.files);
    return true;
}

static VmsRepo *open_repo(VmsStore *store, const char *cache, GError **error)
{
    g_autoptr(VmsSecret) secret = password();
    g_autoptr(VmsRepo) repo = vms_repo_open(store, secret, cache, NULL, error);

    if (repo == NULL || !vms_repo_sync_index(repo, NULL, error))
        return NULL;
    return g_steal_pointer(&repo);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* count look-ups of blobs spread over all, or of blobs that nobody has; their times in µs. */
static bool look_up(VmsRepo *repo, uint64_t count, uint64_t blobs, bool known, GArray *times,
                    double *ret_mean, GError **error)
{
    double sum = 0;

    for (uint64_t i = 0; i < count; i++) {
        uint64_t n = known ? i * 0x9e3779b97f4a7c15u % blobs : blobs + 1 + i;
        VmsId id = id_of(n);
        VmsBlobType type = n % 1000 == 0 ? VMS_BLOB_TREE : VMS_BLOB_DATA;
        VmsIndexPlace places[VMS_INDEX_MAX_PLACES];
        size_t found = 0;
        gint64 start = g_get_monotonic_time();

        if (!vms_index_find(repo->index, repo, type, &id, places, &found, error))
            return false;
        double time = (double)(g_get_monotonic_time() - start);
        g_array_append_val(times, time);
        sum += time;
        if (found != (known ? 1 : 0) || (known && places[0].blob.length != length_of(n)))
            return vms_fail(error, VMS_ERROR_CORRUPT, "blob %" G_GUINT64_FORMAT ": found %zu times",
                            n, found);
    }
    *ret_mean = sum / (double)MAX(count, 1);
    return true;
}

static bool open_and_look_up(char **argv, GError **error)
{
    int64_t start = g_get_monotonic_time();
    uint64_t count = g_ascii_strtoull(argv[2], NULL, 10) / 2;
    uint64_t blobs = g_ascii_strtoull(argv[3], NULL, 10);
    g_autoptr(GArray) times = g_array_new(FALSE, FALSE, sizeof(double));
    g_autoptr(VmsStore) store = vms_dir_open(argv[0], false, error);
    g_autoptr(VmsRepo) repo = store != NULL ? open_repo(store, argv[1], error) : NULL;
    double known = 0, unknown = 0;

    if (repo == NULL)
        return false;
    double opened = seconds_since(start);
    if (!look_up(repo, count, blobs, true, times, &known, error) ||
        !look_up(repo, count, blobs, false, times, &unknown, error))
        return false;
    g_array_sort(times, compare_doubles);
    double p99 = times->len > 0 ? g_array_index(times, double, times->len / 100 * 99) : 0;
    printf("{\"open_s\":%.3f,\"known_us\":%.3f,\"unknown_us\":%.3f,\"p99_us\":%.3f,"
           "\"peak_rss_mib\":%.1f}\n",
           opened, known, unknown, p99, peak_mib());
    return true;
}

static bool count_blobs(void *user, const VmsId *pack, const VmsPackBlob *blobs, size_t count,
                        GError **error)
{
    *(uint64_t *)user += count;
    return true;
}

static bool each(char **argv, GError **error)
{
    g_autoptr(VmsStore) store = vms_dir_open(argv[0], false, error);
    g_autoptr(VmsRepo) repo = store != NULL ? open_repo(store, argv[1], error) : NULL;
    int64_t start = g_get_monotonic_time();
    uint64_t blobs = 0;

    if (repo == NULL || !vms_index_foreach(repo->index, repo, count_blobs, &blobs, NULL, error))
        return false;
    printf("{\"each_s\":%.3f,\"blobs\":%" G_GUINT64_FORMAT ",\"peak_rss_mib\":%.1f}\n",
           seconds_since(start), blobs, peak_mib());
    return true;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int args;
        bool (*run)(char **argv, GError **error);
    } commands[] = {{"make", 2, make}, {"open", 4, open_and_look_up}, {"each", 2, each}};
    g_autoptr(GError) error = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (argc != commands[i].args + 2 || strcmp(argv[1], commands[i].name) != 0)
            continue;
        if (commands[i].run(argv + 2, &error))
            return 0;
        fprintf(stderr, "index-tool: %s\n", error->message);
        return 1;
    }
    fprintf(stderr, "index-tool make|open|each: see its source\n");
    return 2;
}
