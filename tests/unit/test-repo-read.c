/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* P5: what is read back is what was written. */
#include "repo-fixture.h"

#include "repo/blob-stream.h"
#include "repo/index-file.h"
#include "repo/reader.h"
#include "repo/tree.h"

#define CHUNK 10000
#define CHUNKS 500

static bool ignore(void *user, uint8_t *data, size_t len, GError **error)
{
    return true;
}

/* Every byte of a pack: the right bytes or CORRUPT, with the name of pack and blob. */
static void test_damaged_pack(Fixture *f, const void *unused)
{
    VmsRepoWriterOptions options = {.compression = VMS_COMPRESSION_AUTO};
    g_autoptr(VmsRepoWriter) writer = new_writer(f, &options);
    g_autofree uint8_t *data = noise(300, 1);
    size_t refused = 0;
    VmsId ids[2];

    memset(data, 'x', 100);
    for (size_t i = 0; i < 2; i++)
        assert_ok(vms_repo_writer_add(writer, VMS_BLOB_DATA, data, 200 + 100 * i, &ids[i], ERR));
    assert_ok(vms_repo_writer_flush(writer, ERR));
    g_autoptr(GPtrArray) packs = names(f, "data/");
    g_assert_cmpuint(packs->len, ==, 1);
    const char *pack = g_ptr_array_index(packs, 0);
    for (size_t at = 0; at < size_of(f, pack); at++) {
        flip(f, pack, at, 0x80);
        for (size_t i = 0; i < 2; i++) {
            g_autoptr(GError) error = NULL;
            g_autoptr(GBytes) bytes =
                vms_repo_read_blob(f->repo, VMS_BLOB_DATA, &ids[i], NULL, &error);
            char hex[VMS_ID_HEX_LEN + 1];

            if (bytes != NULL) {
                g_assert_cmpmem(g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes), data,
                                200 + 100 * i);
                continue;
            }
            refused++;
            vms_id_hex(&ids[i], hex);
            g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
            g_assert_nonnull(strstr(error->message, pack));
            g_assert_nonnull(strstr(error->message, hex));
        }
        flip(f, pack, at, 0x80);
    }
    g_assert_cmpuint(refused, >, 250); /* each byte of each blob */
    assert_ok(vms_store_remove(f->store, pack, NULL, ERR));
    g_autoptr(GError) error = NULL;
    g_assert_null(vms_repo_read_blob(f->repo, VMS_BLOB_DATA, &ids[0], NULL, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
    g_assert_nonnull(strstr(error->message, "missing"));
}

static bool refuse_chunk(void *user, uint64_t at, const void *data, size_t len, GError **error)
{
    return at != 77 || vms_fail(error, VMS_ERROR_NO_SPACE, "chunk 77");
}

/* A pack that ends too early: named, however it is read. */
static void test_truncated_pack(Fixture *f, const void *unused)
{
    g_autofree uint8_t *data = noise(5000, 1);
    VmsId id = add_blob(f, data, 5000);
    g_autoptr(GPtrArray) packs = names(f, "data/");
    const char *pack = g_ptr_array_index(packs, 0);
    g_autoptr(GBytes) whole = NULL;
    g_autoptr(VmsContent) content = NULL;

    assert_ok((content = vms_content_new(1, ERR)) != NULL);
    assert_ok(vms_content_set(content, 0, &id, ERR));
    assert_ok((whole = vms_store_get(f->store, pack, 0, UINT64_MAX, NULL, ERR)) != NULL);
    for (size_t len = 0; len < 5000; len += 1249) {
        g_autoptr(GBytes) cut = g_bytes_new_from_bytes(whole, 0, len);
        g_autoptr(GError) error = NULL;

        assert_ok(vms_store_put(f->store, pack, cut, false, NULL, ERR));
        g_assert_null(vms_repo_read_blob(f->repo, VMS_BLOB_DATA, &id, NULL, &error));
        g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
        g_assert_nonnull(strstr(error->message, pack));
        g_assert_nonnull(strstr(error->message, "ends at byte"));
        g_clear_error(&error);
        g_assert_false(
            vms_reader_run(f->repo, content, NULL, refuse_chunk, NULL, NULL, NULL, &error));
        g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
        g_assert_nonnull(strstr(error->message, pack));
    }
}

/* Every byte of an index file. */
static void test_damaged_index(Fixture *f, const void *unused)
{
    g_autoptr(VmsRepo) other = open_again(f, NULL);
    VmsId id = add_blob(f, "blob", 4);
    g_autoptr(GPtrArray) indexes = names(f, "index/");
    const char *index = g_ptr_array_index(indexes, 0);

    for (size_t at = 0; at < size_of(f, index); at++) {
        g_autoptr(GError) error = NULL;

        flip(f, index, at, 1);
        g_assert_false(vms_repo_sync_index(other, NULL, &error));
        g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
        g_assert_nonnull(strstr(error->message, index));
        flip(f, index, at, 1);
    }
    assert_ok(vms_repo_sync_index(other, NULL, ERR));
    assert_blob(other, VMS_BLOB_DATA, &id, "blob", 4);
}

/* An index that is authentic and wrong: the blob it leads to is whole, and another one. */
static void test_lying_index(Fixture *f, const void *unused)
{
    static const size_t sizes[] = {1000, 6 << 20}; /* the second one is read as a stream */
    g_autofree uint8_t *data = noise(6 << 20, 1);

    for (uint8_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autoptr(VmsRepoWriter) writer = new_writer(f, NULL);
        g_autoptr(GError) error = NULL;
        VmsIndexPlace places[VMS_INDEX_MAX_PLACES];
        VmsId id, wrong = {{0xee, i}};
        size_t count = 0;

        assert_ok(vms_repo_writer_add(writer, VMS_BLOB_TREE, data, sizes[i], &id, ERR));
        assert_ok(vms_repo_writer_flush(writer, ERR));
        assert_ok(vms_index_find(f->repo->index, f->repo, VMS_BLOB_TREE, &id, places, &count, ERR));
        g_assert_cmpuint(count, ==, 1);
        places[0].blob.id = wrong;
        GString *text = vms_index_file_begin();
        vms_index_file_pack(text, &places[0].pack, &places[0].blob, 1);
        vms_index_file_end(text);
        assert_ok(vms_object_save(f->repo, "index", text->str, text->len, &id, NULL, NULL, ERR));
        g_string_free(text, TRUE);
        assert_ok(vms_repo_sync_index(f->repo, NULL, ERR));
        if (i == 0)
            g_assert_null(vms_repo_read_blob(f->repo, VMS_BLOB_TREE, &wrong, NULL, &error));
        else
            g_assert_false(
                vms_blob_stream_read(f->repo, VMS_BLOB_TREE, &wrong, ignore, NULL, NULL, &error));
        g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
        g_assert_nonnull(strstr(error->message, "SHA-256"));
    }
}

/* A blob that lies in two packs survives the loss of one. */
static void test_second_place(Fixture *f, const void *unused)
{
    Fixture other = {.store = f->store, .key = f->key, .repo = open_again(f, NULL)};
    VmsId id = add_blob(f, "twice", 5);
    g_autoptr(GPtrArray) packs = names(f, "data/");

    add_blob(&other, "twice", 5); /* it has not seen the index */
    assert_ok(vms_repo_sync_index(f->repo, NULL, ERR));
    flip(f, g_ptr_array_index(packs, 0), 20, 1);
    assert_blob(f->repo, VMS_BLOB_DATA, &id, "twice", 5);
    vms_repo_free(other.repo);
}

/* Trees */

static VmsContent *random_content(uint64_t count)
{
    g_autofree VmsId *ids = (VmsId *)noise(count * sizeof(VmsId), 99);
    VmsContent *content;

    assert_ok((content = vms_content_new(count, ERR)) != NULL);
    for (uint64_t at = 0; at < count; at++)
        assert_ok(vms_content_set(content, at, &ids[at], ERR));
    return content;
}

static void test_tree(Fixture *f, const void *unused)
{
    g_autoptr(VmsRepoWriter) writer = new_writer(f, NULL);
    g_autoptr(VmsTreeBuilder) root = vms_tree_builder_new(-1500000);
    g_autoptr(VmsTreeBuilder) dir = vms_tree_builder_new(1700000000123000);
    g_autofree uint8_t *data = noise(2500000, 3);
    g_autoptr(VmsTree) tree = NULL;
    g_autoptr(GBytes) bytes = NULL;
    g_autoptr(GError) error = NULL;
    VmsNode *node = NULL;
    VmsId id;

    assert_ok(vms_tree_builder_add_bytes(dir, writer, "z \"\303\251\\", data, 2500000, ERR));
    assert_ok(vms_tree_builder_add_bytes(dir, writer, "empty", "", 0, ERR));
    assert_ok(vms_tree_builder_save(dir, writer, &id, ERR));
    vms_tree_builder_add_dir(root, "web01", &id);
    assert_ok(vms_tree_builder_save(root, writer, &id, ERR));
    assert_ok(vms_repo_writer_flush(writer, ERR));

    assert_ok((bytes = vms_tree_read_file(f->repo, &id, "/web01/z \"\303\251\\", NULL, ERR)) !=
              NULL);
    g_assert_cmpmem(g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes), data, 2500000);
    assert_ok(vms_tree_lookup(f->repo, &id, "web01/empty", &tree, &node, NULL, ERR));
    g_assert_cmpuint(node->size, ==, 0);
    node = g_ptr_array_index(tree->nodes, 0);
    g_assert_cmpstr(node->name, ==, "empty"); /* sorted */
    g_assert_null(vms_tree_read_file(f->repo, &id, "/web01/nvram.fd", NULL, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_NOT_FOUND);
    g_assert_nonnull(strstr(error->message, "nvram.fd"));
    g_clear_error(&error);
    g_assert_null(vms_tree_read_file(f->repo, &id, "/web01", NULL, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_INVALID);
    g_clear_error(&error);
    g_assert_null(vms_tree_read_file(f->repo, &id, "/web01/empty/x", NULL, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_NOT_FOUND);
}

static void test_tree_refused(Fixture *f, const void *unused)
{
    static const char *const bad[] = {"", ".", "..", "a/b", "twice"};

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(VmsRepoWriter) writer = new_writer(f, NULL);
        g_autoptr(VmsTreeBuilder) builder = vms_tree_builder_new(0);
        g_autoptr(GError) error = NULL;
        VmsId id = {{0}};

        vms_tree_builder_add_dir(builder, "twice", &id);
        vms_tree_builder_add_dir(builder, bad[i], &id);
        g_assert_false(vms_tree_builder_save(builder, writer, &id, &error));
        g_assert_error(error, VMS_ERROR, VMS_ERROR_INVALID);
    }
}

/* Long enough for the streams of both directions; compressed or not; the same tree is one blob. */
static void test_long_tree(Fixture *f, const void *unused)
{
    const uint64_t count = 100000;
    g_autoptr(VmsContent) content = random_content(count);
    VmsRepoWriterStats stats;

    for (int compression = VMS_COMPRESSION_AUTO; compression <= VMS_COMPRESSION_OFF;
         compression++) {
        VmsRepoWriterOptions options = {.compression = (VmsCompression)compression};
        g_autoptr(VmsRepoWriter) writer = new_writer(f, &options);
        g_autoptr(VmsTree) tree = NULL;
        VmsId ids[2], a, b;

        for (int i = 0; i < 2; i++) {
            g_autoptr(VmsTreeBuilder) builder = vms_tree_builder_new(compression);

            vms_tree_builder_add_file(builder, "disk.raw", count, content);
            assert_ok(vms_tree_builder_save(builder, writer, &ids[i], ERR));
        }
        g_assert_true(vms_id_equal(&ids[0], &ids[1]));
        assert_ok(vms_repo_writer_flush(writer, ERR));
        vms_repo_writer_stats(writer, &stats);
        g_assert_cmpuint(stats.packs, ==, 1);
        assert_ok((tree = vms_tree_load(f->repo, &ids[0], NULL, ERR)) != NULL);
        VmsNode *node = vms_tree_find(tree, "disk.raw");
        g_assert_cmpuint(vms_content_count(node->content), ==, count);
        for (uint64_t at = 0; at < count; at++) {
            assert_ok(vms_content_get(content, at, &a, ERR) &&
                      vms_content_get(node->content, at, &b, ERR));
            g_assert_true(vms_id_equal(&a, &b));
        }
    }
    g_assert_false(vms_content_set(content, count, &(VmsId){{0}}, NULL));
}

static void test_damaged_long_tree(Fixture *f, const void *unused)
{
    g_autoptr(VmsContent) content = random_content(80000);
    g_autoptr(VmsRepoWriter) writer = new_writer(f, NULL);
    g_autoptr(VmsTreeBuilder) builder = vms_tree_builder_new(0);
    VmsId id;

    vms_tree_builder_add_file(builder, "disk.raw", 80000, content);
    assert_ok(vms_tree_builder_save(builder, writer, &id, ERR));
    assert_ok(vms_repo_writer_flush(writer, ERR));
    g_autoptr(GPtrArray) packs = names(f, "data/");
    const char *pack = g_ptr_array_index(packs, 0);
    size_t size = size_of(f, pack) - 77; /* without the header */
    const size_t places[] = {0, 15, 16, 1000, size / 2, size - 40, size - 16, size - 1};
    for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
        g_autoptr(GError) error = NULL;

        flip(f, pack, places[i], 4);
        g_assert_null(vms_tree_load(f->repo, &id, NULL, &error));
        g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
        g_assert_nonnull(strstr(error->message, pack));
        flip(f, pack, places[i], 4);
    }
    VmsTree *tree;
    assert_ok((tree = vms_tree_load(f->repo, &id, NULL, ERR)) != NULL);
    vms_tree_free(tree);
}

/* The bulk reader */

typedef struct {
    VmsContent *content;
    VmsId zero;
    gint seen[CHUNKS];
    GCancellable *cancel_at_50;
    gint calls;
} Chunks;

/* Every third chunk is zero, every fifth repeats the one before last. */
static uint32_t seed_of(uint32_t at)
{
    return at % 3 == 0 ? 0 : at % 5 == 0 ? at - 2 : at;
}

static uint8_t *chunk_data(uint32_t at)
{
    uint32_t seed = seed_of(at);

    return seed == 0 ? g_malloc0(CHUNK) : noise(CHUNK, seed);
}

static void write_chunks(Fixture *f, Chunks *chunks)
{
    VmsRepoWriterOptions options = {.pack_size = 1 << 20};
    g_autoptr(VmsRepoWriter) writer = new_writer(f, &options);

    memset(chunks, 0, sizeof(*chunks));
    assert_ok((chunks->content = vms_content_new(CHUNKS, ERR)) != NULL);
    for (uint32_t at = 0; at < CHUNKS; at++) {
        g_autofree uint8_t *data = chunk_data(at);
        VmsId id;

        assert_ok(vms_repo_writer_add(writer, VMS_BLOB_DATA, data, CHUNK, &id, ERR));
        assert_ok(vms_content_set(chunks->content, at, &id, ERR));
        if (at == 0)
            chunks->zero = id;
    }
    assert_ok(vms_repo_writer_flush(writer, ERR));
}

static bool check_chunk(void *user, uint64_t at, const void *data, size_t len, GError **error)
{
    Chunks *chunks = user;
    g_autofree uint8_t *expected = chunk_data((uint32_t)at);

    g_assert_cmpmem(data, len, expected, CHUNK);
    g_atomic_int_inc(&chunks->seen[at]);
    if (g_atomic_int_add(&chunks->calls, 1) == 50 && chunks->cancel_at_50 != NULL)
        g_cancellable_cancel(chunks->cancel_at_50);
    return true;
}

static void test_reader(Fixture *f, const void *unused)
{
    Chunks chunks;
    VmsRepoReaderStats stats;

    write_chunks(f, &chunks);
    assert_ok(
        vms_reader_run(f->repo, chunks.content, NULL, check_chunk, &chunks, &stats, NULL, ERR));
    for (size_t at = 0; at < CHUNKS; at++)
        g_assert_cmpint(chunks.seen[at], ==, 1);
    g_assert_cmpuint(stats.chunks, ==, CHUNKS);
    g_assert_cmpuint(stats.requests, <, 10); /* 3 MB in packs of 1 MiB */

    memset(chunks.seen, 0, sizeof(chunks.seen));
    VmsRepoReaderOptions options = {
        .zero_id = &chunks.zero, .threads = 1, .first = 100, .count = 200};
    assert_ok(
        vms_reader_run(f->repo, chunks.content, &options, check_chunk, &chunks, &stats, NULL, ERR));
    for (size_t at = 0; at < CHUNKS; at++)
        g_assert_cmpint(chunks.seen[at], ==, at >= 100 && at < 300 && at % 3 != 0 ? 1 : 0);
    g_assert_cmpuint(stats.skipped, ==, 66);
    vms_content_free(chunks.content);
}

static void test_reader_stops(Fixture *f, const void *unused)
{
    g_autoptr(GError) error = NULL;
    Chunks chunks;

    write_chunks(f, &chunks);
    g_assert_false(
        vms_reader_run(f->repo, chunks.content, NULL, refuse_chunk, NULL, NULL, NULL, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_NO_SPACE);
    g_clear_error(&error);

    chunks.cancel_at_50 = g_cancellable_new();
    g_assert_false(vms_reader_run(f->repo, chunks.content, NULL, check_chunk, &chunks, NULL,
                                  chunks.cancel_at_50, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_CANCELLED);
    g_clear_error(&error);
    g_assert_cmpint(chunks.calls, <, CHUNKS);
    g_clear_object(&chunks.cancel_at_50);

    g_autoptr(GPtrArray) packs = names(f, "data/");
    const char *pack = g_ptr_array_index(packs, 1);
    flip(f, pack, 5000, 1);
    g_assert_false(
        vms_reader_run(f->repo, chunks.content, NULL, check_chunk, &chunks, NULL, NULL, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
    g_assert_nonnull(strstr(error->message, pack));
    g_clear_error(&error);
    assert_ok(vms_store_remove(f->store, pack, NULL, ERR));
    g_assert_false(
        vms_reader_run(f->repo, chunks.content, NULL, check_chunk, &chunks, NULL, NULL, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
    g_assert_nonnull(strstr(error->message, pack));
    g_clear_error(&error);
    assert_ok(vms_content_set(chunks.content, 3, &(VmsId){{5}}, ERR));
    g_assert_false(
        vms_reader_run(f->repo, chunks.content, NULL, check_chunk, &chunks, NULL, NULL, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_NOT_FOUND);
    vms_content_free(chunks.content);
}

#define ADD(name, func) g_test_add("/repo-read/" name, Fixture, NULL, set_up, func, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("damaged-pack", test_damaged_pack);
    ADD("truncated-pack", test_truncated_pack);
    ADD("damaged-index", test_damaged_index);
    ADD("lying-index", test_lying_index);
    ADD("second-place", test_second_place);
    ADD("tree", test_tree);
    ADD("tree-refused", test_tree_refused);
    ADD("long-tree", test_long_tree);
    ADD("damaged-long-tree", test_damaged_long_tree);
    ADD("reader", test_reader);
    ADD("reader-stops", test_reader_stops);
    return g_test_run();
}
