/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "codec/kdf.h"

#include "base/error.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#define MAX_MEMORY (512ull << 20)
#define MAX_WORK (1ull << 27) /* n*r*p; the default is 2^20.8 */

const VmsKdfParams vms_kdf_default = {.n = 32768, .r = 8, .p = 7};

static bool check_params(const VmsKdfParams *params, GError **error)
{
    if (params->n < 2 || (params->n & (params->n - 1)) != 0 || params->r == 0 || params->p == 0)
        return vms_fail(error, VMS_ERROR_INVALID, "scrypt parameters are malformed");
    /* The bounds on the factors keep the products below from wrapping. */
    if (params->n > MAX_WORK || params->r > 1024 || params->p > 1024 ||
        128 * params->n * params->r > MAX_MEMORY || params->n * params->r * params->p > MAX_WORK) {
        return vms_fail(error, VMS_ERROR_INVALID,
                        "scrypt parameters N=%" G_GUINT64_FORMAT " r=%" G_GUINT64_FORMAT
                        " p=%" G_GUINT64_FORMAT " ask for more than vmsnap is willing to spend",
                        params->n, params->r, params->p);
    }
    return true;
}

bool vms_kdf_scrypt(const VmsSecret *password, const void *salt, size_t salt_len,
                    const VmsKdfParams *params, uint8_t *key, size_t len, GError **error)
{
    if (!check_params(params, error))
        return false;

    uint64_t n = params->n, r = params->r, p = params->p;
    uint64_t memory = 128 * n * r + 128 * r * p + (1u << 20); /* libcrypto's own limit is 32 MiB */
    OSSL_PARAM arguments[] = {
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PASSWORD, password->data, password->len),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)salt, salt_len),
        OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_N, &n),
        OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_R, &r),
        OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_P, &p),
        OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_MAXMEM, &memory),
        OSSL_PARAM_construct_end(),
    };
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "SCRYPT", NULL);
    EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);
    int ok = context != NULL ? EVP_KDF_derive(context, key, len, arguments) : 0;

    EVP_KDF_CTX_free(context);
    EVP_KDF_free(kdf);
    if (ok != 1)
        return vms_fail(error, VMS_ERROR_FAILED, "scrypt failed (out of memory?)");
    return true;
}
