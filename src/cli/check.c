/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/check.h"

#include "base/text.h"
#include "cli/commands.h"
#include "cli/create.h"
#include "cli/render.h"
#include "cli/table.h"

static VmsCreateWords words;

static const GOptionEntry options[] = {
    {"memory", 0, 0, G_OPTION_ARG_FILENAME, &words.memory,
     "as for create: auto (default), cow, live, none", "ENGINE"},
    {"quiesce", 0, 0, G_OPTION_ARG_FILENAME, &words.quiesce,
     "as for create: auto (default), require, off", "MODE"},
    G_OPTION_ENTRY_NULL,
};

static void write_findings(VmsJsonWriter *out, const VmsCheck *check)
{
    vms_json_writer_key(out, "findings");
    vms_json_writer_begin_array(out);
    for (guint i = 0; i < check->findings->len; i++) {
        const VmsFinding *finding = check->findings->pdata[i];
        vms_json_writer_begin_object(out);
        vms_json_writer_member_string(out, "code", finding->code);
        vms_json_writer_member_string(out, "severity", vms_check_severity_name(finding->severity));
        vms_json_writer_member_string(out, "disk", finding->target);
        vms_json_writer_member_string(out, "text", finding->sentence);
        vms_json_writer_member_string(out, "remedy", finding->remedy);
        vms_json_writer_end_object(out);
    }
    vms_json_writer_end_array(out);
}

static void write_disks(VmsJsonWriter *out, const VmsCheckResult *result)
{
    const VmsCheck *check = result->findings;
    vms_json_writer_key(out, "disks");
    vms_json_writer_begin_array(out);
    for (guint i = 0; i < check->disks->len; i++) {
        const VmsCheckDisk *disk = check->disks->pdata[i];
        vms_json_writer_begin_object(out);
        vms_json_writer_member_string(out, "target", disk->target);
        vms_json_writer_member_string(out, "image", disk->base);
        vms_json_writer_member_string(out, "format", disk->base_format);
        vms_json_writer_member_uint64(out, "virtual_size", disk->capacity);
        vms_json_writer_member_string(out, "overlay_directory", disk->overlay_dir);
        vms_json_writer_member_string(
            out, "tracking", vms_outlook_name(g_array_index(result->outlooks, VmsOutlook, i)));
        vms_json_writer_end_object(out);
    }
    vms_json_writer_end_array(out);
}

static void write_waiting(VmsJsonWriter *out, const VmsCheckResult *result)
{
    vms_json_writer_key(out, "waiting");
    vms_json_writer_begin_array(out);
    for (guint i = 0; i < result->waiting->len; i++) {
        const VmsRecord *record = result->waiting->pdata[i];
        vms_json_writer_begin_object(out);
        vms_json_writer_member_string(out, "id", record->id);
        vms_json_writer_member_string(out, "status", vms_status_name(record->status));
        vms_render_growth_json(out, record);
        vms_json_writer_end_object(out);
    }
    vms_json_writer_end_array(out);
}

static char *to_json(const VmsCheckResult *result)
{
    const VmsCheck *check = result->findings;
    g_autoptr(VmsJsonWriter) out = vms_json_writer_new(true);
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "schema", "vmsnap.check.v1");
    vms_json_writer_key(out, "domain");
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "name", result->domain);
    vms_json_writer_member_string(out, "uuid", result->uuid);
    vms_json_writer_member_bool(out, "active", result->active);
    vms_json_writer_end_object(out);
    vms_json_writer_member_bool(out, "possible", !check->refused);
    vms_json_writer_member_bool(out, "memory", check->engine != VMS_CHECK_ENGINE_NONE);
    vms_json_writer_member_string(out, "engine", vms_check_engine_name(check->engine));
    vms_json_writer_member_bool(out, "quiesce", check->quiesce);
    vms_json_writer_member_uint64(out, "memory_need", check->memory_need);
    vms_json_writer_member_uint64(out, "overlay_need", check->overlay_need);
    write_disks(out, result);
    write_findings(out, check);
    write_waiting(out, result);
    vms_json_writer_end_object(out);
    return vms_json_writer_finish(out);
}

