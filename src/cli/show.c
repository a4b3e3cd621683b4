/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/listing.h"

#include "base/text.h"
#include "cli/commands.h"
#include "cli/render.h"
#include "cli/table.h"

static struct {
    char *from;
} words;

static const GOptionEntry options[] = {
    {"from", 0, 0, G_OPTION_ARG_FILENAME, &words.from,
     "the one in this repository (name, URL or path)", "REPOSITORY"},
    G_OPTION_ENTRY_NULL,
};

static char *record_text(const VmsRecord *record)
{
    GString *out = g_string_new(NULL);
    g_autofree char *time = vms_table_time(record->created_us);
    g_autofree char *what =
        vms_render_what(record->consistency, record->disks->len, record->frozen_filesystems);
    g_string_append_printf(out, "%s: snapshot %s of %s: %s\n  %s\n", record->domain, record->id,
                           time, vms_status_name(record->status), what);
    if (record->reason) {
        g_autofree char *reason = vms_table_plain(record->reason);
        g_string_append_printf(out, "  reason: %s\n", reason);
    }
    if (record->repository_snapshot)
        g_string_append_printf(out, "  stored in %s as %s\n", record->repository,
                               record->repository_snapshot);
    vms_render_record_text(out, record);
    vms_render_growth_text(out, record, 0);
    vms_render_notes_text(out, record->notes);
    return g_string_free(out, FALSE);
}

static char *manifest_text(const VmsManifest *manifest)
{
    GString *out = g_string_new(NULL);
    g_autofree char *hex =
        vms_text_hex(manifest->repository_id.bytes, sizeof manifest->repository_id.bytes);
    g_autofree char *time = vms_table_time(manifest->time_us);
    g_autofree char *domain = vms_table_plain(manifest->domain);
    g_autofree char *host = vms_table_plain(manifest->host);
    g_autofree char *what =
        vms_render_what(manifest->consistency, manifest->disks->len, manifest->frozen_filesystems);
    g_string_append_printf(out, "%s: snapshot %s\n  taken at %s on host %s (there: %s)\n  %s\n",
                           domain, hex, time, host, manifest->id, what);
    vms_render_manifest_text(out, manifest);
    g_string_append_printf(out, "  taken by vmsnap %s, libvirt %s, QEMU %s\n",
                           manifest->version_vmsnap,
                           manifest->version_libvirt ? manifest->version_libvirt : "?",
                           manifest->version_qemu ? manifest->version_qemu : "?");
    vms_render_notes_text(out, manifest->notes);
    return g_string_free(out, FALSE);
}

static char *to_json(const VmsRecord *record, const VmsManifest *manifest)
{
    g_autoptr(VmsJsonWriter) out = vms_json_writer_new(true);
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "schema", "vmsnap.show.v1");
    vms_json_writer_member_string(out, "where", record ? "host" : "repository");
    vms_json_writer_key(out, "snapshot");
    if (record)
        vms_render_record_json(out, record);
    else
        vms_render_manifest_json(out, manifest);
    vms_json_writer_end_object(out);
    return vms_json_writer_finish(out);
}

static bool run(VmsInvocation *invocation, GError **error)
{
    const char *id = invocation->arguments[0];
    g_autoptr(VmsRecord) record = NULL;
    g_autoptr(VmsManifest) manifest = NULL;
    if (words.from)
        manifest = vms_listing_find_repository(invocation->context, words.from, id, error);
    else
        record = vms_listing_find(invocation->context, id, error);
    if (!record && !manifest)
        return false;
    g_autofree char *text = NULL;
    if (invocation->json)
        text = to_json(record, manifest);
    else
        text = record ? record_text(record) : manifest_text(manifest);
    return vms_command_print(text, error);
}

const VmsCommand vms_show_command = {
    .name = "show",
    .arguments = "SNAPSHOT",
    .summary = "Everything about one snapshot",
    .description =
        "SNAPSHOT is the begin of an id, four digits or more; with --from also \"latest\".",
    .options = options,
    .min_arguments = 1,
    .max_arguments = 1,
    .run = run,
};
