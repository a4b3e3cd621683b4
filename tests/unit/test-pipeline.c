/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What goes through the pipeline comes back the same, whatever the extents look like, and zeroes
 * cost nothing. */
#include "base/error.h"
#include "base/secret.h"
#include "job/fetch.h"
#include "job/pipeline.h"
#include "store/mem.h"

#include <string.h>

#define CHUNK 65536u
#define CHUNKS 40u

#define PENDING 5u

typedef struct {
    uint64_t offset;
    void *buffer;
    size_t length;
    VmsInputDoneFunc done;
    void *user;
} Pending;

typedef struct {
    VmsInput input;
    uint8_t *data;
    uint64_t extent;  /* bytes per extent that the map is told in */
    uint64_t read;    /* bytes that were asked for */
    uint64_t fail_at; /* byte that cannot be read; 0: none */
    Pending pending[PENDING];
    unsigned pending_count, most;
    int announced[CHUNKS]; /* by chunk; atomic */
    int read_here, unannounced;
} Fake;

static bool is_zero(const uint8_t *data, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++)
        if (data[i])
            return false;
    return true;
}

static bool fake_extents(VmsInput *input, VmsInputExtentFunc func, void *user,
                         GCancellable *cancellable, GError **error)
{
    Fake *fake = (Fake *)input;
    for (uint64_t at = 0; at < input->size; at += fake->extent) {
        uint64_t len = MIN(fake->extent, input->size - at);
        if (!func(user, at, len, is_zero(fake->data + at, len), error))
            return false;
    }
    return true;
}

static bool fake_read(VmsInput *input, uint64_t offset, void *buffer, size_t length, GError **error)
{
    Fake *fake = (Fake *)input;
    fake->read += length;
    if (fake->fail_at && offset <= fake->fail_at && fake->fail_at < offset + length)
        return vms_fail(error, VMS_ERROR_FAILED, "bad sector");
    memcpy(buffer, fake->data + offset, length);
    return true;
}

/* Several reads "under way": done backwards, when there are too many or at the drain. */
static void finish_reads(Fake *fake)
{
    while (fake->pending_count > 0) {
        Pending *pending = &fake->pending[--fake->pending_count];
        memcpy(pending->buffer, fake->data + pending->offset, pending->length);
        pending->done(pending->user);
    }
}

static bool fake_start(VmsInput *input, uint64_t offset, void *buffer, size_t length, unsigned most,
                       VmsInputDoneFunc done, void *user, GError **error)
{
    Fake *fake = (Fake *)input;
    if (fake->pending_count == MIN(most, PENDING))
        finish_reads(fake);
    if (fake->fail_at && offset <= fake->fail_at && fake->fail_at < offset + length)
        return vms_fail(error, VMS_ERROR_FAILED, "bad sector");
    fake->pending[fake->pending_count++] = (Pending){offset, buffer, length, done, user};
    fake->most = MAX(fake->most, fake->pending_count);
    return true;
}

static bool fake_drain(VmsInput *input, GError **error)
{
    finish_reads((Fake *)input);
    return true;
}

static void fake_announce(VmsInput *input, uint64_t offset, size_t length)
{
    Fake *fake = (Fake *)input;
    g_assert_cmpuint(length, ==, MIN(CHUNK, input->size - offset));
    g_atomic_int_inc(&fake->announced[offset / CHUNK]);
}

/* By any worker. */
static bool fake_read_here(VmsInput *input, uint64_t offset, void *buffer, size_t length,
                           GError **error)
{
    Fake *fake = (Fake *)input;
    if (fake->fail_at && offset <= fake->fail_at && fake->fail_at < offset + length)
        return vms_fail(error, VMS_ERROR_FAILED, "bad sector");
    memcpy(buffer, fake->data + offset, length);
    g_atomic_int_inc(&fake->read_here);
    if (g_atomic_int_get(&fake->announced[offset / CHUNK]) != 1)
        g_atomic_int_inc(&fake->unannounced);
    return true;
}

