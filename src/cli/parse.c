/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Two passes of GOption. The first stops at the first word that is not a common option: the
 * command. The second takes everything behind it, options and arguments in any order. */
#include "cli/parse.h"

#include "cli/commands.h"

#include <string.h>

/* GOption wants places that outlive the contexts. */
static VmsParseCommon common;

static const GOptionEntry common_entries[] = {
    {"connect", 'c', 0, G_OPTION_ARG_FILENAME, &common.connect, "libvirt connection", "URI"},
    {"config", 0, 0, G_OPTION_ARG_FILENAME, &common.config,
     "configuration file (default /etc/vmsnap/vmsnap.conf)", "FILE"},
    {"json", 0, 0, G_OPTION_ARG_NONE, &common.json, "print one JSON document", NULL},
    {"progress", 0, 0, G_OPTION_ARG_FILENAME, &common.progress, "auto, bar, plain, json or none",
     "KIND"},
    {"quiet", 'q', 0, G_OPTION_ARG_NONE, &common.quiet, "only results and errors", NULL},
    {"verbose", 'v', 0, G_OPTION_ARG_NONE, &common.verbose, "also say what is done in detail",
     NULL},
    {"help", 'h', 0, G_OPTION_ARG_NONE, &common.help, "show this help", NULL},
    G_OPTION_ENTRY_NULL,
};

static const GOptionEntry version_entries[] = {
    {"version", 0, 0, G_OPTION_ARG_NONE, &common.version, "show the version", NULL},
    G_OPTION_ENTRY_NULL,
};

static GOptionContext *new_context(const VmsCommand *command)
{
    GOptionContext *context = g_option_context_new(command ? command->arguments : "COMMAND");
    g_option_context_set_help_enabled(context, FALSE);
    g_option_context_set_strict_posix(context, !command);
    if (command && command->options)
        g_option_context_add_main_entries(context, command->options, NULL);
    if (command && command->more_options)
        g_option_context_add_main_entries(context, command->more_options, NULL);
    g_option_context_add_main_entries(context, common_entries, NULL);
    if (!command)
        g_option_context_add_main_entries(context, version_entries, NULL);
    return context;
}

static bool run_pass(const VmsCommand *command, char ***arguments, GError **error)
{
    g_autoptr(GOptionContext) context = new_context(command);
    g_autoptr(GError) cause = NULL;
    if (g_option_context_parse_strv(context, arguments, &cause))
        return true;
    const char *hint = "";
    if (!command && g_error_matches(cause, G_OPTION_ERROR, G_OPTION_ERROR_UNKNOWN_OPTION))
        hint = " (a command's own options stand behind its name)";
    return vms_fail(error, VMS_ERROR_USAGE, "%s%s; \"vmsnap %s%s--help\" shows what there is",
                    cause->message, hint, command ? command->name : "", command ? " " : "");
}

static void drop_dashes(char **arguments)
{
    /* GOption leaves the "--" that ends the options. */
    for (; *arguments; arguments++) {
        if (!g_str_equal(*arguments, "--"))
            continue;
        g_free(*arguments);
        memmove(arguments, arguments + 1, g_strv_length(arguments) * sizeof *arguments);
        return;
    }
}

static bool check_count(const VmsCommand *command, char **arguments, GError **error)
{
    guint n = g_strv_length(arguments);
    if (n < command->min_arguments)
        return vms_fail(error, VMS_ERROR_USAGE,
                        "%s: an argument is missing: vmsnap %s %s; \"vmsnap %s --help\" explains",
                        command->name, command->name, command->arguments, command->name);
    if (n > command->max_arguments)
        return vms_fail(error, VMS_ERROR_USAGE, "%s: \"%s\" is one argument too many: vmsnap %s %s",
                        command->name, arguments[command->max_arguments], command->name,
                        command->arguments);
    for (guint i = 0; i < n; i++)
        if (*arguments[i] == '\0')
            return vms_fail(error, VMS_ERROR_USAGE, "%s: an argument is empty", command->name);
    return true;
}

/* "vmsnap help", "vmsnap help COMMAND" */
static bool ask_help(VmsParse *parse, char **words, GError **error)
{
    common.help = TRUE;
    if (!words[1])
        return true;
    parse->command = vms_commands_find(words[1], error);
    return parse->command != NULL;
}

bool vms_parse(VmsParse *parse, const char *const *argv, GError **error)
{
    g_auto(GStrv) words = g_strdupv((char **)argv);
    parse->common = &common;
    if (!run_pass(NULL, &words, error))
        return false;
    drop_dashes(words);
    if (common.version || (common.help && !words[1]))
        return true;
    if (!words[1])
        return vms_fail(error, VMS_ERROR_USAGE,
                        "say what to do: \"vmsnap --help\" lists the commands");
    if (g_str_equal(words[1], "help"))
        return ask_help(parse, words + 1, error);
    parse->command = vms_commands_find(words[1], error);
    if (!parse->command)
        return false;
    g_auto(GStrv) rest = g_strdupv(words + 1); /* the command stands where argv[0] did */
    if (!run_pass(parse->command, &rest, error))
        return false;
    drop_dashes(rest);
    parse->arguments = g_strdupv(rest + 1);
    return common.help || check_count(parse->command, parse->arguments, error);
}

void vms_parse_clear(VmsParse *parse)
{
    g_clear_pointer(&parse->arguments, g_strfreev);
}

bool vms_parse_wants_json(const char *const *argv)
{
    for (; *argv && !g_str_equal(*argv, "--"); argv++)
        if (g_str_equal(*argv, "--json"))
            return true;
    return false;
}

static char *overview(void)
{
    GString *text = g_string_new(
        "Live snapshots of QEMU/KVM virtual machines, memory and all disks at one instant,\n"
        "shipped to a repository in a directory or on S3, and restored from there.\n\nCommands:\n");
    for (size_t i = 0; vms_commands[i]; i++)
        g_string_append_printf(text, "  %-9s %s\n", vms_commands[i]->name,
                               vms_commands[i]->summary);
    g_string_append(text, "\nA first round:\n"
                          "  vmsnap init /srv/backup         make a repository\n"
                          "  vmsnap check web01              can it be snapshotted?\n"
                          "  vmsnap backup web01 --to /srv/backup\n"
                          "  vmsnap list --from /srv/backup\n"
                          "  vmsnap restore latest --from /srv/backup --as web02");
    return g_string_free(text, FALSE);
}

char *vms_parse_help(const VmsCommand *command)
{
    g_autoptr(GOptionContext) context = new_context(command);
    g_autofree char *name =
        g_strdup_printf("vmsnap%s%s", command ? " " : "", command ? command->name : "");
    g_autofree char *summary =
        command ? g_strdup_printf("%s\n\n%s", command->summary, command->description) : overview();
    g_set_prgname(name);
    g_option_context_set_summary(context, summary);
    g_option_context_set_description(
        context, command ? NULL
                         : "\"vmsnap COMMAND --help\" explains one; so does its man page, "
                           "vmsnap-COMMAND(1).\nExit statuses are in vmsnap(1).\n");
    return g_option_context_get_help(context, TRUE, NULL);
}
