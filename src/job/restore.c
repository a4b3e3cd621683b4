/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Order: plan (every refusal comes here), disks into partial files that get their names one by one
 * when all of them are whole, UEFI variables, definition, memory, thaw. What is made is in the
 * journal before it is made, and undone from there on any error or Ctrl-C; after a kill -9 by
 * "recover", or by the next restore of that domain. */
#include "job/restore.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "block/sink.h"
#include "job/fetch.h"
#include "job/memory-restore.h"
#include "job/plain-memory.h"
#include "job/plain-name.h"
#include "job/record.h"
#include "job/recover-restore.h"
#include "job/restore-journal.h"
#include "job/restore-plan.h"
#include "job/restore-result.h"
#include "job/restore-tpm.h"
#include "job/stored.h"
#include "virt/define.h"
#include "virt/quiesce.h"

#include <unistd.h>

#define AGENT_TIMEOUT_S 20 /* its channel is connected anew */

typedef struct {
    VmsContext *context;
    const VmsRestoreOptions *options;
    VmsStored *stored;
    VmsRestorePlan *plan;
    VmsRestoreResult *result;
    char *xml; /* of the domain to be; NULL: disks only */
    VmsRestoreJournal *journal;
    GPtrArray *sinks;    /* of VmsSink*, one per planned disk */
    virDomainPtr domain; /* defined by us; nullable */
    uint64_t done;       /* bytes of finished files */
    VmsMemoryRestore memory;
} Restore;

static VmsFetchOptions fetch_options(Restore *r, const char *item)
{
    return (VmsFetchOptions){
        .repo = r->stored->location->repo,
        .progress = r->context->progress,
        .phase = "restore",
        .item = item,
        .progress_before = r->done,
        .progress_total = r->plan->bytes_total,
        .cancellable = r->context->cancellable,
    };
}

static bool to_sink(void *sink, uint64_t offset, const void *data, size_t len, GError **error)
{
    return vms_sink_write(sink, offset, data, len, error);
}

static VmsPlainReadOptions read_options(Restore *r, const char *item)
{
    return (VmsPlainReadOptions){
        .store = r->stored->location->store,
        .progress = r->context->progress,
        .phase = "restore",
        .item = item,
        .progress_before = r->done,
        .progress_total = r->plan->bytes_total,
        .cancellable = r->context->cancellable,
    };
}

static bool restore_chain(Restore *r, const VmsPlannedDisk *disk, VmsSink *sink, GError **error)
{
    VmsPlainReadOptions options = read_options(r, disk->disk->target);
    uint64_t bytes = vms_plain_chain_bytes(disk->chain);
    g_autofree char *dir = g_path_get_dirname(disk->path);
    g_autofree char *temp =
        g_strdup_printf("%s/.vmsnap-restore-%s-%s", dir, vms_restore_journal_record(r->journal)->id,
                        disk->disk->target);
    if (!vms_restore_journal_intend(r->journal, VMS_MADE_TEMPORARY, temp, error) ||
        !vms_plain_chain_restore(disk->chain, &options, temp, sink, error))
        return false;
    r->result->bytes_fetched += bytes;
    r->done += bytes;
    return true;
}

static bool restore_disk(Restore *r, const VmsPlannedDisk *disk, GError **error)
{
    VmsFetchOptions options = fetch_options(r, disk->disk->target);
    VmsFetchStats stats;
    VmsSink *sink = vms_restore_journal_sink(r->journal, VMS_MADE_DISK, disk->path, disk->format,
                                             disk->disk->size, error);
    if (!sink)
        return false;
    g_ptr_array_add(r->sinks, sink);
    if (disk->chain)
        return restore_chain(r, disk, sink, error);
    if (!vms_fetch_file(&options, disk->node, disk->disk->chunk_size, to_sink, sink, &stats, error))
        return false;
    r->result->bytes_fetched += stats.bytes;
    r->done += disk->disk->size;
    return true;
}

