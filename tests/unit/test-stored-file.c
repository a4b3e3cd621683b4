/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files cut into blobs of any length: stored, fetched, read at random. */
#include "repo-fixture.h"

#include "job/blob-map.h"
#include "job/fetch.h"
#include "job/pipeline.h"
#include "job/stored-file.h"

#define SIZE (20u << 20)

/* An input that says itself where it is cut. */
typedef struct {
    VmsInput input; /* first */
    const uint8_t *data;
    const size_t *lengths;
    uint64_t at, offset;
} Cut;

static bool cut_next(VmsInput *input, void *buffer, size_t *ret_length, GError **error)
{
    Cut *cut = (Cut *)input;
    *ret_length = cut->lengths[cut->at++];
    memcpy(buffer, cut->data + cut->offset, *ret_length);
    cut->offset += *ret_length;
    return true;
}

typedef struct {
    uint8_t *data;
    size_t *lengths;
    uint64_t count;
    VmsNode node;
} Stored;

/* Random data and cuts, one blob of zeroes in it; in the repository when this returns. */
static Stored store(Fixture *f, uint32_t seed)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(seed);
    Stored s = {.data = g_malloc(SIZE), .lengths = g_new(size_t, SIZE / 4096)};
    for (uint32_t i = 0; i < SIZE / 4; i++)
        ((uint32_t *)(void *)s.data)[i] = g_rand_int(random);
    memset(s.data + (3u << 20), 0, 3u << 20);
    size_t max = 0;
    for (uint64_t at = 0; at < SIZE; at += s.lengths[s.count++]) {
        size_t length = (size_t)g_rand_int_range(random, 4096, 512 << 10);
        s.lengths[s.count] = MIN(length, SIZE - at);
        max = MAX(max, s.lengths[s.count]);
    }
    Cut cut = {.data = s.data, .lengths = s.lengths};
    cut.input = (VmsInput){.size = SIZE, .chunks = s.count, .chunk_max = max, .next = cut_next};
    g_autoptr(VmsRepoWriter) writer = NULL;
    VmsPipelineOptions options = {.item = "memory", .chunk_size = 1 << 20, .workers = 3};
    uint64_t zero = 1;
    VmsContent *content;
    assert_ok((writer = vms_repo_writer_new(f->repo, NULL, NULL, ERR)) != NULL);
    options.writer = writer;
    assert_ok((content = vms_pipeline_run(&cut.input, &options, &zero, ERR)) != NULL);
    assert_ok(vms_repo_writer_flush(writer, ERR));
    assert_ok(vms_repo_sync_index(f->repo, NULL, ERR));
    g_assert_cmpuint(zero, ==, 0);
    g_assert_cmpuint(vms_content_count(content), ==, s.count);
    s.node = (VmsNode){.type = VMS_NODE_FILE, .size = SIZE, .content = content};
    return s;
}

static void stored_clear(Stored *s)
{
    vms_content_free(s->node.content);
    g_free(s->lengths);
    g_free(s->data);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Stored, stored_clear)

static bool copy(void *user, uint64_t offset, const void *data, size_t len, GError **error)
{
    memcpy((uint8_t *)user + offset, data, len);
    return true;
}

static void test_fetch(Fixture *f, const void *unused)
{
    g_auto(Stored) s = store(f, 1);
    g_autofree uint8_t *back = g_malloc0(SIZE);
    VmsFetchOptions options = {.repo = f->repo, .phase = "test", .item = "memory"};
    VmsFetchStats stats;
    assert_ok(vms_fetch_file(&options, &s.node, 0, copy, back, &stats, ERR));
    g_assert_cmpuint(stats.chunks, ==, s.count);
    g_assert_cmpuint(stats.bytes, ==, SIZE);
    g_assert_cmpint(memcmp(back, s.data, SIZE), ==, 0);
}

