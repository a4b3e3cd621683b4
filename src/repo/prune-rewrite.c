/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stale index files are read a second time. A pack that stays goes into a new index file; out of a
 * pack to be repacked, the blobs in use are copied as they are sealed, after they were opened and
 * hashed once, so that no damage is carried into a new pack. Memory: one index file, one run of
 * blobs, the packs being filled. */
#include "base/error.h"
#include "base/failpoint.h"
#include "repo/index-file.h"
#include "repo/prune-private.h"
#include "repo/repo-private.h"
#include "repo/upload.h"

#define PACK_SIZE (16u << 20)
#define RUN_SIZE (16u << 20) /* bytes that are fetched at once, unless one blob is larger */
#define INDEX_BLOBS 50000
#define UPLOADS 4

typedef struct {
    VmsPrune *prune;
    unsigned file;
    VmsUpload *upload;
    VmsPackBuffers *opened;    /* blobs that are looked at */
    VmsUploadPack *filling[2]; /* per VmsBlobType, nullable */
    GString *text;             /* of the index file being written, nullable */
    size_t listed;             /* blobs in it */
    uint64_t copied, total;    /* bytes */
} Rewrite;

static void indexed(void *user, const VmsPackBlob *blobs, size_t count)
{
    /* They are in the index cache, and nothing else asks. */
}

static bool push(Rewrite *rewrite, VmsBlobType type, GError **error)
{
    VmsUploadPack *pack = g_steal_pointer(&rewrite->filling[type]);

    return pack == NULL || vms_upload_push(rewrite->upload, pack, error);
}

static bool append(Rewrite *rewrite, const VmsPackBlob *blob, const uint8_t *sealed, GError **error)
{
    VmsUploadPack **pack = &rewrite->filling[blob->type];
    VmsPackBlob moved = *blob;

    if (*pack != NULL && (*pack)->bytes->len + blob->length > PACK_SIZE &&
        !push(rewrite, blob->type, error))
        return false;
    if (*pack == NULL)
        *pack = vms_upload_pack_new(rewrite->upload, PACK_SIZE);
    moved.offset = (uint32_t)(*pack)->bytes->len;
    vms_pack_buffer_append((*pack)->bytes, sealed, blob->length);
    g_array_append_val((*pack)->blobs, moved);
    return true;
}

/* Blobs that lie one behind the other. */
static bool copy_run(Rewrite *rewrite, const char *pack, const GArray *run, GError **error)
{
    VmsRepo *repo = rewrite->prune->repo;
    const VmsPackBlob *first = &g_array_index(run, VmsPackBlob, 0);
    const VmsPackBlob *last = &g_array_index(run, VmsPackBlob, run->len - 1);
    uint64_t length = last->offset + last->length - first->offset;
    g_autoptr(GBytes) bytes =
        vms_store_get(repo->store, pack, first->offset, length, rewrite->prune->cancellable, error);

    if (bytes == NULL)
        return false;
    for (guint i = 0; i < run->len; i++) {
        const VmsPackBlob *blob = &g_array_index(run, VmsPackBlob, i);
        const uint8_t *sealed =
            (const uint8_t *)g_bytes_get_data(bytes, NULL) + (blob->offset - first->offset);
        g_autoptr(GBytes) plain =
            vms_pack_open_blob(repo->key, blob, sealed, blob->length, rewrite->opened, error);

        if (plain == NULL) {
            char hex[VMS_ID_HEX_LEN + 1];

            vms_id_hex(&blob->id, hex);
            return vms_prefix(error, "%s: blob %s", pack, hex);
        }
        if (!append(rewrite, blob, sealed, error))
            return false;
    }
    vms_failpoint("prune.blobs-copied");
    rewrite->copied += length;
    vms_progress_update(rewrite->prune->options->progress, "repack", NULL, rewrite->copied,
                        rewrite->total);
    return true;
}

static int by_offset(const void *a, const void *b)
{
    const VmsPackBlob *left = a, *right = b;

    return left->offset < right->offset ? -1 : left->offset > right->offset;
}

