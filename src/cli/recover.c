/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/recover.h"

#include "cli/commands.h"
#include "cli/render.h"
#include "cli/table.h"

static struct {
    gboolean dry_run;
} words;

static const GOptionEntry options[] = {
    {"dry-run", 'n', 0, G_OPTION_ARG_NONE, &words.dry_run, "only say what would be done", NULL},
    G_OPTION_ENTRY_NULL,
};

static void error_json(VmsJsonWriter *out, const GError *error)
{
    vms_json_writer_key(out, "error");
    if (error) {
        vms_json_writer_begin_object(out);
        vms_json_writer_member_string(out, "code", vms_error_name(error));
        vms_json_writer_member_string(out, "message", error->message);
        vms_json_writer_end_object(out);
    } else {
        vms_json_writer_null(out);
    }
}

static void domain_json(VmsJsonWriter *out, const VmsRestoreRecord *record)
{
    vms_json_writer_key(out, "domain");
    if (record->domain) {
        vms_json_writer_begin_object(out);
        vms_json_writer_member_string(out, "name", record->domain);
        vms_json_writer_member_string(out, "uuid", record->uuid);
        vms_json_writer_end_object(out);
    } else {
        vms_json_writer_null(out);
    }
}

static void restore_json(VmsJsonWriter *out, const VmsRecoverRestore *entry)
{
    const VmsRestoreRecord *record = entry->record;
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "id", record->id);
    vms_json_writer_member_string(out, "action", vms_recover_restore_action_name(entry->action));
    vms_json_writer_member_string(out, "text", entry->sentence);
    error_json(out, entry->error);
    vms_json_writer_member_string(out, "repository", record->repository);
    vms_json_writer_member_string(out, "snapshot", record->snapshot);
    domain_json(out, record);
    vms_json_writer_key(out, "files");
    vms_json_writer_begin_array(out);
    for (guint i = 0; i < record->made->len; i++) {
        const VmsMade *made = record->made->pdata[i];
        vms_json_writer_begin_object(out);
        vms_json_writer_member_string(out, "kind", vms_made_kind_name(made->kind));
        vms_json_writer_member_string(out, "path", made->path);
        vms_json_writer_end_object(out);
    }
    vms_json_writer_end_array(out);
    vms_json_writer_end_object(out);
}

static void entry_json(VmsJsonWriter *out, const VmsRecoverEntry *entry)
{
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "found", vms_status_name(entry->found));
    vms_json_writer_member_string(out, "action", vms_recover_action_name(entry->action));
    vms_json_writer_member_string(out, "text", entry->sentence);
    error_json(out, entry->error);
    vms_json_writer_key(out, "snapshot");
    vms_render_record_json(out, entry->record);
    vms_json_writer_end_object(out);
}

static void guest_json(VmsJsonWriter *out, const VmsRecoverGuest *entry)
{
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "domain", entry->domain);
    vms_json_writer_member_string(out, "uuid", entry->uuid);
    vms_json_writer_member_string(out, "text", entry->sentence);
    error_json(out, entry->error);
    vms_json_writer_end_object(out);
}

static char *to_json(const VmsRecoverResult *result)
{
    g_autoptr(VmsJsonWriter) out = vms_json_writer_new(true);
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "schema", "vmsnap.recover.v1");
    vms_json_writer_member_bool(out, "dry_run", result->dry_run);
    vms_json_writer_member_uint64(out, "recovered", result->recovered);
    vms_json_writer_member_uint64(out, "failed", result->failed);
    vms_json_writer_member_uint64(out, "waiting", result->waiting);
    vms_json_writer_key(out, "snapshots");
    vms_json_writer_begin_array(out);
    for (guint i = 0; i < result->entries->len; i++)
        entry_json(out, result->entries->pdata[i]);
    vms_json_writer_end_array(out);
    vms_json_writer_key(out, "restores");
    vms_json_writer_begin_array(out);
    for (guint i = 0; i < result->restores->len; i++)
        restore_json(out, result->restores->pdata[i]);
    vms_json_writer_end_array(out);
    vms_json_writer_key(out, "guests");
    vms_json_writer_begin_array(out);
    for (guint i = 0; i < result->guests->len; i++)
        guest_json(out, result->guests->pdata[i]);
    vms_json_writer_end_array(out);
    vms_json_writer_end_object(out);
    return vms_json_writer_finish(out);
}

