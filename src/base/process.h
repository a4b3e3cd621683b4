/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Running another program to its end (qemu-img). */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>

/* Runs argv (NULL-terminated, searched in PATH, no shell), waits, gives its stdout (nullable, at
 * most 16 MiB). A non-zero exit is FAILED with the last line of its stderr; NOT_FOUND if the
 * program is not installed; on cancel it is killed and CANCELLED returned. */
bool vms_process_run(const char *const *argv, GCancellable *cancellable, char **ret_stdout,
                     GError **error);
