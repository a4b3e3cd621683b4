/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Locks for stores that have none: look, create, wait, look again. Two that come at once both see
 * the other's file in the last look, and both give way; nobody ever writes beside a conflicting
 * lock.
 *
 * What only reads need not wait (vms_repo_lock_begin), but has to look once its own file is there:
 * who came between the first look and that file has not seen it. He prunes, and may be gone before
 * the last look; what was read while he was there is not to be used.
 *
 * A lock is a promise that its holder is alive: it is written anew every five minutes, new file
 * first, then the old one removed. A lock older than half an hour, or of a process of this host
 * that is gone, promises nothing: it is passed over and removed, as `restic unlock` would.
 *
 * One thread ("repo-lock") refreshes. If the store cannot be reached for so long that others may
 * call the lock stale, it is lost: vms_repo_lock_check says so before anything is committed. The
 * mutex guards the fields below it; it is held while the file is replaced, so a check never sees
 * half of it. */
#include "repo/lock.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "repo/lock-file.h"
#include "repo/object.h"
#include "repo/repo-private.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#define STALE_US (30 * 60 * G_USEC_PER_SEC)
#define REFRESH_US (5 * 60 * G_USEC_PER_SEC)
#define RETRY_US (30 * G_USEC_PER_SEC) /* after a refresh that failed */
#define LOST_US (STALE_US - REFRESH_US * 3 / 2)
#define SETTLE_US (200 * 1000) /* between creating and the second look */
#define MAX_SEALED (64u << 10)

struct VmsRepoLock {
    VmsRepo *repo;
    bool exclusive;
    GCancellable *cancellable; /* of refreshes: cancelled at the end */
    GThread *thread;

    int64_t begun_us; /* monotonic, when its file was there */
    gint settled;     /* atomic: the last look is done */

    GMutex mutex;
    GCond stop_cond;
    bool stop;
    VmsId id;
    bool removed;         /* by somebody else */
    int64_t refreshed_us; /* boot time of the last lock file: it goes on while the host sleeps */
};

static int64_t boot_time_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec * G_USEC_PER_SEC + now.tv_nsec / 1000;
}

static bool is_stale(const VmsLockFile *file)
{
    if (g_get_real_time() - file->time_us > STALE_US)
        return true;
    return strcmp(file->hostname, g_get_host_name()) == 0 && file->pid > 0 &&
           file->pid <= G_MAXINT && kill((pid_t)file->pid, 0) != 0 && errno == ESRCH;
}

static bool locked(GError **error, VmsRepo *repo, const VmsLockFile *file)
{
    int64_t minutes = (g_get_real_time() - file->time_us) / G_USEC_PER_SEC / 60;

    return vms_fail(error, VMS_ERROR_LOCKED,
                    "%s is locked%s by process %" G_GUINT64_FORMAT " of %s on %s, since %d min",
                    repo->store->location, file->exclusive ? " exclusively" : "", file->pid,
                    file->username, file->hostname, (int)MAX(minutes, 0));
}

/* NULL without an error where there is nothing to heed. */
static VmsLockFile *load(VmsRepo *repo, const VmsObjectEntry *entry, GCancellable *cancellable,
                         GError **error)
{
    g_autofree char *name = vms_object_name("locks", &entry->id);
    g_autoptr(GError) local = NULL;
    g_autoptr(GBytes) text = NULL;
    VmsLockFile *file = NULL;

    if (entry->size == 0) /* an upload that was torn: nobody holds it */
        return NULL;
    if (entry->size <= MAX_SEALED)
        text = vms_object_load(repo, "locks", &entry->id, cancellable, &local);
    else
        vms_fail(&local, VMS_ERROR_CORRUPT, "%s: too large for a lock", name);
    if (text != NULL)
        file = vms_lock_file_parse(g_bytes_get_data(text, NULL), g_bytes_get_size(text), &local);
    if (file != NULL || vms_error_is(local, VMS_ERROR_NOT_FOUND))
        return file;
    if (vms_error_is(local, VMS_ERROR_CORRUPT) || vms_error_is(local, VMS_ERROR_INVALID))
        return vms_fail_null(error, VMS_ERROR_LOCKED,
                             "%s: a lock that cannot be read (%s): if nobody works on the "
                             "repository, run \"restic unlock --remove-all\"",
                             repo->store->location, local->message);
    g_propagate_error(error, g_steal_pointer(&local));
    return NULL;
}

