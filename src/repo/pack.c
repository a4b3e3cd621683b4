/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/pack.h"

#include "base/error.h"
#include "codec/compress.h"
#include "codec/hash.h"

#include <string.h>

#define PLAIN_ENTRY (1 + 4 + VMS_ID_LEN)
#define COMPRESSED_ENTRY (1 + 4 + 4 + VMS_ID_LEN)

/* Type bytes of a header entry: bit 0 tree, bit 1 compressed. */
#define TYPE_TREE 1
#define TYPE_COMPRESSED 2

uint64_t vms_pack_blob_size(const VmsPackBlob *blob)
{
    return blob->plain_length != 0 ? blob->plain_length : blob->length - VMS_SEAL_OVERHEAD;
}

static void append_le32(GByteArray *out, uint32_t value)
{
    uint32_t le = GUINT32_TO_LE(value);

    g_byte_array_append(out, (const guint8 *)&le, sizeof(le));
}

static uint32_t read_le32(const uint8_t *data)
{
    uint32_t le;

    memcpy(&le, data, sizeof(le));
    return GUINT32_FROM_LE(le);
}

GByteArray *vms_pack_trailer(const VmsSealKey *key, const VmsPackBlob *blobs, size_t count,
                             GError **error)
{
    g_autoptr(GByteArray) header = g_byte_array_new();
    g_autoptr(GByteArray) trailer = g_byte_array_new();

    for (size_t i = 0; i < count; i++) {
        guint8 type = (blobs[i].type == VMS_BLOB_TREE ? TYPE_TREE : 0) |
                      (blobs[i].plain_length != 0 ? TYPE_COMPRESSED : 0);

        g_byte_array_append(header, &type, 1);
        append_le32(header, blobs[i].length);
        if (blobs[i].plain_length != 0)
            append_le32(header, blobs[i].plain_length);
        g_byte_array_append(header, blobs[i].id.bytes, VMS_ID_LEN);
    }
    g_byte_array_set_size(trailer, header->len + VMS_SEAL_OVERHEAD);
    if (!vms_seal(key, header->data, header->len, trailer->data, error))
        return NULL;
    append_le32(trailer, header->len + VMS_SEAL_OVERHEAD);
    return g_steal_pointer(&trailer);
}

bool vms_pack_header_length(const uint8_t last[4], uint64_t pack_size, uint32_t *ret_length,
                            GError **error)
{
    uint32_t length = read_le32(last);

    if (length < VMS_SEAL_OVERHEAD + PLAIN_ENTRY || length > VMS_PACK_MAX_HEADER ||
        (uint64_t)length + 4 > pack_size)
        return vms_fail(error, VMS_ERROR_CORRUPT, "a pack header of %u bytes is impossible",
                        length);
    *ret_length = length;
    return true;
}

static bool parse_entry(const uint8_t *entry, size_t left, VmsPackBlob *ret_blob, size_t *ret_used,
                        GError **error)
{
    bool compressed = (entry[0] & TYPE_COMPRESSED) != 0;
    size_t size = compressed ? COMPRESSED_ENTRY : PLAIN_ENTRY;

    if (entry[0] > (TYPE_TREE | TYPE_COMPRESSED) || left < size)
        return vms_fail(error, VMS_ERROR_CORRUPT, "the pack header is malformed");
    ret_blob->type = (entry[0] & TYPE_TREE) != 0 ? VMS_BLOB_TREE : VMS_BLOB_DATA;
    ret_blob->length = read_le32(entry + 1);
    ret_blob->plain_length = compressed ? read_le32(entry + 5) : 0;
    if (ret_blob->length < VMS_SEAL_OVERHEAD || (compressed && ret_blob->plain_length == 0))
        return vms_fail(error, VMS_ERROR_CORRUPT, "the pack header lists an impossible blob");
    memcpy(ret_blob->id.bytes, entry + size - VMS_ID_LEN, VMS_ID_LEN);
    *ret_used = size;
    return true;
}