static Fake fake_new(uint64_t size, uint64_t extent)
{
    VmsInput input = {.size = size, .extents = fake_extents, .read = fake_read};
    return (Fake){.input = input, .data = g_malloc0(size + 1), .extent = extent};
}

typedef struct {
    VmsStore *store;
    VmsRepo *repo;
    VmsRepoWriter *writer;
} Bench;

/* One repository for all tests: deriving its key is slow on purpose. */
static Bench bench;

static void bench_open(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsSecret) password = vms_secret_new_string("secret");
    VmsId id;
    bench.store = vms_mem_new();
    g_assert_true(vms_repo_init(bench.store, password, &id, NULL, &error));
    bench.repo = vms_repo_open(bench.store, password, NULL, NULL, &error);
    g_assert_no_error(error);
    g_assert_true(vms_repo_sync_index(bench.repo, NULL, &error));
}

static void new_writer(void)
{
    g_autoptr(GError) error = NULL;
    vms_repo_writer_free(bench.writer);
    bench.writer = vms_repo_writer_new(bench.repo, NULL, NULL, &error);
    g_assert_no_error(error);
}

static VmsContent *run(Fake *fake, uint64_t *ret_zero, GError **error)
{
    VmsPipelineOptions options = {
        .writer = bench.writer, .item = "vda", .chunk_size = CHUNK, .workers = 3};
    return vms_pipeline_run(&fake->input, &options, ret_zero, error);
}

static bool copy(void *user, uint64_t offset, const void *data, size_t len, GError **error)
{
    memcpy((uint8_t *)user + offset, data, len);
    return true;
}

