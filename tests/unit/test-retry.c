/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The retry decorator around a store that fails on demand. */
#include "base/error.h"
#include "base/progress.h"
#include "store/mem.h"
#include "store/retry.h"

#include <string.h>

static void assert_code(const GError *error, VmsErrorCode code)
{
    g_assert_error(error, VMS_ERROR, (int)code);
}

static bool put_text(VmsStore *store, const char *name, const char *text, bool only_new,
                     GError **error)
{
    g_autoptr(GBytes) data = g_bytes_new(text, strlen(text));
    return vms_store_put(store, name, data, only_new, NULL, error);
}

static bool add_name(void *user, const char *name, uint64_t size, GError **error)
{
    g_string_append_printf(user, "%s ", name);
    return true;
}

typedef struct {
    VmsStore store;
    VmsStore *mem;
    unsigned failures; /* that many calls still fail */
    VmsErrorCode code;
    bool after_work; /* the call does its work and then fails */
    unsigned calls;
    unsigned list_ends; /* listings break off after so many names; 0: never */
    bool in_order;
    VmsStoreOps ops; /* where a test replaces some */
} Flaky;

static bool may_pass(Flaky *flaky, GError **error)
{
    flaky->calls++;
    if (flaky->failures == 0)
        return true;
    flaky->failures--;
    return vms_fail(error, flaky->code, "made to fail");
}

static bool flaky_put(VmsStore *store, const char *name, GBytes *data, bool only_new,
                      GCancellable *cancellable, GError **error)
{
    Flaky *flaky = (Flaky *)store;
    if (flaky->after_work && flaky->failures > 0 &&
        !vms_store_put(flaky->mem, name, data, only_new, cancellable, error))
        return false;
    return may_pass(flaky, error) &&
           flaky->mem->ops->put(flaky->mem, name, data, only_new, cancellable, error);
}

static GBytes *flaky_get(VmsStore *store, const char *name, uint64_t offset, uint64_t length,
                         GCancellable *cancellable, GError **error)
{
    Flaky *flaky = (Flaky *)store;
    if (!may_pass(flaky, error))
        return NULL;
    return flaky->mem->ops->get(flaky->mem, name, offset, length, cancellable, error);
}

static bool flaky_has(VmsStore *store, const char *name, bool *ret_exists, uint64_t *ret_size,
                      GCancellable *cancellable, GError **error)
{
    Flaky *flaky = (Flaky *)store;
    return may_pass(flaky, error) &&
           flaky->mem->ops->has(flaky->mem, name, ret_exists, ret_size, cancellable, error);
}

/* Lists a0 … a9. */
static bool flaky_list_after(VmsStore *store, const char *prefix, const char *after,
                             VmsStoreListFunc func, void *user, GCancellable *cancellable,
                             GError **error)
{
    Flaky *flaky = (Flaky *)store;
    flaky->calls++;
    unsigned told = 0;
    for (char digit = '0'; digit <= '9'; digit++) {
        char name[] = {'a', digit, '\0'};
        if (after && strcmp(name, after) <= 0)
            continue;
        if (flaky->list_ends && told++ == flaky->list_ends) {
            flaky->list_ends = flaky->in_order ? flaky->list_ends : 0;
            return vms_fail(error, VMS_ERROR_TRANSIENT, "broke off");
        }
        if (!func(user, name, 1, error))
            return false;
    }
    return true;
}

static bool flaky_list(VmsStore *store, const char *prefix, VmsStoreListFunc func, void *user,
                       GCancellable *cancellable, GError **error)
{
    return flaky_list_after(store, prefix, NULL, func, user, cancellable, error);
}

static bool flaky_remove(VmsStore *store, const char *name, GCancellable *cancellable,
                         GError **error)
{
    Flaky *flaky = (Flaky *)store;
    return may_pass(flaky, error) && flaky->mem->ops->remove(flaky->mem, name, cancellable, error);
}

static void flaky_free(VmsStore *store)
{
    Flaky *flaky = (Flaky *)store;
    vms_store_free(flaky->mem);
    g_free(store->location);
    g_free(flaky);
}

static const VmsStoreOps unordered_ops = {
    .put = flaky_put,
    .get = flaky_get,
    .has = flaky_has,
    .list = flaky_list,
    .remove = flaky_remove,
    .free = flaky_free,
};
static const VmsStoreOps ordered_ops = {
    .put = flaky_put,
    .get = flaky_get,
    .has = flaky_has,
    .list = flaky_list,
    .remove = flaky_remove,
    .free = flaky_free,
    .list_after = flaky_list_after,
};

static unsigned messages;
static char *last_message;

static void on_message(VmsProgress *progress, const char *text)
{
    messages++;
    g_free(last_message);
    last_message = g_strdup(text);
}

static VmsProgress progress = {NULL, on_message};

