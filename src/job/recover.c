/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The catalog says what was meant, libvirt what is so. A job saves what it is about to do before it
 * does it, and holds the domain's lock until it has ended: a status of something under way without
 * that lock is of a vmsnap that is gone. Newest first, because overlays stand on older ones. */
#include "job/recover.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "block/nbd-socket.h"
#include "job/claim.h"
#include "job/merge.h"
#include "job/overlays.h"

const char *vms_recover_action_name(VmsRecoverAction action)
{
    static const char *const names[] = {"none", "undo", "release", "merge"};
    return names[action];
}

static void free_entry(void *data)
{
    VmsRecoverEntry *entry = data;
    vms_record_free(entry->record);
    g_free(entry->sentence);
    g_clear_error(&entry->error);
    g_free(entry);
}

void vms_recover_result_free(VmsRecoverResult *result)
{
    if (!result)
        return;
    g_ptr_array_unref(result->entries);
    g_ptr_array_unref(result->restores);
    g_ptr_array_unref(result->guests);
    g_free(result);
}

/* What a merge has done to the guest could not be undone. */
static bool is_pressed(const VmsRecord *record)
{
    for (guint i = 0; i < record->disks->len; i++)
        if (((const VmsRecordDisk *)record->disks->pdata[i])->pressed)
            return true;
    return false;
}

static VmsRecoverAction action_of(const VmsRecord *record)
{
    if (vms_merge_is_dropped(record))
        return VMS_RECOVER_UNDO;
    if (record->status == VMS_STATUS_EXPORTED && is_pressed(record))
        return VMS_RECOVER_MERGE;
    switch (record->status) {
    case VMS_STATUS_PREPARING:
    case VMS_STATUS_CAPTURING:
        return VMS_RECOVER_UNDO;
    case VMS_STATUS_EXPORTING:
        return VMS_RECOVER_RELEASE;
    case VMS_STATUS_COMMITTING:
        return VMS_RECOVER_MERGE;
    default:
        return VMS_RECOVER_NONE;
    }
}

static virDomainPtr find_domain(VmsContext *context, const VmsRecord *record)
{
    VmsConn *conn = vms_context_conn(context, NULL);
    return conn ? vms_conn_lookup(conn, record->uuid, NULL) : NULL;
}

/* Of a snapshot that waits: for what. Another vmsnap may have had it until we got the lock. */
static char *describe_waiting(VmsContext *context, const VmsRecord *record)
{
    if (vms_catalog_ended(record->status))
        return g_strdup("has been ended meanwhile by another vmsnap");
    g_autoptr(virDomain) domain = find_domain(context, record);
    g_autoptr(GError) changed = NULL;
    if (domain && !vms_overlays_frozen(domain, record, &changed))
        return g_strdup(changed->message);
    if (record->status == VMS_STATUS_EXPORTED)
        return g_strdup_printf(
            "is exported, its overlays were kept; \"vmsnap commit %s\" merges them",
            record->domain);
    return g_strdup_printf("waits for \"vmsnap export %s\"%s", record->domain,
                           domain ? "" : "; its domain is no longer defined");
}

static char *describe(VmsContext *context, const VmsRecoverEntry *entry)
{
    switch (entry->action) {
    case VMS_RECOVER_UNDO:
        if (vms_merge_is_dropped(entry->record))
            return g_strdup("was given up; the drop was interrupted and is ended");
        return g_strdup("was interrupted while it was taken: the guest goes back on its own disks, "
                        "what was made is removed");
    case VMS_RECOVER_RELEASE:
        return g_strdup_printf("was interrupted in its export: \"vmsnap export %s\" can store it",
                               entry->record->domain);
    case VMS_RECOVER_MERGE:
        return g_strdup("is exported; the merge of its overlays was interrupted and is ended");
    default:
        return describe_waiting(context, entry->record);
    }
}

/* As export does where it fails. */
static bool release(VmsCatalog *catalog, VmsRecord *record, GError **error)
{
    record->status = record->repository_snapshot ? VMS_STATUS_EXPORTED : VMS_STATUS_CAPTURED;
    vms_failpoint("recover.releasing");
    return vms_catalog_save(catalog, record, error);
}

/* As export does: where a newer snapshot stands on the overlays, they are kept. */
static bool end_merge(VmsContext *context, VmsCatalog *catalog, VmsRecoverEntry *entry,
                      GError **error)
{
    g_autoptr(GError) cause = NULL;
    if (vms_merge_end(context, catalog, entry->record, VMS_STATUS_FAILED, NULL, &cause))
        return true;
    if (!vms_error_is(cause, VMS_ERROR_REFUSED)) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    vms_record_add_note(entry->record, "overlays-kept", "%s", cause->message);
    vms_merge_set_begun(entry->record, true); /* nobody can tell how far it came */
    return release(catalog, entry->record, error);
}

static bool act(VmsContext *context, VmsCatalog *catalog, VmsRecoverEntry *entry, GError **error)
{
    switch (entry->action) {
    case VMS_RECOVER_MERGE:
        return end_merge(context, catalog, entry, error);
    case VMS_RECOVER_UNDO:
        if (vms_merge_is_dropped(entry->record))
            return vms_merge_end(context, catalog, entry->record, VMS_STATUS_ABANDONED,
                                 entry->record->reason, error);
        return vms_merge_end(context, catalog, entry->record, VMS_STATUS_FAILED,
                             "interrupted while it was taken, undone by recover", error);
    case VMS_RECOVER_RELEASE:
        return release(catalog, entry->record, error);
    default:
        return true;
    }
}

