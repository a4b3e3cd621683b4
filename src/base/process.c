/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/process.h"

#include "base/error.h"

#include <string.h>

#define MAX_OUTPUT (16u << 20)

/* The line that usually says what is wrong. */
static char *last_line(const char *text)
{
    g_autofree char *copy = g_strstrip(g_strdup(text ? text : ""));
    char *newline = strrchr(copy, '\n');
    return g_strdup(newline ? newline + 1 : copy);
}

bool vms_process_run(const char *const *argv, GCancellable *cancellable, char **ret_stdout,
                     GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autoptr(GSubprocessLauncher) launcher =
        g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_PIPE);
    g_subprocess_launcher_setenv(launcher, "LC_ALL", "C", TRUE);
    g_autoptr(GSubprocess) process = g_subprocess_launcher_spawnv(launcher, argv, &cause);
    if (!process && g_error_matches(cause, G_SPAWN_ERROR, G_SPAWN_ERROR_NOENT))
        return vms_fail(error, VMS_ERROR_NOT_FOUND, "%s is not installed", argv[0]);
    if (!process)
        return vms_fail(error, VMS_ERROR_FAILED, "%s: %s", argv[0], cause->message);
    g_autofree char *out = NULL, *err = NULL;
    g_autoptr(GBytes) out_bytes = NULL, err_bytes = NULL;
    if (!g_subprocess_communicate(process, NULL, cancellable, &out_bytes, &err_bytes, &cause)) {
        g_subprocess_force_exit(process);
        g_subprocess_wait(process, NULL, NULL);
        g_propagate_error(error, g_steal_pointer(&cause));
        vms_convert(error);
        return vms_prefix(error, "%s", argv[0]);
    }
    size_t len = 0;
    const char *data = g_bytes_get_data(out_bytes, &len);
    if (len > MAX_OUTPUT)
        return vms_fail(error, VMS_ERROR_FAILED, "%s printed more than %u bytes", argv[0],
                        MAX_OUTPUT);
    out = g_strndup(data, len);
    data = g_bytes_get_data(err_bytes, &len);
    err = g_strndup(data, len);
    if (!g_subprocess_get_successful(process)) {
        g_autofree char *why = last_line(err);
        VmsErrorCode code =
            strstr(why, "No space left on device") ? VMS_ERROR_NO_SPACE : VMS_ERROR_FAILED;
        return vms_fail(error, code, "%s: %s", argv[0], *why ? why : "failed without a message");
    }
    if (ret_stdout)
        *ret_stdout = g_steal_pointer(&out);
    return true;
}