static void append_entry(GString *out, const VmsRecoverEntry *entry)
{
    const VmsRecord *record = entry->record;
    g_autofree char *sentence = vms_table_plain(entry->sentence);
    g_string_append_printf(out, "%s: snapshot %s (%s) %s\n", record->domain, record->id,
                           vms_status_name(entry->found), sentence);
    if (entry->error) {
        g_autofree char *message = vms_table_plain(entry->error->message);
        g_string_append_printf(out, "  NOT DONE: %s\n", message);
    } else if (record->status != entry->found) {
        g_string_append_printf(out, "  done: it is %s now\n", vms_status_name(record->status));
    }
    if (!entry->error && entry->action != VMS_RECOVER_NONE && entry->action != VMS_RECOVER_RELEASE)
        vms_render_notes_text(out, record->notes);
}

static void append_restore(GString *out, const VmsRecoverRestore *entry)
{
    const VmsRestoreRecord *record = entry->record;
    g_autofree char *sentence = vms_table_plain(entry->sentence);
    g_string_append_printf(out, "%s%srestore of snapshot %.8s %s\n",
                           record->domain ? record->domain : "", record->domain ? ": " : "",
                           record->snapshot, sentence);
    if (entry->error) {
        g_autofree char *message = vms_table_plain(entry->error->message);
        g_string_append_printf(out, "  NOT DONE: %s\n", message);
    }
}

static void append_guest(GString *out, const VmsRecoverGuest *entry)
{
    g_string_append_printf(out, "%s: %s\n", entry->domain, entry->sentence);
    if (entry->error) {
        g_autofree char *message = vms_table_plain(entry->error->message);
        g_string_append_printf(out, "  NOT DONE: %s\n", message);
    }
}

static char *to_text(const VmsRecoverResult *result)
{
    GString *out = g_string_new(NULL);
    for (guint i = 0; i < result->guests->len; i++)
        append_guest(out, result->guests->pdata[i]);
    for (guint i = 0; i < result->restores->len; i++)
        append_restore(out, result->restores->pdata[i]);
    for (guint i = 0; i < result->entries->len; i++)
        append_entry(out, result->entries->pdata[i]);
    if (result->recovered == 0 && result->failed == 0)
        g_string_append(out, "nothing to recover\n");
    else
        g_string_append_printf(out, "%u %s, %u failed\n", result->recovered,
                               result->dry_run ? "would be recovered" : "recovered",
                               result->failed);
    return g_string_free(out, FALSE);
}

static bool run(VmsInvocation *invocation, GError **error)
{
    g_autoptr(VmsRecoverResult) result =
        vms_recover(invocation->context, invocation->arguments, words.dry_run, error);
    if (!result)
        return false;
    g_autofree char *text = invocation->json ? to_json(result) : to_text(result);
    if (!vms_command_print(text, error))
        return false;
    for (guint i = 0; i < result->guests->len && invocation->exit_status == 0; i++) {
        const VmsRecoverGuest *entry = result->guests->pdata[i];
        invocation->exit_status = vms_error_exit_status(entry->error);
    }
    for (guint i = 0; i < result->restores->len && invocation->exit_status == 0; i++) {
        const VmsRecoverRestore *entry = result->restores->pdata[i];
        invocation->exit_status = vms_error_exit_status(entry->error);
    }
    for (guint i = 0; i < result->entries->len && invocation->exit_status == 0; i++) {
        const VmsRecoverEntry *entry = result->entries->pdata[i];
        invocation->exit_status = vms_error_exit_status(entry->error);
    }
    return true;
}

const VmsCommand vms_recover_command = {
    .name = "recover",
    .arguments = "[DOMAIN...]",
    .summary = "Put right what a killed command or a host that went down has left",
    .description =
        "A snapshot that was interrupted while it was taken is undone, a merge is ended, an\n"
        "export can be run again; what an interrupted restore has made is removed, a guest that\n"
        "was left paused is resumed. What another vmsnap works on is left alone.",
    .options = options,
    .min_arguments = 0,
    .max_arguments = 1000,
    .run = run,
};