static void assert_comes_back(const Fake *fake, VmsContent *content)
{
    g_autoptr(GError) error = NULL;
    g_autofree uint8_t *back = g_malloc0(fake->input.size + 1);
    VmsNode node = {.type = VMS_NODE_FILE, .size = fake->input.size, .content = content};
    VmsFetchOptions options = {.repo = bench.repo, .phase = "test", .item = "vda"};
    VmsFetchStats stats;
    g_assert_true(vms_repo_writer_flush(bench.writer, &error));
    g_assert_true(vms_repo_sync_index(bench.repo, NULL, &error));
    g_assert_true(vms_fetch_file(&options, &node, CHUNK, copy, back, &stats, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(stats.bytes + stats.bytes_zero, ==, fake->input.size);
    g_assert_cmpint(memcmp(back, fake->data, fake->input.size), ==, 0);
}

/* Sizes and extents that are no multiples of each other. */
static void test_round_trip(void)
{
    const uint64_t sizes[] = {0, 1, CHUNK, CHUNK + 512, CHUNK * CHUNKS - 512};
    const uint64_t extents[] = {512, 4096, CHUNK, CHUNK + 1024, CHUNK * CHUNKS};
    for (size_t s = 0; s < G_N_ELEMENTS(sizes); s++) {
        for (size_t e = 0; e < G_N_ELEMENTS(extents); e++) {
            g_autoptr(GError) error = NULL;
            new_writer();
            Fake fake = fake_new(sizes[s], extents[e]);
            for (uint64_t at = 0; at < sizes[s]; at += 3 * CHUNK + 700)
                fake.data[at] = (uint8_t)(at % 255 + 1);
            uint64_t zero;
            g_autoptr(VmsContent) content = run(&fake, &zero, &error);
            g_assert_no_error(error);
            assert_comes_back(&fake, content);
            g_free(fake.data);
        }
    }
}

/* Chunks that arrive in another order than they were asked for; and a read that fails while others
 * are under way, whose buffers are still written to. */
static void test_reads_at_once(void)
{
    for (int broken = 0; broken < 2; broken++) {
        g_autoptr(GError) error = NULL;
        new_writer();
        Fake fake = fake_new(CHUNK * CHUNKS - 512, 4096);
        fake.input.start = fake_start;
        fake.input.drain = fake_drain;
        fake.fail_at = broken ? 30 * CHUNK + 1 : 0;
        for (uint64_t at = 0; at < fake.input.size; at++)
            fake.data[at] = (uint8_t)(at >> 16) + 1;
        uint64_t zero;
        g_autoptr(VmsContent) content = run(&fake, &zero, &error);
        g_assert_cmpuint(fake.most, >, 1);
        g_assert_cmpuint(fake.pending_count, ==, 0);
        if (broken) {
            g_assert_cmpstr(error->message, ==, "bad sector");
        } else {
            g_assert_no_error(error);
            assert_comes_back(&fake, content);
        }
        g_free(fake.data);
    }
}

/* Workers that read for themselves: only what the extents call data, each chunk once, after it was
 * announced; and a read of theirs that fails. */
static void test_workers_read(void)
{
    for (int broken = 0; broken < 2; broken++) {
        g_autoptr(GError) error = NULL;
        new_writer();
        Fake fake = fake_new(CHUNK * CHUNKS - 512, 4096);
        fake.input.announce = fake_announce;
        fake.input.read = fake_read_here;
        fake.fail_at = broken ? 30 * CHUNK + 1 : 0;
        for (uint64_t at = 0; at < fake.input.size; at++)
            fake.data[at] = at / CHUNK % 4 == 3 ? 0 : (uint8_t)(at >> 16) + 1;
        uint64_t zero;
        g_autoptr(VmsContent) content = run(&fake, &zero, &error);
        g_assert_cmpint(fake.unannounced, ==, 0);
        if (broken) {
            g_assert_cmpstr(error->message, ==, "bad sector");
        } else {
            g_assert_no_error(error);
            g_assert_cmpint(fake.read_here, ==, CHUNKS * 3 / 4);
            g_assert_cmpuint(zero, ==, CHUNK * CHUNKS / 4 - 512);
            assert_comes_back(&fake, content);
        }
        g_free(fake.data);
    }
}

static void test_zeroes_are_free(void)
{
    g_autoptr(GError) error = NULL;
    new_writer();
    Fake fake = fake_new(CHUNK * CHUNKS, CHUNK);
    VmsRepoWriterStats stats;
    memcpy(fake.data + 5 * CHUNK, "only here", 9);
    uint64_t zero;
    g_autoptr(VmsContent) content = run(&fake, &zero, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(fake.read, ==, CHUNK);
    g_assert_cmpuint(zero, ==, CHUNK * (CHUNKS - 1));
    vms_repo_writer_stats(bench.writer, &stats);
    g_assert_cmpuint(stats.blobs_new, <=, 2); /* the one with data, and the one of zeroes */
    assert_comes_back(&fake, content);
    g_free(fake.data);
}

static void test_read_error(void)
{
    g_autoptr(GError) error = NULL;
    new_writer();
    Fake fake = fake_new(CHUNK * CHUNKS, 4096);
    memset(fake.data, 7, CHUNK * CHUNKS);
    fake.fail_at = 30 * CHUNK + 1;
    uint64_t zero;
    g_assert_null(run(&fake, &zero, &error));
    g_assert_cmpstr(error->message, ==, "bad sector");
    g_free(fake.data);
}

static void test_cancel(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    new_writer();
    Fake fake = fake_new(CHUNK * CHUNKS, 4096);
    VmsPipelineOptions options = {
        .writer = bench.writer, .item = "vda", .chunk_size = CHUNK, .cancellable = cancellable};
    memset(fake.data, 7, CHUNK * CHUNKS);
    g_cancellable_cancel(cancellable);
    uint64_t zero;
    g_assert_null(vms_pipeline_run(&fake.input, &options, &zero, &error));
    g_assert_true(vms_error_is(error, VMS_ERROR_CANCELLED));
    g_free(fake.data);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pipeline/round-trip", test_round_trip);
    g_test_add_func("/pipeline/reads-at-once", test_reads_at_once);
    g_test_add_func("/pipeline/workers-read", test_workers_read);
    g_test_add_func("/pipeline/zeroes-are-free", test_zeroes_are_free);
    g_test_add_func("/pipeline/read-error", test_read_error);
    g_test_add_func("/pipeline/cancel", test_cancel);
    bench_open();
    int status = g_test_run();
    vms_repo_writer_free(bench.writer);
    vms_repo_free(bench.repo);
    vms_store_free(bench.store);
    return status;
}
