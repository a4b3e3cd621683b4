/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A handler that writes a byte, and a thread that reads it: unlike a blocked mask with signalfd,
 * handlers are not inherited over exec, so qemu-nbd and qemu-img can still be ended with SIGTERM.
 *
 * SIGHUP counts too: a closed terminal must not leave a guest frozen. SIGPIPE is ignored for the
 * same reason (vmsnap create | head); writing to stdout then fails and is reported. SIGCHLD is not,
 * though whoever started us may have handed that down: waitpid would find nobody.
 *
 * Thread: "signals", for ever. */
#include "cli/signals.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static int wake[2] = {-1, -1};

typedef struct {
    GCancellable *cancellable;
    VmsProgress *progress;
} Watch;

static void on_signal(int number)
{
    int saved = errno;
    char byte = (char)number;
    ssize_t n = write(wake[1], &byte, 1); /* full: one is enough */
    (void)n;
    errno = saved;
}

static void *watch_thread(void *data)
{
    Watch *watch = data;
    char byte;
    for (;;) {
        ssize_t n = read(wake[0], &byte, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n != 1)
            return NULL;
        if (g_cancellable_is_cancelled(watch->cancellable)) {
            vms_progress_message(watch->progress, "still undoing; this must not be cut short");
            continue;
        }
        vms_progress_message(watch->progress, "interrupted; undoing what was begun");
        g_cancellable_cancel(watch->cancellable);
    }
}

bool vms_signals_start(GCancellable *cancellable, VmsProgress *progress, GError **error)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    if (pipe2(wake, O_CLOEXEC) < 0 || fcntl(wake[1], F_SETFL, O_NONBLOCK) < 0)
        return vms_fail_errno(error, errno, "pipe for signals");
    Watch *watch = g_new0(Watch, 1);
    watch->cancellable = cancellable;
    watch->progress = progress;
    g_thread_unref(g_thread_new("signals", watch_thread, watch));
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
        struct sigaction old, action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
        sigemptyset(&action.sa_mask);
        /* nohup: what is ignored stays ignored */
        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN)
            continue;
        sigaction(numbers[i], &action, NULL);
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    return true;
}