/* The first and the last byte of each blob are found in it. */
static void test_map(Fixture *f, const void *unused)
{
    g_auto(Stored) s = store(f, 6);
    g_autoptr(VmsBlobMap) map = NULL;
    g_autoptr(GError) error = NULL;
    uint64_t begin = 0, from, to, at;
    assert_ok((map = vms_blob_map_new(f->repo, &s.node, NULL, ERR)) != NULL);
    for (uint64_t i = 0; i < s.count; i++) {
        assert_ok(vms_blob_map_range(map, i, &from, &to, ERR));
        g_assert_cmpuint(from, ==, begin);
        g_assert_cmpuint(to - from, ==, s.lengths[i]);
        assert_ok(vms_blob_map_find(map, from, &at, ERR));
        g_assert_cmpuint(at, ==, i);
        assert_ok(vms_blob_map_find(map, to - 1, &at, ERR));
        g_assert_cmpuint(at, ==, i);
        begin = to;
    }
    g_assert_false(vms_blob_map_find(map, SIZE, &at, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_INVALID);
    g_clear_error(&error);
    g_assert_false(vms_blob_map_range(map, s.count, &from, &to, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_INVALID);
}

typedef struct {
    VmsStoredFile *file;
    const Stored *stored;
    uint32_t seed;
} Reading;

/* Long and short, within windows and over their edges, at the end and beyond. */
static void *read_random(void *user)
{
    const Reading *r = user;
    g_autoptr(GRand) random = g_rand_new_with_seed(r->seed);
    g_autofree uint8_t *buffer = g_malloc(6u << 20);
    for (unsigned i = 0; i < 60; i++) {
        uint64_t offset = (uint64_t)g_rand_int_range(random, 0, SIZE + 4096);
        size_t most = i % 10 == 0 ? 6u << 20 : 128u << 10;
        size_t want = (size_t)g_rand_int_range(random, 0, (gint32)most), got = 0;
        size_t have = offset < SIZE ? MIN(want, SIZE - offset) : 0;
        assert_ok(vms_stored_file_read(r->file, offset, buffer, want, &got, ERR));
        g_assert_cmpuint(got, ==, have);
        g_assert_cmpint(memcmp(buffer, r->stored->data + MIN(offset, SIZE), got), ==, 0);
    }
    return NULL;
}

static void test_read(Fixture *f, const void *unused)
{
    g_auto(Stored) s = store(f, 2);
    g_autoptr(VmsStoredFile) file = NULL;
    Reading readings[4];
    GThread *threads[4];
    VmsStoredFileStats stats;
    assert_ok((file = vms_stored_file_open(f->repo, &s.node, NULL, ERR)) != NULL);
    g_assert_cmpuint(vms_stored_file_size(file), ==, SIZE);
    for (uint32_t i = 0; i < 4; i++) {
        readings[i] = (Reading){file, &s, i};
        threads[i] = g_thread_new("reader", read_random, &readings[i]);
    }
    for (size_t i = 0; i < 4; i++)
        g_thread_join(threads[i]);
    vms_stored_file_stats(file, &stats);
    g_assert_cmpuint(stats.bytes_read, >, 0);
}

/* Forward in small pieces, as QEMU reads: each window is fetched once. */
static void test_forward(Fixture *f, const void *unused)
{
    g_auto(Stored) s = store(f, 3);
    g_autoptr(VmsStoredFile) file = NULL;
    g_autofree uint8_t *buffer = g_malloc(32768);
    VmsStoredFileStats stats;
    size_t got;
    assert_ok((file = vms_stored_file_open(f->repo, &s.node, NULL, ERR)) != NULL);
    for (uint64_t at = 0; at < SIZE; at += 32768) {
        assert_ok(vms_stored_file_read(file, at, buffer, 32768, &got, ERR));
        g_assert_cmpmem(buffer, got, s.data + at, 32768);
    }
    vms_stored_file_stats(file, &stats);
    g_assert_cmpuint(stats.bytes_read, ==, SIZE);
    g_assert_cmpuint(stats.bytes_fetched, >=, SIZE); /* blobs over an edge twice */
    g_assert_cmpuint(stats.bytes_fetched, <, SIZE + 10 * (512u << 10));
}

static void assert_not_opened(Fixture *f, const VmsNode *node, VmsErrorCode code)
{
    g_autoptr(GError) error = NULL;
    VmsFetchOptions options = {.repo = f->repo, .phase = "test", .item = "memory"};
    VmsFetchStats stats;
    g_assert_null(vms_stored_file_open(f->repo, node, NULL, &error));
    g_assert_error(error, VMS_ERROR, (int)code);
    g_clear_error(&error);
    g_assert_false(vms_fetch_file(&options, node, 0, copy, NULL, &stats, &error));
    g_assert_error(error, VMS_ERROR, (int)code);
}

/* Blobs that do not add up to the file, and one that nobody knows. */
static void test_wrong(Fixture *f, const void *unused)
{
    g_auto(Stored) s = store(f, 4);
    for (uint64_t i = 0; i < 3; i++) {
        VmsNode node = s.node;
        node.size = (uint64_t[]){SIZE - 1, SIZE + 1, UINT64_MAX}[i];
        assert_not_opened(f, &node, VMS_ERROR_CORRUPT);
    }
    VmsId unknown;
    memset(&unknown, 0x5a, sizeof unknown);
    assert_ok(vms_content_set(s.node.content, s.count / 2, &unknown, ERR));
    assert_not_opened(f, &s.node, VMS_ERROR_NOT_FOUND);
}

/* A store that fails once: the read that needs it fails, the next one works. */
static void test_error_is_not_kept(Fixture *f, const void *unused)
{
    g_auto(Stored) s = store(f, 5);
    g_autoptr(VmsStoredFile) file = NULL;
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autoptr(GError) error = NULL;
    uint8_t buffer[100];
    size_t got;
    assert_ok((file = vms_stored_file_open(f->repo, &s.node, cancellable, ERR)) != NULL);
    g_cancellable_cancel(cancellable);
    g_assert_false(vms_stored_file_read(file, 12345, buffer, sizeof buffer, &got, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_CANCELLED);
    g_cancellable_reset(cancellable);
    assert_ok(vms_stored_file_read(file, 12345, buffer, sizeof buffer, &got, ERR));
    g_assert_cmpmem(buffer, got, s.data + 12345, sizeof buffer);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, func) g_test_add("/stored-file/" name, Fixture, NULL, set_up, func, tear_down)
    ADD("fetch", test_fetch);
    ADD("map", test_map);
    ADD("read", test_read);
    ADD("forward", test_forward);
    ADD("wrong", test_wrong);
    ADD("error-is-not-kept", test_error_is_not_kept);
    return g_test_run();
}
