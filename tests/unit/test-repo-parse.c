/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parsers of what comes out of a repository: pure functions on untrusted bytes. */
#include "repo-fixture.h"

#include "repo/index-file.h"
#include "repo/key-file.h"
#include "repo/lock-file.h"
#include "repo/node-name.h"
#include "repo/polynomial.h"
#include "repo/snapshot-file.h"
#include "repo/tree-parse.h"

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static void test_id(void)
{
    char hex[VMS_ID_HEX_LEN + 1];
    g_autoptr(GError) error = NULL;
    VmsId id;

    assert_ok(vms_id_parse(HEX_A, &id, ERR));
    vms_id_hex(&id, hex);
    g_assert_cmpstr(hex, ==, HEX_A);
    g_assert_false(vms_id_parse(HEX_A "a", &id, NULL));
    g_assert_false(vms_id_parse("", &id, NULL));
    g_assert_false(vms_id_parse("../../etc/passwd", &id, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_INVALID);
}

/* Header of three blobs: there and back; any other size, and any cut, is refused. */
static void test_pack_header(void)
{
    VmsSealKey key = {.encrypt = {1}, .mac_k = {2}, .mac_r = {3}};
    const VmsPackBlob blobs[] = {
        {.id = {{1}}, .type = VMS_BLOB_DATA, .offset = 0, .length = 40},
        {.id = {{2}}, .type = VMS_BLOB_TREE, .offset = 40, .length = 32, .plain_length = 9},
        {.id = {{3}}, .type = VMS_BLOB_DATA, .offset = 72, .length = 5000, .plain_length = 70000},
    };
    g_autoptr(GByteArray) trailer = NULL;
    g_autoptr(GArray) parsed = NULL;
    uint8_t header[1000];
    uint32_t length = 0;

    assert_ok((trailer = vms_pack_trailer(&key, blobs, 3, ERR)) != NULL);
    assert_ok(vms_pack_header_length(trailer->data + trailer->len - 4, 5072 + trailer->len, &length,
                                     ERR));
    g_assert_cmpuint(length, ==, trailer->len - 4);
    g_assert_false(
        vms_pack_header_length(trailer->data + trailer->len - 4, length + 3, &length, NULL));
    assert_ok(vms_seal_open(&key, trailer->data, length, header, ERR));
    size_t len = length - VMS_SEAL_OVERHEAD;
    assert_ok(vms_pack_header_parse(header, len, 5072, &parsed, ERR));
    g_assert_cmpuint(parsed->len, ==, 3);
    for (guint i = 0; i < 3; i++) {
        const VmsPackBlob *blob = &g_array_index(parsed, VmsPackBlob, i);

        g_assert_true(vms_id_equal(&blob->id, &blobs[i].id));
        g_assert_cmpint(blob->type, ==, blobs[i].type);
        g_assert_cmpuint(blob->offset, ==, blobs[i].offset);
        g_assert_cmpuint(blob->length, ==, blobs[i].length);
        g_assert_cmpuint(blob->plain_length, ==, blobs[i].plain_length);
    }
    g_assert_false(vms_pack_header_parse(header, len, 5071, &parsed, NULL));
    for (size_t cut = 0; cut < len; cut++)
        g_assert_false(vms_pack_header_parse(header, cut, 5072, &parsed, NULL));
    header[0] = 4;
    g_assert_false(vms_pack_header_parse(header, len, 5072, &parsed, NULL));
}

static bool describe_pack(void *user, const VmsId *pack, const VmsPackBlob *blobs, size_t count,
                          GError **error)
{
    g_string_append_printf(user, "%02x:", pack->bytes[0]);
    for (size_t i = 0; i < count; i++)
        g_string_append_printf(user, "%02x%c@%u+%u/%u,", blobs[i].id.bytes[0],
                               blobs[i].type == VMS_BLOB_TREE ? 't' : 'd', blobs[i].offset,
                               blobs[i].length, blobs[i].plain_length);
    g_string_append_c(user, ';');
    return true;
}

static char *parse_index(const char *text, GError **error)
{
    g_autoptr(GString) seen = g_string_new(NULL);

    if (!vms_index_file_parse(text, strlen(text), describe_pack, seen, error))
        return NULL;
    return g_string_free(g_steal_pointer(&seen), FALSE);
}

#define BLOB "{\"id\":\"" HEX_B "\",\"type\":\"data\",\"offset\":0,\"length\":38}"

static void test_index_good(void)
{
    static const char *const cases[][2] = {
        {"{}", ""},
        {"{\"packs\":null}", ""},
        {"{\"packs\":[]}", ""},
        {"{\"packs\":[{\"id\":\"" HEX_A "\",\"blobs\":[" BLOB "]}]}", "aa:bbd@0+38/0,;"},
        /* any order, unknown members of any shape */
        {"{\"x\":{\"packs\":[1,{\"id\":2}]},\"supersedes\":[\"" HEX_A "\"],\"packs\":[{\"y\":[[]],"
         "\"blobs\":[{\"uncompressed_length\":7,\"length\":38,\"offset\":5,\"z\":{\"id\":3},"
         "\"type\":\"tree\",\"id\":\"" HEX_B "\"}],\"id\":\"" HEX_A "\"},{\"id\":\"" HEX_B
         "\",\"blobs\":[]}]}",
         "aa:bbt@5+38/7,;bb:;"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *seen = NULL;

        assert_ok((seen = parse_index(cases[i][0], ERR)) != NULL);
        g_assert_cmpstr(seen, ==, cases[i][1]);
    }
}

static void test_index_bad(void)
{
    static const char *const cases[] = {
        "",
        "[]",
        "{\"packs\":{}}",
        "{\"packs\":[[]]}",
        "{\"packs\":[{\"blobs\":[" BLOB "]}]}",
        "{\"packs\":[{\"id\":\"abc\",\"blobs\":[]}]}",
        "{\"packs\":[{\"id\":5,\"blobs\":[]}]}",
        "{\"packs\":[{\"id\":\"" HEX_A "\",\"blobs\":[{}]}]}",
        "{\"packs\":[{\"id\":\"" HEX_A "\",\"blobs\":[{\"id\":\"" HEX_B
        "\",\"type\":\"data\",\"offset\":0}]}]}",
        "{\"packs\":[{\"id\":\"" HEX_A "\",\"blobs\":[{\"id\":\"" HEX_B
        "\",\"type\":\"soup\",\"offset\":0,\"length\":38}]}]}",
        "{\"packs\":[{\"id\":\"" HEX_A "\",\"blobs\":[{\"id\":\"" HEX_B
        "\",\"type\":\"data\",\"offset\":0,\"length\":31}]}]}",
        "{\"packs\":[{\"id\":\"" HEX_A "\",\"blobs\":[{\"id\":\"" HEX_B
        "\",\"type\":\"data\",\"offset\":4294967290,\"length\":38}]}]}",
        "{\"packs\":[{\"id\":\"" HEX_A "\",\"blobs\":[{\"id\":\"" HEX_B
        "\",\"type\":\"data\",\"offset\":-1,\"length\":38}]}]}",
        "{\"packs\":[{\"id\":\"" HEX_A "\",\"blobs\":[{\"id\":\"" HEX_B
        "\",\"type\":\"data\",\"offset\":\"0\",\"length\":38}]}]}",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *seen = parse_index(cases[i], &error);

        g_assert_null(seen);
        g_assert_error(error, VMS_ERROR, VMS_ERROR_INVALID);
    }
}

static void test_index_written(void)
{
    const VmsId a = {{0xaa}}, b = {{0xbb}};
    const VmsPackBlob blobs[] = {
        {.id = {{1}}, .type = VMS_BLOB_DATA, .offset = 0, .length = 40},
        {.id = {{2}}, .type = VMS_BLOB_TREE, .offset = 40, .length = 50, .plain_length = 90},
    };
    GString *text = vms_index_file_begin();

    vms_index_file_pack(text, &a, blobs, 2);
    vms_index_file_pack(text, &b, blobs, 1);
    vms_index_file_end(text);
    g_autofree char *seen = NULL;
    assert_ok((seen = parse_index(text->str, ERR)) != NULL);
    g_assert_cmpstr(seen, ==, "aa:01d@0+40/0,02t@40+50/90,;bb:01d@0+40/0,;");
    g_string_free(text, TRUE);
}

/* Every name there and back; what Go's quoting makes of some of them. */
static void test_node_names(void)
{
    static const char *const written[][2] = {
        {"disk.raw", "\"disk.raw\""},
        {"a b", "\"a b\""},
        {"q\"b\\", "\"q\\\\\\\"b\\\\\\\\\""},
        {"t\tn\n\001\177", "\"t\\\\tn\\\\n\\\\x01\\\\x7f\""},
        {"\303\251\344\270\255", "\"\303\251\344\270\255\""},
        {"\377x\303", "\"\\\\xffx\\\\xc3\""},
        {"<&>", "\"\\u003c\\u0026\\u003e\""},
        {"\342\200\250", "\"\\\\u2028\""},
    };
    static const char *const refused[] = {
        "",      ".",       "..",  "a/b",   "\\",   "\\x4",    "\\xzz",       "\\u12",
        "\\x00", "\\ud800", "\\q", "\\400", "\\08", "\\u0000", "\\U00110000", "\\x2f"};
    char *name = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(written); i++) {
        g_autoptr(GString) json = g_string_new(NULL);

        vms_node_name_append(json, written[i][0]);
        g_assert_cmpstr(json->str, ==, written[i][1]);
    }
    assert_ok(vms_node_name_parse("\\a\\b\\f\\n\\r\\t\\v\\\\\\\"\\x41\\u00e9\\U0001f600\\101",
                                  &name, ERR));
    g_assert_cmpstr(name, ==, "\a\b\f\n\r\t\v\\\"A\303\251\360\237\230\200A");
    g_free(name);
    for (size_t i = 0; i < G_N_ELEMENTS(refused); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_false(vms_node_name_parse(refused[i], &name, &error));
        g_assert_error(error, VMS_ERROR, VMS_ERROR_INVALID);
    }
}

static VmsTree *parse_tree(const char *text, size_t piece, GError **error)
{
    g_autoptr(VmsTreeParse) parse = vms_tree_parse_new();
    size_t len = strlen(text);

    for (size_t at = 0; at < len; at += piece)
        if (!vms_tree_parse_feed(parse, text + at, MIN(piece, len - at), error))
            return NULL;
    return vms_tree_parse_finish(parse, error);
}

/* As restic writes it, in pieces of any size. */
static void test_tree_good(void)
{
    static const char text[] =
        "{\"nodes\":[{\"name\":\"d\",\"type\":\"dir\",\"mode\":2147484141,\"mtime\":"
        "\"2026-11-21T07:11:39.98Z\",\"uid\":0,\"inode\":10962173,\"content\":null,\"subtree\":"
        "\"" HEX_A
        "\"},{\"name\":\"f\\\\tg\",\"type\":\"file\",\"size\":7,\"extended_attributes\":[{\"name\":"
        "\"user.x\",\"value\":\"QQ==\"}],\"generic_attributes\":{\"size\":[1]},\"content\":["
        "\"" HEX_A "\",\"" HEX_B "\"]},{\"name\":\"l\",\"type\":\"symlink\",\"linktarget\":\"a\","
        "\"content\":null},{\"name\":\"e\",\"type\":\"file\",\"content\":[]}],\"more\":[{}]}\n";

    for (size_t piece = 1; piece < sizeof(text); piece += 7) {
        g_autoptr(VmsTree) tree = NULL;
        VmsId id;

        assert_ok((tree = parse_tree(text, piece, ERR)) != NULL);
        g_assert_cmpuint(tree->nodes->len, ==, 4);
        VmsNode *dir = vms_tree_find(tree, "d"), *file = vms_tree_find(tree, "f\tg");
        g_assert_cmpint(dir->type, ==, VMS_NODE_DIR);
        g_assert_cmpint(dir->subtree.bytes[0], ==, 0xaa);
        g_assert_cmpuint(file->size, ==, 7);
        g_assert_cmpuint(vms_content_count(file->content), ==, 2);
        assert_ok(vms_content_get(file->content, 1, &id, ERR));
        g_assert_cmpint(id.bytes[0], ==, 0xbb);
        g_assert_cmpint(vms_tree_find(tree, "l")->type, ==, VMS_NODE_OTHER);
        g_assert_cmpuint(vms_content_count(vms_tree_find(tree, "e")->content), ==, 0);
        g_assert_null(vms_tree_find(tree, "x"));
    }
}

static void test_tree_bad(void)
{
#define NODE(members) "{\"nodes\":[{" members "}]}"
    static const char *const cases[] = {
        "",
        "[]",
        "{\"nodes\":{}}",
        "{\"nodes\":[[]]}",
        NODE(""),
        NODE("\"name\":\"a\""),
        NODE("\"type\":\"file\""),
        NODE("\"name\":\"../a\",\"type\":\"file\""),
        NODE("\"name\":5,\"type\":\"file\""),
        NODE("\"name\":{},\"type\":\"file\""),
        NODE("\"name\":\"a\",\"type\":\"dir\""),
        NODE("\"name\":\"a\",\"type\":\"dir\",\"subtree\":\"123\""),
        NODE("\"name\":\"a\",\"type\":\"file\",\"size\":-1"),
        NODE("\"name\":\"a\",\"type\":\"file\",\"size\":1.5"),
        NODE("\"name\":\"a\",\"type\":\"file\",\"size\":18446744073709551615"),
        NODE("\"name\":\"a\",\"type\":\"file\",\"size\":\"1\""),
        NODE("\"name\":\"a\",\"type\":\"file\",\"content\":\"" HEX_A "\""),
        NODE("\"name\":\"a\",\"type\":\"file\",\"content\":{}"),
        NODE("\"name\":\"a\",\"type\":\"file\",\"content\":[5]"),
        NODE("\"name\":\"a\",\"type\":\"file\",\"content\":[null]"),
        NODE("\"name\":\"a\",\"type\":\"file\",\"content\":[\"zz\"]"),
        NODE("\"name\":\"a\",\"type\":\"file\",\"content\":[],\"content\":[]"),
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        VmsTree *tree = parse_tree(cases[i], 1000, &error);

        if (tree != NULL)
            g_error("accepted: %s", cases[i]);
        g_assert_error(error, VMS_ERROR, VMS_ERROR_INVALID);
    }
}

static void test_documents(void)
{
    static const char *const config_bad[] = {"", "{}", "{\"version\":\"2\"}", "{\"version\":2}",
                                             "{\"version\":2,\"id\":\"../..\"}"};
    static const char *const key_bad[] = {"{}", "{\"kdf\":\"scrypt\"}",
                                          "{\"kdf\":\"scrypt\",\"N\":-1,\"r\":8,\"p\":1,"
                                          "\"salt\":\"\",\"data\":\"\"}"};
    g_autoptr(GError) error = NULL;
    VmsId id;

    for (size_t i = 0; i < G_N_ELEMENTS(config_bad); i++) {
        g_assert_false(vms_config_parse(config_bad[i], strlen(config_bad[i]), &id, &error));
        g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
        g_clear_error(&error);
    }
    for (int version = 1; version <= 3; version += 2) {
        g_autofree char *text = g_strdup_printf("{\"version\":%d,\"id\":\"" HEX_A "\"}", version);

        g_assert_false(vms_config_parse(text, strlen(text), &id, &error));
        g_assert_error(error, VMS_ERROR, VMS_ERROR_UNSUPPORTED);
        g_clear_error(&error);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(key_bad); i++) {
        g_assert_null(vms_key_file_parse(key_bad[i], strlen(key_bad[i]), &error));
        g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
        g_clear_error(&error);
    }
    g_assert_null(vms_key_file_parse("{\"kdf\":\"argon\"}", 15, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_UNSUPPORTED);
    g_clear_error(&error);
    g_assert_null(vms_snapshot_file_parse("{\"time\":\"yesterday\"}", 20, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_INVALID);
    g_clear_error(&error);
    g_assert_null(vms_lock_file_parse("{\"pid\":\"x\"}", 11, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_INVALID);
}

static void test_polynomial(void)
{
    static const uint64_t irreducible[] = {0x25b468838dcb75, 0x3da3358b4dc173, 0x3b2c8af97a92ed};
    uint64_t random = 0, product = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(irreducible); i++)
        g_assert_true(vms_polynomial_irreducible(irreducible[i]));
    g_assert_false(vms_polynomial_irreducible(UINT64_C(1) << 53));
    g_assert_false(vms_polynomial_irreducible(UINT64_C(1) << 53 | 1));
    g_assert_false(vms_polynomial_irreducible(0x5b468838dcb75)); /* of a lower degree */
    /* (x^2 + x + 1) * (x^51 + x^10 + 1): odd, without a root, and yet not irreducible */
    for (int bit = 0; bit <= 2; bit++)
        product ^= (UINT64_C(1) << 51 | 1 << 10 | 1) << bit;
    g_assert_false(vms_polynomial_irreducible(product));
    assert_ok(vms_polynomial_random(&random, ERR));
    g_assert_true(vms_polynomial_irreducible(random));
}

/* Each of a length that a name may have; together more than is kept. */
static void test_tree_names(void)
{
    g_autofree char *name = g_strnfill(1000000, 'n');
    g_autoptr(VmsTreeParse) parse = vms_tree_parse_new();
    g_autoptr(GError) error = NULL;
    bool ok = vms_tree_parse_feed(parse, "{\"nodes\":[", 10, &error);

    for (unsigned i = 0; ok && i < 70; i++) {
        g_autofree char *node =
            g_strdup_printf("%s{\"name\":\"%u%s\",\"type\":\"file\"}", i ? "," : "", i, name);
        ok = vms_tree_parse_feed(parse, node, strlen(node), &error);
    }
    g_assert_error(error, VMS_ERROR, VMS_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, "64 MiB"));
}

/* A few KiB that are more than any index of ours: noticed before memory for it is taken. */
static void test_bomb(void)
{
    VmsSealKey key = {.encrypt = {1}, .mac_k = {2}, .mac_r = {3}};
    size_t len = VMS_OBJECT_MAX_PLAIN + 1, sealed_len = 0;
    g_autofree char *zeroes = g_malloc0(len);
    g_autoptr(GBytes) sealed = NULL;
    g_autoptr(GError) error = NULL;

    assert_ok((sealed = vms_object_encode(&key, zeroes, len, true, ERR)) != NULL);
    const void *data = g_bytes_get_data(sealed, &sealed_len);
    g_assert_cmpuint(sealed_len, <, 1 << 20);
    g_assert_null(vms_object_decode(&key, data, sealed_len, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/repo-parse/id", test_id);
    g_test_add_func("/repo-parse/bomb", test_bomb);
    g_test_add_func("/repo-parse/tree-names", test_tree_names);
    g_test_add_func("/repo-parse/polynomial", test_polynomial);
    g_test_add_func("/repo-parse/pack-header", test_pack_header);
    g_test_add_func("/repo-parse/index-good", test_index_good);
    g_test_add_func("/repo-parse/index-bad", test_index_bad);
    g_test_add_func("/repo-parse/index-written", test_index_written);
    g_test_add_func("/repo-parse/node-names", test_node_names);
    g_test_add_func("/repo-parse/tree-good", test_tree_good);
    g_test_add_func("/repo-parse/tree-bad", test_tree_bad);
    g_test_add_func("/repo-parse/documents", test_documents);
    return g_test_run();
}
