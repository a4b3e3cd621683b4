/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/claim.h"

#include "base/error.h"

static VmsRecord *newest(VmsCatalog *catalog, const char *domain,
                         bool (*wanted)(const VmsRecord *record), GError **error)
{
    g_autoptr(GPtrArray) records = vms_catalog_list(catalog, domain, false, error);
    if (!records)
        return NULL;
    const VmsRecord *last = NULL;
    guint found = 0;
    for (guint i = 0; i < records->len; i++) {
        const VmsRecord *record = records->pdata[i];
        if (!wanted(record))
            continue;
        if (!domain && last && g_strcmp0(last->uuid, record->uuid) != 0)
            return vms_fail_null(error, VMS_ERROR_USAGE,
                                 "%s and %s both have such a snapshot: say which domain is meant",
                                 last->domain, record->domain);
        last = record;
        found = i;
    }
    if (last)
        return g_ptr_array_steal_index(records, found);
    return vms_fail_null(error, VMS_ERROR_NOT_FOUND,
                         "%s%sno snapshot on this host waits for this; \"vmsnap list --all\" shows "
                         "what there is, \"vmsnap create %s\" takes one",
                         domain ? domain : "", domain ? ": " : "", domain ? domain : "DOMAIN");
}

static VmsRecord *choose(VmsCatalog *catalog, const char *domain, const char *snapshot,
                         bool (*wanted)(const VmsRecord *record), GError **error)
{
    if (!snapshot)
        return newest(catalog, domain, wanted, error);
    g_autoptr(VmsRecord) record = vms_catalog_find(catalog, snapshot, error);
    if (!record)
        return NULL;
    if (domain && !g_str_equal(record->domain, domain) && !g_str_equal(record->uuid, domain))
        return vms_fail_null(error, VMS_ERROR_NOT_FOUND, "snapshot %s is of domain %s, not of %s",
                             record->id, record->domain, domain);
    return g_steal_pointer(&record);
}

VmsClaim *vms_claim(VmsContext *context, const char *domain, const char *snapshot,
                    bool (*wanted)(const VmsRecord *record), GError **error)
{
    g_autoptr(VmsClaim) claim = g_new0(VmsClaim, 1);
    claim->catalog = vms_catalog_open(context->config, error);
    if (!claim->catalog)
        return NULL;
    g_autoptr(VmsRecord) chosen = choose(claim->catalog, domain, snapshot, wanted, error);
    if (!chosen)
        return NULL;
    claim->lock = vms_domain_lock(context->config, chosen->uuid, chosen->domain, error);
    if (!claim->lock)
        return NULL;
    /* Read again under the lock: another vmsnap may have worked on it meanwhile. */
    claim->record = vms_catalog_find(claim->catalog, chosen->id, error);
    return claim->record ? g_steal_pointer(&claim) : NULL;
}

void vms_claim_free(VmsClaim *claim)
{
    if (!claim)
        return;
    vms_record_free(claim->record);
    vms_domain_lock_free(claim->lock);
    vms_catalog_free(claim->catalog);
    g_free(claim);
}
