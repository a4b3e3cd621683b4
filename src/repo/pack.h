/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pack files: sealed blobs, one after the other, then a sealed header that lists them. Pure: bytes
 * in, bytes out (restic design, "Pack Format"). */
#pragma once

#include "codec/seal.h"
#include "repo/pack-buffer.h"
#include "repo/repo.h"

#define VMS_PACK_MAX_HEADER (16u << 20) /* bytes */
#define VMS_PACK_MAX_ENTRIES 400000u    /* so that a header stays below it */

/* Where a blob lies in its pack. */
typedef struct {
    VmsId id;
    VmsBlobType type;
    uint32_t offset;
    uint32_t length;       /* sealed */
    uint32_t plain_length; /* before compression; 0: not compressed */
} VmsPackBlob;

/* Plaintext bytes of the blob. */
uint64_t vms_pack_blob_size(const VmsPackBlob *blob);

/* The bytes that end a pack of these blobs: sealed header and its length. */
GByteArray *vms_pack_trailer(const VmsSealKey *key, const VmsPackBlob *blobs, size_t count,
                             GError **error);

/* Bytes of the sealed header, from the last four bytes of a pack of pack_size bytes. CORRUPT. */
bool vms_pack_header_length(const uint8_t last[4], uint64_t pack_size, uint32_t *ret_length,
                            GError **error);

/* Reads an opened header. *ret_blobs: GArray of VmsPackBlob. CORRUPT: unknown types, or blobs that
 * do not fill exactly blobs_size bytes. */
bool vms_pack_header_parse(const uint8_t *header, size_t len, uint64_t blobs_size,
                           GArray **ret_blobs, GError **error);

/* Compresses (level 0: not) and seals data; appends to out and describes it in *ret_blob, whose
 * offset is what out's length was. FAILED. */
bool vms_pack_add(GByteArray *out, const VmsSealKey *key, int level, VmsBlobType type,
                  const VmsId *id, const void *data, size_t len, VmsPackBlob *ret_blob,
                  GError **error);

/* Authenticates, decompresses and re-hashes the sealed bytes of blob, in memory from buffers, to
 * which it goes back with the last reference; it begins on a page. CORRUPT; callers name the blob
 * and where it lies. */
GBytes *vms_pack_open_blob(const VmsSealKey *key, const VmsPackBlob *blob, const uint8_t *sealed,
                           size_t len, VmsPackBuffers *buffers, GError **error);
