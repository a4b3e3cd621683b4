/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A restore that lives holds the lock of its id. One that does not was killed, and libvirt says how
 * far it came. What a guest may have written to is never removed: neither a domain that runs, nor
 * disks that have changed since they were whole. */
#include "job/recover-restore.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "block/mount.h"
#include "job/catalog-restores.h"
#include "job/domain-lock.h"
#include "job/restore-journal.h"
#include "virt/facts.h"
#include "virt/quiesce.h"

#include <string.h>

#define POLL_US (G_USEC_PER_SEC / 10)
#define START_PATIENCE_US (60 * G_USEC_PER_SEC) /* libvirt reads a memory that may be large */
#define THAW_TIMEOUT_S 20

typedef struct {
    VmsContext *context;
    VmsRecoverRestore *entry;
    const VmsRestoreRecord *record;
    virDomainPtr domain; /* nullable */
    bool ours;           /* it is the one that the restore has defined */
} Recovery;

const char *vms_recover_restore_action_name(VmsRecoverRestoreAction action)
{
    return action == VMS_RECOVER_RESTORE_REMOVE ? "remove" : "keep";
}

void vms_recover_restore_free(VmsRecoverRestore *entry)
{
    if (!entry)
        return;
    vms_restore_record_free(entry->record);
    g_free(entry->sentence);
    g_clear_error(&entry->error);
    g_free(entry);
}

/* All disks are there as they were when they were whole; *ret_changed: one of them was written to
 * since. */
static bool disks_are_whole(const VmsRestoreRecord *record, bool *ret_changed)
{
    bool whole = true;
    *ret_changed = false;
    for (guint i = 0; i < record->made->len; i++) {
        const VmsMade *made = record->made->pdata[i];
        bool changed = false;
        if (made->kind != VMS_MADE_DISK)
            continue;
        whole = vms_restore_is_whole(made, &changed) && whole;
        *ret_changed = *ret_changed || changed;
    }
    return whole;
}

static bool has_disks(const VmsRestoreRecord *record)
{
    for (guint i = 0; i < record->made->len; i++)
        if (((const VmsMade *)record->made->pdata[i])->kind == VMS_MADE_DISK)
            return true;
    return false;
}

/* One of its disks is a file that the restore has made. */
static bool uses_disks(const VmsFacts *facts, const VmsRestoreRecord *record)
{
    for (guint i = 0; i < facts->disks->len; i++) {
        const VmsDisk *disk = facts->disks->pdata[i];
        const VmsMade *made = disk->source ? vms_restore_record_find(record, disk->source) : NULL;
        if (made && made->kind == VMS_MADE_DISK)
            return true;
    }
    return false;
}

static bool find_domain(Recovery *r, bool *ret_uses, GError **error)
{
    g_autoptr(GError) cause = NULL;
    *ret_uses = false;
    if (!r->record->uuid)
        return true;
    VmsConn *conn = vms_context_conn(r->context, error);
    if (!conn)
        return false;
    r->domain = vms_conn_lookup(conn, r->record->uuid, &cause);
    if (!r->domain && vms_error_is(cause, VMS_ERROR_NOT_FOUND))
        return true;
    if (!r->domain) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    g_autoptr(VmsFacts) facts = vms_facts_read(r->domain, error);
    if (!facts)
        return false;
    bool like_ours = r->record->defining && g_strcmp0(facts->name, r->record->domain) == 0;
    *ret_uses = has_disks(r->record) ? uses_disks(facts, r->record) : like_ours;
    r->ours = *ret_uses && like_ours;
    return true;
}

static void decide(Recovery *r, VmsRecoverRestoreAction action, const char *what)
{
    r->entry->action = action;
    g_free(r->entry->sentence);
    r->entry->sentence = g_strdup(what);
}

