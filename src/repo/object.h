/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The files of a repository that are not packs: index, snapshots, locks. Named by the SHA-256 of
 * their bytes; sealed; the plaintext is a version byte and zstd, or plain JSON (restic design,
 * "Unpacked Data Format"). */
#pragma once

#include "codec/compress.h"
#include "codec/seal.h"
#include "repo/repo.h"

#define VMS_OBJECT_MAX_PLAIN (256u << 20) /* bytes of JSON in one */

/* "index/…" and, for packs, "data/ab/ab…" (transfer full). */
char *vms_object_name(const char *dir, const VmsId *id);
char *vms_object_pack_name(const VmsId *id);

/* Pure. compressed: false only for the config. */
GBytes *vms_object_encode(const VmsSealKey *key, const void *text, size_t len, bool compressed,
                          GError **error);
/* Pure. CORRUPT. */
GBytes *vms_object_decode(const VmsSealKey *key, const void *sealed, size_t len, GError **error);

/* Puts text as a new object of dir. */
bool vms_object_save(VmsRepo *repo, const char *dir, const void *text, size_t len, VmsId *ret_id,
                     uint64_t *ret_size, GCancellable *cancellable, GError **error);

/* Gets one, checks its name against its bytes and decodes it. NOT_FOUND, CORRUPT (names it). */
GBytes *vms_object_load(VmsRepo *repo, const char *dir, const VmsId *id, GCancellable *cancellable,
                        GError **error);

/* The same in pieces, so that only the sealed bytes are in memory. What func was given is right
 * only when this returns true. */
bool vms_object_read(VmsRepo *repo, const char *dir, const VmsId *id, VmsCompressFunc func,
                     void *user, GCancellable *cancellable, GError **error);

typedef struct {
    VmsId id;
    uint64_t size;
} VmsObjectEntry;

/* The objects of dir, as VmsObjectEntry; names that are not ids are passed over (g_debug). */
GArray *vms_object_list(VmsStore *store, const char *dir, GCancellable *cancellable,
                        GError **error);
