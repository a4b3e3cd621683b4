/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The index files themselves are read, not the cache: what is deleted rests on them alone. */
#include "base/error.h"
#include "repo/index-file.h"
#include "repo/prune-private.h"
#include "repo/repo-private.h"
#include "repo/snapshot.h"

#include <string.h>

static bool add_stored(void *user, const char *name, uint64_t size, GError **error)
{
    VmsPrune *prune = user;
    const char *base = strrchr(name, '/');
    VmsId id;

    if (base == NULL || !vms_id_parse(base + 1, &id, NULL))
        return true;
    g_autofree char *expected = vms_object_pack_name(&id);
    if (strcmp(expected, name) != 0) {
        g_debug("%s: not where a pack belongs, passed over", name);
        return true;
    }
    return vms_prune_db_stored(prune->db, &id, size, error);
}

typedef struct {
    VmsPrune *prune;
    unsigned file;
} File;

static bool add_listed(void *user, const VmsId *pack, const VmsPackBlob *blobs, size_t count,
                       GError **error)
{
    File *file = user;
    VmsPrune *prune = file->prune;
    bool stored = false, stale = false;

    if (!vms_prune_db_listed(prune->db, file->file, pack, blobs, count, &stored, &stale, error))
        return false;
    prune->stale[file->file] |= stale;
    if (!stored) {
        prune->stats.packs_missing++;
        if (prune->missing_pack == NULL)
            prune->missing_pack = vms_object_pack_name(pack);
    }
    return vms_check_cancelled(prune->cancellable, error);
}

static bool read_indexes(VmsPrune *prune, GError **error)
{
    uint64_t done = 0, total = 0;

    for (guint i = 0; i < prune->indexes->len; i++)
        total += g_array_index(prune->indexes, VmsObjectEntry, i).size;
    for (guint i = 0; i < prune->indexes->len; i++) {
        const VmsObjectEntry *entry = &g_array_index(prune->indexes, VmsObjectEntry, i);
        File file = {prune, i};
        g_autoptr(GError) local = NULL;
        g_autoptr(GBytes) text =
            vms_object_load(prune->repo, "index", &entry->id, prune->cancellable, error);

        if (text == NULL)
            return false;
        if (!vms_index_file_parse(g_bytes_get_data(text, NULL), g_bytes_get_size(text), add_listed,
                                  &file, &local)) {
            char hex[VMS_ID_HEX_LEN + 1];

            vms_id_hex(&entry->id, hex);
            if (vms_error_is(local, VMS_ERROR_INVALID))
                return vms_fail(error, VMS_ERROR_CORRUPT, "index/%s: %s", hex, local->message);
            g_propagate_error(error, g_steal_pointer(&local));
            return false;
        }
        done += entry->size;
        vms_progress_update(prune->options->progress, "index", NULL, done, total);
    }
    return true;
}

static bool refuse_missing(VmsPrune *prune, GError **error)
{
    VmsBlobType type = VMS_BLOB_DATA;
    char blob[VMS_ID_HEX_LEN + 1], owner[VMS_ID_HEX_LEN + 1];
    unsigned snapshot = 0;
    uint64_t count = 0;
    bool found = false;
    VmsId id;

    if (!vms_prune_db_find_missing(prune->db, &id, &type, &snapshot, &count, &found, error))
        return false;
    if (!found)
        return true;
    vms_id_hex(&id, blob);
    vms_id_hex(&((const VmsRepoSnapshot *)prune->snapshots->pdata[snapshot])->id, owner);
    return vms_fail(error, VMS_ERROR_CORRUPT,
                    "%" G_GUINT64_FORMAT " blobs that snapshots need are in no pack, the first is "
                    "the %s blob %s of snapshot %.8s%s%s: nothing was deleted; \"restic check\" "
                    "tells more, \"restic rebuild-index\" finds packs that no index lists",
                    count, type == VMS_BLOB_TREE ? "tree" : "data", blob, owner,
                    prune->missing_pack != NULL ? "; missing is " : "",
                    prune->missing_pack != NULL ? prune->missing_pack : "");
}

static bool refuse_misfit(VmsPrune *prune, GError **error)
{
    uint64_t stored = 0, expected = 0;
    bool found = false;
    VmsId pack;

    if (!vms_prune_db_find_misfit(prune->db, &pack, &stored, &expected, &found, error))
        return false;
    if (!found)
        return true;
    g_autofree char *name = vms_object_pack_name(&pack);
    return vms_fail(error, VMS_ERROR_CORRUPT,
                    "%s: %" G_GUINT64_FORMAT " bytes, by the index it has %" G_GUINT64_FORMAT
                    ": nothing was deleted",
                    name, stored, expected);
}

bool vms_prune_scan(VmsPrune *prune, GError **error)
{
    return vms_store_list(prune->repo->store, "data/", add_stored, prune, prune->cancellable,
                          error) &&
           read_indexes(prune, error) && vms_prune_db_resolve(prune->db, error) &&
           refuse_missing(prune, error) && refuse_misfit(prune, error);
}
