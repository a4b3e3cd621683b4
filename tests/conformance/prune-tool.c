/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Drives prune from the outside, for test_prune.py. The password is in VMS_TEST_PASSWORD.
 *
 *   prune-tool REPO CACHE LIMIT [CHANGE]   REPO: a path, or "s3:…" as in open-store.h. Killed by
 *                                          itself before change CHANGE (from 1 on: a put or
 *                                          removal, but of locks). Prints the number of changes
 *                                          at the end.
 */
#include "open-store.h"

#include "base/error.h"
#include "repo/prune.h"
#include "store/dir.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    VmsStore base;
    VmsStore *inner;
    int changes, kill_at; /* changes is atomic */
} KillStore;

static void step(KillStore *store, const char *name)
{
    if (!g_str_has_prefix(name, "locks/") &&
        g_atomic_int_add(&store->changes, 1) + 1 == store->kill_at)
        raise(SIGKILL);
}

static bool kill_put(VmsStore *base, const char *name, GBytes *data, bool only_new,
                     GCancellable *cancellable, GError **error)
{
    step((KillStore *)base, name);
    return vms_store_put(((KillStore *)base)->inner, name, data, only_new, cancellable, error);
}

static GBytes *kill_get(VmsStore *base, const char *name, uint64_t offset, uint64_t length,
                        GCancellable *cancellable, GError **error)
{
    return vms_store_get(((KillStore *)base)->inner, name, offset, length, cancellable, error);
}

static bool kill_has(VmsStore *base, const char *name, bool *ret_exists, uint64_t *ret_size,
                     GCancellable *cancellable, GError **error)
{
    return vms_store_has(((KillStore *)base)->inner, name, ret_exists, ret_size, cancellable,
                         error);
}

static bool kill_list(VmsStore *base, const char *prefix, VmsStoreListFunc func, void *user,
                      GCancellable *cancellable, GError **error)
{
    return vms_store_list(((KillStore *)base)->inner, prefix, func, user, cancellable, error);
}

static bool kill_remove(VmsStore *base, const char *name, GCancellable *cancellable, GError **error)
{
    step((KillStore *)base, name);
    return vms_store_remove(((KillStore *)base)->inner, name, cancellable, error);
}

static const VmsStoreOps kill_ops = {
    .put = kill_put, .get = kill_get, .has = kill_has, .list = kill_list, .remove = kill_remove};

static bool run(VmsStore *store, char **argv, GError **error)
{
    g_autoptr(VmsSecret) secret = vms_secret_new_string(g_getenv("VMS_TEST_PASSWORD"));
    VmsPruneOptions options = {0};
    VmsPruneStats stats;

    if (!vms_prune_limit_parse(argv[3], &options.max_unused, error))
        return false;
    g_autoptr(VmsRepo) repo = vms_repo_open(store, secret, argv[2], NULL, error);
    g_autoptr(VmsRepoLock) lock = repo != NULL ? vms_repo_lock(repo, true, NULL, error) : NULL;
    return lock != NULL && vms_prune(repo, lock, &options, &stats, NULL, error);
}

int main(int argc, char **argv)
{
    KillStore store = {.base = {.ops = &kill_ops}};
    g_autoptr(GError) error = NULL;

    if (argc < 4)
        return 2;
    store.inner = g_str_has_prefix(argv[1], "s3:") ? open_store(argv[1], &error)
                                                   : vms_dir_open(argv[1], false, &error);
    store.base.location = argv[1];
    store.kill_at = argc > 4 ? atoi(argv[4]) : 0;
    if (store.inner == NULL || !run(&store.base, argv, &error)) {
        fprintf(stderr, "%s: %s\n", vms_error_name(error), error->message);
        return vms_error_exit_status(error);
    }
    printf("%d\n", store.changes);
    vms_store_free(store.inner);
    return 0;
}
