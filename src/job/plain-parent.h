/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a place of plain images has of a domain, and whether an image there can be built upon.
 * Private to job/. */
#pragma once

#include "job/manifest.h"
#include "job/tracking.h"
#include "store/store.h"

typedef struct {
    VmsStore *store;
    char *id;             /* of the place, 64 hex */
    char *folder;         /* of the domain */
    GHashTable *objects;  /* name → uint64_t*, bytes: all in the folder */
    GHashTable *known;    /* id → VmsManifest*: those that were read */
    GPtrArray *snapshots; /* of VmsRepoSnapshot*, for VmsTrackingScope */
} VmsPlainPlace;

/* Lists the folder. records: all of the domain on this host. */
VmsPlainPlace *vms_plain_place_new(VmsStore *store, const char *id, const VmsRecord *record,
                                   const GPtrArray *records, GCancellable *cancellable,
                                   GError **error);
void vms_plain_place_free(VmsPlainPlace *place);

/* Has it an object of that snapshot, of those bytes? */
bool vms_plain_place_has(const VmsPlainPlace *place, const char *id, const char *name,
                         uint64_t bytes);

bool vms_plain_place_has_manifest(const VmsPlainPlace *place, const char *id);

/* The manifest of a snapshot there, with repository_id, which is the place's. CORRUPT, NOT_FOUND.
 */
const VmsManifest *vms_plain_place_manifest(VmsPlainPlace *place, const char *id,
                                            GCancellable *cancellable, GError **error);

/* Is the image of disk in that snapshot, with all that it stands on, there as the manifests say?
 * *ret_reason as for vms_parent_disk_load; "chain-too-long" too. */
bool vms_plain_parent_check(VmsPlainPlace *place, const VmsRecord *parent,
                            const VmsRecordDisk *disk, GCancellable *cancellable,
                            const char **ret_reason, char **ret_text, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsPlainPlace, vms_plain_place_free)
