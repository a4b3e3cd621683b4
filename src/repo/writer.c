/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Adding blobs.
 *
 * A blob is known if it is in the index cache (every index file of the repository), or in `mine`:
 * claimed by this writer and not yet in an index file. Claiming is a test-and-set under the mutex,
 * so of several threads that add the same bytes at once, one stores them. A blob leaves `mine` only
 * after it entered the index cache, and look-ups go the other way round, so it is never unseen.
 * `mine` holds what was added since the last index file (some 50,000 blobs), which bounds memory.
 *
 * Disks are mostly repetitions of few chunks (zeroes above all): `recent`, a direct-mapped table of
 * ids known lately, answers those without asking SQLite.
 *
 * The work is done by the callers' threads: hash, compress, seal into a buffer of their own, which
 * is kept for the thread's next blob. Only the copy into the pack being filled is under the mutex.
 * Data and tree blobs go to separate packs, as the format demands. Uploading is upload.c's.
 *
 * "auto" compresses at two levels: the fast one as long as the uploads keep up, since then the
 * processors are what holds things up; the stronger one while they are behind. */
#include "repo/writer.h"

#include "base/error.h"
#include "codec/compress.h"
#include "codec/hash.h"
#include "repo/index.h"
#include "repo/repo-private.h"
#include "repo/writer-private.h"

#include <string.h>

#define PACK_SIZE (16u << 20)
#define MIN_PACK_SIZE (1u << 20)
#define MAX_PACK_SIZE (128u << 20) /* restic's limit */
#define UPLOADS 4
#define MAX_UPLOADS 64
#define RECENT 4096
#define PACK_SLACK                                                                                 \
    (4u << 20) /* the last blob goes beyond pack_size; untouched it costs nothing                  \
                */

typedef struct {
    VmsId id;
    uint8_t type;
    bool used;
} Key;

struct VmsRepoWriter {
    VmsRepo *repo;
    VmsUpload *upload;
    int level;
    bool adapt; /* level only while the uploads are behind */
    size_t pack_size;

    GMutex mutex;     /* guards all below; taken before the index cache's */
    GHashTable *mine; /* set of Key */
    Key recent[RECENT];
    VmsUploadPack *filling[2]; /* per VmsBlobType, nullable */
    VmsRepoWriterStats stats;
};

static guint hash_key(const void *data)
{
    guint value;

    memcpy(&value, ((const Key *)data)->id.bytes, sizeof(value));
    return value;
}

static gboolean equal_keys(const void *a, const void *b)
{
    const Key *left = a, *right = b;

    return left->type == right->type && vms_id_equal(&left->id, &right->id);
}

static Key *recent_slot(VmsRepoWriter *writer, const Key *key)
{
    return &writer->recent[hash_key(key) % RECENT];
}

static void forget_mine(void *user, const VmsPackBlob *blobs, size_t count)
{
    VmsRepoWriter *writer = user;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&writer->mutex);

    for (size_t i = 0; i < count; i++) {
        Key key = {.id = blobs[i].id, .type = (uint8_t)blobs[i].type};

        g_hash_table_remove(writer->mine, &key);
    }
}

static bool read_options(const VmsRepoWriterOptions *options, VmsRepoWriter *writer,
                         unsigned *ret_uploads, GError **error)
{
    VmsRepoWriterOptions o = options != NULL ? *options : (VmsRepoWriterOptions){0};

    if (o.pack_size == 0)
        o.pack_size = PACK_SIZE;
    if (o.uploads == 0)
        o.uploads = UPLOADS;
    if (o.pack_size < MIN_PACK_SIZE || o.pack_size > MAX_PACK_SIZE || o.uploads > MAX_UPLOADS)
        return vms_fail(error, VMS_ERROR_INVALID,
                        "packs are of 1 to 128 MiB, with at most %d uploads at once", MAX_UPLOADS);
    writer->pack_size = o.pack_size;
    writer->level = o.compression == VMS_COMPRESSION_OFF   ? 0
                    : o.compression == VMS_COMPRESSION_MAX ? VMS_COMPRESS_LEVEL_MAX
                                                           : VMS_COMPRESS_LEVEL_AUTO;
    writer->adapt = o.compression == VMS_COMPRESSION_AUTO;
    *ret_uploads = o.uploads;
    return true;
}

