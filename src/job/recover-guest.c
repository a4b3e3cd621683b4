/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A guard that lives holds the domain's lock. Who has paused a guest libvirt does not tell: one
 * that was paused before the guard came was never entered in the catalog. */
#include "job/recover-guest.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "job/domain-lock.h"
#include "job/holds.h"
#include "virt/pause.h"

void vms_recover_guest_free(VmsRecoverGuest *entry)
{
    if (!entry)
        return;
    g_free(entry->domain);
    g_free(entry->uuid);
    g_free(entry->sentence);
    g_clear_error(&entry->error);
    g_free(entry);
}

static VmsRecoverGuest *new_entry(const VmsHold *hold)
{
    VmsRecoverGuest *entry = g_new0(VmsRecoverGuest, 1);
    entry->domain = g_strdup(hold->domain);
    entry->uuid = g_strdup(hold->uuid);
    entry->sentence = g_strdup("the guest was paused until its overlays were merged, and that was "
                               "interrupted: it is resumed");
    return entry;
}

static bool is_paused(VmsConn *conn, const char *uuid)
{
    g_autoptr(virDomain) domain = vms_conn_lookup(conn, uuid, NULL);
    return domain && vms_pause_is_left(domain);
}

/* Undone by libvirt's own word, then forgotten. */
static bool end_hold(VmsConn *conn, VmsCatalog *catalog, const char *uuid, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autoptr(virDomain) domain = vms_conn_lookup(conn, uuid, &cause);
    if (!domain && !vms_error_is(cause, VMS_ERROR_NOT_FOUND)) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    vms_failpoint("recover.guest-claimed");
    if (domain && !vms_pause_undo(domain, error))
        return false;
    vms_failpoint("recover.guest-resumed");
    return vms_holds_remove(catalog, uuid, error);
}

/* NULL: there is nothing to tell. */
static VmsRecoverGuest *recover_one(VmsContext *context, VmsCatalog *catalog, VmsConn *conn,
                                    const VmsHold *hold, bool dry_run)
{
    g_autoptr(GError) cause = NULL;
    bool paused = is_paused(conn, hold->uuid);
    g_autoptr(VmsDomainLock) lock = NULL;
    if (dry_run || (lock = vms_domain_lock(context->config, hold->uuid, hold->domain, &cause))) {
        paused = is_paused(conn, hold->uuid); /* as it is now that nobody else works on it */
        if (!dry_run)
            end_hold(conn, catalog, hold->uuid, &cause);
    }
    if (!paused && (!cause || vms_error_is(cause, VMS_ERROR_LOCKED)))
        return NULL;
    VmsRecoverGuest *entry = new_entry(hold);
    entry->error = g_steal_pointer(&cause);
    return entry;
}

GPtrArray *vms_recover_guests(VmsContext *context, const char *domain, bool dry_run, GError **error)
{
    g_autoptr(VmsCatalog) catalog = vms_catalog_open(context->config, error);
    g_autoptr(GPtrArray) holds = catalog ? vms_holds_list(catalog, domain, error) : NULL;
    VmsConn *conn = holds ? vms_context_conn(context, error) : NULL;
    if (!conn)
        return NULL;
    g_autoptr(GPtrArray) entries =
        g_ptr_array_new_with_free_func((GDestroyNotify)vms_recover_guest_free);
    for (guint i = 0; i < holds->len; i++) {
        if (!vms_check_cancelled(context->cancellable, error))
            return NULL;
        VmsRecoverGuest *entry = recover_one(context, catalog, conn, holds->pdata[i], dry_run);
        if (entry)
            g_ptr_array_add(entries, entry);
    }
    return g_steal_pointer(&entries);
}

void vms_recover_guest_claimed(VmsContext *context, VmsCatalog *catalog, const char *uuid)
{
    g_autoptr(GPtrArray) holds = vms_holds_list(catalog, uuid, NULL);
    VmsConn *conn = holds && holds->len > 0 ? vms_context_conn(context, NULL) : NULL;
    if (!conn)
        return;
    const VmsHold *hold = holds->pdata[0];
    bool paused = is_paused(conn, uuid);
    if (end_hold(conn, catalog, uuid, NULL) && paused)
        vms_progress_message(context->progress,
                             "%s: the guest was paused until its overlays were merged, and that "
                             "was interrupted: it is resumed",
                             hold->domain);
}
