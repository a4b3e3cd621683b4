/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/prune.h"

#include "cli/commands.h"
#include "cli/render.h"

static struct {
    char *max_unused;
    gboolean dry_run;
} words;

static const GOptionEntry options[] = {
    {"max-unused", 0, 0, G_OPTION_ARG_FILENAME, &words.max_unused,
     "how much that nobody needs may stay: 5% (default), 10G, 0 or unlimited", "LIMIT"},
    {"dry-run", 'n', 0, G_OPTION_ARG_NONE, &words.dry_run, "only say what would be done", NULL},
    G_OPTION_ENTRY_NULL,
};

static char *to_json(const VmsPruneResult *result)
{
    g_autoptr(VmsJsonWriter) out = vms_json_writer_new(true);
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "schema", "vmsnap.prune.v1");
    vms_json_writer_member_string(out, "repository", result->location);
    vms_json_writer_member_bool(out, "dry_run", result->dry_run);
    vms_json_writer_key(out, "prune");
    vms_render_prune_json(out, result);
    vms_json_writer_end_object(out);
    return vms_json_writer_finish(out);
}

static bool run(VmsInvocation *invocation, GError **error)
{
    VmsPruneLimit limit;
    if (!vms_prune_limit_parse(words.max_unused ? words.max_unused : "5%", &limit, error)) {
        if (error)
            (*error)->code = VMS_ERROR_USAGE;
        return vms_prefix(error, "--max-unused");
    }
    g_autoptr(VmsPruneResult) result =
        vms_prune_run(invocation->context, invocation->arguments[0], &limit, words.dry_run, error);
    if (!result)
        return false;
    GString *text = g_string_new(NULL);
    g_autofree char *json = invocation->json ? to_json(result) : NULL;
    if (!json)
        vms_render_prune_text(text, result);
    bool ok = vms_command_print(json ? json : text->str, error);
    g_string_free(text, TRUE);
    return ok;
}

const VmsCommand vms_prune_command = {
    .name = "prune",
    .arguments = "[NAME|URL|PATH]",
    .summary = "Free what no snapshot of a repository needs",
    .description =
        "Packs that hold nothing in use are removed, those that hold much that is unused are\n"
        "rewritten. Nobody may work on the repository meanwhile. Can be interrupted at any time.",
    .options = options,
    .min_arguments = 0,
    .max_arguments = 1,
    .run = run,
};
