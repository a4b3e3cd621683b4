/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/command.h"

#include <errno.h>
#include <stdio.h>

bool vms_command_choice(const char *option, const char *value, const char *const *names,
                        int *ret_index, GError **error)
{
    for (int i = 0; names[i]; i++) {
        if (value && !g_str_equal(names[i], value))
            continue;
        *ret_index = i;
        return true;
    }
    g_autofree char *known = g_strjoinv(", ", (char **)names);
    return vms_fail(error, VMS_ERROR_USAGE, "--%s=%s: not one of %s", option, value, known);
}

bool vms_command_print(const char *text, GError **error)
{
    errno = 0;
    if (fputs(text, stdout) < 0 || fflush(stdout) != 0)
        return vms_fail_errno(error, errno ? errno : EIO, "standard output");
    return true;
}
