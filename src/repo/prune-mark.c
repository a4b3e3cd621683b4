/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every tree is read once, however many snapshots share it. Content lists are long and repeat
 * themselves (zeroes, unchanged disks): `recent`, a direct-mapped table of ids marked lately,
 * answers most of them without asking SQLite. */
#include "base/error.h"
#include "repo/prune-private.h"
#include "repo/snapshot.h"
#include "repo/tree-refs.h"

#include <string.h>

#define RECENT 65536

typedef struct {
    VmsPrune *prune;
    unsigned snapshot;
    uint64_t marked;
    VmsId *recent;
} Marker;

typedef struct {
    Marker *marker;
    GArray *subtrees; /* VmsId, not read yet */
} Level;

static bool mark_data(Marker *marker, const VmsId *id, GError **error)
{
    guint32 slot;
    bool is_new = false;

    memcpy(&slot, id->bytes, sizeof(slot));
    VmsId *recent = &marker->recent[slot % RECENT];
    if (vms_id_equal(recent, id))
        return true;
    *recent = *id;
    if (++marker->marked % 4096 == 0 && !vms_check_cancelled(marker->prune->cancellable, error))
        return false;
    return vms_prune_db_mark(marker->prune->db, VMS_BLOB_DATA, id, marker->snapshot, &is_new,
                             error);
}

static bool mark(void *user, VmsBlobType type, const VmsId *id, GError **error)
{
    Level *level = user;
    Marker *marker = level->marker;
    bool is_new = false;

    if (type == VMS_BLOB_DATA)
        return mark_data(marker, id, error);
    if (!vms_prune_db_mark(marker->prune->db, type, id, marker->snapshot, &is_new, error))
        return false;
    if (is_new)
        g_array_append_val(level->subtrees, *id);
    return true;
}

/* Depth first; waiting subtrees are kept per level. A tree's id is the SHA-256 of what it contains,
 * so there are no circles. */
static bool read_tree(Marker *marker, const VmsId *root, GError **error)
{
    g_autoptr(GArray) waiting = g_array_new(FALSE, FALSE, sizeof(VmsId));
    Level level = {marker, waiting};

    g_array_append_val(waiting, *root);
    while (waiting->len > 0) {
        VmsId id = g_array_index(waiting, VmsId, waiting->len - 1);

        g_array_set_size(waiting, waiting->len - 1);
        if (!vms_check_cancelled(marker->prune->cancellable, error) ||
            !vms_tree_refs_read(marker->prune->repo, &id, mark, &level, marker->prune->cancellable,
                                error))
            return false;
    }
    return true;
}

static bool is_ignored(const VmsPrune *prune, const VmsRepoSnapshot *snapshot)
{
    const GPtrArray *ignored = prune->options->ignored;

    for (guint i = 0; ignored != NULL && i < ignored->len; i++)
        if (vms_id_equal(&((const VmsRepoSnapshot *)ignored->pdata[i])->id, &snapshot->id))
            return true;
    return false;
}

static bool mark_snapshot(Marker *marker, const VmsRepoSnapshot *snapshot, GError **error)
{
    char hex[VMS_ID_HEX_LEN + 1];
    bool is_new = false;

    marker->prune->stats.snapshots++;
    if (!vms_prune_db_mark(marker->prune->db, VMS_BLOB_TREE, &snapshot->tree, marker->snapshot,
                           &is_new, error))
        return false;
    if (!is_new || read_tree(marker, &snapshot->tree, error))
        return true;
    /* What the index does not list is damage here: a snapshot needs it. */
    if (error != NULL && vms_error_is(*error, VMS_ERROR_NOT_FOUND))
        (*error)->code = VMS_ERROR_CORRUPT;
    vms_id_hex(&snapshot->id, hex);
    return vms_prefix(error, "snapshot %.8s", hex);
}

bool vms_prune_mark(VmsPrune *prune, GError **error)
{
    g_autofree VmsId *recent = g_new0(VmsId, RECENT);
    Marker marker = {.prune = prune, .recent = recent};

    for (guint i = 0; i < prune->snapshots->len; i++) {
        const VmsRepoSnapshot *snapshot = prune->snapshots->pdata[i];

        marker.snapshot = i;
        if (!is_ignored(prune, snapshot) && !mark_snapshot(&marker, snapshot, error))
            return false;
    }
    return true;
}