static void append_disks(GString *out, const VmsCheckResult *result)
{
    const VmsCheck *check = result->findings;
    static const char *const headings[] = {"disk",       ">size",    "image",
                                           "overlay in", "tracking", NULL};
    g_autoptr(VmsTable) table = vms_table_new(headings);
    for (guint i = 0; i < check->disks->len; i++) {
        const VmsCheckDisk *disk = check->disks->pdata[i];
        g_autofree char *size = vms_text_size(disk->capacity);
        const char *cells[] = {disk->target, size, disk->base, disk->overlay_dir,
                               vms_outlook_name(g_array_index(result->outlooks, VmsOutlook, i))};
        vms_table_add(table, cells);
    }
    vms_table_append(table, "  ", out);
}

static void append_findings(GString *out, const VmsCheck *check)
{
    for (guint i = 0; i < check->findings->len; i++) {
        const VmsFinding *finding = check->findings->pdata[i];
        g_autofree char *sentence = vms_table_plain(finding->sentence);
        g_string_append_printf(out, "  %s%s%s: %s (%s)\n",
                               vms_check_severity_name(finding->severity),
                               finding->target ? ", disk " : "",
                               finding->target ? finding->target : "", sentence, finding->code);
        if (finding->remedy)
            g_string_append_printf(out, "    %s\n", finding->remedy);
    }
}

static char *to_text(const VmsCheckResult *result)
{
    const VmsCheck *check = result->findings;
    g_autofree char *memory = vms_text_size(check->memory_need);
    g_autofree char *overlays = vms_text_size(check->overlay_need);
    GString *out = g_string_new(NULL);
    g_string_append_printf(out, "%s (%s) ", result->domain,
                           result->active ? "running" : "shut off");
    if (check->refused)
        g_string_append(out, "cannot be snapshotted like this\n");
    else
        g_string_append_printf(out, "can be snapshotted: %s%u disk%s at one instant%s\n",
                               check->engine == VMS_CHECK_ENGINE_NONE ? "" : "memory and ",
                               check->disks->len, check->disks->len == 1 ? "" : "s",
                               check->quiesce ? ", file systems frozen" : "");
    append_disks(out, result);
    g_string_append_printf(out, "  space wanted here: %s for overlays", overlays);
    if (check->engine != VMS_CHECK_ENGINE_NONE)
        g_string_append_printf(out, ", at most %s for memory; engine %s", memory,
                               vms_check_engine_name(check->engine));
    g_string_append_c(out, '\n');
    for (guint i = 0; i < result->waiting->len; i++)
        vms_render_growth_text(out, result->waiting->pdata[i], 0);
    append_findings(out, check);
    if (!check->refused)
        g_string_append_printf(out, "\nNext:\n  vmsnap create %s --memory=%s\n", result->domain,
                               vms_check_engine_name(check->engine));
    return g_string_free(out, FALSE);
}

static bool run(VmsInvocation *invocation, GError **error)
{
    VmsCreateOptions create_options;
    if (!vms_create_read(&words, &create_options, error))
        return false;
    g_autoptr(VmsCheckResult) result =
        vms_check(invocation->context, invocation->arguments[0], &create_options, error);
    if (!result)
        return false;
    g_autofree char *text = invocation->json ? to_json(result) : to_text(result);
    if (!vms_command_print(text, error))
        return false;
    /* The refusal is the answer that was asked for; the status says it to scripts. */
    g_autoptr(GError) refusal = NULL;
    if (result->findings->refused && !vms_check_fail(result->findings, &refusal))
        invocation->exit_status = vms_error_exit_status(refusal);
    return true;
}

const VmsCommand vms_check_command = {
    .name = "check",
    .arguments = "DOMAIN",
    .summary = "Can it be snapshotted? what would happen? why not?",
    .description =
        "Changes nothing. Exit status 3 where create would refuse, 9 where only space is "
        "missing.",
    .options = options,
    .min_arguments = 1,
    .max_arguments = 1,
    .run = run,
};