static bool look(Recovery *r, GError **error)
{
    bool uses = false, changed = false;
    if (!find_domain(r, &uses, error))
        return false;
    bool whole = disks_are_whole(r->record, &changed);
    bool active = r->domain && virDomainIsActive(r->domain) == 1;
    if (uses && active)
        decide(r, VMS_RECOVER_RESTORE_KEEP,
               "was interrupted at its end: the guest runs and is kept");
    else if (uses && changed)
        decide(r, VMS_RECOVER_RESTORE_KEEP,
               "was interrupted, but its guest has run since and is kept");
    else if (uses && !r->ours)
        decide(r, VMS_RECOVER_RESTORE_KEEP,
               "was interrupted; somebody else's domain uses its disks, which are kept");
    else if (uses && whole && !r->record->memory)
        decide(r, VMS_RECOVER_RESTORE_KEEP,
               "was interrupted at its end: the domain is whole, shut off, and kept");
    else if (!r->record->domain && has_disks(r->record) && whole)
        decide(r, VMS_RECOVER_RESTORE_KEEP,
               "was interrupted at its end: the disks are whole and kept");
    else
        decide(r, VMS_RECOVER_RESTORE_REMOVE,
               "was interrupted: what it made is removed, it can be run again");
    return true;
}

/* libvirt goes on with a restore whose client is gone: it ends by itself, one way or the other. */
static bool wait_for_start(const Recovery *r, GError **error)
{
    int64_t end = g_get_monotonic_time() + START_PATIENCE_US;
    for (;;) {
        int state = VIR_DOMAIN_NOSTATE, reason = 0;
        if (!r->domain || virDomainIsActive(r->domain) != 1)
            return true;
        if (virDomainGetState(r->domain, &state, &reason, 0) < 0)
            return vms_virt_fail(error, "state of the domain");
        if (state != VIR_DOMAIN_NOSTATE && state != VIR_DOMAIN_SHUTOFF &&
            (state != VIR_DOMAIN_PAUSED || reason != VIR_DOMAIN_PAUSED_STARTING_UP))
            return true;
        if (g_get_monotonic_time() > end)
            return vms_fail(error, VMS_ERROR_LOCKED,
                            "libvirt still reads the memory of %s; run it again later",
                            r->record->domain);
        if (!vms_check_cancelled(r->context->cancellable, error))
            return false;
        g_usleep(POLL_US);
    }
}

/* Frozen when its memory was captured, and nobody was left to thaw it (P1). */
static bool thaw(const Recovery *r, GError **error)
{
    unsigned count = 0;
    int state = VIR_DOMAIN_NOSTATE;
    if (!r->ours || r->record->frozen_filesystems == 0 ||
        virDomainGetState(r->domain, &state, NULL, 0) < 0 || state != VIR_DOMAIN_RUNNING)
        return true;
    bool ok = vms_quiesce_thaw_all(r->domain, THAW_TIMEOUT_S, &count, error);
    vms_failpoint("recover.restore-thawed");
    return ok;
}

static bool undefine(const Recovery *r, GError **error)
{
    unsigned flags =
        VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | (r->record->keep_tpm ? VIR_DOMAIN_UNDEFINE_KEEP_TPM : 0u);
    if (!r->ours)
        return true;
    if (virDomainUndefineFlags(r->domain, flags) < 0)
        return vms_virt_fail(error, "undefine");
    vms_failpoint("recover.restore-undefined");
    return true;
}

static bool act(Recovery *r, GError **error)
{
    g_autofree char *mounts = g_build_filename(r->context->config->run_dir, "restore", NULL);
    vms_mount_remove_dead(mounts);
    if (r->entry->action == VMS_RECOVER_RESTORE_KEEP)
        return thaw(r, error) && vms_restore_remove_temporary(r->record, error);
    return undefine(r, error) && vms_restore_unmake(r->record, true, error);
}

static bool recover(Recovery *r, VmsCatalog *catalog, bool dry_run, GError **error)
{
    if (!look(r, error))
        return false;
    if (dry_run)
        return true;
    vms_failpoint("recover.restore-claimed");
    if (!wait_for_start(r, error))
        return false;
    g_clear_pointer(&r->domain, virDomainFree); /* it may have ended meanwhile */
    if (!look(r, error) || !act(r, error))
        return false;
    vms_failpoint("recover.restore-cleared");
    return vms_catalog_remove_restore(catalog, r->record->id, error);
}

