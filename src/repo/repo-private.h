/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of repo/ know about a repository. */
#pragma once

#include "codec/seal.h"
#include "repo/index.h"
#include "repo/repo.h"

struct VmsRepo {
    VmsStore *store; /* borrowed */
    VmsSealKey *key; /* the master key */
    char *id;        /* hex, of the config */
    VmsIndex *index;
    char *cache_dir;
    bool cache_is_temporary; /* remove cache_dir at the end */
};

#define VMS_REPO_MAX_BLOB (64u << 20) /* plaintext bytes of a blob that is read into memory */

/* Opens the repository whose master key is known (takes key). */
VmsRepo *vms_repo_open_with_key(VmsStore *store, VmsSealKey *key, const char *cache_dir,
                                GCancellable *cancellable, GError **error);

/* Fetches and opens a blob that lies at one of the given places. NULL with CORRUPT. */
GBytes *vms_repo_fetch_blob(VmsRepo *repo, const VmsIndexPlace *places, size_t count,
                            GCancellable *cancellable, GError **error);
