/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading plain images back: which snapshots a place has, and single objects, checked against what
 * their manifest says. Private to job/. */
#pragma once

#include "base/progress.h"
#include "job/manifest.h"
#include "store/store.h"

/* One manifest, with repository_id, the hash of its text. folder: the domain's, id: 16 hex.
 * NOT_FOUND, CORRUPT where it is not that snapshot's. */
VmsManifest *vms_plain_read_manifest(VmsStore *store, const char *folder, const char *id,
                                     GCancellable *cancellable, GError **error);

/* All of a domain (name or UUID; NULL: of all), oldest first: GPtrArray of VmsManifest*. */
GPtrArray *vms_plain_list(VmsStore *store, const char *domain, GCancellable *cancellable,
                          GError **error);

/* One by the begin of its id or of its local id, or the newest for "latest". NOT_FOUND; INVALID if
 * ambiguous. */
VmsManifest *vms_plain_find_snapshot(VmsStore *store, const char *snapshot,
                                     GCancellable *cancellable, GError **error);

typedef struct {
    VmsStore *store;
    VmsProgress *progress;    /* nullable */
    const char *phase, *item; /* for progress */
    uint64_t progress_before; /* bytes done before this object */
    uint64_t progress_total;  /* bytes of all objects */
    GCancellable *cancellable;
} VmsPlainReadOptions;

/* Pieces in order, from the caller's thread. */
typedef bool (*VmsPlainReadFunc)(void *user, uint64_t offset, const void *data, size_t len,
                                 GError **error);

/* All of an object, several pieces of it on their way at once (at most 32 MiB in memory). Only when
 * it returns true has the hash been found right. CORRUPT where it is damaged or of another size,
 * NOT_FOUND. */
bool vms_plain_read(const VmsPlainReadOptions *options, const char *object,
                    const VmsManifestFile *file, VmsPlainReadFunc func, void *user, GError **error);

/* A small one (at most 64 MiB) whole. */
GBytes *vms_plain_read_small(VmsStore *store, const char *object, const VmsManifestFile *file,
                             GCancellable *cancellable, GError **error);

/* Is it there with the size the manifest says? CORRUPT, NOT_FOUND. */
bool vms_plain_check_size(VmsStore *store, const char *object, const VmsManifestFile *file,
                          GCancellable *cancellable, GError **error);
