/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/listing.h"

#include "base/text.h"
#include "cli/commands.h"
#include "cli/render.h"
#include "cli/table.h"
#include "job/growth.h"

static struct {
    char *from;
    gboolean all;
} words;

static const GOptionEntry options[] = {
    {"from", 0, 0, G_OPTION_ARG_FILENAME, &words.from,
     "what is in this repository (name, URL or path) instead of on this host", "REPOSITORY"},
    {"all", 'a', 0, G_OPTION_ARG_NONE, &words.all,
     "also those of which nothing is left on this host", NULL},
    G_OPTION_ENTRY_NULL,
};

static char *to_json(const GPtrArray *snapshots, bool stored)
{
    g_autoptr(VmsJsonWriter) out = vms_json_writer_new(true);
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "schema", "vmsnap.list.v1");
    vms_json_writer_member_string(out, "where", stored ? "repository" : "host");
    vms_json_writer_key(out, "snapshots");
    vms_json_writer_begin_array(out);
    for (guint i = 0; i < snapshots->len; i++) {
        if (stored)
            vms_render_manifest_json(out, snapshots->pdata[i]);
        else
            vms_render_record_json(out, snapshots->pdata[i]);
    }
    vms_json_writer_end_array(out);
    vms_json_writer_end_object(out);
    return vms_json_writer_finish(out);
}

static char *records_text(const GPtrArray *records)
{
    static const char *const headings[] = {"id",         "domain", "time",       "status",
                                           "content",    ">disks", ">disk size", ">overlays",
                                           "repository", NULL};
    GString *out = g_string_new(NULL);
    g_autoptr(VmsTable) table = vms_table_new(headings);
    for (guint i = 0; i < records->len; i++) {
        const VmsRecord *record = records->pdata[i];
        uint64_t bytes = 0;
        for (guint d = 0; d < record->disks->len; d++)
            bytes += ((const VmsRecordDisk *)record->disks->pdata[d])->capacity;
        g_autofree char *time = vms_table_time(record->created_us);
        g_autofree char *disks = g_strdup_printf("%u", record->disks->len);
        g_autofree char *size = vms_text_size(bytes);
        g_autofree char *overlays = vms_render_growth_cell(record);
        const char *cells[] = {record->id,
                               record->domain,
                               time,
                               vms_status_name(record->status),
                               vms_consistency_name(record->consistency),
                               disks,
                               size,
                               overlays,
                               record->repository};
        vms_table_add(table, cells);
    }
    vms_table_append(table, "", out);
    for (guint i = 0; i < records->len; i++)
        vms_render_growth_text(out, records->pdata[i], VMS_GROWTH_WARN);
    if (records->len == 0)
        g_string_append(
            out, words.all ? "No snapshot has been taken on this host.\n"
                           : "No snapshot is waiting on this host. \"vmsnap list --all\" shows "
                             "finished ones too, \"vmsnap list --from REPOSITORY\" what is "
                             "stored.\n");
    return g_string_free(out, FALSE);
}

static char *manifests_text(const GPtrArray *manifests)
{
    static const char *const headings[] = {"snapshot",   "domain",  "time", "content", ">disks",
                                           ">disk size", ">memory", "host", NULL};
    GString *out = g_string_new(NULL);
    g_autoptr(VmsTable) table = vms_table_new(headings);
    for (guint i = 0; i < manifests->len; i++) {
        const VmsManifest *manifest = manifests->pdata[i];
        uint64_t bytes = 0;
        for (guint d = 0; d < manifest->disks->len; d++)
            bytes += ((const VmsManifestDisk *)manifest->disks->pdata[d])->size;
        g_autofree char *hex = vms_text_hex(manifest->repository_id.bytes, 4);
        g_autofree char *time = vms_table_time(manifest->time_us);
        g_autofree char *disks = g_strdup_printf("%u", manifest->disks->len);
        g_autofree char *size = vms_text_size(bytes);
        g_autofree char *memory =
            manifest->memory_size ? vms_text_size(manifest->memory_size) : NULL;
        const char *cells[] = {hex,    manifest->domain,
                               time,   vms_consistency_name(manifest->consistency),
                               disks,  size,
                               memory, manifest->host};
        vms_table_add(table, cells);
    }
    vms_table_append(table, "", out);
    if (manifests->len == 0)
        g_string_append(out, "No such snapshot in this repository.\n");
    return g_string_free(out, FALSE);
}

static bool run(VmsInvocation *invocation, GError **error)
{
    VmsContext *context = invocation->context;
    const char *domain = invocation->arguments[0];
    g_autoptr(GPtrArray) snapshots =
        words.from ? vms_listing_repository(context, words.from, domain, error)
                   : vms_listing_local(context, domain, words.all, error);
    if (!snapshots)
        return false;
    g_autofree char *text = NULL;
    if (invocation->json)
        text = to_json(snapshots, words.from != NULL);
    else
        text = words.from ? manifests_text(snapshots) : records_text(snapshots);
    return vms_command_print(text, error);
}

const VmsCommand vms_list_command = {
    .name = "list",
    .arguments = "[DOMAIN]",
    .summary = "Show the snapshots on this host, or in a repository",
    .description = "Without --from: snapshots that still have overlays here. It needs no libvirt.",
    .options = options,
    .min_arguments = 0,
    .max_arguments = 1,
    .run = run,
};
