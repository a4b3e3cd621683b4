/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Each call runs straight through on its caller's thread: try, wait, try again. The only state that
 * calls share is whether the store has ever answered.
 *
 * Two calls need more than being done again. A put with only_new that broke off may have arrived:
 * the next try finds EXISTS, and only the content tells whether it was us. A listing that broke off
 * has already told its caller names: where the store lists in order it goes on after the last one,
 * else it is collected first and told when it is whole. */
#include "store/retry.h"

#include "base/error.h"
#include "base/rate.h"

#include <string.h>

typedef struct {
    VmsStore store;
    VmsStore *inner;
    VmsRetryOptions options;
    int answered; /* atomic: the inner store has given any answer that was not TRANSIENT */
} Retry;

/* The course of one call. */
typedef struct {
    Retry *retry;
    GCancellable *cancellable;
    const char *what; /* "put data/3f/…", for the message */
    unsigned tries;   /* failed ones */
    int64_t started_us;
} Course;

static _Thread_local unsigned hint_ms;
static _Thread_local bool heard;

void vms_retry_hint(unsigned delay_ms)
{
    hint_ms = delay_ms;
}

void vms_retry_heard(void)
{
    heard = true;
}

static unsigned next_delay_ms(const Course *course)
{
    const VmsRetryOptions *options = &course->retry->options;
    uint64_t delay = options->first_delay_ms;
    for (unsigned i = 1; i < course->tries && delay < options->max_delay_ms; i++)
        delay *= 2;
    delay = MIN(delay, options->max_delay_ms);
    /* between half and all of it: many clients of one server must not come back in step */
    delay = delay - (uint64_t)((double)delay / 2 * g_random_double());
    return (unsigned)MAX(delay, hint_ms);
}

/* After a try that failed with *error: true, with *error cleared and the wait over, where another
 * one is due; else false with the *error to return. */
static bool again(Course *course, GError **error)
{
    Retry *retry = course->retry;
    const VmsRetryOptions *options = &retry->options;
    if (!vms_error_is(*error, VMS_ERROR_TRANSIENT)) {
        /* an interrupted try tells nothing about the server */
        if (!vms_error_is(*error, VMS_ERROR_CANCELLED))
            g_atomic_int_set(&retry->answered, 1);
        return false;
    }
    course->tries++;
    if (heard)
        g_atomic_int_set(&retry->answered, 1);
    heard = false;
    unsigned most = g_atomic_int_get(&retry->answered) ? options->max_tries : options->first_tries;
    unsigned delay = next_delay_ms(course);
    int64_t next_us = g_get_monotonic_time() + (int64_t)delay * 1000;
    unsigned asked_ms = hint_ms;
    hint_ms = 0;
    bool late = next_us - course->started_us > options->max_total_ms * 1000LL;
    if (late && asked_ms > delay / 2 && course->tries < most)
        return vms_prefix(error, "tried %u times, and the server asks for another %u s",
                          course->tries, asked_ms / 1000);
    if (course->tries >= most || late)
        return most > 1 && vms_prefix(error, "tried %u times", course->tries);
    vms_progress_message(options->progress, "%s: %s: %s; retrying in %.1f s", retry->store.location,
                         course->what, (*error)->message, delay / 1000.0);
    g_clear_error(error);
    return vms_rate_sleep_until(next_us, course->cancellable, error);
}

static bool give_up(GError **error, GError **failure)
{
    g_propagate_error(error, g_steal_pointer(failure));
    return false;
}

static bool answered(Retry *retry)
{
    g_atomic_int_set(&retry->answered, 1);
    return true;
}

static Course begin(Retry *retry, const char *what, GCancellable *cancellable)
{
    hint_ms = 0;
    heard = false;
    return (Course){retry, cancellable, what, 0, g_get_monotonic_time()};
}

static bool same_content(Retry *retry, const char *name, GBytes *data, GCancellable *cancellable,
                         bool *ret_same, GError **error)
{
    VmsStore *inner = retry->inner;
    bool exists = false;
    uint64_t size = 0;
    if (!inner->ops->has(inner, name, &exists, &size, cancellable, error))
        return false;
    *ret_same = false;
    if (!exists || size != g_bytes_get_size(data))
        return true;
    g_autoptr(GBytes) there = inner->ops->get(inner, name, 0, size, cancellable, error);
    if (!there)
        return false;
    *ret_same = g_bytes_equal(there, data);
    return true;
}