static VmsStore *flaky_new(Flaky **ret_flaky, bool in_order)
{
    Flaky *flaky = g_new0(Flaky, 1);
    flaky->store.ops = in_order ? &ordered_ops : &unordered_ops;
    flaky->store.location = g_strdup("flaky");
    flaky->mem = vms_mem_new();
    flaky->code = VMS_ERROR_TRANSIENT;
    flaky->in_order = in_order;
    messages = 0;
    *ret_flaky = flaky;
    return &flaky->store;
}

static VmsStore *retrying(Flaky **ret_flaky, bool in_order)
{
    VmsRetryOptions options = {.first_delay_ms = 1,
                               .max_delay_ms = 4,
                               .max_tries = 6,
                               .first_tries = 3,
                               .progress = &progress};
    return vms_retry_new(flaky_new(ret_flaky, in_order), &options);
}

static void test_retry_transient(void)
{
    Flaky *flaky;
    g_autoptr(VmsStore) store = retrying(&flaky, false);
    g_autoptr(GError) error = NULL;
    g_assert_true(put_text(store, "a", "1", false, NULL)); /* it has answered */
    bool exists = false;
    flaky->failures = 5;
    g_assert_true(vms_store_has(store, "a", &exists, NULL, NULL, &error));
    g_assert_true(exists);
    g_assert_cmpuint(messages, ==, 5);
    g_assert_true(g_str_has_prefix(last_message, "flaky: look for a: made to fail; retrying in "));
    flaky->failures = 5;
    g_assert_true(vms_store_remove(store, "b", NULL, &error));
    flaky->failures = 5;
    g_autoptr(GBytes) data = vms_store_get(store, "a", 0, 1, NULL, &error);
    g_assert_nonnull(data);
    flaky->failures = 5;
    g_assert_true(put_text(store, "b", "1", false, &error));
    flaky->failures = 6;
    flaky->calls = 0;
    g_assert_false(put_text(store, "b", "1", false, &error));
    assert_code(error, VMS_ERROR_TRANSIENT);
    g_assert_cmpstr(error->message, ==, "flaky: put b: tried 6 times: made to fail");
    g_assert_cmpuint(flaky->calls, ==, 6);
}

static void test_retry_first(void)
{
    Flaky *flaky;
    g_autoptr(VmsStore) store = retrying(&flaky, false);
    g_autoptr(GError) error = NULL;
    flaky->failures = 100;
    g_assert_false(put_text(store, "a", "1", false, &error));
    g_assert_cmpuint(flaky->calls, ==, 3); /* never answered: given up sooner */
}

static void test_retry_others(void)
{
    static const VmsErrorCode codes[] = {VMS_ERROR_AUTH,    VMS_ERROR_NOT_FOUND,
                                         VMS_ERROR_CORRUPT, VMS_ERROR_NO_SPACE,
                                         VMS_ERROR_FAILED,  VMS_ERROR_CANCELLED};
    for (unsigned i = 0; i < G_N_ELEMENTS(codes); i++) {
        Flaky *flaky;
        g_autoptr(VmsStore) store = retrying(&flaky, false);
        g_autoptr(GError) error = NULL;
        flaky->failures = 1;
        flaky->code = codes[i];
        g_assert_false(put_text(store, "a", "1", false, &error));
        assert_code(error, codes[i]);
        g_assert_cmpuint(flaky->calls, ==, 1);
        g_assert_cmpuint(messages, ==, 0);
    }
}

static void test_retry_total_time(void)
{
    Flaky *flaky;
    VmsRetryOptions options = {
        .max_tries = 100, .first_tries = 100, .first_delay_ms = 40, .max_total_ms = 100};
    g_autoptr(VmsStore) store = vms_retry_new(flaky_new(&flaky, false), &options);
    g_autoptr(GError) error = NULL;
    flaky->failures = 1000;
    g_assert_false(put_text(store, "a", "1", false, &error));
    g_assert_cmpuint(flaky->calls, <, 10); /* waits of 40 ms and more */
    assert_code(error, VMS_ERROR_TRANSIENT);
}

static bool hinting_remove(VmsStore *store, const char *name, GCancellable *cancellable,
                           GError **error)
{
    if (((Flaky *)store)->failures == 2)
        vms_retry_hint(500);
    return flaky_remove(store, name, cancellable, error);
}

static void remove_by(Flaky *flaky,
                      bool (*func)(VmsStore *, const char *, GCancellable *, GError **))
{
    flaky->ops = *flaky->store.ops;
    flaky->ops.remove = func;
    flaky->store.ops = &flaky->ops;
}

/* It makes one wait longer, and not the next ones too. */
static void test_retry_hint(void)
{
    Flaky *flaky;
    g_autoptr(VmsStore) store = retrying(&flaky, false);
    remove_by(flaky, hinting_remove);
    flaky->failures = 2;
    int64_t started = g_get_monotonic_time();
    g_assert_true(vms_store_remove(store, "a", NULL, NULL));
    g_assert_cmpint(g_get_monotonic_time() - started, >=, 500000);
    g_assert_cmpuint(messages, ==, 2);
    g_assert_true(g_str_has_suffix(last_message, "; retrying in 0.0 s"));
}

