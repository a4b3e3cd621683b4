/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/merge.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "job/bitmaps.h"
#include "job/claim.h"
#include "job/overlays.h"
#include "job/recover-guest.h"
#include "virt/quiesce.h"

#define THAW_TIMEOUT_S 10
#define BEGUN "merge-begun"

/* Something of it is left on this host. */
static bool is_left(const VmsRecord *record)
{
    return !vms_catalog_ended(record->status);
}

static bool allowed(const VmsRecord *record, bool drop, GError **error)
{
    if (vms_catalog_ended(record->status))
        return vms_fail(error, VMS_ERROR_REFUSED, "snapshot %s is %s: nothing of it is left here",
                        record->id, vms_status_name(record->status));
    if (drop || record->status == VMS_STATUS_EXPORTED || record->status == VMS_STATUS_COMMITTING)
        return true;
    return vms_fail(error, VMS_ERROR_REFUSED,
                    "snapshot %s is not in a repository yet; export it first (\"vmsnap export %s "
                    "--to …\"), or give it up with \"vmsnap drop %s\"",
                    record->id, record->domain, record->domain);
}

/* While it was taken. */
static bool is_interrupted(const VmsRecord *record)
{
    return record->status == VMS_STATUS_PREPARING || record->status == VMS_STATUS_CAPTURING;
}

/* A vmsnap that was killed in the pause, and its guard with it, left the guest paused (P1). One
 * that has paused itself, for an I/O error say, stays so. */
static bool resume(virDomainPtr domain, VmsRecord *record, GError **error)
{
    int state = VIR_DOMAIN_NOSTATE, reason = 0;
    if (!is_interrupted(record) || !record->was_running)
        return true;
    if (virDomainGetState(domain, &state, &reason, 0) < 0)
        return vms_virt_fail(error, "state of the domain");
    if (state != VIR_DOMAIN_PAUSED ||
        (reason != VIR_DOMAIN_PAUSED_USER && reason != VIR_DOMAIN_PAUSED_MIGRATION &&
         reason != VIR_DOMAIN_PAUSED_SNAPSHOT && reason != VIR_DOMAIN_PAUSED_UNKNOWN))
        return true;
    if (virDomainResume(domain) < 0)
        return vms_virt_fail(error, "the guest is still paused and cannot be resumed");
    vms_failpoint("merge.resumed");
    vms_record_add_note(record, "resumed", "the guest was still paused");
    return true;
}

/* A vmsnap that was killed between freeze and thaw left the guest frozen (P1). */
static void thaw(virDomainPtr domain, VmsRecord *record)
{
    g_autoptr(GError) cause = NULL;
    g_autoptr(VmsFacts) facts = vms_facts_read(domain, NULL);
    unsigned filesystems = 0;
    if (!is_interrupted(record) || !facts || facts->state != VIR_DOMAIN_RUNNING ||
        !facts->has_agent)
        return;
    if (!vms_quiesce_thaw_all(domain, THAW_TIMEOUT_S, &filesystems, &cause))
        vms_record_add_note(record, "thaw-failed",
                            "whether file systems are still frozen is not known: %s",
                            cause->message);
    else if (filesystems > 0)
        vms_record_add_note(record, "thawed", "%u file systems were still frozen", filesystems);
}

/* A vmsnap that was killed while QEMU wrote memory for it, on a host without virsh. */
static bool clean_memory(virDomainPtr domain, const VmsRecord *record, GError **error)
{
    if (!is_interrupted(record) || record->engine != VMS_ENGINE_COW ||
        virDomainIsActive(domain) != 1)
        return true;
    return vms_cow_clean(domain, error);
}

static const VmsNote *find_begun(const VmsRecord *record, guint *ret_at)
{
    for (*ret_at = 0; *ret_at < record->notes->len; (*ret_at)++) {
        const VmsNote *note = record->notes->pdata[*ret_at];
        if (g_str_equal(note->code, BEGUN))
            return note;
    }
    return NULL;
}

bool vms_merge_is_begun(const VmsRecord *record)
{
    guint at;
    bool begun = find_begun(record, &at) != NULL;
    for (guint i = 0; i < record->disks->len; i++)
        begun = begun || ((const VmsRecordDisk *)record->disks->pdata[i])->merged;
    return begun && !vms_catalog_ended(record->status);
}

