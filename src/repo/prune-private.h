/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One run of prune: the steps, in their order. */
#pragma once

#include "repo/object.h"
#include "repo/prune-db.h"
#include "repo/prune.h"

typedef struct {
    VmsRepo *repo;
    const VmsPruneOptions *options;
    GCancellable *cancellable;
    VmsPruneDb *db;
    VmsPruneStats stats;
    GPtrArray *snapshots; /* VmsRepoSnapshot*, all of them at the beginning */
    GArray *indexes;      /* VmsObjectEntry; an index file's number is its place here */
    bool *stale;          /* per index file: to be written anew */
    char *missing_pack;   /* the first one that an index lists and that is not stored; nullable */
    GArray *written;      /* VmsId of the index files that rewrite made */
} VmsPrune;

/* Marks every blob that a snapshot refers to. */
bool vms_prune_mark(VmsPrune *prune, GError **error);

/* Lists the packs, reads the index files, and makes sure that all that is marked is there. */
bool vms_prune_scan(VmsPrune *prune, GError **error);

/* Copies what is used out of the packs to be repacked, and writes the stale index files anew. Only
 * adds to the repository. */
bool vms_prune_rewrite(VmsPrune *prune, GError **error);

/* LOCKED where a snapshot or a foreign index file has come since the beginning. */
bool vms_prune_check_alone(VmsPrune *prune, GError **error);

/* Deletes the packs that go. Where it fails, some may be gone. */
bool vms_prune_delete(VmsPrune *prune, VmsRepoLock *lock, GError **error);
