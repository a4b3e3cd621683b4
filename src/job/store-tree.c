/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/store-tree.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "job/inputs.h"
#include "job/store-disk.h"
#include "repo/tree.h"

#include <string.h>

typedef struct {
    VmsContext *context;
    const VmsRecord *record;
    VmsManifest *manifest;
    const VmsStoreTreeOptions *options;
    VmsRate *read_rate; /* nullable */
    VmsRepoWriter *writer;
    VmsStoredTree *stored;
    VmsInput *memory; /* nullable */
    uint64_t done;    /* bytes of finished inputs */
} Storing;

static bool store_memory_input(Storing *s, VmsTreeBuilder *parent, GError **error)
{
    const char *item = "memory";
    VmsInput *input = s->memory;
    uint64_t zero = 0;
    VmsPipelineOptions options = {
        .writer = s->writer,
        .progress = s->context->progress,
        .item = item,
        .chunk_size = VMS_CHUNK_SIZE,
        .workers = s->options->transfer->threads,
        .read_rate = s->read_rate,
        .read_us = &s->stored->read_us,
        .progress_before = s->done,
        .progress_total = s->stored->bytes_total,
        .cancellable = s->context->cancellable,
    };
    g_autoptr(VmsContent) content = vms_pipeline_run(input, &options, &zero, error);
    if (!content)
        return false;
    g_autoptr(VmsTreeBuilder) folder = vms_tree_builder_new(s->record->created_us);
    VmsId subtree;
    vms_tree_builder_add_file(folder, "memory.save", input->size, content);
    if (!vms_tree_builder_save(folder, s->writer, &subtree, error))
        return false;
    vms_tree_builder_add_dir(parent, item, &subtree);
    s->done += input->size;
    s->stored->bytes_zero += zero;
    return true;
}

static bool store_disk(Storing *s, const VmsRecordDisk *disk, VmsTreeBuilder *parent,
                       GError **error)
{
    VmsStoreDisk store = {
        .context = s->context,
        .record = s->record,
        .scope = s->options->scope,
        .manifest = s->manifest,
        .repo = s->options->repo,
        .writer = s->options->writer,
        .transfer = s->options->transfer,
        .read_rate = s->read_rate,
        .read_us = &s->stored->read_us,
        .progress_before = s->done,
        .progress_total = s->stored->bytes_total,
    };
    uint64_t zero = 0;
    VmsId subtree;
    if (!vms_store_disk(&store, disk, &subtree, &zero, error))
        return false;
    vms_tree_builder_add_dir(parent, disk->target, &subtree);
    s->done += disk->capacity;
    s->stored->bytes_zero += zero;
    return true;
}

static bool has_note(const GPtrArray *notes, const char *code)
{
    for (guint i = 0; i < notes->len; i++)
        if (g_str_equal(((const VmsNote *)notes->pdata[i])->code, code))
            return true;
    return false;
}

static void note_stream(VmsManifest *manifest, const char *reason)
{
    g_autofree char *text =
        g_strdup_printf("memory is stored as QEMU wrote it, which deduplicates badly: %s", reason);
    if (!has_note(manifest->notes, "memory-stream")) /* a second export has it from the first */
        vms_notes_add(manifest->notes, "memory-stream", text);
}

/* Before anything is stored, so that it is known how much there will be. */
static bool open_memory(Storing *s, GError **error)
{
    g_autofree char *reason = NULL;
    const VmsRecord *record = s->record;
    if (!record->memory_path)
        return true;
    if (!vms_input_check_memory(record, error) ||
        !(s->memory = vms_input_memory(record->memory_path, s->context, &s->manifest->memory_layout,
                                       &reason, error)))
        return vms_prefix(error, "memory");
    if (reason)
        note_stream(s->manifest, reason);
    s->manifest->memory_size = s->memory->size;
    s->stored->bytes_total += s->memory->size;
    return true;
}

static bool store_memory(Storing *s, VmsTreeBuilder *parent, GError **error)
{
    return !s->memory || store_memory_input(s, parent, error) || vms_prefix(error, "memory");
}

