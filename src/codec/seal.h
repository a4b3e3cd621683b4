/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* restic's authenticated encryption: IV (16) || AES-256-CTR ciphertext || Poly1305-AES tag (16). */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VMS_SEAL_IV_LEN 16
#define VMS_SEAL_TAG_LEN 16
#define VMS_SEAL_OVERHEAD (VMS_SEAL_IV_LEN + VMS_SEAL_TAG_LEN)
#define VMS_SEAL_KEY_LEN 64 /* encrypt (32), mac k (16), mac r (16) */

/* Wiped when freed. */
typedef struct {
    uint8_t encrypt[32];
    uint8_t mac_k[16];
    uint8_t mac_r[16];
} VmsSealKey;

/* A random key. FAILED if the system gives no randomness. */
VmsSealKey *vms_seal_key_generate(GError **error);
VmsSealKey *vms_seal_key_new(const uint8_t bytes[VMS_SEAL_KEY_LEN]);
/* False for one whose encryption or authentication part is all zero. */
bool vms_seal_key_valid(const VmsSealKey *key);
void vms_seal_key_free(VmsSealKey *key);

/* len random bytes. */
bool vms_seal_random(void *data, size_t len, GError **error);

/* Writes len + VMS_SEAL_OVERHEAD bytes to sealed, under a fresh IV. FAILED. */
bool vms_seal(const VmsSealKey *key, const void *plain, size_t len, uint8_t *sealed,
              GError **error);

/* The same where the plaintext lies at sealed + VMS_SEAL_IV_LEN already. */
bool vms_seal_in_place(const VmsSealKey *key, uint8_t *sealed, size_t len, GError **error);

/* Authenticates, then writes len - VMS_SEAL_OVERHEAD bytes to plain. CORRUPT where the tag does not
 * fit: damaged, or sealed with another key; nothing is written then. */
bool vms_seal_open(const VmsSealKey *key, const uint8_t *sealed, size_t len, void *plain,
                   GError **error);

/* The same in pieces, for blobs that are not held in memory. A stream is for one message and one
 * thread. */
typedef struct VmsSealStream VmsSealStream;

/* Sealing: write ret_iv, then every piece that update gives, then the tag. */
VmsSealStream *vms_seal_stream_new(const VmsSealKey *key, uint8_t ret_iv[VMS_SEAL_IV_LEN],
                                   GError **error);
/* Encrypts in place. */
bool vms_seal_stream_update(VmsSealStream *stream, uint8_t *data, size_t len, GError **error);
bool vms_seal_stream_finish(VmsSealStream *stream, uint8_t ret_tag[VMS_SEAL_TAG_LEN],
                            GError **error);

/* Opening takes two passes over the ciphertext, so that nothing is decrypted before all of it is
 * authenticated: verify every piece and the tag, then decrypt every piece. */
VmsSealStream *vms_seal_stream_open(const VmsSealKey *key, const uint8_t iv[VMS_SEAL_IV_LEN],
                                    GError **error);
bool vms_seal_stream_verify(VmsSealStream *stream, const uint8_t *data, size_t len, GError **error);
/* CORRUPT */
bool vms_seal_stream_verify_tag(VmsSealStream *stream, const uint8_t tag[VMS_SEAL_TAG_LEN],
                                GError **error);
/* In place; REFUSED before verify_tag succeeded. */
bool vms_seal_stream_decrypt(VmsSealStream *stream, uint8_t *data, size_t len, GError **error);
void vms_seal_stream_free(VmsSealStream *stream);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsSealKey, vms_seal_key_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsSealStream, vms_seal_stream_free)
