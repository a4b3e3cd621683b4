/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SHA-256 through libcrypto. A failure here means a broken libcrypto, nothing that input can cause,
 * so it ends the program instead of making every caller carry an error that cannot happen. */
#include "codec/hash.h"

#include <openssl/evp.h>

struct VmsHash {
    EVP_MD_CTX *context;
};

static void must(int ok)
{
    if (ok != 1)
        g_error("libcrypto cannot compute SHA-256");
}

void vms_hash(const void *data, size_t len, uint8_t ret_hash[VMS_HASH_LEN])
{
    must(EVP_Digest(len > 0 ? data : "", len, ret_hash, NULL, EVP_sha256(), NULL));
}

VmsHash *vms_hash_new(void)
{
    VmsHash *hash = g_new0(VmsHash, 1);

    hash->context = EVP_MD_CTX_new();
    must(hash->context != NULL);
    must(EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL));
    return hash;
}

void vms_hash_free(VmsHash *hash)
{
    if (hash != NULL) {
        EVP_MD_CTX_free(hash->context);
        g_free(hash);
    }
}

void vms_hash_update(VmsHash *hash, const void *data, size_t len)
{
    if (len > 0)
        must(EVP_DigestUpdate(hash->context, data, len));
}

void vms_hash_finish(VmsHash *hash, uint8_t ret_hash[VMS_HASH_LEN])
{
    must(EVP_DigestFinal_ex(hash->context, ret_hash, NULL));
}
