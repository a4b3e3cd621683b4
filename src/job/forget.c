/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Removing a snapshot file takes nothing from anybody who reads or writes: a shared lock will do.
 */
#include "job/forget.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "repo/object.h"
#include "repo/snapshot.h"

#include <string.h>

static void free_entry(void *data)
{
    VmsForgetEntry *entry = data;
    g_free(entry->snapshot);
    g_free(entry->domain);
    g_free(entry->uuid);
    g_free(entry->host);
    g_strfreev(entry->reasons);
    g_free(entry);
}

void vms_forget_result_free(VmsForgetResult *result)
{
    if (!result)
        return;
    g_free(result->location);
    g_ptr_array_unref(result->entries);
    vms_prune_result_free(result->prune);
    g_free(result);
}

typedef struct {
    VmsContext *context;
    const VmsForgetOptions *options;
    VmsLocation *location;
    VmsForgetResult *result;
    GPtrArray *doomed; /* of VmsRepoSnapshot* */
} Forget;

static void add_entry(Forget *forget, const VmsRepoSnapshot *snapshot, unsigned reasons)
{
    VmsForgetEntry *entry = g_new0(VmsForgetEntry, 1);
    char hex[VMS_ID_HEX_LEN + 1];
    vms_id_hex(&snapshot->id, hex);
    entry->snapshot = g_strdup(hex);
    entry->domain = g_strdup(vms_repo_snapshot_tag(snapshot, "domain"));
    entry->uuid = g_strdup(vms_repo_snapshot_tag(snapshot, "uuid"));
    entry->host = g_strdup(snapshot->hostname);
    entry->time_us = snapshot->time_us;
    entry->keep = reasons != 0;
    entry->reasons = vms_keep_reason_names(reasons);
    if (entry->keep)
        forget->result->kept++;
    else
        forget->result->removed++;
    g_ptr_array_add(forget->result->entries, entry);
}

/* A domain keeps its UUID when it is renamed. */
static const char *group_of(const VmsRepoSnapshot *snapshot)
{
    const char *uuid = vms_repo_snapshot_tag(snapshot, "uuid");
    const char *name = vms_repo_snapshot_tag(snapshot, "domain");
    return uuid ? uuid : name ? name : "";
}

static bool is_wanted(const VmsRepoSnapshot *newest, const char *domain)
{
    return !domain || g_strcmp0(vms_repo_snapshot_tag(newest, "domain"), domain) == 0 ||
           g_strcmp0(vms_repo_snapshot_tag(newest, "uuid"), domain) == 0;
}

/* group: newest first. */
static void apply(Forget *forget, GPtrArray *group)
{
    g_autofree int64_t *times = g_new(int64_t, group->len);
    g_autofree unsigned *reasons = g_new0(unsigned, group->len);
    g_autoptr(GTimeZone) zone = g_time_zone_new_local();
    for (guint i = 0; i < group->len; i++)
        times[i] = ((const VmsRepoSnapshot *)group->pdata[i])->time_us;
    vms_keep_policy_apply(&forget->options->policy, times, group->len, zone, reasons);
    for (guint i = 0; i < group->len; i++) {
        add_entry(forget, group->pdata[i], reasons[i]);
        if (reasons[i] == 0)
            g_ptr_array_add(forget->doomed, group->pdata[i]);
    }
}

static bool is_ours(const VmsRepoSnapshot *snapshot)
{
    return snapshot->tags && g_strv_contains((const char *const *)snapshot->tags, "vmsnap");
}

/* snapshots: oldest first. Groups come in the order of their newest snapshots' names. */
static bool select_by_policy(Forget *forget, GPtrArray *snapshots, GError **error)
{
    g_autoptr(GHashTable) groups =
        g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify)g_ptr_array_unref);
    g_autoptr(GPtrArray) order = g_ptr_array_new();
    for (guint i = snapshots->len; i-- > 0;) {
        VmsRepoSnapshot *snapshot = snapshots->pdata[i];
        if (!is_ours(snapshot))
            continue;
        GPtrArray *group = g_hash_table_lookup(groups, group_of(snapshot));
        if (!group) {
            group = g_ptr_array_new();
            g_hash_table_insert(groups, (char *)group_of(snapshot), group);
            g_ptr_array_add(order, group);
        }
        g_ptr_array_add(group, snapshot);
    }
    bool any = false;
    for (guint i = 0; i < order->len; i++) {
        GPtrArray *group = order->pdata[i];
        if (!is_wanted(group->pdata[0], forget->options->domain))
            continue;
        any = true;
        apply(forget, group);
    }
    return any || !forget->options->domain ||
           vms_fail(error, VMS_ERROR_NOT_FOUND, "%s has no snapshot of a domain \"%s\"",
                    forget->location->store->location, forget->options->domain);
}