static bool busy_remove(VmsStore *store, const char *name, GCancellable *cancellable,
                        GError **error)
{
    vms_retry_heard();
    return flaky_remove(store, name, cancellable, error);
}

/* A store that says it is busy is there, even where it has never done anything yet. */
static void test_retry_heard(void)
{
    Flaky *flaky;
    g_autoptr(VmsStore) store = retrying(&flaky, false);
    remove_by(flaky, busy_remove);
    flaky->failures = 5;
    g_assert_true(vms_store_remove(store, "a", NULL, NULL));
    g_assert_cmpuint(flaky->calls, ==, 6);
}

/* A wait that is asked for and would be too long is an error at once, which says so. */
static void test_retry_long_hint(void)
{
    Flaky *flaky;
    VmsRetryOptions options = {.max_total_ms = 400};
    g_autoptr(VmsStore) store = vms_retry_new(flaky_new(&flaky, false), &options);
    g_autoptr(GError) error = NULL;
    remove_by(flaky, hinting_remove);
    flaky->failures = 2;
    g_assert_false(vms_store_remove(store, "a", NULL, &error));
    assert_code(error, VMS_ERROR_TRANSIENT);
    g_assert_nonnull(strstr(error->message, "asks for another"));
    g_assert_cmpuint(flaky->calls, ==, 1);
}

static void *cancel_soon(void *cancellable)
{
    g_usleep(50000);
    g_cancellable_cancel(cancellable);
    return NULL;
}

static void test_retry_cancel(void)
{
    Flaky *flaky;
    VmsRetryOptions options = {.first_delay_ms = 60000, .max_delay_ms = 60000};
    g_autoptr(VmsStore) store = vms_retry_new(flaky_new(&flaky, false), &options);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autoptr(GError) error = NULL;
    flaky->failures = 1000;
    GThread *thread = g_thread_new("cancel", cancel_soon, cancellable);
    g_assert_false(vms_store_remove(store, "a", cancellable, &error));
    assert_code(error, VMS_ERROR_CANCELLED);
    g_assert_cmpuint(flaky->calls, ==, 1);
    g_thread_join(thread);
}

static void test_retry_only_new(void)
{
    Flaky *flaky;
    g_autoptr(VmsStore) store = retrying(&flaky, false);
    g_autoptr(GError) error = NULL;
    flaky->failures = 1;
    flaky->after_work = true; /* stored, but the answer was lost */
    g_assert_true(put_text(store, "mine", "content", true, &error));
    g_assert_no_error(error);
    g_assert_false(put_text(store, "mine", "content", true, &error)); /* no failure: no doubt */
    assert_code(error, VMS_ERROR_EXISTS);
    g_clear_error(&error);
    g_assert_true(put_text(store, "theirs", "content", false, NULL));
    flaky->after_work = false;
    flaky->failures = 1; /* not stored, and meanwhile there is another's */
    g_assert_false(put_text(store, "theirs", "CONTENT", true, &error));
    assert_code(error, VMS_ERROR_EXISTS);
}

static bool refuse(void *user, const char *name, uint64_t size, GError **error)
{
    ++*(unsigned *)user;
    return vms_fail(error, VMS_ERROR_TRANSIENT, "the caller's own");
}

static void test_retry_list(void)
{
    for (int in_order = 0; in_order < 2; in_order++) {
        Flaky *flaky;
        g_autoptr(VmsStore) store = retrying(&flaky, in_order);
        g_autoptr(GError) error = NULL;
        g_autoptr(GString) names = g_string_new(NULL);
        flaky->list_ends = in_order ? 1 : 4; /* one name per try: more tries than max_tries */
        g_assert_true(vms_store_list(store, "", add_name, names, NULL, &error));
        g_assert_cmpstr(names->str, ==, "a0 a1 a2 a3 a4 a5 a6 a7 a8 a9 ");
        g_assert_cmpuint(flaky->calls, ==, in_order ? 10 : 2);
        unsigned calls = 0;
        flaky->list_ends = 0;
        g_assert_false(vms_store_list(store, "", refuse, &calls, NULL, &error));
        g_assert_cmpuint(calls, ==, 1);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/retry/transient", test_retry_transient);
    g_test_add_func("/retry/first", test_retry_first);
    g_test_add_func("/retry/others", test_retry_others);
    g_test_add_func("/retry/total-time", test_retry_total_time);
    g_test_add_func("/retry/hint", test_retry_hint);
    g_test_add_func("/retry/heard", test_retry_heard);
    g_test_add_func("/retry/long-hint", test_retry_long_hint);
    g_test_add_func("/retry/cancel", test_retry_cancel);
    g_test_add_func("/retry/only-new", test_retry_only_new);
    g_test_add_func("/retry/list", test_retry_list);
    int result = g_test_run();
    g_free(last_message);
    return result;
}
