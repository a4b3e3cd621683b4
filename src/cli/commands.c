/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/commands.h"

#include <string.h>

const VmsCommand *const vms_commands[] = {
    &vms_init_command,    &vms_check_command,  &vms_create_command,
    &vms_export_command,  &vms_backup_command, &vms_list_command,
    &vms_show_command,    &vms_commit_command, &vms_drop_command,
    &vms_recover_command, &vms_verify_command, &vms_restore_command,
    &vms_forget_command,  &vms_prune_command,  NULL,
};

/* Levenshtein's; b is one of our names, a at most MAX_TYPED long. */
#define MAX_TYPED 32
static size_t distance(const char *a, const char *b)
{
    size_t row[MAX_TYPED + 1], rows = strlen(b), columns = strlen(a);
    for (size_t j = 0; j <= columns; j++)
        row[j] = j;
    for (size_t i = 1; i <= rows; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= columns; j++) {
            size_t above = row[j];
            size_t changed = diagonal + (a[j - 1] != b[i - 1]);
            row[j] = MIN(MIN(above, row[j - 1]) + 1, changed);
            diagonal = above;
        }
    }
    return row[columns];
}

static const VmsCommand *nearest(const char *name)
{
    const VmsCommand *best = NULL;
    size_t best_distance = 4;
    if (strlen(name) > MAX_TYPED)
        return NULL;
    for (size_t i = 0; vms_commands[i]; i++) {
        size_t d = distance(name, vms_commands[i]->name);
        if (d >= best_distance || d >= strlen(name))
            continue;
        best = vms_commands[i];
        best_distance = d;
    }
    return best;
}

const VmsCommand *vms_commands_find(const char *name, GError **error)
{
    for (size_t i = 0; vms_commands[i]; i++)
        if (g_str_equal(vms_commands[i]->name, name))
            return vms_commands[i];
    const VmsCommand *guess = nearest(name);
    if (guess)
        return vms_fail_null(error, VMS_ERROR_USAGE,
                             "unknown command \"%s\"; did you mean \"vmsnap %s\"?", name,
                             guess->name);
    return vms_fail_null(error, VMS_ERROR_USAGE,
                         "unknown command \"%s\"; \"vmsnap --help\" lists them", name);
}
