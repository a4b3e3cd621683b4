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
        vms_merge_drop(invocation->context, invocation->arguments[0], words.snapshot, error);
    if (!record)
        return false;
    g_autofree char *text = NULL;
    if (invocation->json)
        text = vms_render_record_document("vmsnap.drop.v1", record);
    else
        text = g_strdup_printf(
            "%s: snapshot %s is dropped, its overlays are merged back; the guest "
            "is on its own disks%s\n",
            record->domain, record->id,
            record->repository_snapshot ? " (the copy in the repository stays)" : "");
    return vms_command_print(text, error);
}

const VmsCommand vms_drop_command = {
    .name = "drop",
    .arguments = "DOMAIN",
    .summary = "Merge the overlays back and forget the local snapshot",
    .description =
        "Nothing that the guest wrote is lost; the snapshot is, unless it was exported.\n"
        "Also clears what an interrupted create left.",
    .options = options,
    .min_arguments = 1,
    .max_arguments = 1,
    .run = run,
};