static void recover_one(VmsContext *context, VmsRecoverEntry *entry, bool dry_run)
{
    g_autoptr(VmsClaim) claim = vms_claim(context, NULL, entry->record->id, NULL, &entry->error);
    if (!claim)
        return;
    /* As it is now that nobody else can work on it. */
    vms_record_free(entry->record);
    entry->record = g_steal_pointer(&claim->record);
    entry->found = entry->record->status;
    entry->action = action_of(entry->record);
    g_free(entry->sentence);
    entry->sentence = describe(context, entry);
    if (dry_run)
        return;
    vms_failpoint("recover.claimed");
    act(context, claim->catalog, entry, &entry->error);
    vms_failpoint("recover.acted");
}

static VmsRecoverEntry *new_entry(VmsContext *context, VmsRecord *record)
{
    VmsRecoverEntry *entry = g_new0(VmsRecoverEntry, 1);
    entry->record = record;
    entry->found = record->status;
    entry->action = action_of(record);
    entry->sentence = describe(context, entry);
    return entry;
}

/* Also adds it. False where the user interrupts: the rest stays as it is. */
static bool take(VmsContext *context, VmsRecoverResult *result, VmsRecord *record, GError **error)
{
    VmsRecoverEntry *entry = new_entry(context, record);
    g_ptr_array_add(result->entries, entry);
    if (entry->action != VMS_RECOVER_NONE)
        recover_one(context, entry, result->dry_run);
    if (vms_error_is(entry->error, VMS_ERROR_CANCELLED)) {
        g_propagate_error(error, g_steal_pointer(&entry->error));
        return vms_prefix(error, "%s", entry->record->domain);
    }
    if (entry->error)
        result->failed++;
    else if (entry->action != VMS_RECOVER_NONE)
        result->recovered++;
    else if (!vms_catalog_ended(entry->record->status))
        result->waiting++;
    return true;
}

/* Restores first: a domain may be there again afterwards. *ret_any: there were some. */
static bool recover_restores(VmsContext *context, const char *domain, VmsRecoverResult *result,
                             bool *ret_any, GError **error)
{
    g_autoptr(GPtrArray) restores = vms_recover_restores(context, domain, result->dry_run, error);
    if (!restores)
        return false;
    *ret_any = restores->len > 0;
    while (restores->len > 0) {
        VmsRecoverRestore *entry = g_ptr_array_steal_index(restores, 0);
        g_ptr_array_add(result->restores, entry);
        if (vms_error_is(entry->error, VMS_ERROR_CANCELLED)) {
            g_propagate_error(error, g_steal_pointer(&entry->error));
            return false;
        }
        result->failed += entry->error != NULL;
        result->recovered += !entry->error;
    }
    return true;
}

/* Before all else: nobody is to wait for a merge. *ret_any: there were some. */
static bool recover_guests(VmsContext *context, const char *domain, VmsRecoverResult *result,
                           bool *ret_any, GError **error)
{
    g_autoptr(GPtrArray) guests = vms_recover_guests(context, domain, result->dry_run, error);
    if (!guests)
        return false;
    *ret_any = guests->len > 0;
    while (guests->len > 0) {
        VmsRecoverGuest *entry = g_ptr_array_steal_index(guests, 0);
        g_ptr_array_add(result->guests, entry);
        result->failed += entry->error != NULL;
        result->recovered += !entry->error;
    }
    return true;
}

static bool recover_domain(VmsContext *context, VmsCatalog *catalog, const char *domain,
                           VmsRecoverResult *result, GError **error)
{
    g_autoptr(GPtrArray) records = vms_catalog_list(catalog, domain, false, error);
    VmsConn *conn = records ? vms_context_conn(context, error) : NULL;
    bool guests = false, restores = false;
    if (!conn || !recover_guests(context, domain, result, &guests, error) ||
        !recover_restores(context, domain, result, &restores, error))
        return false;
    if (domain && records->len == 0 && !guests &&
        !restores) { /* a name that nobody knows would look as if all were well */
        g_autoptr(virDomain) known = vms_conn_lookup(conn, domain, error);
        return known != NULL;
    }
    while (records->len > 0) {
        VmsRecord *record = g_ptr_array_steal_index(records, records->len - 1);
        if (!vms_check_cancelled(context->cancellable, error)) {
            vms_record_free(record);
            return false;
        }
        if (!take(context, result, record, error))
            return false;
    }
    return true;
}

VmsRecoverResult *vms_recover(VmsContext *context, const char *const *domains, bool dry_run,
                              GError **error)
{
    g_autoptr(VmsCatalog) catalog = vms_catalog_open(context->config, error);
    if (!catalog)
        return NULL;
    g_autoptr(VmsRecoverResult) result = g_new0(VmsRecoverResult, 1);
    result->dry_run = dry_run;
    result->entries = g_ptr_array_new_with_free_func(free_entry);
    result->guests = g_ptr_array_new_with_free_func((GDestroyNotify)vms_recover_guest_free);
    result->restores = g_ptr_array_new_with_free_func((GDestroyNotify)vms_recover_restore_free);
    if (!dry_run)
        vms_nbd_socket_remove_dead();
    if (!domains || !domains[0])
        return recover_domain(context, catalog, NULL, result, error) ? g_steal_pointer(&result)
                                                                     : NULL;
    for (const char *const *domain = domains; *domain; domain++)
        if (!recover_domain(context, catalog, *domain, result, error))
            return NULL;
    return g_steal_pointer(&result);
}
