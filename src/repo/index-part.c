/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A part is the pack's id, its blobs, and the first 8 bytes of the SHA-256 of all that. A blob is
 * its id and three numbers of seven bits a byte: the gap behind the blob before it, with the type
 * in the lowest bit; the sealed length; the length before compression, 0 where there was none. The
 * blobs of a pack mostly lie one after the other, so that a blob of a megabyte takes 39 bytes.
 *
 * SQLite has no checksums of its own: without ours, a flipped bit in the cache would look like a
 * damaged repository. */
#include "repo/index-part.h"

#include "base/error.h"
#include "codec/hash.h"

#include <string.h>

#define SUM 8
#define MAX_NUMBER 5 /* bytes of 33 bits */

size_t vms_index_parts(size_t count)
{
    return MAX((count + VMS_INDEX_PART_BLOBS - 1) / VMS_INDEX_PART_BLOBS, 1);
}

static void put_number(GByteArray *out, uint64_t value)
{
    uint8_t bytes[MAX_NUMBER];
    guint len = 0;

    for (; value >= 0x80; value >>= 7)
        bytes[len++] = (uint8_t)(value | 0x80);
    bytes[len++] = (uint8_t)value;
    g_byte_array_append(out, bytes, len);
}

static bool get_number(const uint8_t **data, const uint8_t *end, uint64_t *ret_value)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < MAX_NUMBER && *data < end; i++) {
        uint8_t byte = *(*data)++;

        value |= (uint64_t)(byte & 0x7f) << 7 * i;
        if (byte < 0x80) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

static void put_blob(GByteArray *out, const VmsPackBlob *blob, uint32_t *expected)
{
    /* Modulo 2^32: blobs may come in any order. */
    put_number(out, (uint64_t)(uint32_t)(blob->offset - *expected) << 1 |
                        (blob->type == VMS_BLOB_TREE ? 1 : 0));
    put_number(out, blob->length);
    put_number(out, blob->plain_length);
    *expected = blob->offset + blob->length;
}

GByteArray *vms_index_part_encode(const VmsId *pack, const VmsPackBlob *blobs, size_t count,
                                  size_t at)
{
    size_t parts = vms_index_parts(count);
    size_t begin = count * at / parts, end = count * (at + 1) / parts;
    GByteArray *out = g_byte_array_sized_new((guint)(VMS_ID_LEN + SUM + (end - begin) * 44));
    uint8_t hash[VMS_HASH_LEN];
    uint32_t expected = 0;

    g_byte_array_append(out, pack->bytes, VMS_ID_LEN);
    for (size_t i = begin; i < end; i++) {
        g_byte_array_append(out, blobs[i].id.bytes, VMS_ID_LEN);
        put_blob(out, &blobs[i], &expected);
    }
    vms_hash(out->data, out->len, hash);
    g_byte_array_append(out, hash, SUM);
    return out;
}

static bool get_blob(const uint8_t **data, const uint8_t *end, uint32_t *expected,
                     VmsPackBlob *ret_blob)
{
    uint64_t gap, length, plain;

    if (end - *data < VMS_ID_LEN)
        return false;
    memcpy(ret_blob->id.bytes, *data, VMS_ID_LEN);
    *data += VMS_ID_LEN;
    if (!get_number(data, end, &gap) || !get_number(data, end, &length) ||
        !get_number(data, end, &plain) || length < VMS_SEAL_OVERHEAD || length > UINT32_MAX ||
        plain > UINT32_MAX)
        return false;
    ret_blob->type = (gap & 1) != 0 ? VMS_BLOB_TREE : VMS_BLOB_DATA;
    ret_blob->offset = *expected + (uint32_t)(gap >> 1);
    ret_blob->length = (uint32_t)length;
    ret_blob->plain_length = (uint32_t)plain;
    *expected = ret_blob->offset + ret_blob->length;
    return true;
}

bool vms_index_part_decode(const void *data, size_t len, VmsId *ret_pack, GArray *blobs,
                           GError **error)
{
    uint8_t hash[VMS_HASH_LEN];
    uint32_t expected = 0;
    VmsPackBlob blob;

    if (len < VMS_ID_LEN + SUM)
        return vms_fail(error, VMS_ERROR_CORRUPT, "index cache: a part of %zu bytes", len);
    const uint8_t *at = data, *end = at + len - SUM;
    vms_hash(data, len - SUM, hash);
    if (memcmp(hash, end, SUM) != 0)
        return vms_fail(error, VMS_ERROR_CORRUPT, "index cache: a part has another checksum");
    memcpy(ret_pack->bytes, at, VMS_ID_LEN);
    for (at += VMS_ID_LEN; at < end;) {
        if (!get_blob(&at, end, &expected, &blob))
            return vms_fail(error, VMS_ERROR_CORRUPT, "index cache: a malformed part");
        g_array_append_val(blobs, blob);
    }
    return true;
}

int64_t vms_index_pack_sum(const VmsId *pack, const VmsPackBlob *blobs, size_t count)
{
    g_autoptr(VmsHash) hash = vms_hash_new();
    uint8_t sum[VMS_HASH_LEN];

    vms_hash_update(hash, pack->bytes, VMS_ID_LEN);
    for (size_t i = 0; i < count; i++) {
        const VmsPackBlob *blob = &blobs[i];
        uint32_t numbers[] = {(uint32_t)blob->type, blob->offset, blob->length, blob->plain_length};

        vms_hash_update(hash, blob->id.bytes, VMS_ID_LEN);
        vms_hash_update(hash, numbers, sizeof(numbers));
    }
    vms_hash_finish(hash, sum);
    VmsId id;
    memcpy(id.bytes, sum, VMS_ID_LEN);
    return vms_index_key(&id);
}

int64_t vms_index_key(const VmsId *id)
{
    int64_t key;

    memcpy(&key, id->bytes, sizeof(key));
    return GINT64_FROM_BE(key);
}
