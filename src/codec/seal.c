/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* AES-256-CTR and Poly1305-AES (Bernstein 2005) as restic's design document combines them:
 *
 * The 16 random bytes of the IV are both the initial counter block and the nonce of the MAC. The
 * one-time Poly1305 key is r || AES-128(k, IV); libcrypto masks r itself. The tag covers the
 * ciphertext only, and is checked before anything is decrypted. CTR decrypts by encrypting, so
 * there is one cipher function for both directions.
 *
 * Every message has a stream: the one-shot functions are streams of one piece. */
#include "codec/seal.h"

#include "base/error.h"
#include "base/secret.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>

struct VmsSealStream {
    EVP_CIPHER_CTX *cipher;
    EVP_MAC_CTX *mac;
    bool verified; /* opening: the tag was right */
};

static bool crypto_failed(GError **error, const char *what)
{
    return vms_fail(error, VMS_ERROR_FAILED, "libcrypto: %s failed", what);
}

bool vms_seal_random(void *data, size_t len, GError **error)
{
    return RAND_bytes_ex(NULL, data, len, 0) == 1 || crypto_failed(error, "random generator");
}

VmsSealKey *vms_seal_key_new(const uint8_t bytes[VMS_SEAL_KEY_LEN])
{
    VmsSealKey *key = g_new0(VmsSealKey, 1);

    memcpy(key->encrypt, bytes, 32);
    memcpy(key->mac_k, bytes + 32, 16);
    memcpy(key->mac_r, bytes + 48, 16);
    return key;
}

VmsSealKey *vms_seal_key_generate(GError **error)
{
    g_autoptr(VmsSealKey) key = g_new0(VmsSealKey, 1);

    if (!vms_seal_random(key, sizeof(*key), error))
        return NULL;
    return g_steal_pointer(&key);
}

static bool all_zero(const uint8_t *data, size_t len)
{
    uint8_t any = 0;

    for (size_t i = 0; i < len; i++)
        any |= data[i];
    return any == 0;
}

bool vms_seal_key_valid(const VmsSealKey *key)
{
    return !all_zero(key->encrypt, sizeof(key->encrypt)) &&
           !all_zero(key->mac_k, sizeof(key->mac_k)) && !all_zero(key->mac_r, sizeof(key->mac_r));
}

void vms_seal_key_free(VmsSealKey *key)
{
    if (key != NULL) {
        vms_secret_wipe(key, sizeof(*key));
        g_free(key);
    }
}

/* from and to are the same or do not overlap. libcrypto's cipher functions count in int. */
static bool encrypt(EVP_CIPHER_CTX *cipher, const uint8_t *from, uint8_t *to, size_t len,
                    GError **error)
{
    while (len > 0) {
        int piece = (int)MIN(len, (size_t)1 << 30);
        int done = 0;

        if (EVP_EncryptUpdate(cipher, to, &done, from, piece) != 1 || done != piece)
            return crypto_failed(error, "AES-256-CTR");
        from += piece;
        to += piece;
        len -= (size_t)piece;
    }
    return true;
}

/* r || AES-128(k, IV) */
static bool one_time_key(const VmsSealKey *key, const uint8_t *iv, uint8_t ret_key[32],
                         GError **error)
{
    EVP_CIPHER_CTX *aes = EVP_CIPHER_CTX_new();
    int done = 0;
    bool ok = aes != NULL &&
              EVP_EncryptInit_ex2(aes, EVP_aes_128_ecb(), key->mac_k, NULL, NULL) == 1 &&
              EVP_EncryptUpdate(aes, ret_key + 16, &done, iv, VMS_SEAL_IV_LEN) == 1 && done == 16;

    EVP_CIPHER_CTX_free(aes);
    memcpy(ret_key, key->mac_r, 16);
    return ok || crypto_failed(error, "AES-128");
}

static bool init_mac(VmsSealStream *stream, const VmsSealKey *key, const uint8_t *iv,
                     GError **error)
{
    static gsize once;
    static EVP_MAC *poly1305; /* fetched once: it takes global locks */
    uint8_t mac_key[32];

    if (g_once_init_enter(&once)) {
        poly1305 = EVP_MAC_fetch(NULL, "POLY1305", NULL);
        g_once_init_leave(&once, 1);
    }
    if (poly1305 == NULL)
        return crypto_failed(error, "POLY1305");
    stream->mac = EVP_MAC_CTX_new(poly1305);
    bool ok = one_time_key(key, iv, mac_key, error);
    if (ok && (stream->mac == NULL || EVP_MAC_init(stream->mac, mac_key, 32, NULL) != 1))
        ok = crypto_failed(error, "Poly1305");
    vms_secret_wipe(mac_key, sizeof(mac_key));
    return ok;
}

