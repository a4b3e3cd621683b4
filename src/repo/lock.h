/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Repository locks as restic's: shared to back up and read, exclusive to prune. Stale after 30 min,
 * or when the process of the same host is gone; refreshed every 5 min by a thread of their own. */
#pragma once

#include "repo/repo.h"

typedef struct VmsRepoLock VmsRepoLock;

/* LOCKED names host, pid, user and age of the holder. */
VmsRepoLock *vms_repo_lock(VmsRepo *repo, bool exclusive, GCancellable *cancellable,
                           GError **error);

/* In two parts, for who first reads and writes afterwards: begin returns once its own lock is
 * stored and nobody is beside it, so that nothing read from then on is being pruned; settle, some
 * 0.2 s after that, once nobody was found who came at the same time. Between them nothing may be
 * written. LOCKED as above, from either. settle: thread-safe, at once where it is done; failed, it
 * may be called again. */
VmsRepoLock *vms_repo_lock_begin(VmsRepo *repo, bool exclusive, GCancellable *cancellable,
                                 GError **error);
bool vms_repo_lock_settle(VmsRepoLock *lock, GCancellable *cancellable, GError **error);

/* False with LOCKED once refreshes failed for longer than the lock is valid, or where somebody
 * removed its file (`restic unlock --remove-all`), or came in beside an exclusive one: check before
 * a commit point. Settles first. */
bool vms_repo_lock_check(VmsRepoLock *lock, GError **error);

/* Removes the lock file; also from autoptr. */
void vms_repo_lock_free(VmsRepoLock *lock);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsRepoLock, vms_repo_lock_free)
