/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What prune knows while it works: which blobs are used, and how much of each pack. It lives in
 * temporary tables of SQLite, so memory does not grow with the repository. Beside them is one small
 * table that lasts: since when a pack has been seen that no index lists. Private to prune. */
#pragma once

#include "repo/pack.h"

typedef struct VmsPruneDb VmsPruneDb;

typedef enum {
    VMS_PRUNE_KEEP,
    VMS_PRUNE_REMOVE,
    VMS_PRUNE_REPACK,
    VMS_PRUNE_UNINDEXED, /* listed by no index for long enough: removed too */
} VmsPruneFate;

/* path: of the lasting table. */
VmsPruneDb *vms_prune_db_open(const char *path, GError **error);
void vms_prune_db_free(VmsPruneDb *db);

/* The blob is used by the snapshot with that number. *ret_new: for the first time. */
bool vms_prune_db_mark(VmsPruneDb *db, VmsBlobType type, const VmsId *id, unsigned snapshot,
                       bool *ret_new, GError **error);

/* A pack that is in the store. */
bool vms_prune_db_stored(VmsPruneDb *db, const VmsId *id, uint64_t size, GError **error);

/* What index file number file says of a pack. Each pack belongs to the first file that lists it.
 * *ret_stale: this file lists a pack that another one has, or that is not stored (*ret_stored
 * false), and should be written anew. */
bool vms_prune_db_listed(VmsPruneDb *db, unsigned file, const VmsId *pack, const VmsPackBlob *blobs,
                         size_t count, bool *ret_stored, bool *ret_stale, GError **error);

/* After all packs are listed: of the copies of a blob, one is used; the pack with the least waste
 * has it. */
bool vms_prune_db_resolve(VmsPruneDb *db, GError **error);

/* A used blob that lies in no pack: *ret_found false where there is none. */
bool vms_prune_db_find_missing(VmsPruneDb *db, VmsId *ret_id, VmsBlobType *ret_type,
                               unsigned *ret_snapshot, uint64_t *ret_count, bool *ret_found,
                               GError **error);
/* A pack of which something is used and whose size is not what the index makes it. */
bool vms_prune_db_find_misfit(VmsPruneDb *db, VmsId *ret_pack, uint64_t *ret_stored,
                              uint64_t *ret_expected, bool *ret_found, GError **error);

/* Packs without anything used go; then the most wasteful ones are rewritten until what is unused
 * is no more than max_unused bytes. */
bool vms_prune_db_decide(VmsPruneDb *db, uint64_t max_unused, GCancellable *cancellable,
                         GError **error);
/* Packs that no index lists go once they have been seen so for age_us. keep_note: note the new
 * ones for the next time. */
bool vms_prune_db_decide_unindexed(VmsPruneDb *db, int64_t now_us, int64_t age_us, bool keep_note,
                                   GError **error);
/* Notes the packs that are to go, so that the next run need not wait if this one is killed. */
bool vms_prune_db_note_doomed(VmsPruneDb *db, GError **error);
bool vms_prune_db_forget_notes(VmsPruneDb *db, GError **error);

typedef struct {
    uint64_t packs, bytes; /* in the store */
    uint64_t used, unused; /* bytes of blobs that an index lists (and headers: used) */
    uint64_t used_blobs;
    uint64_t doomed[4];                    /* packs, by VmsPruneFate */
    uint64_t doomed_bytes[4];              /* of these, in the store */
    uint64_t repack_used;                  /* bytes to be copied */
    uint64_t repack_unused, remove_unused; /* bytes of blobs that go */
    uint64_t unindexed, unindexed_bytes;   /* listed by no index and left alone */
} VmsPruneSums;

bool vms_prune_db_sums(VmsPruneDb *db, VmsPruneSums *ret_sums, GError **error);

/* What becomes of a pack; *ret_file: the index file it belongs to, -1 where none. A pack that is
 * not stored is to be removed. */
bool vms_prune_db_fate(VmsPruneDb *db, const VmsId *pack, VmsPruneFate *ret_fate, int64_t *ret_file,
                       GError **error);

/* The blob is to be copied out of this pack: true once only. */
bool vms_prune_db_take(VmsPruneDb *db, const VmsId *pack, VmsBlobType type, const VmsId *id,
                       bool *ret_take, GError **error);
/* True for a blob that was taken. */
bool vms_prune_db_is_taken(VmsPruneDb *db, VmsBlobType type, const VmsId *id, bool *ret_taken,
                           GError **error);

/* Return false with *error to stop. */
typedef bool (*VmsPruneFileFunc)(void *user, unsigned file, GError **error);
/* The index files that have packs which go. */
bool vms_prune_db_touched_files(VmsPruneDb *db, VmsPruneFileFunc func, void *user, GError **error);
typedef bool (*VmsPrunePackFunc)(void *user, const VmsId *pack, uint64_t size, GError **error);
/* The packs that go. */
bool vms_prune_db_doomed(VmsPruneDb *db, VmsPrunePackFunc func, void *user, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsPruneDb, vms_prune_db_free)
