/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A repository in the restic format, version 2 (restic's doc/design.rst), on a store. */
#pragma once

#include "base/progress.h"
#include "base/secret.h"
#include "repo/id.h"
#include "store/store.h"

typedef struct VmsRepo VmsRepo;

typedef enum { VMS_BLOB_DATA, VMS_BLOB_TREE } VmsBlobType;

/* Makes a new repository: key, then config (the commit point). EXISTS where there is a config or a
 * key. The store stays the caller's and must outlive the repository. */
bool vms_repo_init(VmsStore *store, const VmsSecret *password, VmsId *ret_id,
                   GCancellable *cancellable, GError **error);

/* Opens one. NOT_FOUND (no config: says how to init), AUTH (no key opens with this password),
 * UNSUPPORTED (version other than 2), CORRUPT. cache_dir: where the index cache lives (made 0700,
 * nullable: a private temporary one). */
VmsRepo *vms_repo_open(VmsStore *store, const VmsSecret *password, const char *cache_dir,
                       GCancellable *cancellable, GError **error);
void vms_repo_free(VmsRepo *repo);

const char *vms_repo_id(const VmsRepo *repo); /* hex, of the config */
const char *vms_repo_location(const VmsRepo *repo);

/* Who is told how far it is where bringing the index cache up to date takes long. Borrowed. */
void vms_repo_set_progress(VmsRepo *repo, VmsProgress *progress);

/* Brings the index cache up to date with the index files in the store. */
bool vms_repo_sync_index(VmsRepo *repo, GCancellable *cancellable, GError **error);

/* After a sync. Thread-safe. ret_size (nullable): plaintext bytes. */
bool vms_repo_has_blob(VmsRepo *repo, VmsBlobType type, const VmsId *id, bool *ret_found,
                       uint64_t *ret_size, GError **error);

/* Reads one blob: fetched, authenticated, decompressed and re-hashed. NOT_FOUND, CORRUPT (names the
 * blob and the pack). Thread-safe. For blobs that fit memory (≤ 64 MiB plaintext, else INVALID). */
GBytes *vms_repo_read_blob(VmsRepo *repo, VmsBlobType type, const VmsId *id,
                           GCancellable *cancellable, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsRepo, vms_repo_free)
