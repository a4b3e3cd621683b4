/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/export.h"

#include "cli/commands.h"
#include "cli/export.h"
#include "cli/render.h"

static struct {
    char *snapshot, *to;
    gboolean keep_overlays;
} words;

static const GOptionEntry options[] = {
    {"to", 0, 0, G_OPTION_ARG_FILENAME, &words.to, VMS_EXPORT_TO_HELP, "REPOSITORY"},
    {"snapshot", 0, 0, G_OPTION_ARG_FILENAME, &words.snapshot,
     "this one (default: the newest captured one)", "ID"},
    {"keep-overlays", 0, 0, G_OPTION_ARG_NONE, &words.keep_overlays, VMS_EXPORT_KEEP_HELP, NULL},
    G_OPTION_ENTRY_NULL,
};

static bool run(VmsInvocation *invocation, GError **error)
{
    VmsExportOptions export_options = {
        .snapshot = words.snapshot,
        .repository = words.to,
        .keep_overlays = words.keep_overlays,
    };
    if (!vms_transfer_read(invocation->context, &export_options.transfer, &export_options.format,
                           error))
        return false;
    g_autoptr(VmsExportResult) result =
        vms_export(invocation->context, invocation->arguments[0], &export_options, error);
    if (!result)
        return false;
    g_autoptr(GString) out = g_string_new(NULL);
    g_autofree char *json = NULL;
    if (invocation->json)
        json = vms_render_export_document("vmsnap.export.v1", result);
    else
        vms_render_export_text(out, result);
    return vms_command_print(json ? json : out->str, error);
}

const VmsCommand vms_export_command = {
    .name = "export",
    .arguments = "[DOMAIN]",
    .summary = "Store a captured snapshot, then merge its overlays back",
    .description =
        "What the repository has already is not stored again. With --format=qcow2 the disks\n"
        "are stored as plain images that QEMU opens itself. Interrupted or failed, the\n"
        "snapshot stays on this host and can be exported again.\n"
        "DOMAIN may be left out where only one has a captured snapshot.",
    .options = options,
    .more_options = vms_transfer_options,
    .min_arguments = 0,
    .max_arguments = 1,
    .run = run,
};
