/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/snapshot.h"

#include "base/error.h"
#include "repo/object.h"
#include "repo/repo-private.h"
#include "repo/snapshot-file.h"

#include <string.h>

#define MIN_PREFIX 4
#define MAX_SEALED (16u << 20) /* bytes of a snapshot file: a few hundred in truth */

void vms_repo_snapshot_free(VmsRepoSnapshot *snapshot)
{
    if (snapshot != NULL) {
        g_strfreev(snapshot->paths);
        g_strfreev(snapshot->tags);
        g_free(snapshot->hostname);
        g_free(snapshot->username);
        g_free(snapshot->program_version);
        g_free(snapshot);
    }
}

bool vms_repo_snapshot_save(VmsRepo *repo, VmsRepoSnapshot *snapshot, GCancellable *cancellable,
                            GError **error)
{
    g_autofree char *text = vms_snapshot_file_build(snapshot);

    return vms_object_save(repo, "snapshots", text, strlen(text), &snapshot->id, NULL, cancellable,
                           error);
}

static VmsRepoSnapshot *load(VmsRepo *repo, const VmsObjectEntry *entry, GCancellable *cancellable,
                             GError **error)
{
    g_autofree char *name = vms_object_name("snapshots", &entry->id);
    g_autoptr(GError) local = NULL;
    VmsRepoSnapshot *snapshot;

    if (entry->size > MAX_SEALED)
        return vms_fail_null(error, VMS_ERROR_CORRUPT, "%s: too large for a snapshot", name);
    g_autoptr(GBytes) text = vms_object_load(repo, "snapshots", &entry->id, cancellable, error);
    if (text == NULL)
        return NULL;
    snapshot =
        vms_snapshot_file_parse(g_bytes_get_data(text, NULL), g_bytes_get_size(text), &local);
    if (snapshot == NULL)
        return vms_fail_null(error, VMS_ERROR_CORRUPT, "%s: %s", name, local->message);
    snapshot->id = entry->id;
    return snapshot;
}

static int by_time(const void *a, const void *b)
{
    const VmsRepoSnapshot *left = *(const VmsRepoSnapshot *const *)a;
    const VmsRepoSnapshot *right = *(const VmsRepoSnapshot *const *)b;

    if (left->time_us != right->time_us)
        return left->time_us < right->time_us ? -1 : 1;
    return memcmp(left->id.bytes, right->id.bytes, VMS_ID_LEN);
}

GPtrArray *vms_repo_snapshot_list(VmsRepo *repo, GCancellable *cancellable, GError **error)
{
    g_autoptr(GPtrArray) snapshots =
        g_ptr_array_new_with_free_func((GDestroyNotify)vms_repo_snapshot_free);
    g_autoptr(GArray) entries = vms_object_list(repo->store, "snapshots", cancellable, error);

    if (entries == NULL)
        return NULL;
    for (guint i = 0; i < entries->len; i++) {
        g_autoptr(GError) local = NULL;
        VmsRepoSnapshot *snapshot =
            load(repo, &g_array_index(entries, VmsObjectEntry, i), cancellable, &local);

        if (snapshot != NULL) {
            g_ptr_array_add(snapshots, snapshot);
        } else if (!vms_error_is(local, VMS_ERROR_NOT_FOUND)) { /* forgotten since: not there */
            g_propagate_error(error, g_steal_pointer(&local));
            return NULL;
        }
    }
    g_ptr_array_sort(snapshots, by_time);
    return g_steal_pointer(&snapshots);
}

static VmsRepoSnapshot *find_latest(VmsRepo *repo, GCancellable *cancellable, GError **error)
{
    g_autoptr(GPtrArray) snapshots = vms_repo_snapshot_list(repo, cancellable, error);

    if (snapshots == NULL)
        return NULL;
    if (snapshots->len == 0)
        return vms_fail_null(error, VMS_ERROR_NOT_FOUND, "%s has no snapshots",
                             vms_repo_location(repo));
    return g_ptr_array_steal_index(snapshots, snapshots->len - 1);
}

static bool is_hex(const char *text)
{
    size_t len = strlen(text);

    return len >= MIN_PREFIX && len <= VMS_ID_HEX_LEN &&
           strspn(text, "0123456789abcdefABCDEF") == len;
}

static VmsRepoSnapshot *ambiguous(const char *prefix, const VmsObjectEntry *a,
                                  const VmsObjectEntry *b, GError **error)
{
    char first[VMS_ID_HEX_LEN + 1], second[VMS_ID_HEX_LEN + 1];

    vms_id_hex(&a->id, first);
    vms_id_hex(&b->id, second);
    return vms_fail_null(error, VMS_ERROR_INVALID,
                         "snapshot \"%s\" is ambiguous: %s, %s: give more digits", prefix, first,
                         second);
}

VmsRepoSnapshot *vms_repo_snapshot_find(VmsRepo *repo, const char *prefix,
                                        GCancellable *cancellable, GError **error)
{
    const VmsObjectEntry *found = NULL;

    if (strcmp(prefix, "latest") == 0)
        return find_latest(repo, cancellable, error);
    if (!is_hex(prefix))
        return vms_fail_null(
            error, VMS_ERROR_INVALID,
            "\"%.80s\" is not a snapshot id: at least %d hex digits, or \"latest\"", prefix,
            MIN_PREFIX);
    g_autoptr(GArray) entries = vms_object_list(repo->store, "snapshots", cancellable, error);
    if (entries == NULL)
        return NULL;
    for (guint i = 0; i < entries->len; i++) {
        const VmsObjectEntry *entry = &g_array_index(entries, VmsObjectEntry, i);
        char hex[VMS_ID_HEX_LEN + 1];

        vms_id_hex(&entry->id, hex);
        if (g_ascii_strncasecmp(hex, prefix, strlen(prefix)) != 0)
            continue;
        if (found != NULL)
            return ambiguous(prefix, found, entry, error);
        found = entry;
    }
    if (found == NULL)
        return vms_fail_null(error, VMS_ERROR_NOT_FOUND, "%s has no snapshot %s",
                             vms_repo_location(repo), prefix);
    return load(repo, found, cancellable, error);
}

const char *vms_repo_snapshot_tag(const VmsRepoSnapshot *snapshot, const char *key)
{
    size_t len = strlen(key);

    for (char **tag = snapshot->tags; tag != NULL && *tag != NULL; tag++)
        if (strncmp(*tag, key, len) == 0 && (*tag)[len] == '=')
            return *tag + len + 1;
    return NULL;
}
