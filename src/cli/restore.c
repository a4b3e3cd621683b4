/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/restore.h"

#include "base/text.h"
#include "cli/commands.h"
#include "cli/render.h"
#include "cli/table.h"

static struct {
    char *from, *as, *disks_to, *format;
    char **disks;
    gboolean memory, no_memory, spool, start, paused;
} words;

static const GOptionEntry options[] = {
    {"from", 0, 0, G_OPTION_ARG_FILENAME, &words.from,
     "repository: configured name, URL or path (default: where it was exported to)", "REPOSITORY"},
    {"as", 0, 0, G_OPTION_ARG_FILENAME, &words.as,
     "a new domain of this name, with a new UUID (default: the original's identity)", "NAME"},
    {"disks-to", 0, 0, G_OPTION_ARG_FILENAME, &words.disks_to,
     "directory for the disks (default: where each was)", "DIR"},
    {"disk", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words.disks,
     "only this disk, without a domain; may be given several times", "TARGET"},
    {"format", 0, 0, G_OPTION_ARG_FILENAME, &words.format, "raw or qcow2 (default: as each was)",
     "FORMAT"},
    {"memory", 0, 0, G_OPTION_ARG_NONE, &words.memory,
     "with memory, or not at all (default: with memory where it has any)", NULL},
    {"no-memory", 0, 0, G_OPTION_ARG_NONE, &words.no_memory, "without memory: the guest boots",
     NULL},
    {"spool", 0, 0, G_OPTION_ARG_NONE, &words.spool,
     "write the memory to a file first, instead of giving it to libvirt through FUSE", NULL},
    {"start", 0, 0, G_OPTION_ARG_NONE, &words.start, "start the domain (with memory it always is)",
     NULL},
    {"paused", 0, 0, G_OPTION_ARG_NONE, &words.paused, "leave it paused", NULL},
    G_OPTION_ENTRY_NULL,
};

static void write_disks(VmsJsonWriter *out, const GPtrArray *disks)
{
    vms_json_writer_key(out, "disks");
    vms_json_writer_begin_array(out);
    for (guint i = 0; i < disks->len; i++) {
        const VmsRestoredDisk *disk = disks->pdata[i];
        vms_json_writer_begin_object(out);
        vms_json_writer_member_string(out, "target", disk->target);
        vms_json_writer_member_string(out, "path", disk->path);
        vms_json_writer_member_string(out, "format", disk->format);
        vms_json_writer_member_uint64(out, "virtual_size", disk->size);
        vms_json_writer_end_object(out);
    }
    vms_json_writer_end_array(out);
}

static const char *source_of(const VmsRestoreResult *result)
{
    return result->memory_source == VMS_MEMORY_SOURCE_FUSE ? "fuse" : "file";
}

static char *to_json(const VmsRestoreResult *result)
{
    g_autoptr(VmsJsonWriter) out = vms_json_writer_new(true);
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "schema", "vmsnap.restore.v1");
    vms_json_writer_member_string(out, "snapshot", result->snapshot);
    vms_json_writer_key(out, "domain");
    if (result->domain) {
        vms_json_writer_begin_object(out);
        vms_json_writer_member_string(out, "name", result->domain);
        vms_json_writer_member_string(out, "uuid", result->uuid);
        vms_json_writer_end_object(out);
    } else {
        vms_json_writer_null(out);
    }
    vms_json_writer_member_bool(out, "memory", result->memory);
    vms_json_writer_key(out, "memory_source");
    if (result->memory)
        vms_json_writer_string(out, source_of(result));
    else
        vms_json_writer_null(out);
    vms_json_writer_member_bool(out, "started", result->started);
    vms_json_writer_member_uint64(out, "thawed_filesystems", result->thawed_filesystems);
    write_disks(out, result->disks);
    vms_notes_write(out, result->notes);
    vms_json_writer_member_uint64(out, "bytes_fetched", result->bytes_fetched);
    vms_json_writer_key(out, "duration_us");
    vms_json_writer_int64(out, result->duration_us);
    vms_json_writer_end_object(out);
    return vms_json_writer_finish(out);
}

