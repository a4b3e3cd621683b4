/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/commands.h"
#include "cli/render.h"
#include "job/merge.h"

static struct {
    char *snapshot;
} words;

static const GOptionEntry options[] = {
    {"snapshot", 0, 0, G_OPTION_ARG_FILENAME, &words.snapshot,
     "this one (default: the newest with overlays)", "ID"},
    G_OPTION_ENTRY_NULL,
};

static bool run(VmsInvocation *invocation, GError **error)
{
    g_autoptr(VmsRecord) record =
        vms_merge_commit(invocation->context, invocation->arguments[0], words.snapshot, error);
    if (!record)
        return false;
    g_autofree char *text = NULL;
    if (invocation->json)
        text = vms_render_record_document("vmsnap.commit.v1", record);
    else
        text =
            g_strdup_printf("%s: the overlays of snapshot %s are merged back; the guest is on its "
                            "own disks\n",
                            record->domain, record->id);
    return vms_command_print(text, error);
}

const VmsCommand vms_commit_command = {
    .name = "commit",
    .arguments = "DOMAIN",
    .summary = "Merge the overlays of an exported snapshot back",
    .description = "For snapshots that were exported with --keep-overlays, or whose merging was\n"
                   "interrupted. One that is not exported would be lost by it: see drop.",
    .options = options,
    .min_arguments = 1,
    .max_arguments = 1,
    .run = run,
};