static bool retry_put(VmsStore *store, const char *name, GBytes *data, bool only_new,
                      GCancellable *cancellable, GError **error)
{
    Retry *retry = (Retry *)store;
    g_autofree char *what = g_strdup_printf("put %s", name);
    Course course = begin(retry, what, cancellable);
    for (;;) {
        g_autoptr(GError) failure = NULL;
        if (retry->inner->ops->put(retry->inner, name, data, only_new, cancellable, &failure))
            return answered(retry);
        if (course.tries > 0 && vms_error_is(failure, VMS_ERROR_EXISTS)) {
            bool same = false;
            g_autoptr(GError) unread = NULL;
            bool known = same_content(retry, name, data, cancellable, &same, &unread);
            if (known && same)
                return true;
            if (!known) {
                g_clear_error(&failure);
                failure = g_steal_pointer(&unread);
            }
        }
        if (!again(&course, &failure))
            return give_up(error, &failure);
    }
}

static GBytes *retry_get(VmsStore *store, const char *name, uint64_t offset, uint64_t length,
                         GCancellable *cancellable, GError **error)
{
    Retry *retry = (Retry *)store;
    g_autofree char *what = g_strdup_printf("get %s", name);
    Course course = begin(retry, what, cancellable);
    for (;;) {
        g_autoptr(GError) failure = NULL;
        GBytes *data =
            retry->inner->ops->get(retry->inner, name, offset, length, cancellable, &failure);
        if (data) {
            answered(retry);
            return data;
        }
        if (!again(&course, &failure)) {
            g_propagate_error(error, g_steal_pointer(&failure));
            return NULL;
        }
    }
}

static bool retry_has(VmsStore *store, const char *name, bool *ret_exists, uint64_t *ret_size,
                      GCancellable *cancellable, GError **error)
{
    Retry *retry = (Retry *)store;
    g_autofree char *what = g_strdup_printf("look for %s", name);
    Course course = begin(retry, what, cancellable);
    for (;;) {
        g_autoptr(GError) failure = NULL;
        if (retry->inner->ops->has(retry->inner, name, ret_exists, ret_size, cancellable, &failure))
            return answered(retry);
        if (!again(&course, &failure))
            return give_up(error, &failure);
    }
}

typedef struct {
    VmsStoreListFunc func;
    void *user;
    char *last;        /* in order: the last name that func was told */
    GArray *collected; /* out of order: of Entry */
    bool stopped;      /* func itself failed: its error is not ours to retry */
} Listing;

typedef struct {
    char *name;
    uint64_t size;
} Entry;

static void entry_clear(void *entry)
{
    g_free(((Entry *)entry)->name);
}

static bool tell(void *user, const char *name, uint64_t size, GError **error)
{
    Listing *listing = user;
    if (!listing->func(listing->user, name, size, error)) {
        listing->stopped = true;
        return false;
    }
    g_free(listing->last);
    listing->last = g_strdup(name);
    return true;
}

static bool collect(void *user, const char *name, uint64_t size, GError **error)
{
    Listing *listing = user;
    Entry entry = {g_strdup(name), size};
    g_array_append_val(listing->collected, entry);
    return true;
}

/* after is not listing->last itself: that changes with every name. */
static bool try_list(VmsStore *inner, const char *prefix, const char *after, Listing *listing,
                     GCancellable *cancellable, GError **error)
{
    if (inner->ops->list_after)
        return inner->ops->list_after(inner, prefix, after, tell, listing, cancellable, error);
    g_array_set_size(listing->collected, 0);
    if (!inner->ops->list(inner, prefix, collect, listing, cancellable, error))
        return false;
    for (unsigned i = 0; i < listing->collected->len; i++) {
        Entry *entry = &g_array_index(listing->collected, Entry, i);
        if (!tell(listing, entry->name, entry->size, error))
            return false;
    }
    return true;
}

static bool retry_list(VmsStore *store, const char *prefix, VmsStoreListFunc func, void *user,
                       GCancellable *cancellable, GError **error)
{
    Retry *retry = (Retry *)store;
    g_autofree char *what = g_strdup_printf("list %s", prefix);
    Course course = begin(retry, what, cancellable);
    g_autoptr(GArray) collected = g_array_new(FALSE, FALSE, sizeof(Entry));
    g_array_set_clear_func(collected, entry_clear);
    Listing listing = {.func = func, .user = user, .collected = collected};
    bool ok = false;
    for (;;) {
        g_autoptr(GError) failure = NULL;
        g_autofree char *before = g_strdup(listing.last);
        ok = try_list(retry->inner, prefix, before, &listing, cancellable, &failure);
        if (ok)
            break;
        if (g_strcmp0(before, listing.last) != 0) { /* it got on: count anew from here */
            course.tries = 0;
            course.started_us = g_get_monotonic_time();
        }
        if (listing.stopped || !again(&course, &failure)) {
            g_propagate_error(error, g_steal_pointer(&failure));
            break;
        }
    }
    g_free(listing.last);
    return ok && answered(retry);
}

