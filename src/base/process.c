/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* By the calling thread alone: GLib starts the program, poll and waitpid do the rest. GSubprocess
 * has threads of its own for that, and when one of them ended, once in some hundred runs with GLib
 * 2.74, the C library found its lists of free memory damaged (docs/architecture.md). */
#include "base/process.h"

#include "base/error.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_OUTPUT (16u << 20)
#define PIECE (64u << 10)

typedef struct {
    GPid pid;
    int fds[2];       /* its stdout and stderr; -1: ended */
    GString *text[2]; /* what came of them */
} Process;

bool vms_process_is_private(const char *variable)
{
    g_autofree char *name = g_ascii_strdown(variable, (gssize)strcspn(variable, "="));
    return g_str_has_prefix(name, "vmsnap_") || g_str_has_prefix(name, "aws_") ||
           g_str_has_suffix(name, "_proxy");
}

char **vms_process_environ(void)
{
    g_auto(GStrv) all = g_get_environ();
    g_autoptr(GStrvBuilder) kept = g_strv_builder_new();
    for (char **variable = all; *variable; variable++)
        if (!vms_process_is_private(*variable))
            g_strv_builder_add(kept, *variable);
    return g_environ_setenv(g_strv_builder_end(kept), "LC_ALL", "C", TRUE);
}

static bool start(Process *process, int fd, const char *const *argv, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_auto(GStrv) env = vms_process_environ();
    GSpawnFlags flags = G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_CLOEXEC_PIPES;
    const int target = 3;
    if (g_spawn_async_with_pipes_and_fds(NULL, argv, (const char *const *)env, flags, NULL, NULL,
                                         -1, -1, -1, &fd, &target, fd >= 0 ? 1 : 0, &process->pid,
                                         NULL, &process->fds[0], &process->fds[1], &cause)) {
        process->text[0] = g_string_new(NULL);
        process->text[1] = g_string_new(NULL);
        return true;
    }
    if (g_error_matches(cause, G_SPAWN_ERROR, G_SPAWN_ERROR_NOENT))
        return vms_fail(error, VMS_ERROR_NOT_FOUND, "%s is not installed", argv[0]);
    return vms_fail(error, VMS_ERROR_FAILED, "%s: %s", argv[0], cause->message);
}

static bool take(Process *process, int i, GError **error)
{
    char piece[PIECE];
    ssize_t n = read(process->fds[i], piece, sizeof piece);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN || vms_fail_errno(error, errno, "read");
    if (n == 0) {
        close(process->fds[i]);
        process->fds[i] = -1;
    }
    g_string_append_len(process->text[i], piece, n);
    return process->text[i]->len <= MAX_OUTPUT ||
           vms_fail(error, VMS_ERROR_FAILED, "printed more than %u bytes", MAX_OUTPUT);
}

/* Until it has closed both. wake: readable once cancelled, or -1. */
static bool collect(Process *process, int wake, GCancellable *cancellable, GError **error)
{
    while (process->fds[0] >= 0 || process->fds[1] >= 0) {
        GPollFD fds[3] = {{.fd = process->fds[0], .events = G_IO_IN},
                          {.fd = process->fds[1], .events = G_IO_IN},
                          {.fd = wake, .events = G_IO_IN}};
        if (g_poll(fds, G_N_ELEMENTS(fds), -1) < 0 && errno != EINTR)
            return vms_fail_errno(error, errno, "poll");
        if (!vms_check_cancelled(cancellable, error))
            return false;
        for (int i = 0; i < 2; i++)
            if (fds[i].revents && process->fds[i] >= 0 && !take(process, i, error))
                return false;
    }
    return true;
}

static bool collect_all(Process *process, GCancellable *cancellable, GError **error)
{
    GPollFD wake = {.fd = -1};
    bool made = cancellable && g_cancellable_make_pollfd(cancellable, &wake);
    bool ok = collect(process, made ? wake.fd : -1, cancellable, error);
    if (made)
        g_cancellable_release_fd(cancellable);
    return ok;
}

/* The exit status as waitpid gives it. Kills it first where nobody wants to know. */
static int end(Process *process, bool wanted)
{
    int status = -1;
    if (!wanted)
        kill(process->pid, SIGKILL);
    while (waitpid(process->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    for (int i = 0; i < 2; i++)
        if (process->fds[i] >= 0)
            close(process->fds[i]);
    return status;
}

/* The line that usually says what is wrong. */
static const char *last_line(char *text)
{
    g_strstrip(text);
    const char *newline = strrchr(text, '\n');
    return newline ? newline + 1 : text;
}

static bool fail(const Process *process, const char *name, GError **error)
{
    const char *why = last_line(process->text[1]->str);
    /* Most say their name themselves. */
    g_autofree char *own = g_strdup_printf("%s: ", name);
    const char *said = g_str_has_prefix(why, own) ? why + strlen(own) : why;
    return vms_fail(error, vms_error_code_of_text(why), "%s: %s", name,
                    *said ? said : "failed without a message");
}

static bool run(int fd, const char *const *argv, GCancellable *cancellable, char **ret_stdout,
                GError **error)
{
    Process process = {.fds = {-1, -1}};
    if (!vms_check_cancelled(cancellable, error))
        return vms_prefix(error, "%s", argv[0]);
    if (!start(&process, fd, argv, error))
        return false;
    bool collected = collect_all(&process, cancellable, error);
    int status = end(&process, collected);
    bool ok = collected && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!collected)
        vms_prefix(error, "%s", argv[0]);
    else if (!ok)
        fail(&process, argv[0], error);
    else if (ret_stdout)
        *ret_stdout = g_strdup(process.text[0]->str);
    g_string_free(process.text[0], TRUE);
    g_string_free(process.text[1], TRUE);
    return ok;
}

bool vms_process_run(const char *const *argv, GCancellable *cancellable, char **ret_stdout,
                     GError **error)
{
    return run(-1, argv, cancellable, ret_stdout, error);
}

bool vms_process_run_on(int fd, const char *const *argv, GCancellable *cancellable, GError **error)
{
    return run(fd, argv, cancellable, NULL, error);
}
