/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/forget.h"

#include "base/text.h"
#include "cli/commands.h"
#include "cli/render.h"
#include "cli/table.h"

static struct {
    char *from;
    char *keep[VMS_KEEP_KINDS];
    char *max_unused;
    gboolean dry_run, prune;
} words;

static const GOptionEntry options[] = {
    {"from", 0, 0, G_OPTION_ARG_FILENAME, &words.from,
     "repository: configured name, URL or path (default: the only configured one)", "REPOSITORY"},
    {"keep-last", 0, 0, G_OPTION_ARG_FILENAME, &words.keep[VMS_KEEP_LAST],
     "keep the newest N (a number or unlimited) of each domain", "N"},
    {"keep-hourly", 0, 0, G_OPTION_ARG_FILENAME, &words.keep[VMS_KEEP_HOURLY],
     "keep the newest one of each of the last N hours that have any", "N"},
    {"keep-daily", 0, 0, G_OPTION_ARG_FILENAME, &words.keep[VMS_KEEP_DAILY], "the same for days",
     "N"},
    {"keep-weekly", 0, 0, G_OPTION_ARG_FILENAME, &words.keep[VMS_KEEP_WEEKLY],
     "the same for weeks, which begin on Monday", "N"},
    {"keep-monthly", 0, 0, G_OPTION_ARG_FILENAME, &words.keep[VMS_KEEP_MONTHLY],
     "the same for months", "N"},
    {"keep-yearly", 0, 0, G_OPTION_ARG_FILENAME, &words.keep[VMS_KEEP_YEARLY], "the same for years",
     "N"},
    {"dry-run", 'n', 0, G_OPTION_ARG_NONE, &words.dry_run, "only say what would be done", NULL},
    {"prune", 0, 0, G_OPTION_ARG_NONE, &words.prune,
     "free the data too, if any snapshot was removed", NULL},
    {"max-unused", 0, 0, G_OPTION_ARG_FILENAME, &words.max_unused,
     "with --prune: how much that nobody needs may stay (default 5%)", "LIMIT"},
    G_OPTION_ENTRY_NULL,
};

static bool parse_policy(VmsKeepPolicy *policy, GError **error)
{
    for (int kind = 0; kind < VMS_KEEP_KINDS; kind++) {
        guint64 count = 0;
        const char *word = words.keep[kind];
        policy->count[kind] = word && g_str_equal(word, "unlimited") ? -1 : 0;
        if (!word || policy->count[kind] < 0)
            continue;
        if (!g_ascii_string_to_unsigned(word, 10, 1, G_MAXINT, &count, NULL))
            return vms_fail(error, VMS_ERROR_USAGE,
                            "--keep-…=%s: neither a number from 1 on nor \"unlimited\"", word);
        policy->count[kind] = (int)count;
    }
    return true;
}

static bool parse(VmsForgetOptions *request, const char *const *arguments, GError **error)
{
    request->repository = words.from;
    request->dry_run = words.dry_run;
    request->prune = words.prune;
    if (!parse_policy(&request->policy, error))
        return false;
    if (words.max_unused && !words.prune)
        return vms_fail(error, VMS_ERROR_USAGE, "--max-unused goes with --prune");
    if (!vms_prune_limit_parse(words.max_unused ? words.max_unused : "5%", &request->max_unused,
                               error)) {
        if (error)
            (*error)->code = VMS_ERROR_USAGE;
        return vms_prefix(error, "--max-unused");
    }
    if (vms_keep_policy_is_empty(&request->policy)) {
        request->snapshots = arguments[0] ? arguments : NULL;
        return true;
    }
    request->domain = arguments[0];
    return !arguments[0] || !arguments[1] ||
           vms_fail(error, VMS_ERROR_USAGE,
                    "forget: with a --keep option the argument is one domain; \"%s\" is one too "
                    "many",
                    arguments[1]);
}