static bool store_nvram(Storing *s, VmsTreeBuilder *parent, GError **error)
{
    g_autofree char *data = NULL;
    size_t len = 0;
    if (!s->record->nvram)
        return true;
    if (!g_file_get_contents(s->record->nvram, &data, &len, error)) {
        vms_convert(error);
        return vms_prefix(error, "UEFI variables");
    }
    s->manifest->nvram = true;
    return vms_tree_builder_add_bytes(parent, s->writer, "nvram.fd", data, len, error);
}

static bool add_tpm_files(Storing *s, GDir *dir, VmsTreeBuilder *folder, GError **error)
{
    for (const char *name; (name = g_dir_read_name(dir));) {
        g_autofree char *path = g_build_filename(s->record->tpm, name, NULL);
        g_autofree char *data = NULL;
        size_t len = 0;
        if (!g_file_get_contents(path, &data, &len, error))
            return vms_convert(error);
        if (!vms_tree_builder_add_bytes(folder, s->writer, name, data, len, error))
            return false;
    }
    return true;
}

static bool store_tpm(Storing *s, VmsTreeBuilder *parent, GError **error)
{
    VmsId subtree;
    if (!s->record->tpm)
        return true;
    g_autoptr(GDir) dir = g_dir_open(s->record->tpm, 0, error);
    g_autoptr(VmsTreeBuilder) folder = vms_tree_builder_new(s->record->created_us);
    if (!dir)
        vms_convert(error);
    if (!dir || !add_tpm_files(s, dir, folder, error) ||
        !vms_tree_builder_save(folder, s->writer, &subtree, error))
        return vms_prefix(error, "TPM state");
    vms_tree_builder_add_dir(parent, "tpm", &subtree);
    s->manifest->tpm = true;
    return true;
}

/* Why a disk was read in full: the first of them speaks for the snapshot. */
void vms_store_tree_full_reason(VmsManifest *manifest)
{
    for (guint i = 0; i < manifest->disks->len && !manifest->full_reason; i++)
        manifest->full_reason =
            g_strdup(((const VmsManifestDisk *)manifest->disks->pdata[i])->tracking.full_reason);
}

static bool store_all(Storing *s, VmsTreeBuilder *folder, GError **error)
{
    const VmsRecord *record = s->record;
    for (guint i = 0; i < record->disks->len; i++) {
        const VmsRecordDisk *disk = record->disks->pdata[i];
        if (!store_disk(s, disk, folder, error))
            return vms_prefix(error, "disk %s", disk->target);
        vms_failpoint("export.disk-stored");
    }
    vms_store_tree_full_reason(s->manifest);
    if (!store_memory(s, folder, error) || !store_nvram(s, folder, error) ||
        !store_tpm(s, folder, error) ||
        !vms_tree_builder_add_bytes(folder, s->writer, "domain.xml", record->domain_xml,
                                    strlen(record->domain_xml), error))
        return false;
    vms_failpoint("export.files-stored");
    g_autofree char *json = vms_manifest_to_json(s->manifest);
    return vms_tree_builder_add_bytes(folder, s->writer, "vmsnap.json", json, strlen(json), error);
}

bool vms_store_tree(VmsContext *context, const VmsRecord *record, VmsManifest *manifest,
                    const VmsStoreTreeOptions *options, VmsStoredTree *ret_stored, GError **error)
{
    VmsRepoWriter *writer = options->writer;
    *ret_stored = (VmsStoredTree){0};
    for (guint i = 0; i < record->disks->len; i++)
        ret_stored->bytes_total += ((const VmsRecordDisk *)record->disks->pdata[i])->capacity;
    uint64_t limit = options->transfer->limit_read;
    g_autoptr(VmsRate) rate = limit > 0 ? vms_rate_new(limit) : NULL;
    Storing s = {
        .context = context,
        .record = record,
        .manifest = manifest,
        .options = options,
        .read_rate = rate,
        .writer = writer,
        .stored = ret_stored,
    };
    g_autoptr(VmsTreeBuilder) folder = vms_tree_builder_new(record->created_us);
    g_autoptr(VmsTreeBuilder) root = vms_tree_builder_new(record->created_us);
    VmsId subtree;
    bool ok = open_memory(&s, error) && store_all(&s, folder, error);
    vms_input_free(s.memory);
    if (!ok || !vms_tree_builder_save(folder, writer, &subtree, error))
        return false;
    vms_tree_builder_add_dir(root, record->domain, &subtree);
    return vms_tree_builder_save(root, writer, &ret_stored->tree, error);
}
