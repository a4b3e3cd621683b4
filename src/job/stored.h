/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A snapshot in a repository or a place of plain images, opened for reading: location, shared lock,
 * manifest. Private to job/. */
#pragma once

#include "job/location.h"
#include "job/manifest.h"
#include "repo/lock.h"

typedef struct {
    VmsLocation *location;
    VmsRepoLock *lock; /* of a repository */
    VmsManifest *manifest;
    VmsId tree;   /* of a repository */
    char *images; /* folder of the domain in a place of plain images, else NULL */
    char *hex;    /* id of the snapshot file, of plain images that of the manifest; 64 hex */
} VmsStored;

/* repository: NULL for where the catalog says that the snapshot went, or the only configured one.
 * snapshot: prefix of the repository's or of the local id, or "latest". INVALID where it was not
 * made by vmsnap. */
VmsStored *vms_stored_open(VmsContext *context, const char *repository, const char *snapshot,
                           GError **error);
void vms_stored_free(VmsStored *stored);

/* What the manifest of plain images says of a file. CORRUPT where it does not name it. */
const VmsManifestFile *vms_stored_find_file(const VmsStored *stored, const char *name,
                                            GError **error);

/* A small file of the snapshot, "domain.xml", "nvram.fd" or one in "tpm/", verified. */
GBytes *vms_stored_read_file(VmsContext *context, const VmsStored *stored, const char *name,
                             GError **error);

/* The names of what is in "tpm/", without that: NULL-terminated (transfer full). */
char **vms_stored_tpm_files(VmsContext *context, const VmsStored *stored, GError **error);

/* The manifest of a snapshot, with repository_id set. */
VmsManifest *vms_stored_manifest(VmsContext *context, VmsRepo *repo, const VmsId *id,
                                 const VmsId *tree, const char *path, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsStored, vms_stored_free)