bool vms_pack_header_parse(const uint8_t *header, size_t len, uint64_t blobs_size,
                           GArray **ret_blobs, GError **error)
{
    g_autoptr(GArray) blobs = g_array_new(FALSE, FALSE, sizeof(VmsPackBlob));
    uint64_t offset = 0;

    if (len > VMS_PACK_MAX_HEADER)
        return vms_fail(error, VMS_ERROR_CORRUPT, "the pack header is too large");
    while (len > 0) {
        VmsPackBlob blob = {0};
        size_t used = 0;

        if (!parse_entry(header, len, &blob, &used, error))
            return false;
        if (offset + blob.length > UINT32_MAX)
            return vms_fail(error, VMS_ERROR_CORRUPT, "the pack header lists more than 4 GiB");
        blob.offset = (uint32_t)offset;
        offset += blob.length;
        g_array_append_val(blobs, blob);
        header += used;
        len -= used;
    }
    if (offset != blobs_size)
        return vms_fail(error, VMS_ERROR_CORRUPT, "the pack header does not fit the pack's size");
    *ret_blobs = g_steal_pointer(&blobs);
    return true;
}

bool vms_pack_add(GByteArray *out, const VmsSealKey *key, int level, VmsBlobType type,
                  const VmsId *id, const void *data, size_t len, VmsPackBlob *ret_blob,
                  GError **error)
{
    size_t capacity = level != 0 ? vms_compress_bound(len) : len;
    size_t stored = len;
    guint offset = out->len;

    if (len > UINT32_MAX - (1u << 20))
        return vms_fail(error, VMS_ERROR_INVALID, "a blob of %zu bytes is too large", len);
    /* compressed where it will lie, and sealed there */
    g_byte_array_set_size(out, offset + (guint)capacity + VMS_SEAL_OVERHEAD);
    uint8_t *body = out->data + offset + VMS_SEAL_IV_LEN;
    if (level != 0 && len > 0 && !vms_compress(level, data, len, body, capacity, &stored, error))
        return false;
    bool compressed = stored < len;
    if (!compressed) {
        stored = len;
        if (len > 0)
            memcpy(body, data, len);
    }
    g_byte_array_set_size(out, offset + (guint)stored + VMS_SEAL_OVERHEAD);
    if (!vms_seal_in_place(key, out->data + offset, stored, error))
        return false;
    *ret_blob = (VmsPackBlob){
        .id = *id,
        .type = type,
        .offset = offset,
        .length = (uint32_t)stored + VMS_SEAL_OVERHEAD,
        .plain_length = compressed ? (uint32_t)len : 0,
    };
    return true;
}

static bool expand(const VmsPackBuffer *plain, VmsPackBuffer *expanded, size_t len, GError **error)
{
    expanded->len = len;
    return vms_compress_expand(plain->data, plain->len, expanded->data, len, error);
}

GBytes *vms_pack_open_blob(const VmsSealKey *key, const VmsPackBlob *blob, const uint8_t *sealed,
                           size_t len, VmsPackBuffers *buffers, GError **error)
{
    if (len != blob->length || len < VMS_SEAL_OVERHEAD)
        return vms_fail_null(error, VMS_ERROR_CORRUPT, "%zu sealed bytes where %u were stored", len,
                             blob->length);

    VmsPackBuffer *plain = vms_pack_buffers_take(buffers, len - VMS_SEAL_OVERHEAD);
    plain->len = len - VMS_SEAL_OVERHEAD;
    bool ok = vms_seal_open(key, sealed, len, plain->data, error);
    if (ok && blob->plain_length != 0) {
        /* The size is authenticated by the header or index that named it, and bounded by callers.
         */
        VmsPackBuffer *expanded = vms_pack_buffers_take(buffers, blob->plain_length);

        ok = expand(plain, expanded, blob->plain_length, error);
        vms_pack_buffers_give(buffers, plain);
        plain = expanded;
    }

    VmsId id;
    if (ok)
        vms_hash(plain->data, plain->len, id.bytes);
    if (ok && !vms_id_equal(&id, &blob->id))
        ok = vms_fail(error, VMS_ERROR_CORRUPT, "the content has another SHA-256");
    if (ok)
        return vms_pack_buffers_lend(buffers, plain);
    vms_pack_buffers_give(buffers, plain);
    return NULL;
}
