/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writing: bytes → SHA-256 (the id) → zstd → seal → temporary file, and SHA-256 of all that is
 * written (the pack's name). At the end the trailer follows, and the file is mapped as the pack to
 * upload: the pages are the kernel's to drop, so resident memory stays small however long the blob
 * is.
 *
 * Reading: the sealed bytes are fetched in pieces into a temporary file while the MAC runs over
 * them; only when the tag is right are they read back, decrypted, expanded, hashed and given out.
 */
#include "repo/blob-stream.h"

#include "base/error.h"
#include "base/spool.h"
#include "codec/compress.h"
#include "codec/hash.h"
#include "repo/object.h"
#include "repo/repo-private.h"
#include "repo/writer-private.h"

#include <string.h>
#include <unistd.h>

#define FETCH (4u << 20)
#define PIECE (256u << 10)

struct VmsBlobStream {
    VmsRepoWriter *writer;
    VmsBlobType type;
    int fd;
    uint64_t written;   /* bytes in the file */
    uint64_t plain;     /* bytes fed */
    VmsHash *hash;      /* of what is fed */
    VmsHash *pack_hash; /* of what is written */
    VmsSealStream *seal;
    VmsCompressStream *compress; /* NULL: not compressed */
};

static bool write_out(VmsBlobStream *stream, const void *data, size_t len, GError **error)
{
    vms_hash_update(stream->pack_hash, data, len);
    if (!vms_spool_write(stream->fd, stream->written, data, len, error))
        return false;
    stream->written += len;
    return true;
}

static bool seal_piece(void *user, uint8_t *data, size_t len, GError **error)
{
    VmsBlobStream *stream = user;

    return vms_seal_stream_update(stream->seal, data, len, error) &&
           write_out(stream, data, len, error);
}

VmsBlobStream *vms_blob_stream_new(VmsRepoWriter *writer, VmsBlobType type, GError **error)
{
    g_autoptr(VmsBlobStream) stream = g_new0(VmsBlobStream, 1);
    VmsRepo *repo = vms_repo_writer_repo(writer);
    int level = vms_repo_writer_level(writer);
    uint8_t iv[VMS_SEAL_IV_LEN];

    stream->writer = writer;
    stream->type = type;
    stream->hash = vms_hash_new();
    stream->pack_hash = vms_hash_new();
    stream->fd = vms_spool_open(NULL, error);
    if (stream->fd < 0)
        return NULL;
    stream->seal = vms_seal_stream_new(repo->key, iv, error);
    if (stream->seal == NULL || !write_out(stream, iv, sizeof(iv), error))
        return NULL;
    if (level != 0)
        stream->compress = vms_compress_stream_new(level, seal_piece, stream);
    return g_steal_pointer(&stream);
}

void vms_blob_stream_free(VmsBlobStream *stream)
{
    if (stream != NULL) {
        if (stream->fd >= 0)
            close(stream->fd);
        vms_hash_free(stream->hash);
        vms_hash_free(stream->pack_hash);
        vms_seal_stream_free(stream->seal);
        vms_compress_stream_free(stream->compress);
        g_free(stream);
    }
}

bool vms_blob_stream_feed(VmsBlobStream *stream, const void *data, size_t len, GError **error)
{
    const uint8_t *p = data;

    vms_hash_update(stream->hash, data, len);
    stream->plain += len;
    if (stream->compress != NULL)
        return vms_compress_stream_feed(stream->compress, data, len, error);
    while (len > 0) { /* sealing works in place, and data is the caller's */
        uint8_t copy[4096];
        size_t part = MIN(len, sizeof(copy));

        memcpy(copy, p, part);
        if (!seal_piece(stream, copy, part, error))
            return false;
        p += part;
        len -= part;
    }
    return true;
}

/* The file becomes a pack of one blob. */
static VmsUploadPack *end_pack(VmsBlobStream *stream, const VmsId *id, GError **error)
{
    VmsRepo *repo = vms_repo_writer_repo(stream->writer);
    VmsPackBlob blob = {
        .id = *id,
        .type = stream->type,
        .length = (uint32_t)stream->written,
        .plain_length = stream->compress != NULL ? (uint32_t)stream->plain : 0,
    };
    g_autoptr(VmsUploadPack) pack = vms_upload_pack_new(NULL, 0);
    g_autoptr(GByteArray) trailer = vms_pack_trailer(repo->key, &blob, 1, error);

    if (trailer == NULL || !write_out(stream, trailer->data, trailer->len, error))
        return NULL;
    g_array_append_val(pack->blobs, blob);
    vms_hash_finish(stream->pack_hash, pack->id.bytes);
    pack->whole = vms_spool_map(stream->fd, stream->written, error);
    return pack->whole != NULL ? g_steal_pointer(&pack) : NULL;
}

bool vms_blob_stream_finish(VmsBlobStream *stream, VmsId *ret_id, GError **error)
{
    uint8_t tag[VMS_SEAL_TAG_LEN];
    bool known = false;
    VmsId id;

    vms_hash_finish(stream->hash, id.bytes);
    if (!vms_repo_writer_claim(stream->writer, stream->type, &id, &known, error))
        return false;
    if (!known) {
        if ((stream->compress != NULL && !vms_compress_stream_finish(stream->compress, error)) ||
            !vms_seal_stream_finish(stream->seal, tag, error) ||
            !write_out(stream, tag, sizeof(tag), error))
            return false;
        if (stream->written > UINT32_MAX - VMS_PACK_MAX_HEADER || stream->plain > UINT32_MAX)
            return vms_fail(error, VMS_ERROR_UNSUPPORTED,
                            "a blob of %" G_GUINT64_FORMAT
                            " bytes is more than the repository format can hold",
                            stream->plain);
        VmsUploadPack *pack = end_pack(stream, &id, error);
        if (pack == NULL || !vms_repo_writer_submit(stream->writer, pack, error))
            return false;
        vms_repo_writer_count_new(stream->writer, stream->plain, 0);
    }
    *ret_id = id;
    return true;
}

/* What reading carries from piece to piece. */
typedef struct {
    VmsBlobStreamFunc func;
    void *user;
    VmsHash *hash;
    uint64_t left; /* plaintext bytes still to come */
} Reader;

static bool give_out(void *user, uint8_t *data, size_t len, GError **error)
{
    Reader *reader = user;

    if (len > reader->left)
        return vms_fail(error, VMS_ERROR_CORRUPT, "the content is longer than was stored");
    reader->left -= len;
    vms_hash_update(reader->hash, data, len);
    return reader->func(reader->user, data, len, error);
}

/* Into the file, and authenticated. */
static VmsSealStream *fetch(VmsRepo *repo, const VmsIndexPlace *place, int fd,
                            GCancellable *cancellable, GError **error)
{
    g_autofree char *pack = vms_object_pack_name(&place->pack);
    uint32_t length = place->blob.length;
    g_autoptr(VmsSealStream) seal = NULL;
    uint8_t tail[VMS_SEAL_TAG_LEN];

    for (uint64_t at = 0; at < length; at += FETCH) {
        uint64_t want = MIN((uint64_t)FETCH, length - at);
        g_autoptr(GBytes) bytes =
            vms_store_get(repo->store, pack, place->blob.offset + at, want, cancellable, error);

        if (bytes == NULL || !vms_spool_write(fd, at, g_bytes_get_data(bytes, NULL), want, error))
            return NULL;
        /* The tag, the last 16 bytes, may be cut in two by a piece. */
        const uint8_t *data = g_bytes_get_data(bytes, NULL);
        uint64_t begin = at == 0 ? VMS_SEAL_IV_LEN : 0;
        uint64_t end =
            MIN(want, length - VMS_SEAL_TAG_LEN > at ? length - VMS_SEAL_TAG_LEN - at : 0);
        if (at == 0 && (seal = vms_seal_stream_open(repo->key, data, error)) == NULL)
            return NULL;
        if (end > begin && !vms_seal_stream_verify(seal, data + begin, end - begin, error))
            return NULL;
    }
    if (!vms_spool_read(fd, length - VMS_SEAL_TAG_LEN, tail, sizeof(tail), error) ||
        !vms_seal_stream_verify_tag(seal, tail, error))
        return NULL;
    return g_steal_pointer(&seal);
}

static bool decode(const VmsPackBlob *blob, VmsSealStream *seal, int fd, Reader *reader,
                   GError **error)
{
    g_autofree uint8_t *piece = g_malloc(PIECE);
    g_autoptr(VmsExpandStream) expand = NULL;
    uint64_t end = blob->length - VMS_SEAL_TAG_LEN;
    VmsId id;

    if (blob->plain_length != 0)
        expand = vms_expand_stream_new(blob->plain_length, give_out, reader);
    for (uint64_t at = VMS_SEAL_IV_LEN; at < end; at += PIECE) {
        size_t len = MIN(PIECE, end - at);

        if (!vms_spool_read(fd, at, piece, len, error) ||
            !vms_seal_stream_decrypt(seal, piece, len, error))
            return false;
        if (expand != NULL ? !vms_expand_stream_feed(expand, piece, len, error)
                           : !give_out(reader, piece, len, error))
            return false;
    }
    if (expand != NULL && !vms_expand_stream_finish(expand, error))
        return false;
    vms_hash_finish(reader->hash, id.bytes);
    if (reader->left != 0 || !vms_id_equal(&id, &blob->id))
        return vms_fail(error, VMS_ERROR_CORRUPT, "the content has another SHA-256");
    return true;
}

static bool read_long(VmsRepo *repo, const VmsIndexPlace *place, Reader *reader,
                      GCancellable *cancellable, GError **error)
{
    int fd = vms_spool_open(NULL, error);

    if (fd < 0)
        return false;
    g_autoptr(VmsSealStream) seal = fetch(repo, place, fd, cancellable, error);
    bool ok = seal != NULL && decode(&place->blob, seal, fd, reader, error);
    close(fd);
    return ok;
}

bool vms_blob_stream_read(VmsRepo *repo, VmsBlobType type, const VmsId *id, VmsBlobStreamFunc func,
                          void *user, GCancellable *cancellable, GError **error)
{
    VmsIndexPlace places[VMS_INDEX_MAX_PLACES];
    size_t count = 0;

    if (!vms_index_locate(repo->index, repo, type, id, places, &count, error))
        return false;
    if (vms_pack_blob_size(&places[0].blob) <= FETCH) {
        g_autoptr(GBytes) bytes = vms_repo_read_blob(repo, type, id, cancellable, error);
        size_t len = 0;
        uint8_t *data = bytes != NULL ? g_bytes_unref_to_data(g_steal_pointer(&bytes), &len) : NULL;
        bool ok = data != NULL && func(user, data, len, error);

        g_free(data);
        return ok;
    }

    g_autoptr(VmsHash) hash = vms_hash_new();
    Reader reader = {
        .func = func, .user = user, .hash = hash, .left = vms_pack_blob_size(&places[0].blob)};
    if (read_long(repo, &places[0], &reader, cancellable, error))
        return true;
    g_autofree char *pack = vms_object_pack_name(&places[0].pack);
    char hex[VMS_ID_HEX_LEN + 1];
    vms_id_hex(id, hex);
    if (error != NULL && vms_error_is(*error, VMS_ERROR_NOT_FOUND)) {
        g_clear_error(error);
        vms_fail(error, VMS_ERROR_CORRUPT, "the pack is missing");
    }
    return vms_prefix(error, "%s: blob %s", pack, hex);
}
