/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One call on a store, for tests that look at a store from outside:
 *
 *     store-tool STORE put NAME SIZE [new]     bytes of a pattern; new: only_new
 *     store-tool STORE get NAME [OFFSET LENGTH]
 *     store-tool STORE has|remove NAME
 *     store-tool STORE list PREFIX
 *     store-tool STORE upload NAME SIZE        the same bytes as put, by store/upload.h
 *     store-tool STORE parts NAME              5 MiB and 10 bytes in two parts, one after the other
 *     store-tool STORE hang NAME SIZE          begins an upload, says so, and waits to be killed
 *     store-tool STORE abort SECONDS           drops older uploads; prints how many
 *
 * "+" between commands runs them one after the other on the same store. Prints "ok", with the size
 * and SHA-256 of what was read or the names of what was listed, or "CODE: message". STORE_CANCEL_MS
 * cancels after so long; STORE_STALL_S sets the stall timeout, STORE_TRIES and STORE_DELAY_MS what
 * retry+ does. Exit status 0 if all were ok. */
#include "base/error.h"
#include "base/progress.h"
#include "open-store.h"
#include "store/retry.h"
#include "store/upload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static GCancellable *cancellable;

static void on_message(VmsProgress *progress, const char *text)
{
    fprintf(stderr, "%s\n", text);
}

static GBytes *pattern(size_t len)
{
    uint8_t *data = g_malloc(len > 0 ? len : 1);
    uint32_t state = 1;
    for (size_t i = 0; i < len; i++) {
        state = state * 1664525u + 1013904223u;
        data[i] = (uint8_t)(state >> 24);
    }
    return g_bytes_new_take(data, len);
}

static bool print_name(void *user, const char *name, uint64_t size, GError **error)
{
    printf("%s %" G_GUINT64_FORMAT "\n", name, size);
    return true;
}

static bool run_get(VmsStore *store, char **args, int n, GError **error)
{
    uint64_t offset = n > 2 ? g_ascii_strtoull(args[2], NULL, 10) : 0;
    uint64_t length = n > 3 ? g_ascii_strtoull(args[3], NULL, 10) : UINT64_MAX;
    g_autoptr(GBytes) data = vms_store_get(store, args[1], offset, length, cancellable, error);
    if (!data)
        return false;
    g_autofree char *hash = g_compute_checksum_for_bytes(G_CHECKSUM_SHA256, data);
    printf("ok %zu %s\n", g_bytes_get_size(data), hash);
    return true;
}

static bool run_put(VmsStore *store, char **args, int n, GError **error)
{
    g_autoptr(GBytes) data = pattern(strtoul(args[2], NULL, 10));
    bool only_new = n > 3 && g_str_equal(args[3], "new");
    if (!vms_store_put(store, args[1], data, only_new, cancellable, error))
        return false;
    g_autofree char *hash = g_compute_checksum_for_bytes(G_CHECKSUM_SHA256, data);
    printf("ok %zu %s\n", g_bytes_get_size(data), hash);
    return true;
}

static bool run_upload(VmsStore *store, char **args, GError **error)
{
    enum { PIECE = 1000000 };
    size_t size = strtoul(args[2], NULL, 10);
    g_autoptr(VmsStoreUpload) upload =
        vms_store_upload_new(store, args[1], size, cancellable, error);
    if (!upload)
        return false;
    if (g_str_equal(args[0], "hang")) {
        printf("begun\n");
        fflush(stdout);
        for (;;)
            pause();
    }
    g_autoptr(GBytes) data = pattern(size);
    const uint8_t *bytes = g_bytes_get_data(data, NULL);
    for (size_t at = 0; at < size; at += PIECE)
        if (!vms_store_upload_write(upload, bytes + at, MIN(PIECE, size - at), error))
            return false;
    if (!vms_store_upload_finish(upload, error))
        return false;
    g_autofree char *hash = g_compute_checksum_for_bytes(G_CHECKSUM_SHA256, data);
    printf("ok %zu %s\n", size, hash);
    return true;
}

static bool run_parts(VmsStore *store, const char *name, GError **error)
{
    enum { PART = 5 << 20, REST = 10 }; /* the least that S3 takes */
    const VmsStoreOps *ops = store->ops;
    g_autoptr(GBytes) data = pattern(PART + REST);
    VmsStoreParts *parts = ops->begin_parts(store, name, PART + REST, PART, cancellable, error);
    bool ok = parts != NULL;
    for (unsigned i = 0; ok && i < 2; i++) {
        g_autoptr(GBytes) part = g_bytes_new_from_bytes(data, i * PART, i == 0 ? PART : REST);
        ok = ops->put_part(store, parts, i, part, cancellable, error);
    }
    ok = ok && ops->finish_parts(store, parts, cancellable, error);
    if (parts)
        ops->free_parts(store, parts);
    if (ok)
        printf("ok\n");
    return ok || vms_prefix(error, "put %s", name);
}

