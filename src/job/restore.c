/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Order: plan (every refusal comes here), disks into partial files that get their names one by one
 * when all of them are whole, UEFI variables, definition, memory, thaw. What was made is listed in
 * `made` as it is made, and undone from there on any error or Ctrl-C. */
#include "job/restore.h"

#include "base/durable.h"
#include "base/error.h"
#include "block/sink.h"
#include "job/fetch.h"
#include "job/memory-restore.h"
#include "job/plain-memory.h"
#include "job/plain-name.h"
#include "job/record.h"
#include "job/restore-plan.h"
#include "job/restore-tpm.h"
#include "job/stored.h"
#include "virt/define.h"
#include "virt/quiesce.h"

#include <stdio.h>
#include <unistd.h>

#define AGENT_TIMEOUT_S 20 /* its channel is connected anew */

typedef struct {
    VmsContext *context;
    const VmsRestoreOptions *options;
    VmsStored *stored;
    VmsRestorePlan *plan;
    VmsRestoreResult *result;
    GPtrArray *sinks;    /* of VmsSink*, one per planned disk */
    GPtrArray *made;     /* of char*: files and directories under their final names */
    virDomainPtr domain; /* defined by us; nullable */
    uint64_t done;       /* bytes of finished files */
    VmsMemoryRestore memory;
    bool keep_tpm; /* a TPM state was there that is not of this snapshot */
} Restore;

static void disk_free(void *data)
{
    VmsRestoredDisk *disk = data;
    g_free(disk->target);
    g_free(disk->path);
    g_free(disk->format);
    g_free(disk);
}

void vms_restore_result_free(VmsRestoreResult *result)
{
    if (!result)
        return;
    g_free(result->snapshot);
    g_free(result->domain);
    g_free(result->uuid);
    g_ptr_array_unref(result->disks);
    g_ptr_array_unref(result->notes);
    g_free(result);
}

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
    if (!vms_plain_chain_restore(disk->chain, &options, dir, sink, error))
        return false;
    r->result->bytes_fetched += bytes;
    r->done += bytes;
    return true;
}

static bool restore_disk(Restore *r, const VmsPlannedDisk *disk, GError **error)
{
    VmsFetchOptions options = fetch_options(r, disk->disk->target);
    VmsFetchStats stats;
    VmsSink *sink = vms_sink_create(disk->path, disk->format, disk->disk->size, false,
                                    r->context->cancellable, error);
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

static void add_result_disk(Restore *r, const VmsPlannedDisk *disk)
{
    VmsRestoredDisk *restored = g_new0(VmsRestoredDisk, 1);
    restored->target = g_strdup(disk->disk->target);
    restored->path = g_strdup(disk->path);
    restored->format = g_strdup(disk->format);
    restored->size = disk->disk->size;
    g_ptr_array_add(r->result->disks, restored);
}

static bool restore_disks(Restore *r, GError **error)
{
    GPtrArray *disks = r->plan->disks;
    for (guint i = 0; i < disks->len; i++) {
        const VmsPlannedDisk *disk = disks->pdata[i];
        if (!restore_disk(r, disk, error))
            return vms_prefix(error, "disk %s", disk->disk->target);
    }
    for (guint i = 0; i < disks->len; i++) {
        const VmsPlannedDisk *disk = disks->pdata[i];
        if (!vms_sink_finish(r->sinks->pdata[i], error))
            return vms_prefix(error, "disk %s", disk->disk->target);
        g_ptr_array_add(r->made, g_strdup(disk->path));
        add_result_disk(r, disk);
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
    size_t len;
    const void *data = g_bytes_get_data(bytes, &len);
    if (!vms_durable_create(plan->nvram_path, data, len, 0600, error))
        return vms_prefix(error, "UEFI variables");
    g_ptr_array_add(r->made, g_strdup(plan->nvram_path));
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

static bool restore_tpm(Restore *r, const char *xml, GError **error)
{
    VmsRestoreTpm restore = {r->context, r->stored, xml};
    if (r->plan->manifest->tpm)
        return vms_restore_tpm(&restore, r->made, error) || vms_prefix(error, "TPM state");
    r->keep_tpm = vms_restore_tpm_exists(xml);
    return true;
}

static bool define(Restore *r, GError **error)
{
    VmsConn *conn = vms_context_conn(r->context, error);
    g_autofree char *xml = conn ? rewrite(r, r->plan->xml, error) : NULL;
    if (!xml || !vms_check_cancelled(r->context->cancellable, error) || !restore_tpm(r, xml, error))
        return false;
    r->domain = vms_define_domain(conn, xml, false, error);
    if (!r->domain)
        return false;
    r->result->domain = g_strdup(r->plan->domain);
    r->result->uuid = vms_define_uuid(xml, error);
    return r->result->uuid != NULL;
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
    bool ok =
        vms_plain_memory_write(&options, object, plan->memory_file, plan->memory_path, memory_xml,
                               r, error) &&
        vms_check_cancelled(r->context->cancellable, error) &&
        vms_define_restore_memory(r->context->conn, plan->memory_path, r->options->paused, error);
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
    thaw(r);
    return true;
}

static bool start(Restore *r, GError **error)
{
    if (!r->options->start && !r->options->paused)
        return true;
    unsigned flags = r->options->paused ? VIR_DOMAIN_START_PAUSED : 0;
    if (virDomainCreateWithFlags(r->domain, flags) < 0)
        return vms_virt_fail(error, "starting %s", r->plan->domain);
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

static void undo(Restore *r)
{
    if (r->domain) {
        virDomainDestroy(r->domain); /* fails where it never started */
        virDomainUndefineFlags(r->domain, VIR_DOMAIN_UNDEFINE_KEEP_NVRAM |
                                              (r->keep_tpm ? VIR_DOMAIN_UNDEFINE_KEEP_TPM : 0u));
    }
    for (guint i = r->made->len; i-- > 0;)
        remove(r->made->pdata[i]); /* directories too, once they are empty */
}

static VmsRestoreResult *result_new(const VmsStored *stored)
{
    VmsRestoreResult *result = g_new0(VmsRestoreResult, 1);
    result->snapshot = g_strdup(stored->hex);
    result->disks = g_ptr_array_new_with_free_func(disk_free);
    result->notes = vms_notes_new();
    return result;
}

VmsRestoreResult *vms_restore(VmsContext *context, const VmsRestoreOptions *options, GError **error)
{
    int64_t begin = g_get_monotonic_time();
    g_autoptr(VmsStored) stored =
        vms_stored_open(context, options->repository, options->snapshot, error);
    if (!stored)
        return NULL;
    g_autoptr(VmsRestorePlan) plan = vms_restore_plan(context, stored, options, error);
    if (!plan)
        return NULL;
    g_autoptr(VmsRestoreResult) result = result_new(stored);
    Restore r = {
        .context = context, .options = options, .stored = stored, .plan = plan, .result = result};
    r.sinks = g_ptr_array_new_with_free_func((GDestroyNotify)vms_sink_free);
    r.made = g_ptr_array_new_with_free_func(g_free);
    bool ok = run(&r, error);
    if (!ok)
        undo(&r);
    g_ptr_array_unref(r.sinks);
    g_ptr_array_unref(r.made);
    if (r.domain)
        virDomainFree(r.domain);
    if (!ok) {
        vms_prefix(error, "snapshot %.8s", stored->hex);
        return NULL;
    }
    result->duration_us = g_get_monotonic_time() - begin;
    return g_steal_pointer(&result);
}
