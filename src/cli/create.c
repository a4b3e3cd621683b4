/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/create.h"

#include "cli/commands.h"
#include "cli/render.h"
#include "cli/table.h"

#define MAX_FREEZE_S 600

static VmsCreateWords words;

static const GOptionEntry options[] = {
    {"memory", 0, 0, G_OPTION_ARG_FILENAME, &words.memory,
     "memory: cow, live (as libvirt does), none; auto (default): the first possible", "ENGINE"},
    {"quiesce", 0, 0, G_OPTION_ARG_FILENAME, &words.quiesce,
     "freeze file systems through the guest agent: auto (default), require, off", "MODE"},
    {"freeze-deadline", 0, 0, G_OPTION_ARG_INT, &words.freeze_deadline,
     "thaw after this time, whatever happens (default: of the configuration, 10)", "SECONDS"},
    G_OPTION_ENTRY_NULL,
};

bool vms_create_read(const VmsCreateWords *given, VmsCreateOptions *ret_options, GError **error)
{
    static const char *const engines[] = {"auto", "cow", "live", "none", NULL};
    static const VmsMemoryMode memory[] = {VMS_MEMORY_AUTO, VMS_MEMORY_COW, VMS_MEMORY_LIVE,
                                           VMS_MEMORY_NONE};
    static const char *const modes[] = {"auto", "require", "off", NULL};
    static const VmsQuiesceMode quiesce[] = {VMS_QUIESCE_AUTO, VMS_QUIESCE_REQUIRE,
                                             VMS_QUIESCE_OFF};
    int engine, mode;
    if (!vms_command_choice("memory", given->memory, engines, &engine, error) ||
        !vms_command_choice("quiesce", given->quiesce, modes, &mode, error))
        return false;
    if (given->freeze_deadline < 0 || given->freeze_deadline > MAX_FREEZE_S)
        return vms_fail(error, VMS_ERROR_USAGE, "--freeze-deadline=%d: not from 1 to %d seconds",
                        given->freeze_deadline, MAX_FREEZE_S);
    ret_options->memory = memory[engine];
    ret_options->quiesce = quiesce[mode];
    ret_options->freeze_deadline_s = given->freeze_deadline;
    return true;
}

static char *to_text(const VmsRecord *record)
{
    GString *out = g_string_new(NULL);
    g_autofree char *time = vms_table_time(record->created_us);
    g_autofree char *what =
        vms_render_what(record->consistency, record->disks->len, record->frozen_filesystems);
    bool paused = record->timing.pause_us > 0;
    g_autofree char *taken =
        vms_table_duration(paused ? record->timing.pause_us : record->switch_us);
    g_string_append_printf(out, "%s: snapshot %s captured at %s\n  %s; %s %s\n", record->domain,
                           record->id, time, what,
                           paused ? "the guest was paused for" : "the switch took", taken);
    if (record->freeze_us > 0) {
        g_autofree char *frozen = vms_table_duration(record->freeze_us);
        g_string_append_printf(out, "  file systems were frozen for %s\n", frozen);
    }
    vms_render_record_text(out, record);
    vms_render_notes_text(out, record->notes);
    g_string_append_printf(
        out,
        "\nIt exists on this host only, and the overlays grow with every write of the guest. "
        "Next:\n"
        "  vmsnap export %s --to REPOSITORY   store it, then merge the overlays back\n"
        "  vmsnap drop %s   give it up: merge the overlays back and forget it\n",
        record->domain, record->domain);
    return g_string_free(out, FALSE);
}

static bool run(VmsInvocation *invocation, GError **error)
{
    VmsCreateOptions create_options;
    if (!vms_create_read(&words, &create_options, error))
        return false;
    g_autoptr(VmsRecord) record =
        vms_create(invocation->context, invocation->arguments[0], &create_options, error);
    if (!record)
        return false;
    g_autofree char *text =
        invocation->json ? vms_render_record_document("vmsnap.create.v1", record) : to_text(record);
    return vms_command_print(text, error);
}

const VmsCommand vms_create_command = {
    .name = "create",
    .arguments = "DOMAIN",
    .summary = "Take a snapshot; the guest runs on",
    .description =
        "Memory and all disks are cut at one instant. From then on the guest writes into "
        "overlays;\nthe images below them are the snapshot. It stays on this host until "
        "it is exported or dropped.",
    .options = options,
    .min_arguments = 1,
    .max_arguments = 1,
    .run = run,
};
