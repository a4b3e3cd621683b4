/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* scrypt (RFC 7914): from a password to key bytes. */
#pragma once

#include "base/secret.h"

#include <stdbool.h>

typedef struct {
    uint64_t n; /* cost, a power of two */
    uint64_t r; /* block size */
    uint64_t p; /* parallelization */
} VmsKdfParams;

/* What new keys are made with: 32 MiB of memory, a fraction of a second. */
extern const VmsKdfParams vms_kdf_default;

/* Derives len bytes. INVALID where the parameters are malformed, or ask for more than 512 MiB of
 * memory or some minutes of work: they come from a file that anybody may have written. */
bool vms_kdf_scrypt(const VmsSecret *password, const void *salt, size_t salt_len,
                    const VmsKdfParams *params, uint8_t *key, size_t len, GError **error);
