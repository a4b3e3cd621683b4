/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which blobs a tree refers to, read as a stream: for prune, which needs nothing else of it and
 * meets trees of any program. */
#pragma once

#include "repo/repo.h"

/* A file's chunk (data) or a directory (tree). Return false with *error to stop. */
typedef bool (*VmsTreeRefsFunc)(void *user, VmsBlobType type, const VmsId *id, GError **error);

/* func is called while the blob is read: only when this returns true is it known that the whole has
 * the right SHA-256. CORRUPT, NOT_FOUND. */
bool vms_tree_refs_read(VmsRepo *repo, const VmsId *tree, VmsTreeRefsFunc func, void *user,
                        GCancellable *cancellable, GError **error);
