/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One object of a snapshot on its way to a store: front to back, its SHA-256 taken in passing.
 * Private to job/. */
#pragma once

#include "job/inputs.h"
#include "job/manifest.h"
#include "store/store.h"

/* Time is in µs, summed over all objects. */
typedef struct {
    uint64_t bytes_read, bytes_uploaded, objects;
    uint64_t read_us, hash_us, upload_us, wait_us; /* wait: for the store to take what was read */
} VmsPlainStats;

typedef struct VmsPlainObject VmsPlainObject;

/* name: in the store. size: bytes that will be written. stats: added to. cancellable nullable. */
VmsPlainObject *vms_plain_object_new(VmsStore *store, const char *name, uint64_t size,
                                     VmsPlainStats *stats, GCancellable *cancellable,
                                     GError **error);
/* Drops what is not finished. */
void vms_plain_object_free(VmsPlainObject *object);

/* object: a VmsPlainObject; a VmsQcow2WriteFunc. */
bool vms_plain_object_write(void *object, const void *data, size_t len, GError **error);

/* The object is whole and durable. file (name as in the manifest) gets what there is to say of it.
 */
VmsManifestFile *vms_plain_object_finish(VmsPlainObject *object, const char *file, GError **error);

/* All of that: a small object. */
VmsManifestFile *vms_plain_object_put(VmsStore *store, const char *name, const char *file,
                                      const void *data, size_t len, VmsPlainStats *stats,
                                      GCancellable *cancellable, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsPlainObject, vms_plain_object_free)