VmsRepoWriter *vms_repo_writer_new(VmsRepo *repo, const VmsRepoWriterOptions *options,
                                   GCancellable *cancellable, GError **error)
{
    g_autoptr(VmsRepoWriter) writer = g_new0(VmsRepoWriter, 1);
    unsigned uploads = 0;

    g_mutex_init(&writer->mutex);
    writer->mine = g_hash_table_new_full(hash_key, equal_keys, g_free, NULL);
    writer->repo = repo;
    if (!read_options(options, writer, &uploads, error))
        return NULL;
    writer->upload = vms_upload_new(repo, options ? options->lock : NULL, uploads, forget_mine,
                                    writer, cancellable);
    return g_steal_pointer(&writer);
}

void vms_repo_writer_free(VmsRepoWriter *writer)
{
    if (writer != NULL) {
        vms_upload_free(writer->upload);
        vms_upload_pack_free(writer->filling[VMS_BLOB_DATA]);
        vms_upload_pack_free(writer->filling[VMS_BLOB_TREE]);
        g_hash_table_unref(writer->mine);
        g_mutex_clear(&writer->mutex);
        g_free(writer);
    }
}

VmsRepo *vms_repo_writer_repo(VmsRepoWriter *writer)
{
    return writer->repo;
}

int vms_repo_writer_level(VmsRepoWriter *writer)
{
    return writer->level;
}

static bool in_memory(VmsRepoWriter *writer, const Key *key)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&writer->mutex);
    const Key *slot = recent_slot(writer, key);

    return (slot->used && equal_keys(slot, key)) || g_hash_table_contains(writer->mine, key);
}

static bool is_known(VmsRepoWriter *writer, const Key *key, bool *ret_known, GError **error)
{
    *ret_known = in_memory(writer, key);
    if (*ret_known)
        return true;
    return vms_repo_has_blob(writer->repo, (VmsBlobType)key->type, &key->id, ret_known, NULL,
                             error);
}

static void count_known(VmsRepoWriter *writer, const Key *key)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&writer->mutex);

    *recent_slot(writer, key) = *key;
    writer->stats.blobs_known++;
}

bool vms_repo_writer_claim(VmsRepoWriter *writer, VmsBlobType type, const VmsId *id,
                           bool *ret_known, GError **error)
{
    Key key = {.id = *id, .type = (uint8_t)type, .used = true};
    bool known = false;

    if (!is_known(writer, &key, &known, error))
        return false;
    if (!known) {
        g_mutex_lock(&writer->mutex);
        known = !g_hash_table_add(writer->mine, g_memdup2(&key, sizeof(key)));
        g_mutex_unlock(&writer->mutex);
    }
    if (known)
        count_known(writer, &key);
    *ret_known = known;
    return true;
}

bool vms_repo_writer_submit(VmsRepoWriter *writer, VmsUploadPack *pack, GError **error)
{
    return vms_upload_push(writer->upload, pack, error);
}

void vms_repo_writer_count_new(VmsRepoWriter *writer, uint64_t len, uint64_t pack_us)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&writer->mutex);

    writer->stats.blobs_new++;
    writer->stats.bytes_new += len;
    writer->stats.pack_us += pack_us;
}

static void free_scratch(void *array)
{
    g_byte_array_unref(array);
}

/* The calling thread's own, emptied; freed when the thread ends. */
static GByteArray *scratch(void)
{
    static GPrivate key = G_PRIVATE_INIT(free_scratch);
    GByteArray *array = g_private_get(&key);

    if (array == NULL) {
        array = g_byte_array_new();
        g_private_set(&key, array);
    }
    g_byte_array_set_size(array, 0);
    return array;
}

static int level_now(VmsRepoWriter *writer)
{
    return writer->adapt && !vms_upload_behind(writer->upload) ? VMS_COMPRESS_LEVEL_FAST
                                                               : writer->level;
}