static bool retry_remove(VmsStore *store, const char *name, GCancellable *cancellable,
                         GError **error)
{
    Retry *retry = (Retry *)store;
    g_autofree char *what = g_strdup_printf("remove %s", name);
    Course course = begin(retry, what, cancellable);
    for (;;) {
        g_autoptr(GError) failure = NULL;
        if (retry->inner->ops->remove(retry->inner, name, cancellable, &failure))
            return answered(retry);
        if (!again(&course, &failure))
            return give_up(error, &failure);
    }
}

static VmsStoreParts *retry_begin_parts(VmsStore *store, const char *name, uint64_t size,
                                        uint64_t part_size, GCancellable *cancellable,
                                        GError **error)
{
    Retry *retry = (Retry *)store;
    g_autofree char *what = g_strdup_printf("begin %s", name);
    Course course = begin(retry, what, cancellable);
    for (;;) {
        g_autoptr(GError) failure = NULL;
        VmsStoreParts *parts = retry->inner->ops->begin_parts(retry->inner, name, size, part_size,
                                                              cancellable, &failure);
        if (parts) {
            answered(retry);
            return parts;
        }
        if (!again(&course, &failure)) {
            g_propagate_error(error, g_steal_pointer(&failure));
            return NULL;
        }
    }
}

static bool retry_put_part(VmsStore *store, VmsStoreParts *parts, unsigned index, GBytes *data,
                           GCancellable *cancellable, GError **error)
{
    Retry *retry = (Retry *)store;
    g_autofree char *what = g_strdup_printf("put %s, part %u", parts->name, index + 1);
    Course course = begin(retry, what, cancellable);
    for (;;) {
        g_autoptr(GError) failure = NULL;
        if (retry->inner->ops->put_part(retry->inner, parts, index, data, cancellable, &failure))
            return answered(retry);
        if (!again(&course, &failure))
            return give_up(error, &failure);
    }
}

static bool retry_finish_parts(VmsStore *store, VmsStoreParts *parts, GCancellable *cancellable,
                               GError **error)
{
    Retry *retry = (Retry *)store;
    g_autofree char *what = g_strdup_printf("finish %s", parts->name);
    Course course = begin(retry, what, cancellable);
    for (;;) {
        g_autoptr(GError) failure = NULL;
        if (retry->inner->ops->finish_parts(retry->inner, parts, cancellable, &failure))
            return answered(retry);
        if (!again(&course, &failure))
            return give_up(error, &failure);
    }
}

static void retry_free_parts(VmsStore *store, VmsStoreParts *parts)
{
    VmsStore *inner = ((Retry *)store)->inner;
    inner->ops->free_parts(inner, parts);
}

static bool retry_abort_parts(VmsStore *store, uint64_t older_than_s, unsigned *ret_count,
                              GCancellable *cancellable, GError **error)
{
    Retry *retry = (Retry *)store;
    Course course = begin(retry, "drop unfinished uploads", cancellable);
    for (;;) {
        g_autoptr(GError) failure = NULL;
        if (retry->inner->ops->abort_parts(retry->inner, older_than_s, ret_count, cancellable,
                                           &failure))
            return answered(retry);
        if (!again(&course, &failure))
            return give_up(error, &failure);
    }
}

static void retry_free(VmsStore *store)
{
    Retry *retry = (Retry *)store;
    vms_store_free(retry->inner);
    g_free(store->location);
    g_free(retry);
}

static const VmsStoreOps retry_ops = {
    .put = retry_put,
    .get = retry_get,
    .has = retry_has,
    .list = retry_list,
    .remove = retry_remove,
    .free = retry_free,
    .begin_parts = retry_begin_parts,
    .put_part = retry_put_part,
    .finish_parts = retry_finish_parts,
    .free_parts = retry_free_parts,
    .abort_parts = retry_abort_parts,
};

VmsStore *vms_retry_new(VmsStore *inner, const VmsRetryOptions *options)
{
    Retry *retry = g_new0(Retry, 1);
    retry->store.ops = &retry_ops;
    retry->store.location = g_strdup(inner->location);
    retry->inner = inner;
    if (options)
        retry->options = *options;
    VmsRetryOptions *set = &retry->options;
    set->max_tries = set->max_tries ? set->max_tries : 16;
    set->first_tries = set->first_tries ? set->first_tries : 4;
    set->max_total_ms = set->max_total_ms ? set->max_total_ms : 300000;
    set->first_delay_ms = set->first_delay_ms ? set->first_delay_ms : 250;
    set->max_delay_ms = set->max_delay_ms ? set->max_delay_ms : 30000;
    return &retry->store;
}
