/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/verify.h"

#include "base/json-writer.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/table.h"

static struct {
    char *from;
} words;

static const GOptionEntry options[] = {
    {"from", 0, 0, G_OPTION_ARG_FILENAME, &words.from,
     "repository: configured name, URL or path (default: where it was exported to)", "REPOSITORY"},
    G_OPTION_ENTRY_NULL,
};

static char *to_json(const VmsVerifyResult *result)
{
    g_autoptr(VmsJsonWriter) out = vms_json_writer_new(true);
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "schema", "vmsnap.verify.v1");
    vms_json_writer_member_string(out, "snapshot", result->snapshot);
    vms_json_writer_member_string(out, "domain", result->domain);
    vms_json_writer_member_uint64(out, "disks", result->disks);
    vms_json_writer_member_uint64(out, "chunks", result->chunks);
    vms_json_writer_member_uint64(out, "bytes", result->bytes);
    vms_json_writer_member_uint64(out, "bytes_zero", result->bytes_zero);
    vms_json_writer_key(out, "duration_us");
    vms_json_writer_int64(out, result->duration_us);
    vms_json_writer_end_object(out);
    return vms_json_writer_finish(out);
}

static char *to_text(const VmsVerifyResult *result)
{
    g_autofree char *domain = vms_table_plain(result->domain);
    g_autofree char *bytes = vms_text_size(result->bytes);
    g_autofree char *zero = vms_text_size(result->bytes_zero);
    g_autofree char *duration = vms_table_duration(result->duration_us);
    if (result->images)
        return g_strdup_printf("%s: snapshot %.8s is whole\n  %u disk%s, %s in %" G_GUINT64_FORMAT
                               " objects read and verified (%s)\n",
                               domain, result->snapshot, result->disks,
                               result->disks == 1 ? "" : "s", bytes, result->chunks, duration);
    return g_strdup_printf("%s: snapshot %.8s is whole\n  %u disk%s, %s in %" G_GUINT64_FORMAT
                           " chunks read and verified, %s of zeroes (%s)\n",
                           domain, result->snapshot, result->disks, result->disks == 1 ? "" : "s",
                           bytes, result->chunks, zero, duration);
}

static bool run(VmsInvocation *invocation, GError **error)
{
    g_autoptr(VmsVerifyResult) result =
        vms_verify(invocation->context, words.from, invocation->arguments[0], error);
    if (!result)
        return false;
    g_autofree char *text = invocation->json ? to_json(result) : to_text(result);
    return vms_command_print(text, error);
}

const VmsCommand vms_verify_command = {
    .name = "verify",
    .arguments = "SNAPSHOT",
    .summary = "Read a stored snapshot back and check every byte",
    .description = "SNAPSHOT is the begin of an id, four digits or more, or \"latest\".\n"
                   "Exit status 7 where anything is damaged; object and disk are named.",
    .options = options,
    .min_arguments = 1,
    .max_arguments = 1,
    .run = run,
};