void vms_merge_set_begun(VmsRecord *record, bool begun)
{
    guint at;
    const VmsNote *note = find_begun(record, &at);
    if (begun && !note)
        vms_record_add_note(record, BEGUN,
                            "merging its overlays was begun and has not ended: what is left on "
                            "this host is no snapshot any more");
    if (!begun && note)
        g_ptr_array_remove_index(record->notes, at);
}

static bool merge(VmsContext *context, VmsCatalog *catalog, VmsRecord *record, GError **error)
{
    VmsConn *conn = vms_context_conn(context, error);
    if (!conn)
        return false;
    g_autoptr(virDomain) domain = vms_conn_lookup(conn, record->uuid, error);
    if (!domain)
        return vms_prefix(error, "the overlays of snapshot %s cannot be merged", record->id);
    if (is_interrupted(record) && !vms_overlay_end_job(domain, context->cancellable, error))
        return false;
    vms_failpoint("merge.snapshot-ended");
    if (!clean_memory(domain, record, error))
        return false;
    vms_failpoint("merge.memory-cleaned");
    if (!resume(domain, record, error))
        return false;
    thaw(domain, record);
    vms_failpoint("merge.thawed");
    if (!vms_overlays_merge(context, catalog, &domain, record, true, error))
        return false;
    vms_failpoint("merge.overlays-merged");
    if (record->exports->len == 0)
        vms_bitmaps_drop(domain, record);
    else /* an export that was killed has not come so far */
        vms_bitmaps_expire(catalog, domain, record);
    return true;
}

static void set_reason(VmsRecord *record, const char *reason)
{
    g_free(record->reason);
    record->reason = g_strdup(reason);
}

/* A snapshot that is whole says what for it is given up before anything of it is: whoever is killed
 * meanwhile leaves none that looks as if it could still be exported (vms_merge_is_dropped). */
static bool begin(VmsCatalog *catalog, VmsRecord *record, const char *reason, GError **error)
{
    if (record->repository_snapshot)
        record->status = VMS_STATUS_COMMITTING;
    else if (!is_interrupted(record))
        set_reason(record, reason);
    return vms_catalog_save(catalog, record, error);
}

bool vms_merge_is_dropped(const VmsRecord *record)
{
    return record->reason && !vms_catalog_ended(record->status);
}

bool vms_merge_end(VmsContext *context, VmsCatalog *catalog, VmsRecord *record, VmsStatus otherwise,
                   const char *reason, GError **error)
{
    bool exported = record->repository_snapshot != NULL;
    VmsStatus before = record->status;
    bool dropped = vms_merge_is_dropped(record);
    g_autofree char *why = g_strdup(reason); /* it may be the record's own */
    if (!begin(catalog, record, why, error))
        return false;
    vms_failpoint("merge.begun");
    if (!merge(context, catalog, record, error) || !vms_overlays_remove_side_files(record, error)) {
        record->status = before;
        if (!dropped && !vms_merge_is_begun(record)) /* all of it is there still */
            set_reason(record, NULL);
        vms_catalog_save(catalog, record, NULL);
        return false;
    }
    vms_failpoint("merge.files-removed");
    record->status = exported ? VMS_STATUS_DONE : otherwise;
    if (!exported)
        set_reason(record, why);
    return vms_catalog_save(catalog, record, error);
}

static VmsRecord *run(VmsContext *context, const char *domain, const char *snapshot, bool drop,
                      GError **error)
{
    g_autoptr(VmsClaim) claim = vms_claim(context, domain, snapshot, is_left, error);
    if (!claim)
        return NULL;
    vms_recover_guest_claimed(context, claim->catalog, claim->record->uuid);
    if (!allowed(claim->record, drop, error) ||
        !vms_merge_end(context, claim->catalog, claim->record, VMS_STATUS_ABANDONED,
                       "dropped by the operator", error)) {
        vms_prefix(error, "%s", claim->record->domain);
        return NULL;
    }
    return g_steal_pointer(&claim->record);
}

VmsRecord *vms_merge_commit(VmsContext *context, const char *domain, const char *snapshot,
                            GError **error)
{
    return run(context, domain, snapshot, false, error);
}

VmsRecord *vms_merge_drop(VmsContext *context, const char *domain, const char *snapshot,
                          GError **error)
{
    return run(context, domain, snapshot, true, error);
}
