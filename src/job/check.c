/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/check.h"

#include "job/catalog.h"
#include "job/domain-lock.h"
#include "virt/image.h"

typedef struct {
    VmsContext *context;
    const VmsFacts *facts;
    VmsDomainLock *lock;
} Locking;

static bool lock(void *user)
{
    Locking *locking = user;
    locking->lock =
        vms_domain_lock(locking->context->config, locking->facts->uuid, locking->facts->name, NULL);
    return locking->lock;
}

static void unlock(void *user)
{
    Locking *locking = user;
    g_clear_pointer(&locking->lock, vms_domain_lock_free);
}

VmsCheck *vms_check_facts(VmsContext *context, virDomainPtr domain, const VmsFacts *facts,
                          const VmsCreateOptions *options, bool locked, GError **error)
{
    Locking locking = {.context = context, .facts = facts};
    static const VmsCheckMemory memory[] = {
        [VMS_MEMORY_AUTO] = VMS_CHECK_MEMORY_AUTO,
        [VMS_MEMORY_COW] = VMS_CHECK_MEMORY_COW,
        [VMS_MEMORY_LIVE] = VMS_CHECK_MEMORY_LIVE,
        [VMS_MEMORY_NONE] = VMS_CHECK_MEMORY_NONE,
    };
    static const VmsCheckQuiesce quiesce[] = {
        [VMS_QUIESCE_AUTO] = VMS_CHECK_QUIESCE_AUTO,
        [VMS_QUIESCE_REQUIRE] = VMS_CHECK_QUIESCE_REQUIRE,
        [VMS_QUIESCE_OFF] = VMS_CHECK_QUIESCE_OFF,
    };
    g_autofree char *block_dir = g_build_filename(context->config->state_dir, "overlays", NULL);
    g_autofree char *memory_dir = g_build_filename(context->config->state_dir, "memory", NULL);
    VmsCheckOptions check_options = {
        .memory = memory[options->memory],
        .quiesce = quiesce[options->quiesce],
        .block_overlay_dir = block_dir,
        .memory_dir = memory_dir,
        .lock = locked ? NULL : lock,
        .unlock = locked ? NULL : unlock,
        .lock_user = &locking,
    };
    return vms_check_run(domain, facts, &check_options, error);
}

static bool has_note(const VmsRecord *record, const char *code, const char *text)
{
    for (guint i = 0; i < record->notes->len; i++) {
        const VmsNote *note = record->notes->pdata[i];
        if (g_str_equal(note->code, code) && g_str_equal(note->text, text))
            return true;
    }
    return false;
}

void vms_check_note(const VmsCheck *check, VmsRecord *record)
{
    for (guint i = 0; i < check->findings->len; i++) {
        const VmsFinding *finding = check->findings->pdata[i];
        g_autofree char *text =
            finding->target ? g_strdup_printf("disk %s: %s", finding->target, finding->sentence)
                            : g_strdup(finding->sentence);
        if (!has_note(record, finding->code, text))
            vms_record_add_note(record, finding->code, "%s", text);
    }
}

const char *vms_outlook_name(VmsOutlook outlook)
{
    static const char *const names[] = {
        [VMS_OUTLOOK_NONE] = "none",
        [VMS_OUTLOOK_BEGINS] = "begins",
        [VMS_OUTLOOK_BITMAP] = "bitmap",
        [VMS_OUTLOOK_OVERLAYS] = "overlay",
    };
    return names[outlook];
}

/* Changes nothing: a host on which no snapshot was taken has no catalog. */
static GPtrArray *past_records(VmsContext *context, const char *uuid)
{
    g_autofree char *path = g_build_filename(context->config->state_dir, "vmsnap.db", NULL);
    if (!g_file_test(path, G_FILE_TEST_EXISTS))
        return NULL;
    g_autoptr(VmsCatalog) catalog = vms_catalog_open(context->config, NULL);
    return catalog ? vms_catalog_list(catalog, uuid, true, NULL) : NULL;
}

static VmsOutlook outlook(VmsContext *context, const GPtrArray *records, const VmsCheckDisk *disk)
{
    VmsOutlook found = VMS_OUTLOOK_NONE;
    g_autoptr(VmsImageInfo) info =
        vms_image_info_read(disk->base, disk->base_format, context->cancellable, NULL);
    if (info && info->can_have_bitmaps && !info->internal_snapshots)
        found = VMS_OUTLOOK_BEGINS;
    for (guint i = 0; records && i < records->len; i++) {
        const VmsRecord *record = records->pdata[i];
        const VmsRecordDisk *other = vms_record_disk(record, disk->target);
        if (other && !other->merged && g_str_equal(other->overlay, disk->base))
            return VMS_OUTLOOK_OVERLAYS;
        /* A bitmap of a running guest is on disk only as one that is in use. */
        if (other && other->bitmap && record->exports->len > 0 && info &&
            vms_image_info_bitmap(info, other->bitmap) != VMS_BITMAP_MISSING)
            found = VMS_OUTLOOK_BITMAP;
    }
    return found;
}

static void add_outlooks(VmsContext *context, VmsCheckResult *result)
{
    g_autoptr(GPtrArray) records = past_records(context, result->uuid);
    result->outlooks = g_array_new(FALSE, FALSE, sizeof(VmsOutlook));
    for (guint i = 0; i < result->findings->disks->len; i++) {
        VmsOutlook found = outlook(context, records, result->findings->disks->pdata[i]);
        g_array_append_val(result->outlooks, found);
    }
    result->waiting = g_ptr_array_new_with_free_func((GDestroyNotify)vms_record_free);
    for (guint i = 0; records && i < records->len;) {
        if (vms_catalog_ended(((const VmsRecord *)records->pdata[i])->status))
            i++;
        else
            g_ptr_array_add(result->waiting, g_ptr_array_steal_index(records, i));
    }
}

VmsCheckResult *vms_check(VmsContext *context, const char *name, const VmsCreateOptions *options,
                          GError **error)
{
    VmsConn *conn = vms_context_conn(context, error);
    g_autoptr(virDomain) domain = conn ? vms_conn_lookup(conn, name, error) : NULL;
    g_autoptr(VmsFacts) facts = domain ? vms_facts_read(domain, error) : NULL;
    if (!facts)
        return NULL;
    g_autoptr(VmsCheckResult) result = g_new0(VmsCheckResult, 1);
    result->domain = g_strdup(facts->name);
    result->uuid = g_strdup(facts->uuid);
    result->active = facts->active;
    result->findings = vms_check_facts(context, domain, facts, options, false, error);
    if (!result->findings)
        return NULL;
    add_outlooks(context, result);
    return g_steal_pointer(&result);
}

void vms_check_result_free(VmsCheckResult *result)
{
    if (!result)
        return;
    g_free(result->domain);
    g_free(result->uuid);
    vms_check_free(result->findings);
    if (result->outlooks)
        g_array_unref(result->outlooks);
    if (result->waiting)
        g_ptr_array_unref(result->waiting);
    g_free(result);
}