/* Also one that is damaged, if it is named in full: nothing else gets rid of it. */
static VmsRepoSnapshot *find(Forget *forget, const char *name, GError **error)
{
    g_autoptr(GError) cause = NULL;
    VmsRepoSnapshot *snapshot;
    VmsId id;
    if (strspn(name, "0123456789abcdefABCDEF") != strlen(name))
        return vms_fail_null(error, VMS_ERROR_USAGE,
                             "\"%.80s\" is no snapshot's id; a domain is named together with a "
                             "--keep option",
                             name);
    snapshot =
        vms_repo_snapshot_find(forget->location->repo, name, forget->context->cancellable, &cause);
    if (!snapshot && vms_error_is(cause, VMS_ERROR_CORRUPT) && vms_id_parse(name, &id, NULL)) {
        snapshot = g_new0(VmsRepoSnapshot, 1);
        snapshot->id = id;
    } else if (!snapshot) {
        g_propagate_error(error, g_steal_pointer(&cause));
    }
    return snapshot;
}

static bool select_by_name(Forget *forget, GPtrArray *snapshots, GError **error)
{
    for (const char *const *name = forget->options->snapshots; *name; name++) {
        VmsRepoSnapshot *snapshot = find(forget, *name, error);
        bool twice = false;
        if (!snapshot)
            return false;
        g_ptr_array_add(snapshots, snapshot);
        for (guint i = 0; i < forget->doomed->len; i++)
            twice |=
                vms_id_equal(&((VmsRepoSnapshot *)forget->doomed->pdata[i])->id, &snapshot->id);
        if (twice)
            continue;
        g_ptr_array_add(forget->doomed, snapshot);
        add_entry(forget, snapshot, 0);
    }
    return true;
}

static bool remove_doomed(Forget *forget, VmsRepoLock *lock, GError **error)
{
    if (!vms_repo_lock_check(lock, error))
        return false;
    for (guint i = forget->doomed->len; i-- > 0;) { /* the oldest first */
        const VmsRepoSnapshot *snapshot = forget->doomed->pdata[i];
        g_autofree char *name = vms_object_name("snapshots", &snapshot->id);
        vms_failpoint("forget.snapshot-next");
        if (!vms_check_cancelled(forget->context->cancellable, error) ||
            !vms_store_remove(forget->location->store, name, forget->context->cancellable, error))
            return vms_prefix(error, "%u of %u snapshots were removed", forget->doomed->len - i - 1,
                              forget->doomed->len);
    }
    return true;
}

static bool run(Forget *forget, GPtrArray *snapshots, GError **error)
{
    const VmsForgetOptions *options = forget->options;
    g_autoptr(VmsRepoLock) lock =
        vms_repo_lock(forget->location->repo, false, forget->context->cancellable, error);
    if (!lock || !(options->snapshots ? select_by_name(forget, snapshots, error)
                                      : select_by_policy(forget, snapshots, error)))
        return false;
    vms_failpoint("forget.selected");
    if (!options->dry_run && !remove_doomed(forget, lock, error))
        return false;
    vms_failpoint("forget.removed");
    return true;
}

static bool prune_after(Forget *forget, GError **error)
{
    const VmsForgetOptions *options = forget->options;
    if (!options->prune || forget->doomed->len == 0)
        return true;
    forget->result->prune =
        vms_prune_run_at(forget->context, forget->location, &options->max_unused, options->dry_run,
                         options->dry_run ? forget->doomed : NULL, error);
    if (forget->result->prune || options->dry_run)
        return forget->result->prune != NULL;
    return vms_prefix(error,
                      "%u snapshots were removed; freeing their data failed, \"vmsnap "
                      "prune\" does it later",
                      forget->doomed->len);
}

VmsForgetResult *vms_forget(VmsContext *context, const VmsForgetOptions *options, GError **error)
{
    if (!options->snapshots && vms_keep_policy_is_empty(&options->policy))
        return vms_fail_null(error, VMS_ERROR_USAGE,
                             "forget: say what to keep (--keep-last, --keep-daily …), or name the "
                             "snapshots to be removed");
    g_autoptr(VmsLocation) location = vms_location_open(context, options->repository, error);
    if (!location)
        return NULL;
    g_autoptr(GPtrArray) snapshots = NULL;
    if (options->snapshots)
        snapshots = g_ptr_array_new_with_free_func((GDestroyNotify)vms_repo_snapshot_free);
    else
        snapshots = vms_repo_snapshot_list(location->repo, context->cancellable, error);
    if (!snapshots)
        return NULL;
    g_autoptr(GPtrArray) doomed = g_ptr_array_new();
    g_autoptr(VmsForgetResult) result = g_new0(VmsForgetResult, 1);
    result->location = g_strdup(location->store->location);
    result->dry_run = options->dry_run;
    result->entries = g_ptr_array_new_with_free_func(free_entry);
    Forget forget = {context, options, location, result, doomed};
    if (!run(&forget, snapshots, error) || !prune_after(&forget, error))
        return NULL;
    return g_steal_pointer(&result);
}
