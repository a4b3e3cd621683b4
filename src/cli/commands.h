/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of all commands. */
#pragma once

#include "cli/command.h"

extern const VmsCommand vms_backup_command, vms_check_command, vms_commit_command,
    vms_create_command, vms_drop_command, vms_export_command, vms_forget_command, vms_init_command,
    vms_list_command, vms_prune_command, vms_recover_command, vms_restore_command, vms_show_command,
    vms_verify_command;

/* In the order of use, ends with NULL. */
extern const VmsCommand *const vms_commands[];

/* USAGE suggests the nearest. */
const VmsCommand *vms_commands_find(const char *name, GError **error);
