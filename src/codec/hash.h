/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SHA-256 (FIPS 180-4). */
#pragma once

#include <glib.h>
#include <stddef.h>
#include <stdint.h>

#define VMS_HASH_LEN 32

void vms_hash(const void *data, size_t len, uint8_t ret_hash[VMS_HASH_LEN]);

/* The same in pieces. */
typedef struct VmsHash VmsHash;

VmsHash *vms_hash_new(void);
void vms_hash_free(VmsHash *hash);
void vms_hash_update(VmsHash *hash, const void *data, size_t len);
/* Ends it: afterwards only free. */
void vms_hash_finish(VmsHash *hash, uint8_t ret_hash[VMS_HASH_LEN]);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsHash, vms_hash_free)