/* Takes record. NULL without an error: it has ended meanwhile. */
static VmsRecoverRestore *recover_one(VmsContext *context, VmsCatalog *catalog,
                                      VmsRestoreRecord *record, bool dry_run)
{
    VmsRecoverRestore *entry = g_new0(VmsRecoverRestore, 1);
    Recovery r = {.context = context, .entry = entry};
    entry->record = record;
    entry->sentence = g_strdup("is not ended");
    g_autofree char *name = g_strdup_printf("restore of %.8s", record->snapshot);
    g_autofree char *key = vms_restore_lock_key(record->id);
    VmsDomainLock *lock = vms_domain_lock(context->config, key, name, &entry->error);
    if (!lock)
        return entry;
    VmsRestoreRecord *now = NULL;
    bool ok = vms_catalog_find_restore(catalog, record->id, &now, &entry->error);
    bool gone = ok && !now;
    if (now) {
        vms_restore_record_free(record);
        r.record = entry->record = now;
        ok = recover(&r, catalog, dry_run, &entry->error);
        gone = ok && !dry_run;
    }
    if (r.domain)
        virDomainFree(r.domain);
    if (gone)
        vms_domain_lock_remove(lock);
    else
        vms_domain_lock_free(lock);
    if (now || !ok)
        return entry;
    vms_recover_restore_free(entry);
    return NULL;
}

/* Of a restore that was killed right after it took its lock, or right before it gave it back. */
static void remove_lock(VmsContext *context, VmsCatalog *catalog, const char *id)
{
    g_autofree char *key = vms_restore_lock_key(id);
    VmsRestoreRecord *record = NULL;
    g_autoptr(VmsDomainLock) lock = vms_domain_lock(context->config, key, id, NULL);
    bool known = !lock || !vms_catalog_find_restore(catalog, id, &record, NULL) || record;
    vms_restore_record_free(record);
    if (!known)
        vms_domain_lock_remove(g_steal_pointer(&lock));
}

static void remove_locks(VmsContext *context, VmsCatalog *catalog)
{
    g_autoptr(GDir) dir = g_dir_open(context->config->run_dir, 0, NULL);
    for (const char *name; dir && (name = g_dir_read_name(dir));) {
        if (!g_str_has_prefix(name, VMS_RESTORE_LOCK_PREFIX) || !g_str_has_suffix(name, ".lock"))
            continue;
        const char *begin = name + strlen(VMS_RESTORE_LOCK_PREFIX);
        g_autofree char *id = g_strndup(begin, strlen(begin) - strlen(".lock"));
        remove_lock(context, catalog, id);
    }
}

GPtrArray *vms_recover_restores(VmsContext *context, const char *domain, bool dry_run,
                                GError **error)
{
    g_autoptr(GPtrArray) entries =
        g_ptr_array_new_with_free_func((GDestroyNotify)vms_recover_restore_free);
    g_autoptr(VmsCatalog) catalog = vms_catalog_open(context->config, error);
    g_autoptr(GPtrArray) records =
        catalog ? vms_catalog_list_restores(catalog, domain, error) : NULL;
    while (records && records->len > 0) {
        if (!vms_check_cancelled(context->cancellable, error))
            return NULL;
        VmsRestoreRecord *record = g_ptr_array_steal_index(records, 0);
        VmsRecoverRestore *entry = recover_one(context, catalog, record, dry_run);
        if (entry)
            g_ptr_array_add(entries, entry);
    }
    if (records && !dry_run)
        remove_locks(context, catalog);
    return records ? g_steal_pointer(&entries) : NULL;
}

bool vms_recover_restores_before(VmsContext *context, const char *domain, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autoptr(GPtrArray) entries = vms_recover_restores(context, domain, false, &cause);
    if (!entries && vms_error_is(cause, VMS_ERROR_CANCELLED)) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    /* A catalog that cannot be read is told of later: restores go on without. */
    for (guint i = 0; entries && i < entries->len; i++) {
        VmsRecoverRestore *entry = entries->pdata[i];
        if (entry->error) {
            g_propagate_error(error, g_steal_pointer(&entry->error));
            return vms_prefix(error, "an earlier restore of %s", domain);
        }
        vms_progress_message(context->progress, "an earlier restore of %s %s", domain,
                             entry->sentence);
    }
    return true;
}