static bool restore_disks(Restore *r, GError **error)
{
    GPtrArray *disks = r->plan->disks;
    for (guint i = 0; i < disks->len; i++) {
        const VmsPlannedDisk *disk = disks->pdata[i];
        if (!restore_disk(r, disk, error))
            return vms_prefix(error, "disk %s", disk->disk->target);
        vms_failpoint("restore.disk-fetched");
    }
    for (guint i = 0; i < disks->len; i++) {
        const VmsPlannedDisk *disk = disks->pdata[i];
        if (!vms_restore_journal_finish(r->journal, disk->path, r->sinks->pdata[i], error))
            return vms_prefix(error, "disk %s", disk->disk->target);
        vms_failpoint("restore.disk-finished");
        vms_restore_result_add_disk(r->result, disk);
    }
    return true;
}

static bool restore_nvram(Restore *r, GError **error)
{
    const VmsRestorePlan *plan = r->plan;
    if (!plan->nvram_path)
        return true;
    g_autoptr(GBytes) bytes = vms_stored_read_file(r->context, r->stored, "nvram.fd", error);
    if (!bytes)
        return false;
    if (!vms_restore_journal_write(r->journal, plan->nvram_path, bytes, error))
        return vms_prefix(error, "UEFI variables");
    vms_failpoint("restore.nvram-written");
    return true;
}

/* Of any XML of the snapshot's: the new name, disks and, with --as, identity. */
static char *rewrite(Restore *r, const char *xml, GError **error)
{
    const VmsRestorePlan *plan = r->plan;
    g_autofree VmsNewDisk *disks = g_new0(VmsNewDisk, plan->disks->len + 1);
    for (guint i = 0; i < plan->disks->len; i++) {
        const VmsPlannedDisk *disk = plan->disks->pdata[i];
        disks[i] = (VmsNewDisk){disk->disk->target, disk->path, disk->format};
    }
    return vms_define_rewrite(xml, plan->domain, r->options->as != NULL, plan->memory, disks,
                              plan->disks->len, plan->nvram_path, error);
}

static bool restore_tpm(Restore *r, GError **error)
{
    VmsRestoreTpm restore = {r->context, r->stored, r->xml, r->journal};
    if (r->plan->manifest->tpm)
        return vms_restore_tpm(&restore, error) || vms_prefix(error, "TPM state");
    vms_restore_journal_record(r->journal)->keep_tpm = vms_restore_tpm_exists(r->xml);
    return true;
}

static bool define(Restore *r, GError **error)
{
    VmsConn *conn = vms_context_conn(r->context, error);
    if (!conn || !vms_check_cancelled(r->context->cancellable, error) || !restore_tpm(r, error))
        return false;
    vms_restore_journal_record(r->journal)->defining = true;
    if (!vms_restore_journal_save(r->journal, error))
        return false;
    vms_failpoint("restore.defining");
    r->domain = vms_define_domain(conn, r->xml, false, error);
    vms_failpoint("restore.defined");
    if (!r->domain)
        return false;
    r->result->domain = g_strdup(r->plan->domain);
    r->result->uuid = g_strdup(vms_restore_journal_record(r->journal)->uuid);
    return true;
}

/* The XML in the save image becomes that of the domain just defined. */
static char *memory_xml(void *user, const char *xml, GError **error)
{
    Restore *r = user;
    g_autofree char *renamed = rewrite(r, xml, error);
    return renamed ? vms_define_set_uuid(renamed, r->result->uuid, error) : NULL;
}

