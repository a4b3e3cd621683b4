/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Linked into the tests under ThreadSanitizer only. Debian's GLib is not instrumented and its
 * mutexes are bare futexes, so the tool does not see that a lock orders anything and reports every
 * use of one as a race. Here GMutex and GCond are pthread objects, which it knows. A program's
 * definitions come before those of a shared library, so all callers but GLib itself (which keeps to
 * its own, for its own locks) use these. */
#include <errno.h>
#include <glib.h>
#include <pthread.h>
#include <time.h>

#define NANOSECONDS 1000000000

static void *fresh(gboolean is_mutex)
{
    if (is_mutex) {
        pthread_mutex_t *mutex = calloc(1, sizeof(*mutex));

        pthread_mutex_init(mutex, NULL);
        return mutex;
    }
    pthread_cond_t *cond = calloc(1, sizeof(*cond));
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
    return cond;
}

/* Static ones are all zero until they are first used. */
static void *get(gpointer *place, gboolean is_mutex)
{
    void *object = __atomic_load_n(place, __ATOMIC_ACQUIRE);

    if (object == NULL) {
        void *made = fresh(is_mutex);

        if (__atomic_compare_exchange_n(place, &object, made, FALSE, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
            return made;
        free(made);
    }
    return object;
}

void g_mutex_init(GMutex *mutex)
{
    mutex->p = fresh(TRUE);
}

void g_mutex_clear(GMutex *mutex)
{
    if (mutex->p != NULL)
        pthread_mutex_destroy(mutex->p);
    free(mutex->p);
    mutex->p = NULL;
}

void g_mutex_lock(GMutex *mutex)
{
    pthread_mutex_lock(get(&mutex->p, TRUE));
}

gboolean g_mutex_trylock(GMutex *mutex)
{
    return pthread_mutex_trylock(get(&mutex->p, TRUE)) == 0;
}

void g_mutex_unlock(GMutex *mutex)
{
    pthread_mutex_unlock(get(&mutex->p, TRUE));
}

void g_cond_init(GCond *cond)
{
    cond->p = fresh(FALSE);
}

void g_cond_clear(GCond *cond)
{
    if (cond->p != NULL)
        pthread_cond_destroy(cond->p);
    free(cond->p);
    cond->p = NULL;
}

void g_cond_wait(GCond *cond, GMutex *mutex)
{
    pthread_cond_wait(get(&cond->p, FALSE), get(&mutex->p, TRUE));
}

gboolean g_cond_wait_until(GCond *cond, GMutex *mutex, gint64 end_time)
{
    struct timespec until = {
        .tv_sec = end_time / G_USEC_PER_SEC,
        .tv_nsec = end_time % G_USEC_PER_SEC * (NANOSECONDS / G_USEC_PER_SEC),
    };

    return pthread_cond_timedwait(get(&cond->p, FALSE), get(&mutex->p, TRUE), &until) != ETIMEDOUT;
}

void g_cond_signal(GCond *cond)
{
    pthread_cond_signal(get(&cond->p, FALSE));
}

void g_cond_broadcast(GCond *cond)
{
    pthread_cond_broadcast(get(&cond->p, FALSE));
}
