/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Snapshot files: the commit point of everything that is in a repository. */
#pragma once

#include "repo/repo.h"

typedef struct {
    VmsId id;        /* of the file; set by save and load */
    int64_t time_us; /* µs since 1970: the cut */
    VmsId tree;
    char **paths; /* NULL-terminated */
    char *hostname;
    char *username;
    char **tags; /* NULL-terminated: vmsnap, domain=…, uuid=…, consistency=… */
    char *program_version;
    bool has_parent;
    VmsId parent;
} VmsRepoSnapshot;

void vms_repo_snapshot_free(VmsRepoSnapshot *snapshot);

/* Writes the snapshot file; the writer must be flushed before. Sets snapshot->id. */
bool vms_repo_snapshot_save(VmsRepo *repo, VmsRepoSnapshot *snapshot, GCancellable *cancellable,
                            GError **error);

/* All snapshots, oldest first: GPtrArray of VmsRepoSnapshot*. Files of other programs are included.
 */
GPtrArray *vms_repo_snapshot_list(VmsRepo *repo, GCancellable *cancellable, GError **error);

/* By hex prefix (≥ 4 digits) or "latest". NOT_FOUND; INVALID if ambiguous, naming the candidates.
 */
VmsRepoSnapshot *vms_repo_snapshot_find(VmsRepo *repo, const char *prefix,
                                        GCancellable *cancellable, GError **error);

/* The value of tag "key=…" or NULL. */
const char *vms_repo_snapshot_tag(const VmsRepoSnapshot *snapshot, const char *key);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsRepoSnapshot, vms_repo_snapshot_free)