VmsSealStream *vms_seal_stream_open(const VmsSealKey *key, const uint8_t iv[VMS_SEAL_IV_LEN],
                                    GError **error)
{
    g_autoptr(VmsSealStream) stream = g_new0(VmsSealStream, 1);

    stream->cipher = EVP_CIPHER_CTX_new();
    if (stream->cipher == NULL ||
        EVP_EncryptInit_ex2(stream->cipher, EVP_aes_256_ctr(), key->encrypt, iv, NULL) != 1) {
        crypto_failed(error, "AES-256-CTR");
        return NULL;
    }
    if (!init_mac(stream, key, iv, error))
        return NULL;
    return g_steal_pointer(&stream);
}

VmsSealStream *vms_seal_stream_new(const VmsSealKey *key, uint8_t ret_iv[VMS_SEAL_IV_LEN],
                                   GError **error)
{
    if (!vms_seal_random(ret_iv, VMS_SEAL_IV_LEN, error))
        return NULL;
    return vms_seal_stream_open(key, ret_iv, error);
}

void vms_seal_stream_free(VmsSealStream *stream)
{
    if (stream != NULL) {
        EVP_CIPHER_CTX_free(stream->cipher);
        EVP_MAC_CTX_free(stream->mac);
        g_free(stream);
    }
}

bool vms_seal_stream_update(VmsSealStream *stream, uint8_t *data, size_t len, GError **error)
{
    return encrypt(stream->cipher, data, data, len, error) &&
           vms_seal_stream_verify(stream, data, len, error);
}

bool vms_seal_stream_finish(VmsSealStream *stream, uint8_t ret_tag[VMS_SEAL_TAG_LEN],
                            GError **error)
{
    size_t len = 0;

    if (EVP_MAC_final(stream->mac, ret_tag, &len, VMS_SEAL_TAG_LEN) != 1 || len != VMS_SEAL_TAG_LEN)
        return crypto_failed(error, "Poly1305");
    return true;
}

bool vms_seal_stream_verify(VmsSealStream *stream, const uint8_t *data, size_t len, GError **error)
{
    return len == 0 || EVP_MAC_update(stream->mac, data, len) == 1 ||
           crypto_failed(error, "Poly1305");
}

bool vms_seal_stream_verify_tag(VmsSealStream *stream, const uint8_t tag[VMS_SEAL_TAG_LEN],
                                GError **error)
{
    uint8_t computed[VMS_SEAL_TAG_LEN];

    if (!vms_seal_stream_finish(stream, computed, error))
        return false;
    if (CRYPTO_memcmp(computed, tag, VMS_SEAL_TAG_LEN) != 0) {
        return vms_fail(error, VMS_ERROR_CORRUPT,
                        "authentication failed: damaged, or sealed with another key");
    }
    stream->verified = true;
    return true;
}

bool vms_seal_stream_decrypt(VmsSealStream *stream, uint8_t *data, size_t len, GError **error)
{
    if (!stream->verified)
        return vms_fail(error, VMS_ERROR_REFUSED, "sealed data is not authenticated yet");
    return encrypt(stream->cipher, data, data, len, error);
}

bool vms_seal_in_place(const VmsSealKey *key, uint8_t *sealed, size_t len, GError **error)
{
    uint8_t *body = sealed + VMS_SEAL_IV_LEN;
    g_autoptr(VmsSealStream) stream = vms_seal_stream_new(key, sealed, error);

    return stream != NULL && vms_seal_stream_update(stream, body, len, error) &&
           vms_seal_stream_finish(stream, body + len, error);
}

bool vms_seal(const VmsSealKey *key, const void *plain, size_t len, uint8_t *sealed, GError **error)
{
    if (len > 0)
        memcpy(sealed + VMS_SEAL_IV_LEN, plain, len);
    return vms_seal_in_place(key, sealed, len, error);
}

bool vms_seal_open(const VmsSealKey *key, const uint8_t *sealed, size_t len, void *plain,
                   GError **error)
{
    if (len < VMS_SEAL_OVERHEAD)
        return vms_fail(error, VMS_ERROR_CORRUPT, "sealed data is too short (%zu bytes)", len);

    const uint8_t *body = sealed + VMS_SEAL_IV_LEN;
    size_t body_len = len - VMS_SEAL_OVERHEAD;
    g_autoptr(VmsSealStream) stream = vms_seal_stream_open(key, sealed, error);

    if (stream == NULL || !vms_seal_stream_verify(stream, body, body_len, error) ||
        !vms_seal_stream_verify_tag(stream, body + body_len, error))
        return false;
    return encrypt(stream->cipher, body, plain, body_len, error);
}