/* Appends a sealed blob to the pack of its type; a full pack goes to the uploads. */
static bool append(VmsRepoWriter *writer, VmsPackBlob *blob, const GByteArray *sealed,
                   GError **error)
{
    VmsUploadPack *full = NULL;

    g_mutex_lock(&writer->mutex);
    VmsUploadPack **pack = &writer->filling[blob->type];
    if (*pack == NULL)
        *pack = vms_upload_pack_new(writer->upload, writer->pack_size + PACK_SLACK);
    blob->offset = (uint32_t)(*pack)->bytes->len;
    vms_pack_buffer_append((*pack)->bytes, sealed->data, sealed->len);
    g_array_append_val((*pack)->blobs, *blob);
    if ((*pack)->bytes->len >= writer->pack_size || (*pack)->blobs->len >= VMS_PACK_MAX_ENTRIES)
        full = g_steal_pointer(pack);
    g_mutex_unlock(&writer->mutex);
    return full == NULL || vms_repo_writer_submit(writer, full, error);
}

static bool add(VmsRepoWriter *writer, VmsBlobType type, const VmsId *id, const void *data,
                size_t len, GError **error)
{
    bool known = false;
    VmsPackBlob blob;

    if (len > VMS_REPO_MAX_BLOB)
        return vms_fail(error, VMS_ERROR_INVALID, "a blob of %zu bytes is too large", len);
    if (!vms_upload_check(writer->upload, error) ||
        !vms_repo_writer_claim(writer, type, id, &known, error))
        return false;
    if (known)
        return true;

    int64_t start = g_get_monotonic_time();
    GByteArray *sealed = scratch();
    if (!vms_pack_add(sealed, writer->repo->key, level_now(writer), type, id, data, len, &blob,
                      error))
        return false;
    vms_repo_writer_count_new(writer, len, (uint64_t)(g_get_monotonic_time() - start));
    return append(writer, &blob, sealed, error);
}

static void count_read(VmsRepoWriter *writer, size_t len, int64_t hash_us)
{
    g_mutex_lock(&writer->mutex);
    writer->stats.bytes_read += len;
    writer->stats.hash_us += (uint64_t)hash_us;
    g_mutex_unlock(&writer->mutex);
}

bool vms_repo_writer_add(VmsRepoWriter *writer, VmsBlobType type, const void *data, size_t len,
                         VmsId *ret_id, GError **error)
{
    int64_t start = g_get_monotonic_time();
    VmsId id;

    vms_hash(data, len, id.bytes);
    count_read(writer, len, g_get_monotonic_time() - start);
    if (!add(writer, type, &id, data, len, error))
        return false;
    *ret_id = id;
    return true;
}

bool vms_repo_writer_add_known(VmsRepoWriter *writer, VmsBlobType type, const VmsId *id,
                               const void *data, size_t len, GError **error)
{
    Key key = {.id = *id, .type = (uint8_t)type, .used = true};
    bool known = false;

    if (data != NULL) {
        count_read(writer, len, 0);
        return add(writer, type, id, data, len, error);
    }
    if (!is_known(writer, &key, &known, error))
        return false;
    if (!known) {
        char hex[VMS_ID_HEX_LEN + 1];

        vms_id_hex(id, hex);
        return vms_fail(error, VMS_ERROR_NOT_FOUND, "%s has no blob %s",
                        vms_repo_location(writer->repo), hex);
    }
    count_known(writer, &key);
    return true;
}

bool vms_repo_writer_flush(VmsRepoWriter *writer, GError **error)
{
    for (int type = VMS_BLOB_DATA; type <= VMS_BLOB_TREE; type++) {
        g_mutex_lock(&writer->mutex);
        VmsUploadPack *pack = g_steal_pointer(&writer->filling[type]);
        g_mutex_unlock(&writer->mutex);
        if (pack != NULL && !vms_repo_writer_submit(writer, pack, error))
            return false;
    }
    return vms_upload_flush(writer->upload, error);
}

void vms_repo_writer_stats(VmsRepoWriter *writer, VmsRepoWriterStats *ret_stats)
{
    VmsUploadStats upload;

    vms_upload_stats(writer->upload, &upload);
    g_mutex_lock(&writer->mutex);
    *ret_stats = writer->stats;
    g_mutex_unlock(&writer->mutex);
    ret_stats->packs = upload.packs;
    ret_stats->bytes_uploaded = upload.bytes;
    ret_stats->upload_us = upload.upload_us;
    ret_stats->wait_us = upload.wait_us;
}