static bool repack(Rewrite *rewrite, const VmsId *pack, const VmsPackBlob *blobs, size_t count,
                   GError **error)
{
    g_autofree VmsPackBlob *sorted = g_memdup2(blobs, count * sizeof(*blobs));
    g_autofree char *name = vms_object_pack_name(pack);
    g_autoptr(GArray) run = g_array_new(FALSE, FALSE, sizeof(VmsPackBlob));
    uint64_t end = 0, length = 0;

    qsort(sorted, count, sizeof(*sorted), by_offset);
    for (size_t i = 0; i < count; i++) {
        bool take = false;

        if (!vms_prune_db_take(rewrite->prune->db, pack, sorted[i].type, &sorted[i].id, &take,
                               error))
            return false;
        if (!take)
            continue;
        if (run->len > 0 && (sorted[i].offset != end || length + sorted[i].length > RUN_SIZE)) {
            if (!copy_run(rewrite, name, run, error))
                return false;
            g_array_set_size(run, 0);
            length = 0;
        }
        g_array_append_val(run, sorted[i]);
        end = (uint64_t)sorted[i].offset + sorted[i].length;
        length += sorted[i].length;
    }
    return run->len == 0 || copy_run(rewrite, name, run, error);
}

static bool save_index(Rewrite *rewrite, GError **error)
{
    VmsPrune *prune = rewrite->prune;
    VmsId id;

    if (rewrite->text == NULL)
        return true;
    vms_index_file_end(rewrite->text);
    bool ok = vms_object_save(prune->repo, "index", rewrite->text->str, rewrite->text->len, &id,
                              NULL, prune->cancellable, error);
    vms_failpoint("prune.index-written");
    g_string_free(g_steal_pointer(&rewrite->text), TRUE);
    rewrite->listed = 0;
    if (ok)
        g_array_append_val(prune->written, id);
    return ok;
}

static bool handle_pack(void *user, const VmsId *pack, const VmsPackBlob *blobs, size_t count,
                        GError **error)
{
    Rewrite *rewrite = user;
    VmsPruneFate fate = VMS_PRUNE_KEEP;
    int64_t owner = -1;

    if (!vms_check_cancelled(rewrite->prune->cancellable, error) ||
        !vms_prune_db_fate(rewrite->prune->db, pack, &fate, &owner, error))
        return false;
    if (owner != rewrite->file || fate == VMS_PRUNE_REMOVE)
        return true;
    if (fate == VMS_PRUNE_REPACK)
        return repack(rewrite, pack, blobs, count, error);
    if (rewrite->text == NULL)
        rewrite->text = vms_index_file_begin();
    vms_index_file_pack(rewrite->text, pack, blobs, count);
    rewrite->listed += count;
    return rewrite->listed < INDEX_BLOBS || save_index(rewrite, error);
}

static bool rewrite_files(Rewrite *rewrite, GError **error)
{
    VmsPrune *prune = rewrite->prune;

    for (guint i = 0; i < prune->indexes->len; i++) {
        const VmsObjectEntry *entry = &g_array_index(prune->indexes, VmsObjectEntry, i);

        if (!prune->stale[i])
            continue;
        g_autoptr(GBytes) text =
            vms_object_load(prune->repo, "index", &entry->id, prune->cancellable, error);
        rewrite->file = i;
        if (text == NULL ||
            !vms_index_file_parse(g_bytes_get_data(text, NULL), g_bytes_get_size(text), handle_pack,
                                  rewrite, error))
            return false;
    }
    return save_index(rewrite, error) && push(rewrite, VMS_BLOB_DATA, error) &&
           push(rewrite, VMS_BLOB_TREE, error) && vms_upload_flush(rewrite->upload, error);
}

static bool mark_stale(void *user, unsigned file, GError **error)
{
    VmsPrune *prune = user;

    prune->stale[file] = true;
    return true;
}

bool vms_prune_rewrite(VmsPrune *prune, GError **error)
{
    VmsPruneSums sums;
    VmsUploadStats stats;
    Rewrite rewrite = {.prune = prune};

    if (!vms_prune_db_touched_files(prune->db, mark_stale, prune, error) ||
        !vms_prune_db_sums(prune->db, &sums, error))
        return false;
    rewrite.total = sums.repack_used;
    rewrite.upload = vms_upload_new(prune->repo, NULL, UPLOADS, indexed, NULL, prune->cancellable);
    rewrite.opened = vms_pack_buffers_new();
    bool ok = rewrite_files(&rewrite, error);
    vms_pack_buffers_unref(rewrite.opened);
    vms_upload_stats(rewrite.upload, &stats);
    vms_upload_free(rewrite.upload);
    for (int type = 0; type < 2; type++)
        vms_upload_pack_free(rewrite.filling[type]);
    if (rewrite.text != NULL)
        g_string_free(rewrite.text, TRUE);
    prune->stats.packs_written = stats.packs;
    return ok;
}
