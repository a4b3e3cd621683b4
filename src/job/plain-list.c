/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/error.h"
#include "base/text.h"
#include "codec/hash.h"
#include "job/plain-name.h"
#include "job/plain-read.h"

#include <string.h>

#define MIN_PREFIX 4

static bool check_identity(const VmsManifest *manifest, const char *folder, const char *id,
                           GError **error)
{
    g_autofree char *own = vms_plain_folder(manifest->domain);
    /* The folder is where everything else of it is looked for. */
    return (manifest->format == VMS_FORMAT_QCOW2 && g_str_equal(manifest->id, id) &&
            g_str_equal(own, folder)) ||
           vms_fail(error, VMS_ERROR_CORRUPT,
                    "it is of another snapshot: %.16s of domain \"%.60s\"", manifest->id,
                    manifest->domain);
}

VmsManifest *vms_plain_read_manifest(VmsStore *store, const char *folder, const char *id,
                                     GCancellable *cancellable, GError **error)
{
    g_autofree char *object = vms_plain_object(folder, id, VMS_PLAIN_MANIFEST);
    g_autoptr(GBytes) bytes = vms_store_get(store, object, 0, UINT64_MAX, cancellable, error);
    if (!bytes)
        return NULL;
    size_t len;
    const char *text = g_bytes_get_data(bytes, &len);
    g_autoptr(VmsManifest) manifest = vms_manifest_parse(text ? text : "", len, error);
    if (!manifest || !check_identity(manifest, folder, id, error)) {
        vms_prefix(error, "%s: %s", store->location, object);
        return NULL;
    }
    vms_hash(text, len, manifest->repository_id.bytes);
    return g_steal_pointer(&manifest);
}

/* "FOLDER/ID/vmsnap.json": collects "FOLDER/ID". */
static bool collect(void *user, const char *name, uint64_t size, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(name, "/", 0);
    if (g_strv_length(parts) == 3 && g_str_equal(parts[2], VMS_PLAIN_MANIFEST))
        g_ptr_array_add(user, g_strdup_printf("%s/%s", parts[0], parts[1]));
    return true;
}

static int by_time(const void *a, const void *b)
{
    const VmsManifest *const *left = a, *const *right = b;
    return ((*left)->time_us > (*right)->time_us) - ((*left)->time_us < (*right)->time_us);
}

static bool is_of(const VmsManifest *manifest, const char *domain)
{
    return !domain || g_str_equal(manifest->domain, domain) || g_str_equal(manifest->uuid, domain);
}

GPtrArray *vms_plain_list(VmsStore *store, const char *domain, GCancellable *cancellable,
                          GError **error)
{
    g_autoptr(GPtrArray) folders = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) manifests =
        g_ptr_array_new_with_free_func((GDestroyNotify)vms_manifest_free);
    if (!vms_store_list(store, "", collect, folders, cancellable, error))
        return NULL;
    for (guint i = 0; i < folders->len; i++) {
        g_auto(GStrv) parts = g_strsplit(folders->pdata[i], "/", 2);
        g_autoptr(VmsManifest) manifest =
            vms_plain_read_manifest(store, parts[0], parts[1], cancellable, error);
        if (!manifest)
            return NULL;
        if (is_of(manifest, domain))
            g_ptr_array_add(manifests, g_steal_pointer(&manifest));
    }
    g_ptr_array_sort(manifests, by_time);
    return g_steal_pointer(&manifests);
}

static bool is_named(const VmsManifest *manifest, const char *prefix)
{
    g_autofree char *hex =
        vms_text_hex(manifest->repository_id.bytes, sizeof manifest->repository_id.bytes);
    return g_str_has_prefix(hex, prefix) || g_str_has_prefix(manifest->id, prefix);
}

static VmsManifest *ambiguous(const char *prefix, const GPtrArray *manifests, GError **error)
{
    g_autoptr(GString) names = g_string_new(NULL);
    for (guint i = 0; i < manifests->len; i++) {
        const VmsManifest *manifest = manifests->pdata[i];
        g_autofree char *hex = vms_text_hex(manifest->repository_id.bytes, 8);
        if (is_named(manifest, prefix))
            g_string_append_printf(names, "%s%s (%s)", names->len ? ", " : "", hex,
                                   manifest->domain);
    }
    return vms_fail_null(error, VMS_ERROR_INVALID,
                         "snapshot \"%s\" is ambiguous: %s; give more digits", prefix, names->str);
}

VmsManifest *vms_plain_find_snapshot(VmsStore *store, const char *snapshot,
                                     GCancellable *cancellable, GError **error)
{
    bool latest = g_str_equal(snapshot, "latest");
    size_t len = strlen(snapshot);
    if (!latest && (len < MIN_PREFIX || strspn(snapshot, "0123456789abcdef") != len))
        return vms_fail_null(error, VMS_ERROR_INVALID,
                             "\"%.70s\" is not a snapshot id: give at least %d of its hex digits, "
                             "or \"latest\"",
                             snapshot, MIN_PREFIX);
    g_autoptr(GPtrArray) manifests = vms_plain_list(store, NULL, cancellable, error);
    if (!manifests)
        return NULL;
    guint found = G_MAXUINT, count = 0;
    for (guint i = 0; i < manifests->len; i++)
        if (latest || is_named(manifests->pdata[i], snapshot)) {
            found = i;
            count++;
        }
    if (count == 0)
        return vms_fail_null(error, VMS_ERROR_NOT_FOUND, "%s has no snapshot%s%s", store->location,
                             latest ? "" : " ", latest ? "" : snapshot);
    if (count > 1 && !latest)
        return ambiguous(snapshot, manifests, error);
    return g_ptr_array_steal_index(manifests, found);
}
