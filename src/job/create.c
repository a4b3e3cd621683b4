/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The order is DESIGN §4.1's: everything that can be done before the freeze is done before it, and
 * what is about to be done is in the catalog before it is done. Whatever fails, capture_undo()
 * brings the guest back onto its original disks and removes what was made; the record then says
 * failed and why.
 *
 * Threads: the caller's, the quiesce watchdog (virt/quiesce), and for a moment the one that
 * cancels: it calls vms_overlay_cancel() while the live snapshot runs. */
#include "job/create.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "job/bitmaps.h"
#include "job/capture.h"
#include "job/catalog.h"
#include "job/check.h"
#include "job/domain-lock.h"
#include "job/merge.h"
#include "job/recover-guest.h"

#include <string.h>

static char *new_id(void)
{
    return g_strdup_printf("%08x%08x", g_random_int(), g_random_int());
}

/* What an interrupted run left on this domain must be cleared first, by the operator's word. */
static bool check_leftovers(VmsCatalog *catalog, const VmsFacts *facts, GError **error)
{
    g_autoptr(GPtrArray) records = vms_catalog_list(catalog, facts->uuid, false, error);
    if (!records)
        return false;
    for (guint i = 0; i < records->len; i++) {
        const VmsRecord *record = records->pdata[i];
        if (record->status == VMS_STATUS_PREPARING || record->status == VMS_STATUS_CAPTURING ||
            vms_merge_is_dropped(record))
            return vms_fail(error, VMS_ERROR_REFUSED,
                            "%s: snapshot %s was interrupted while it was %s; clear it with "
                            "\"vmsnap recover %s\", then run again",
                            facts->name, record->id,
                            vms_merge_is_dropped(record) ? "dropped" : "taken", facts->name);
    }
    return true;
}

static VmsCheck *check(VmsContext *context, virDomainPtr domain, const VmsFacts *facts,
                       const VmsCreateOptions *options, GError **error)
{
    g_autoptr(VmsCheck) result = vms_check_facts(context, domain, facts, options, true, error);
    if (!result)
        return NULL;
    if (result->refused) {
        vms_check_fail(result, error);
        vms_prefix(error, "%s", facts->name);
        return NULL;
    }
    return g_steal_pointer(&result);
}

static char *overlay_path(const VmsCheckDisk *disk, const VmsRecord *record)
{
    g_autofree char *name = g_path_get_basename(disk->base);
    /* A second snapshot's base is the first one's overlay: its name does not grow for ever. */
    char *marker = strstr(name, ".vmsnap-");
    if (marker)
        *marker = '\0';
    return g_strdup_printf("%s/%s.vmsnap-%s.qcow2", disk->overlay_dir, name, record->id);
}

static VmsRecord *plan(VmsContext *context, const VmsFacts *facts, const VmsCheck *found)
{
    VmsRecord *record = vms_record_new();
    record->id = new_id();
    record->domain = g_strdup(facts->name);
    record->uuid = g_strdup(facts->uuid);
    record->status = VMS_STATUS_PREPARING;
    record->created_us = g_get_real_time();
    record->was_running = facts->state == VIR_DOMAIN_RUNNING;
    record->domain_xml =
        g_strdup(facts->xml_persistent && !facts->active ? facts->xml_persistent : facts->xml);
    if (found->engine != VMS_CHECK_ENGINE_NONE) {
        record->engine = found->engine == VMS_CHECK_ENGINE_COW ? VMS_ENGINE_COW : VMS_ENGINE_LIVE;
        record->memory_path =
            g_strdup_printf("%s/memory/%s.save", context->config->state_dir, record->id);
    }
    for (guint i = 0; i < found->disks->len; i++) {
        const VmsCheckDisk *source = found->disks->pdata[i];
        const VmsDisk *fact = vms_facts_disk(facts, source->target);
        VmsRecordDisk *disk = vms_record_add_disk(record, source->target);
        disk->bus = g_strdup(fact ? fact->bus : NULL);
        disk->base = g_strdup(source->base);
        disk->base_format = g_strdup(source->base_format);
        disk->overlay = overlay_path(source, record);
        disk->capacity = source->capacity;
    }
    vms_check_note(found, record);
    return record;
}

VmsRecord *vms_create(VmsContext *context, const char *name, const VmsCreateOptions *options,
                      GError **error)
{
    VmsConn *conn = vms_context_conn(context, error);
    if (!conn)
        return NULL;
    g_autoptr(virDomain) domain = vms_conn_lookup(conn, name, error);
    if (!domain)
        return NULL;
    char uuid[VIR_UUID_STRING_BUFLEN] = "";
    if (virDomainGetUUIDString(domain, uuid) < 0) {
        vms_virt_fail(error, "%s", name);
        return NULL;
    }
    g_autoptr(VmsDomainLock) lock = vms_domain_lock(context->config, uuid, name, error);
    if (!lock)
        return NULL;
    g_autoptr(VmsCatalog) catalog = vms_catalog_open(context->config, error);
    if (!catalog)
        return NULL;
    vms_failpoint("create.locked");
    vms_recover_guest_claimed(context, catalog, uuid);
    g_autoptr(VmsFacts) facts = vms_facts_read(domain, error);
    if (!facts || !check_leftovers(catalog, facts, error))
        return NULL;
    g_autoptr(VmsCheck) found = check(context, domain, facts, options, error);
    if (!found || !vms_check_cancelled(context->cancellable, error))
        return NULL;
    VmsCapture capture = {
        .context = context,
        .catalog = catalog,
        .domain = domain,
        .facts = facts,
        .options = options,
        .quiesce = found->quiesce,
        .quiesce_required = options->quiesce == VMS_QUIESCE_REQUIRE,
        .freeze_deadline_s = options->freeze_deadline_s ? options->freeze_deadline_s
                                                        : context->config->freeze_deadline_s,
        .record = plan(context, facts, found),
    };
    vms_bitmaps_plan(catalog, capture.record, context->cancellable);
    vms_failpoint("create.planned");
    if (vms_capture_run(&capture, error))
        return capture.record;
    vms_record_free(capture.record);
    vms_prefix(error, "%s", facts->name);
    return NULL;
}