/* An image taken while file systems were frozen restores frozen. */
static void thaw(Restore *r)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    unsigned frozen = r->plan->manifest->frozen_filesystems;
    const char *domain = r->plan->domain;
    if (frozen == 0)
        return;
    if (r->options->paused) {
        text = g_strdup_printf("the memory was captured with %u frozen file systems; after \"virsh "
                               "resume %s\" run \"virsh domfsthaw %s\"",
                               frozen, domain, domain);
        vms_notes_add(r->result->notes, "left-frozen", text);
    } else if (!vms_quiesce_thaw_all(r->domain, AGENT_TIMEOUT_S, &r->result->thawed_filesystems,
                                     &error)) {
        text = g_strdup_printf("the memory was captured with %u frozen file systems and thawing "
                               "them failed: %s; run \"virsh domfsthaw %s\"",
                               frozen, error->message, domain);
        vms_notes_add(r->result->notes, "thaw-failed", text);
    }
}

/* By way of a file: nobody can know whether an object is the right one before all of it came. */
static bool restore_memory_file(Restore *r, GError **error)
{
    const VmsRestorePlan *plan = r->plan;
    VmsPlainReadOptions options = read_options(r, "memory");
    g_autofree char *object =
        vms_plain_object(r->stored->images, plan->manifest->id, VMS_PLAIN_MEMORY);
    bool ok = vms_plain_memory_write(&options, object, plan->memory_file, plan->memory_path,
                                     memory_xml, r, error) &&
              vms_check_cancelled(r->context->cancellable, error);
    vms_failpoint("restore.image-written");
    ok = ok &&
         vms_define_restore_memory(r->context->conn, plan->memory_path, r->options->paused, error);
    vms_failpoint("restore.image-read");
    unlink(plan->memory_path);
    r->result->memory_source = VMS_MEMORY_SOURCE_FILE;
    return ok;
}

static bool read_memory(Restore *r, uint64_t *ret_fetched, GError **error)
{
    if (!r->stored->images)
        return vms_memory_restore_run(&r->memory, &r->result->memory_source, ret_fetched, error);
    *ret_fetched = r->plan->memory_file->bytes;
    return restore_memory_file(r, error);
}

static bool restore_memory(Restore *r, GError **error)
{
    VmsRestoreResult *result = r->result;
    uint64_t fetched = 0;
    r->memory.fetch.progress_before = r->done;
    if (!read_memory(r, &fetched, error))
        return vms_prefix(error, "memory");
    result->bytes_fetched += fetched;
    result->memory = result->started = true;
    if (!vms_check_cancelled(r->context->cancellable, error))
        return false;
    vms_failpoint("restore.thawing");
    thaw(r);
    return true;
}

static bool start(Restore *r, GError **error)
{
    if (!r->options->start && !r->options->paused)
        return true;
    unsigned flags = r->options->paused ? VIR_DOMAIN_START_PAUSED : 0;
    vms_failpoint("restore.starting");
    if (virDomainCreateWithFlags(r->domain, flags) < 0)
        return vms_virt_fail(error, "starting %s", r->plan->domain);
    vms_failpoint("restore.started");
    r->result->started = true;
    return true;
}

static bool prepare_memory(Restore *r, GError **error)
{
    const VmsRestorePlan *plan = r->plan;
    r->memory = (VmsMemoryRestore){
        .context = r->context,
        .fetch = fetch_options(r, "memory"),
        .node = plan->memory_node,
        .file_path = plan->memory_path,
        .spool = r->options->spool,
        .paused = r->options->paused,
        .xml = memory_xml,
        .user = r,
        .notes = r->result->notes,
    };
    if (!plan->memory)
        return true;
    if (!vms_restore_journal_intend(r->journal, VMS_MADE_TEMPORARY, plan->memory_path, error))
        return false;
    if (!r->stored->images)
        return vms_memory_restore_prepare(&r->memory, error);
    g_autofree char *dir = g_path_get_dirname(plan->memory_path);
    return vms_memory_image_space(dir, plan->memory_file->bytes, error);
}

static bool run(Restore *r, GError **error)
{
    if (!prepare_memory(r, error) || !restore_disks(r, error))
        return false;
    if (!r->plan->define)
        return true;
    if (!restore_nvram(r, error) || !define(r, error))
        return false;
    return r->plan->memory ? restore_memory(r, error) : start(r, error);
}