/* LOCKED if there is a conflicting lock other than own (nullable). */
static bool look(VmsRepo *repo, bool exclusive, const VmsId *own, GCancellable *cancellable,
                 GError **error)
{
    g_autoptr(GArray) entries = vms_object_list(repo->store, "locks", cancellable, error);

    if (entries == NULL)
        return false;
    for (guint i = 0; i < entries->len; i++) {
        const VmsObjectEntry *entry = &g_array_index(entries, VmsObjectEntry, i);
        g_autoptr(GError) local = NULL;

        if (own != NULL && vms_id_equal(&entry->id, own))
            continue;
        g_autoptr(VmsLockFile) file = load(repo, entry, cancellable, &local);
        if (local != NULL) {
            g_propagate_error(error, g_steal_pointer(&local));
            return false;
        }
        if (file == NULL)
            continue;
        if (is_stale(file)) {
            g_autofree char *name = vms_object_name("locks", &entry->id);

            g_debug("%s: stale, removed", name);
            vms_store_remove(repo->store, name, cancellable, NULL);
        } else if (exclusive || file->exclusive) {
            return locked(error, repo, file);
        }
    }
    return true;
}

static bool save(VmsRepo *repo, bool exclusive, VmsId *ret_id, GCancellable *cancellable,
                 GError **error)
{
    g_autoptr(VmsLockFile) file = vms_lock_file_new(exclusive);
    g_autofree char *text = vms_lock_file_build(file);

    return vms_object_save(repo, "locks", text, strlen(text), ret_id, NULL, cancellable, error);
}

static void remove_file(VmsRepo *repo, const VmsId *id)
{
    g_autofree char *name = vms_object_name("locks", id);
    g_autoptr(GError) error = NULL;

    if (!vms_store_remove(repo->store, name, NULL, &error))
        g_debug("%s stays: %s", name, error->message);
}

/* Sets removed where the file is gone; false only if the store does not answer. */
static bool look_for_own(VmsRepoLock *lock, GError **error)
{
    g_autofree char *name = vms_object_name("locks", &lock->id);
    bool exists = false;

    if (!lock->removed &&
        !vms_store_has(lock->repo->store, name, &exists, NULL, lock->cancellable, error))
        return false;
    lock->removed |= !exists;
    return true;
}

/* The mutex is held. A lock that was removed is not made anew: who removed it may be pruning. */
static bool refresh(VmsRepoLock *lock, GError **error)
{
    int64_t now = boot_time_us();
    VmsId old = lock->id;

    if (!look_for_own(lock, error))
        return false;
    if (lock->removed)
        return true;
    if (!save(lock->repo, lock->exclusive, &lock->id, lock->cancellable, error))
        return false;
    lock->refreshed_us = now;
    vms_failpoint("lock.refreshed");
    remove_file(lock->repo, &old);
    return true;
}

static void *refresh_thread(void *user)
{
    VmsRepoLock *lock = user;
    int64_t wait = REFRESH_US;

    g_mutex_lock(&lock->mutex);
    while (!lock->stop) {
        g_autoptr(GError) error = NULL;

        if (g_cond_wait_until(&lock->stop_cond, &lock->mutex, g_get_monotonic_time() + wait))
            continue;
        wait = REFRESH_US;
        if (!refresh(lock, &error)) {
            g_debug("lock not refreshed: %s", error->message);
            wait = RETRY_US;
        }
    }
    g_mutex_unlock(&lock->mutex);
    return NULL;
}