static bool run_abort(VmsStore *store, const char *seconds, GError **error)
{
    unsigned count = 0;
    if (!vms_store_abort_uploads(store, strtoul(seconds, NULL, 10), &count, cancellable, error))
        return false;
    printf("ok %u\n", count);
    return true;
}

static bool run_has(VmsStore *store, const char *name, GError **error)
{
    bool exists = false;
    uint64_t size = 0;
    if (!vms_store_has(store, name, &exists, &size, cancellable, error))
        return false;
    printf(exists ? "ok yes %" G_GUINT64_FORMAT "\n" : "ok no\n", size);
    return true;
}

static bool run(VmsStore *store, char **args, int n, GError **error)
{
    if (n >= 3 && g_str_equal(args[0], "put"))
        return run_put(store, args, n, error);
    if (n >= 2 && g_str_equal(args[0], "get"))
        return run_get(store, args, n, error);
    if (n == 2 && g_str_equal(args[0], "has"))
        return run_has(store, args[1], error);
    if (n == 3 && (g_str_equal(args[0], "upload") || g_str_equal(args[0], "hang")))
        return run_upload(store, args, error);
    if (n == 2 && g_str_equal(args[0], "parts"))
        return run_parts(store, args[1], error);
    if (n == 2 && g_str_equal(args[0], "abort"))
        return run_abort(store, args[1], error);
    bool ok;
    if (n == 2 && g_str_equal(args[0], "list"))
        ok = vms_store_list(store, args[1], print_name, NULL, cancellable, error);
    else if (n == 2 && g_str_equal(args[0], "remove"))
        ok = vms_store_remove(store, args[1], cancellable, error);
    else
        return vms_fail(error, VMS_ERROR_USAGE, "see store-tool.c");
    if (ok)
        printf("ok\n");
    return ok;
}

static unsigned number_of(const char *variable)
{
    const char *text = g_getenv(variable);
    return text ? (unsigned)atoi(text) : 0;
}

static VmsStore *open_spec(const char *spec, GError **error)
{
    static VmsProgress progress = {.message = on_message};
    unsigned tries = number_of("STORE_TRIES"), delay = number_of("STORE_DELAY_MS");
    VmsRetryOptions retry = {.progress = &progress,
                             .max_tries = tries,
                             .first_tries = tries,
                             .first_delay_ms = delay ? delay : 100};
    bool with_retry = g_str_has_prefix(spec, "retry+");
    spec += with_retry ? strlen("retry+") : 0;
    VmsStore *store;
    if (g_str_has_prefix(spec, "s3:")) {
        VmsS3Options options;
        open_store_s3_options(spec + strlen("s3:"), &options);
        options.stall_timeout_s = number_of("STORE_STALL_S");
        options.profile = g_getenv("STORE_PROFILE");
        if (!options.access_key_id)
            options.secret_access_key = NULL;
        store = vms_s3_open(&options, error);
    } else {
        store = open_store(spec, error);
    }
    return store && with_retry ? vms_retry_new(store, &retry) : store;
}

static void *cancel_later(void *ms)
{
    g_usleep(GPOINTER_TO_UINT(ms) * 1000u);
    g_cancellable_cancel(cancellable);
    return NULL;
}

static bool run_all(VmsStore *store, char **args, int n, GError **error)
{
    while (n > 0) {
        int length = 0;
        while (length < n && !g_str_equal(args[length], "+"))
            length++;
        if (!run(store, args, length, error))
            return false;
        fflush(stdout);
        length += length < n ? 1 : 0;
        args += length;
        n -= length;
    }
    return true;
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    cancellable = g_cancellable_new();
    g_autoptr(VmsStore) store = argc > 2 ? open_spec(argv[1], &error) : NULL;
    if (argc <= 2)
        vms_fail(&error, VMS_ERROR_USAGE, "see store-tool.c");
    const char *ms = g_getenv("STORE_CANCEL_MS");
    GThread *canceller = NULL;
    if (store && ms)
        canceller = g_thread_new("cancel", cancel_later, GUINT_TO_POINTER((unsigned)atoi(ms)));
    bool ok = store && run_all(store, argv + 2, argc - 2, &error);
    if (!ok)
        printf("%s: %s\n", vms_error_name(error), error->message);
    if (canceller)
        g_thread_join(canceller);
    g_object_unref(cancellable);
    return ok ? 0 : 1;
}
