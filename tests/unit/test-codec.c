/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/error.h"
#include "base/text.h"
#include "codec/compress.h"
#include "codec/hash.h"
#include "codec/kdf.h"
#include "codec/seal.h"

#include <string.h>

static void unhex(const char *hex, uint8_t *bytes, size_t len)
{
    g_autoptr(GError) error = NULL;

    vms_text_unhex(hex, bytes, len, &error);
    g_assert_no_error(error);
}

static void assert_hex(const uint8_t *bytes, size_t len, const char *hex)
{
    g_autofree char *text = vms_text_hex(bytes, len);

    g_assert_cmpstr(text, ==, hex);
}

/* Bytes that neither repeat nor depend on the run. */
static uint8_t *pattern(size_t len)
{
    uint8_t *data = g_malloc(len + 1);
    uint32_t state = 12345;

    for (size_t i = 0; i < len; i++) {
        state = state * 1664525 + 1013904223;
        data[i] = (uint8_t)(state >> 24);
    }
    return data;
}

/* FIPS 180-4 examples. */
static void test_sha256(void)
{
    uint8_t hash[VMS_HASH_LEN];
    g_autoptr(VmsHash) stream = vms_hash_new();
    g_autofree char *thousand = g_strnfill(1000, 'a');

    vms_hash("", 0, hash);
    assert_hex(hash, 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    vms_hash("abc", 3, hash);
    assert_hex(hash, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    for (int i = 0; i < 1000; i++)
        vms_hash_update(stream, thousand, 1000);
    vms_hash_finish(stream, hash);
    assert_hex(hash, 32, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* RFC 7914, section 12. */
static void test_scrypt(void)
{
    static const struct {
        const char *password, *salt;
        VmsKdfParams params;
        const char *key;
    } vectors[] = {
        {"",
         "",
         {16, 1, 1},
         "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442"
         "fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906"},
        {"password",
         "NaCl",
         {1024, 8, 16},
         "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
         "2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640"},
        {"pleaseletmein",
         "SodiumChloride",
         {16384, 8, 1},
         "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
         "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(vectors); i++) {
        g_autoptr(VmsSecret) password = vms_secret_new_string(vectors[i].password);
        g_autoptr(GError) error = NULL;
        uint8_t key[64];

        vms_kdf_scrypt(password, vectors[i].salt, strlen(vectors[i].salt), &vectors[i].params, key,
                       sizeof(key), &error);
        g_assert_no_error(error);
        assert_hex(key, sizeof(key), vectors[i].key);
    }
}

/* A key file may not make us spend hours or all memory. */
static void test_scrypt_bounds(void)
{
    static const VmsKdfParams bad[] = {
        {0, 8, 1},
        {1, 8, 1},
        {3, 8, 1},
        {32768, 0, 1},
        {32768, 8, 0},
        {1ull << 40, 8, 1},
        {1 << 20, 8, 1},
        {32768, 8, 1ull << 40},
        {32768, 1ull << 40, 1},
        {1ull << 63, 8, 8},
        {32768, 8, 1000},
    };
    g_autoptr(VmsSecret) password = vms_secret_new_string("x");

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        uint8_t key[64];

        g_assert_false(vms_kdf_scrypt(password, "salt", 4, &bad[i], key, 64, &error));
        g_assert_error(error, VMS_ERROR, VMS_ERROR_INVALID);
    }
}

/* D. J. Bernstein, "The Poly1305-AES message-authentication code", appendix B. A sealed message is
 * nonce, ciphertext and tag, so opening one made of a vector succeeds only if the tag is right. */
static void test_poly1305_aes(void)
{
    static const struct {
        const char *message, *r, *k, *nonce, *tag;
    } vectors[] = {
        {"f3f6", "851fc40c3467ac0be05cc20404f3f700", "ec074c835580741701425b623235add6",
         "fb447350c4e868c52ac3275cf9d4327e", "f4c633c3044fc145f84f335cb81953de"},
        {"", "a0f3080000f46400d0c7e9076c834403", "75deaa25c09f208e1dc4ce6b5cad3fbf",
         "61ee09218d29b0aaed7e154a2c5509cc", "dd3fab2251f11ac759f0887129cc2ee7"},
        {"663cea190ffb83d89593f3f476b6bc24d7e679107ea26adb8caf6652d0656136",
         "48443d0bb0d21109c89a100b5ce2c208", "6acb5f61a7176dd320c5c1eb2edcdc74",
         "ae212a55399729595dea458bc621ff0e", "0ee1c16bb73f0f4fd19881753c01cdbe"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(vectors); i++) {
        size_t len = strlen(vectors[i].message) / 2;
        g_autofree uint8_t *sealed = g_malloc(len + VMS_SEAL_OVERHEAD);
        g_autofree uint8_t *plain = g_malloc(len + 1);
        g_autoptr(GError) error = NULL;
        VmsSealKey key = {.encrypt = {1}};

        unhex(vectors[i].r, key.mac_r, 16);
        unhex(vectors[i].k, key.mac_k, 16);
        unhex(vectors[i].nonce, sealed, 16);
        unhex(vectors[i].message, sealed + 16, len);
        unhex(vectors[i].tag, sealed + 16 + len, 16);
        vms_seal_open(&key, sealed, len + VMS_SEAL_OVERHEAD, plain, &error);
        g_assert_no_error(error);
        sealed[16 + len] ^= 1;
        g_assert_false(vms_seal_open(&key, sealed, len + VMS_SEAL_OVERHEAD, plain, &error));
        g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
    }
}

/* NIST SP 800-38A, F.5.5. */
static void test_aes_ctr(void)
{
    VmsSealKey key = {.mac_k = {1}, .mac_r = {1}};
    uint8_t iv[16], data[32];
    g_autoptr(GError) error = NULL;

    unhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", key.encrypt, 32);
    unhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", iv, 16);
    unhex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51", data, 32);
    g_autoptr(VmsSealStream) stream = vms_seal_stream_open(&key, iv, &error);
    g_assert_no_error(error);
    g_assert_true(vms_seal_stream_update(stream, data, 7, &error));
    g_assert_true(vms_seal_stream_update(stream, data + 7, 25, &error));
    assert_hex(data, 32, "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5");
}

static void test_seal_roundtrip(void)
{
    static const size_t sizes[] = {0, 1, 15, 16, 17, 31, 32, 33, 4095, 4096, 100001};
    g_autoptr(VmsSealKey) key = vms_seal_key_generate(NULL);

    g_assert_true(vms_seal_key_valid(key));
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        size_t len = sizes[i];
        g_autofree uint8_t *data = pattern(len);
        g_autofree uint8_t *sealed = g_malloc(len + VMS_SEAL_OVERHEAD);
        g_autofree uint8_t *plain = g_malloc(len + 1);

        g_assert_true(vms_seal(key, data, len, sealed, NULL));
        g_assert_true(vms_seal_open(key, sealed, len + VMS_SEAL_OVERHEAD, plain, NULL));
        g_assert_cmpmem(plain, len, data, len);
        if (len >= 32)
            g_assert_cmpint(memcmp(sealed + VMS_SEAL_IV_LEN, data, len), !=, 0);
    }
}

/* P5: every bit counts, and nothing is given out before the tag was seen to be right. */
static void test_seal_tamper(void)
{
    g_autoptr(VmsSealKey) key = vms_seal_key_generate(NULL);
    g_autoptr(VmsSealKey) other = vms_seal_key_generate(NULL);
    uint8_t sealed[20 + VMS_SEAL_OVERHEAD], plain[sizeof(sealed)];
    static const uint8_t untouched[sizeof(sealed)];
    g_autoptr(GError) error = NULL;

    memset(plain, 0, sizeof(plain));
    g_assert_true(vms_seal(key, "twenty bytes of text", 20, sealed, NULL));
    for (size_t bit = 0; bit < 8 * sizeof(sealed); bit++) {
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
        g_assert_false(vms_seal_open(key, sealed, sizeof(sealed), plain, NULL));
        g_assert_cmpmem(plain, sizeof(plain), untouched, sizeof(untouched));
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t len = 0; len < sizeof(sealed); len++)
        g_assert_false(vms_seal_open(key, sealed, len, plain, NULL));
    g_assert_false(vms_seal_open(other, sealed, sizeof(sealed), plain, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
    g_assert_true(vms_seal_open(key, sealed, sizeof(sealed), plain, NULL));
}

static void test_seal_stream(void)
{
    const size_t len = 10000;
    g_autoptr(VmsSealKey) key = vms_seal_key_generate(NULL);
    g_autofree uint8_t *data = pattern(len);
    g_autofree uint8_t *sealed = g_malloc(len + VMS_SEAL_OVERHEAD);
    g_autofree uint8_t *plain = g_malloc(len);
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsSealStream) out = vms_seal_stream_new(key, sealed, NULL);

    memcpy(sealed + 16, data, len);
    for (size_t at = 0; at < len; at += 777)
        g_assert_true(vms_seal_stream_update(out, sealed + 16 + at, MIN(777, len - at), NULL));
    g_assert_true(vms_seal_stream_finish(out, sealed + 16 + len, NULL));
    g_assert_true(vms_seal_open(key, sealed, len + VMS_SEAL_OVERHEAD, plain, NULL));
    g_assert_cmpmem(plain, len, data, len);

    g_autoptr(VmsSealStream) in = vms_seal_stream_open(key, sealed, NULL);
    for (size_t at = 0; at < len; at += 1234)
        g_assert_true(vms_seal_stream_verify(in, sealed + 16 + at, MIN(1234, len - at), NULL));
    g_assert_false(vms_seal_stream_decrypt(in, sealed + 16, 1, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_REFUSED);
    g_assert_true(vms_seal_stream_verify_tag(in, sealed + 16 + len, NULL));
    for (size_t at = 0; at < len; at += 99)
        g_assert_true(vms_seal_stream_decrypt(in, sealed + 16 + at, MIN(99, len - at), NULL));
    g_assert_cmpmem(sealed + 16, len, data, len);
}

static void test_compress(void)
{
    static const size_t sizes[] = {0, 1, 1000, 1 << 20};

    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        size_t len = sizes[i], packed_len = 0, bound = vms_compress_bound(len);
        g_autofree uint8_t *data = pattern(len);
        g_autofree uint8_t *packed = g_malloc(bound);
        g_autofree uint8_t *plain = g_malloc(len + 8);
        g_autoptr(GError) error = NULL;

        memset(data, 'x', len / 2);
        g_assert_true(vms_compress(3, data, len, packed, bound, &packed_len, NULL));
        g_assert_true(vms_compress_expand(packed, packed_len, plain, len, NULL));
        g_assert_cmpmem(plain, len, data, len);
        g_assert_false(vms_compress_expand(packed, packed_len, plain, len + 1, &error));
        g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
        if (len > 0) {
            g_assert_false(vms_compress_expand(packed, packed_len, plain, len - 1, NULL));
            g_assert_false(vms_compress_expand(packed, packed_len - 1, plain, len, NULL));
        }
        g_autoptr(GBytes) bytes = vms_compress_expand_bounded(packed, packed_len, len, NULL);
        g_assert_nonnull(bytes);
        g_assert_cmpmem(g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes), data, len);
    }
}

/* 1 GiB of zeroes is some 32 KiB compressed. */
static void test_bomb(void)
{
    g_autoptr(GByteArray) packed = g_byte_array_new();
    g_autofree uint8_t *zeroes = g_malloc0(1 << 20);
    g_autoptr(GError) error = NULL;
    size_t bound = vms_compress_bound(1 << 20), len = 0;
    g_autofree uint8_t *frame = g_malloc(bound);

    g_assert_true(vms_compress(3, zeroes, 1 << 20, frame, bound, &len, NULL));
    for (int i = 0; i < 1024; i++)
        g_byte_array_append(packed, frame, (guint)len);
    g_assert_null(vms_compress_expand_bounded(packed->data, packed->len, 5 << 20, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
}

static bool collect(void *user, uint8_t *data, size_t len, GError **error)
{
    g_byte_array_append(user, data, (guint)len);
    return true;
}

static void test_compress_stream(void)
{
    const size_t len = 3000000;
    g_autofree uint8_t *data = pattern(len);
    g_autoptr(GByteArray) packed = g_byte_array_new();
    g_autoptr(GByteArray) plain = g_byte_array_new();
    g_autoptr(VmsCompressStream) in = vms_compress_stream_new(3, collect, packed);
    g_autoptr(VmsExpandStream) out = vms_expand_stream_new(len, collect, plain);
    g_autoptr(VmsExpandStream) early = vms_expand_stream_new(len, collect, plain);

    memset(data + 1000, 0, 2000000);
    for (size_t at = 0; at < len; at += 54321)
        g_assert_true(vms_compress_stream_feed(in, data + at, MIN(54321, len - at), NULL));
    g_assert_true(vms_compress_stream_finish(in, NULL));
    g_assert_cmpuint(packed->len, <, 1100000);
    for (size_t at = 0; at < packed->len; at += 1001)
        g_assert_true(
            vms_expand_stream_feed(out, packed->data + at, MIN(1001, packed->len - at), NULL));
    g_assert_true(vms_expand_stream_finish(out, NULL));
    g_assert_cmpmem(plain->data, plain->len, data, len);
    g_assert_true(vms_expand_stream_feed(early, packed->data, packed->len - 1, NULL));
    g_assert_false(vms_expand_stream_finish(early, NULL));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/codec/sha256", test_sha256);
    g_test_add_func("/codec/scrypt", test_scrypt);
    g_test_add_func("/codec/scrypt-bounds", test_scrypt_bounds);
    g_test_add_func("/codec/poly1305-aes", test_poly1305_aes);
    g_test_add_func("/codec/aes-ctr", test_aes_ctr);
    g_test_add_func("/codec/seal-roundtrip", test_seal_roundtrip);
    g_test_add_func("/codec/seal-tamper", test_seal_tamper);
    g_test_add_func("/codec/seal-stream", test_seal_stream);
    g_test_add_func("/codec/compress", test_compress);
    g_test_add_func("/codec/bomb", test_bomb);
    g_test_add_func("/codec/compress-stream", test_compress_stream);
    return g_test_run();
}