static bool wait_to_settle(const VmsRepoLock *lock, GCancellable *cancellable, GError **error)
{
    GPollFD fd = {.fd = -1};
    bool pollable = g_cancellable_make_pollfd(cancellable, &fd);
    int64_t left_us = lock->begun_us + SETTLE_US - g_get_monotonic_time();

    if (left_us > 0)
        g_poll(&fd, pollable ? 1 : 0, (int)(left_us / 1000) + 1);
    if (pollable)
        g_cancellable_release_fd(cancellable);
    return vms_check_cancelled(cancellable, error);
}

/* The mutex is held. */
static bool settle(VmsRepoLock *lock, GCancellable *cancellable, GError **error)
{
    if (g_atomic_int_get(&lock->settled))
        return true;
    if (!wait_to_settle(lock, cancellable, error) ||
        !look(lock->repo, lock->exclusive, &lock->id, cancellable, error))
        return false;
    g_atomic_int_set(&lock->settled, 1);
    return true;
}

VmsRepoLock *vms_repo_lock_begin(VmsRepo *repo, bool exclusive, GCancellable *cancellable,
                                 GError **error)
{
    int64_t now = boot_time_us();
    VmsId id;

    if (!look(repo, exclusive, NULL, cancellable, error) ||
        !save(repo, exclusive, &id, cancellable, error))
        return NULL;
    int64_t begun = g_get_monotonic_time();
    vms_failpoint("lock.stored");
    if (!look(repo, exclusive, &id, cancellable, error)) {
        remove_file(repo, &id);
        return NULL;
    }

    VmsRepoLock *lock = g_new0(VmsRepoLock, 1);
    lock->repo = repo;
    lock->exclusive = exclusive;
    lock->cancellable = g_cancellable_new();
    lock->begun_us = begun;
    g_mutex_init(&lock->mutex);
    g_cond_init(&lock->stop_cond);
    lock->id = id;
    lock->refreshed_us = now;
    lock->thread = g_thread_new("repo-lock", refresh_thread, lock);
    return lock;
}

bool vms_repo_lock_settle(VmsRepoLock *lock, GCancellable *cancellable, GError **error)
{
    if (g_atomic_int_get(&lock->settled))
        return true;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock->mutex);
    return settle(lock, cancellable, error);
}

VmsRepoLock *vms_repo_lock(VmsRepo *repo, bool exclusive, GCancellable *cancellable, GError **error)
{
    g_autoptr(VmsRepoLock) lock = vms_repo_lock_begin(repo, exclusive, cancellable, error);

    if (lock == NULL || !vms_repo_lock_settle(lock, cancellable, error))
        return NULL;
    return g_steal_pointer(&lock);
}

bool vms_repo_lock_check(VmsRepoLock *lock, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock->mutex);

    if (boot_time_us() - lock->refreshed_us > LOST_US)
        return vms_fail(error, VMS_ERROR_LOCKED,
                        "the lock of %s could not be refreshed and is lost: run it again",
                        lock->repo->store->location);
    if (!settle(lock, lock->cancellable, error) || !look_for_own(lock, error))
        return false;
    if (lock->removed)
        return vms_fail(error, VMS_ERROR_LOCKED,
                        "the lock of %s was removed by somebody: run it again",
                        lock->repo->store->location);
    return !lock->exclusive || look(lock->repo, true, &lock->id, lock->cancellable, error);
}

void vms_repo_lock_free(VmsRepoLock *lock)
{
    if (lock == NULL)
        return;
    g_cancellable_cancel(lock->cancellable); /* ends a refresh that is under way */
    g_mutex_lock(&lock->mutex);
    lock->stop = true;
    g_cond_signal(&lock->stop_cond);
    g_mutex_unlock(&lock->mutex);
    g_thread_join(lock->thread);
    vms_failpoint("lock.releasing");
    remove_file(lock->repo, &lock->id);
    vms_failpoint("lock.removed");
    g_object_unref(lock->cancellable);
    g_cond_clear(&lock->stop_cond);
    g_mutex_clear(&lock->mutex);
    g_free(lock);
}
