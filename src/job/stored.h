/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A snapshot in a repository, opened for reading: location, shared lock, manifest. Private to job/.
 */
#pragma once

#include "job/location.h"
#include "job/manifest.h"
#include "repo/lock.h"

typedef struct {
    VmsLocation *location;
    VmsRepoLock *lock;
    VmsManifest *manifest;
    VmsId tree;
    char *hex; /* id of the snapshot file, 64 hex */
} VmsStored;

/* repository: NULL for where the catalog says that the snapshot went, or the only configured one.
 * snapshot: prefix of the repository's or of the local id, or "latest". INVALID where it was not
 * made by vmsnap. */
VmsStored *vms_stored_open(VmsContext *context, const char *repository, const char *snapshot,
                           GError **error);
void vms_stored_free(VmsStored *stored);

/* The manifest of a snapshot, with repository_id set. */
VmsManifest *vms_stored_manifest(VmsContext *context, VmsRepo *repo, const VmsId *id,
                                 const VmsId *tree, const char *path, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsStored, vms_stored_free)