/* No file of a domain goes before libvirt has let go of it. */
static bool undo_domain(Restore *r, GError **error)
{
    const VmsRestoreRecord *record = vms_restore_journal_record(r->journal);
    unsigned keep_tpm = record->keep_tpm ? VIR_DOMAIN_UNDEFINE_KEEP_TPM : 0u;
    virDomainDestroy(r->domain); /* fails where it never started */
    vms_failpoint("restore.destroyed");
    if (virDomainIsActive(r->domain) != 0)
        return vms_virt_fail(error, "%s is not stopped", r->plan->domain);
    bool ok = virDomainUndefineFlags(r->domain, VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | keep_tpm) == 0 ||
              vms_virt_fail(error, "undefine");
    vms_failpoint("restore.undefined");
    return ok;
}

/* What cannot be undone now stays in the journal. */
static bool undo(Restore *r, GError **error)
{
    g_ptr_array_set_size(r->sinks, 0);
    return (!r->domain || undo_domain(r, error)) &&
           vms_restore_unmake(vms_restore_journal_record(r->journal), false, error);
}

static VmsRestoreRecord *describe(const Restore *r)
{
    const VmsRestorePlan *plan = r->plan;
    VmsRestoreRecord *record = vms_restore_record_new();
    record->snapshot = g_strdup(r->stored->hex);
    record->repository = g_strdup(r->stored->location->store->location);
    record->domain = plan->define ? g_strdup(plan->domain) : NULL;
    record->uuid = plan->define ? vms_define_uuid(r->xml, NULL) : NULL;
    record->memory = plan->memory;
    if (plan->memory && !r->options->paused)
        record->frozen_filesystems = plan->manifest->frozen_filesystems;
    return record;
}

static bool run_journalled(Restore *r, GError **error)
{
    g_autoptr(GError) cause = NULL;
    r->journal = vms_restore_journal_open(r->context, describe(r), r->result->notes);
    r->sinks = g_ptr_array_new_with_free_func((GDestroyNotify)vms_sink_free);
    vms_failpoint("restore.journalled");
    bool ok = run(r, error);
    vms_failpoint("restore.ended");
    bool ended = ok || undo(r, &cause);
    if (!ended && error && *error) {
        char *both = g_strdup_printf("%s; undoing it failed too: %s; run \"vmsnap recover\" when "
                                     "the cause is gone",
                                     (*error)->message, cause->message);
        g_free((*error)->message);
        (*error)->message = both;
    }
    g_ptr_array_unref(r->sinks);
    vms_restore_journal_close(r->journal, ended);
    if (r->domain)
        virDomainFree(r->domain);
    return ok;
}

VmsRestoreResult *vms_restore(VmsContext *context, const VmsRestoreOptions *options, GError **error)
{
    int64_t begin = g_get_monotonic_time();
    g_autoptr(VmsStored) stored =
        vms_stored_open(context, options->repository, options->snapshot, error);
    if (!stored)
        return NULL;
    const char *name = options->as ? options->as : stored->manifest->domain;
    if (!options->disks && !vms_recover_restores_before(context, name, error))
        return NULL;
    g_autoptr(VmsRestorePlan) plan = vms_restore_plan(context, stored, options, error);
    if (!plan)
        return NULL;
    g_autoptr(VmsRestoreResult) result = vms_restore_result_new(stored->hex);
    Restore r = {
        .context = context, .options = options, .stored = stored, .plan = plan, .result = result};
    r.xml = plan->define ? rewrite(&r, plan->xml, error) : NULL;
    bool ok = (r.xml || !plan->define) && run_journalled(&r, error);
    g_free(r.xml);
    if (!ok) {
        vms_prefix(error, "snapshot %.8s", stored->hex);
        return NULL;
    }
    result->duration_us = g_get_monotonic_time() - begin;
    return g_steal_pointer(&result);
}
