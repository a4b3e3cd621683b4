/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/json-writer.h"
#include "cli/commands.h"
#include "job/location.h"

static char *to_json(const char *location, const char *id)
{
    g_autoptr(VmsJsonWriter) out = vms_json_writer_new(true);
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "schema", "vmsnap.init.v1");
    vms_json_writer_key(out, "repository");
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "location", location);
    vms_json_writer_member_string(out, "id", id);
    vms_json_writer_end_object(out);
    vms_json_writer_end_object(out);
    return vms_json_writer_finish(out);
}

static bool run(VmsInvocation *invocation, GError **error)
{
    g_autofree char *location = NULL;
    g_autofree char *id =
        vms_location_init(invocation->context, invocation->arguments[0], &location, error);
    if (!id)
        return false;
    g_autofree char *text =
        invocation->json
            ? to_json(location, id)
            : g_strdup_printf("repository %.8s made in %s\n"
                              "Keep a copy of its password elsewhere: without it nobody can read "
                              "what is stored there.\n\nNext:\n"
                              "  vmsnap backup DOMAIN --to %s   snapshot a domain and store it\n",
                              id, location, invocation->arguments[0]);
    return vms_command_print(text, error);
}

const VmsCommand vms_init_command = {
    .name = "init",
    .arguments = "NAME|URL|PATH",
    .summary = "Make a repository",
    .description = "A repository of the restic format, version 2: encrypted with a password, which "
                   "comes from\n"
                   "password-file in the configuration, VMSNAP_PASSWORD_FILE or VMSNAP_PASSWORD.\n"
                   "Where one exists already, it is left alone.",
    .min_arguments = 1,
    .max_arguments = 1,
    .run = run,
};