static void entry_json(VmsJsonWriter *out, const VmsForgetEntry *entry)
{
    g_autofree char *time = entry->time_us != 0 ? vms_text_time(entry->time_us) : NULL;
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "snapshot", entry->snapshot);
    vms_json_writer_member_string(out, "domain", entry->domain);
    vms_json_writer_member_string(out, "uuid", entry->uuid);
    vms_json_writer_member_string(out, "host", entry->host);
    vms_json_writer_member_string(out, "time", time);
    vms_json_writer_member_bool(out, "keep", entry->keep);
    vms_json_writer_key(out, "reasons");
    vms_json_writer_begin_array(out);
    for (char **reason = entry->reasons; *reason; reason++)
        vms_json_writer_string(out, *reason);
    vms_json_writer_end_array(out);
    vms_json_writer_end_object(out);
}

static char *to_json(const VmsForgetResult *result)
{
    g_autoptr(VmsJsonWriter) out = vms_json_writer_new(true);
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "schema", "vmsnap.forget.v1");
    vms_json_writer_member_string(out, "repository", result->location);
    vms_json_writer_member_bool(out, "dry_run", result->dry_run);
    vms_json_writer_key(out, "snapshots");
    vms_json_writer_begin_array(out);
    for (guint i = 0; i < result->entries->len; i++)
        entry_json(out, result->entries->pdata[i]);
    vms_json_writer_end_array(out);
    vms_json_writer_key(out, "prune");
    if (result->prune)
        vms_render_prune_json(out, result->prune);
    else
        vms_json_writer_null(out);
    vms_json_writer_end_object(out);
    return vms_json_writer_finish(out);
}

static char *to_text(const VmsForgetResult *result)
{
    static const char *const headings[] = {"",     "snapshot", "domain", "time",
                                           "host", "kept as",  NULL};
    GString *out = g_string_new(NULL);
    g_autoptr(VmsTable) table = vms_table_new(headings);
    for (guint i = 0; i < result->entries->len; i++) {
        const VmsForgetEntry *entry = result->entries->pdata[i];
        g_autofree char *time = entry->time_us != 0 ? vms_table_time(entry->time_us) : NULL;
        g_autofree char *hex = g_strndup(entry->snapshot, 8);
        g_autofree char *reasons = g_strjoinv(", ", entry->reasons);
        const char *cells[] = {
            entry->keep ? "keep" : "remove", hex, entry->domain, time, entry->host,
            entry->keep ? reasons : ""};
        vms_table_add(table, cells);
    }
    vms_table_append(table, "", out);
    g_string_append_printf(out, "%u snapshot%s %sremoved, %u kept\n", result->removed,
                           result->removed == 1 ? "" : "s", result->dry_run ? "would be " : "",
                           result->kept);
    if (result->prune)
        vms_render_prune_text(out, result->prune);
    else if (result->removed > 0 && !result->dry_run)
        g_string_append(out, "What only they needed stays stored until \"vmsnap prune\".\n");
    return g_string_free(out, FALSE);
}

static bool run(VmsInvocation *invocation, GError **error)
{
    VmsForgetOptions request = {0};
    if (!parse(&request, invocation->arguments, error))
        return false;
    g_autoptr(VmsForgetResult) result = vms_forget(invocation->context, &request, error);
    if (!result)
        return false;
    g_autofree char *text = invocation->json ? to_json(result) : to_text(result);
    return vms_command_print(text, error);
}

const VmsCommand vms_forget_command = {
    .name = "forget",
    .arguments = "[DOMAIN | SNAPSHOT...]",
    .summary = "Remove snapshots from a repository, by a policy or by id",
    .description =
        "With --keep options: of each domain (or of DOMAIN alone) what no option keeps is\n"
        "removed. Without: the snapshots that are named. Their data stays until \"vmsnap prune\".",
    .options = options,
    .min_arguments = 0,
    .max_arguments = 1000,
    .run = run,
};
