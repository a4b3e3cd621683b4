/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Running another program to its end (qemu-img). */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>

/* Is "NAME=value" one that no program we start needs, and that may hold a password or key:
 * VMSNAP_…, AWS_…, …_proxy? */
bool vms_process_is_private(const char *variable);

/* Our environment without these, for messages in English (transfer full). */
char **vms_process_environ(void);

/* Runs argv (NULL-terminated, searched in PATH, no shell), waits, gives its stdout (nullable, at
 * most 16 MiB). A non-zero exit is FAILED with the last line of its stderr; NOT_FOUND if the
 * program is not installed; on cancel it is killed and CANCELLED returned. */
bool vms_process_run(const char *const *argv, GCancellable *cancellable, char **ret_stdout,
                     GError **error);

/* The same; the program gets fd, whose name to it is VMS_PROCESS_FD: where others may change the
 * directory that a file is in, its own name may lead elsewhere by the time the program opens it. */
#define VMS_PROCESS_FD "/proc/self/fd/3"
bool vms_process_run_on(int fd, const char *const *argv, GCancellable *cancellable, GError **error);
