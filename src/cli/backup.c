/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* create and export in one. The repository is opened before the guest is touched: a mistyped name
 * or a wrong password leaves nothing behind. What fails after the cut leaves the snapshot on this
 * host, said with a status of its own: the cut cannot be repeated, the export can. */
#include "cli/commands.h"
#include "cli/create.h"
#include "cli/export.h"
#include "cli/render.h"
#include "job/listing.h"

static struct {
    VmsCreateWords create;
    char *to;
    gboolean keep_overlays;
} words;

static const GOptionEntry options[] = {
    {"to", 0, 0, G_OPTION_ARG_FILENAME, &words.to, VMS_EXPORT_TO_HELP, "REPOSITORY"},
    {"memory", 0, 0, G_OPTION_ARG_FILENAME, &words.create.memory,
     "as for create: auto (default), cow, live, none", "ENGINE"},
    {"quiesce", 0, 0, G_OPTION_ARG_FILENAME, &words.create.quiesce,
     "as for create: auto (default), require, off", "MODE"},
    {"freeze-deadline", 0, 0, G_OPTION_ARG_INT, &words.create.freeze_deadline, "as for create",
     "SECONDS"},
    {"keep-overlays", 0, 0, G_OPTION_ARG_NONE, &words.keep_overlays, VMS_EXPORT_KEEP_HELP, NULL},
    G_OPTION_ENTRY_NULL,
};

/* Exported after all, where only the merging failed; or given up for want of room. */
static bool is_waiting(VmsContext *context, const char *id)
{
    g_autoptr(VmsRecord) now = vms_listing_find(context, id, NULL);
    return !now || (!now->repository_snapshot && now->status != VMS_STATUS_FAILED);
}

static bool not_exported(const VmsRecord *record, VmsFormat format, GError *cause, GError **error)
{
    vms_fail(
        error, VMS_ERROR_NOT_EXPORTED,
        "%s\n%s: snapshot %s is captured, but on this host only; its overlays grow. Go on with "
        "\"vmsnap export %s --snapshot %s --to %s%s\" or give it up with \"vmsnap drop %s "
        "--snapshot %s\"",
        cause->message, record->domain, record->id, record->domain, record->id,
        words.to ? words.to : "REPOSITORY", format == VMS_FORMAT_QCOW2 ? " --format=qcow2" : "",
        record->domain, record->id);
    g_error_free(cause);
    return false;
}

static VmsExportResult *store(VmsContext *context, const VmsRecord *record,
                              VmsExportOptions *export_options, GError **error)
{
    GError *cause = NULL;
    export_options->snapshot = record->id;
    VmsExportResult *result = vms_export(context, record->uuid, export_options, &cause);
    if (result)
        return result;
    if (is_waiting(context, record->id))
        not_exported(record, export_options->format, cause, error);
    else
        g_propagate_error(error, cause);
    return NULL;
}

static bool run(VmsInvocation *invocation, GError **error)
{
    VmsContext *context = invocation->context;
    VmsCreateOptions create_options;
    VmsExportOptions export_options = {
        .repository = words.to,
        .keep_overlays = words.keep_overlays,
        .give_up = true,
    };
    if (!vms_create_read(&words.create, &create_options, error) ||
        !vms_transfer_read(context, &export_options.transfer, &export_options.format, error) ||
        !vms_export_check_place(context, &export_options, error))
        return false;
    g_autoptr(VmsRecord) record =
        vms_create(context, invocation->arguments[0], &create_options, error);
    if (!record)
        return false;
    vms_progress_message(context->progress, "%s: snapshot %s captured; the guest runs on",
                         record->domain, record->id);
    g_autoptr(VmsExportResult) result = store(context, record, &export_options, error);
    if (!result)
        return false;
    g_autoptr(GString) out = g_string_new(NULL);
    g_autofree char *json = NULL;
    if (invocation->json)
        json = vms_render_export_document("vmsnap.backup.v1", result);
    else
        vms_render_export_text(out, result);
    return vms_command_print(json ? json : out->str, error);
}

const VmsCommand vms_backup_command = {
    .name = "backup",
    .arguments = "DOMAIN",
    .summary = "Snapshot and export in one",
    .description =
        "Exit status 6 means: captured, but not exported; export it when the cause is gone.",
    .options = options,
    .more_options = vms_transfer_options,
    .min_arguments = 1,
    .max_arguments = 1,
    .run = run,
};