static const char *state_of(const VmsRestoreResult *result)
{
    if (!result->started)
        return "is defined and shut off";
    if (words.paused)
        return result->memory ? "waits, paused, at the instant of the snapshot" : "is paused";
    return result->memory ? "runs on from the instant of the snapshot" : "is started";
}

static char *to_text(const VmsRestoreResult *result)
{
    static const char *const headings[] = {"disk", ">size", "format", "path", NULL};
    GString *out = g_string_new(NULL);
    g_autoptr(VmsTable) table = vms_table_new(headings);
    g_autofree char *fetched = vms_text_size(result->bytes_fetched);
    g_autofree char *duration = vms_table_duration(result->duration_us);
    for (guint i = 0; i < result->disks->len; i++) {
        const VmsRestoredDisk *disk = result->disks->pdata[i];
        g_autofree char *size = vms_text_size(disk->size);
        const char *cells[] = {disk->target, size, disk->format, disk->path};
        vms_table_add(table, cells);
    }
    if (result->domain)
        g_string_append_printf(out, "%s: restored from snapshot %.8s; it %s\n", result->domain,
                               result->snapshot, state_of(result));
    else
        g_string_append_printf(out, "disks of snapshot %.8s restored\n", result->snapshot);
    vms_table_append(table, "  ", out);
    g_string_append_printf(out, "  %s fetched and verified (%s)\n", fetched, duration);
    if (result->memory)
        g_string_append_printf(out, "  memory %s\n",
                               result->memory_source == VMS_MEMORY_SOURCE_FUSE
                                   ? "straight from the repository (FUSE)"
                                   : "by way of a temporary file");
    if (result->thawed_filesystems)
        g_string_append_printf(out, "  %u file systems, frozen at the snapshot, were thawed\n",
                               result->thawed_filesystems);
    vms_render_notes_text(out, result->notes);
    if (result->domain && !result->started)
        g_string_append_printf(out, "\nNext:\n  virsh start %s\n", result->domain);
    else if (result->domain && words.paused)
        g_string_append_printf(out, "\nNext:\n  virsh resume %s\n", result->domain);
    return g_string_free(out, FALSE);
}

static bool check_words(GError **error)
{
    static const char *const formats[] = {"raw", "qcow2", NULL};
    int format;
    if (words.memory && words.no_memory)
        return vms_fail(error, VMS_ERROR_USAGE, "--memory and --no-memory exclude each other");
    if (words.spool && words.no_memory)
        return vms_fail(error, VMS_ERROR_USAGE, "--spool and --no-memory exclude each other");
    if (words.disks && (words.as || words.memory || words.start || words.paused))
        return vms_fail(error, VMS_ERROR_USAGE,
                        "--disk restores disks without a domain: --as, --memory, --start and "
                        "--paused do not go with it");
    return !words.format || vms_command_choice("format", words.format, formats, &format, error);
}

static bool run(VmsInvocation *invocation, GError **error)
{
    if (!check_words(error))
        return false;
    VmsRestoreOptions restore_options = {
        .snapshot = invocation->arguments[0],
        .repository = words.from,
        .as = words.as,
        .disks_to = words.disks_to,
        .disks = (const char *const *)words.disks,
        .format = words.format,
        .memory = words.memory      ? VMS_RESTORE_MEMORY_YES
                  : words.no_memory ? VMS_RESTORE_MEMORY_NO
                                    : VMS_RESTORE_MEMORY_AUTO,
        .spool = words.spool,
        .start = words.start || words.paused,
        .paused = words.paused,
    };
    g_autoptr(VmsRestoreResult) result = vms_restore(invocation->context, &restore_options, error);
    if (!result)
        return false;
    g_autofree char *text = invocation->json ? to_json(result) : to_text(result);
    return vms_command_print(text, error);
}

const VmsCommand vms_restore_command = {
    .name = "restore",
    .arguments = "SNAPSHOT",
    .summary = "Bring a stored snapshot back, here or on another host",
    .description =
        "SNAPSHOT is the begin of an id, four digits or more, or \"latest\". Files and domains "
        "that\nexist are never overwritten. All or nothing: what fails leaves nothing "
        "behind.",
    .options = options,
    .min_arguments = 1,
    .max_arguments = 1,
    .run = run,
};
