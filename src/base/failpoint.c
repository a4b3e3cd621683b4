/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Nothing of ours is used here, so that a test can build it by itself in any build. `lock` guards
 * `reached` and is held while the process stops: no other thread passes a point meanwhile. */
#include "base/failpoint.h"

#include <fcntl.h>
#include <glib.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyz0123456789.-"

typedef struct {
    char *name; /* NULL: none is wanted */
    guint64 at; /* the how manieth time */
    bool stop;  /* instead of kill */
    const char *report;
    int trace; /* -1: none */
} Wanted;

static GMutex lock;
static guint64 reached;

static void give_up(const char *sentence, const char *what)
{
    fprintf(stderr, "fail point: %s: %s\n", sentence, what);
    abort();
}

/* NAME[:N][=kill|stop] */
static void parse(const char *text, Wanted *wanted)
{
    const char *rest = text + strspn(text, LETTERS);
    wanted->name = g_strndup(text, (gsize)(rest - text));
    wanted->at = 1;
    if (*rest == ':') {
        char *end = NULL;
        wanted->at = g_ascii_strtoull(rest + 1, &end, 10);
        if (!g_ascii_isdigit(rest[1]) || wanted->at == 0)
            give_up("VMSNAP_FAILPOINT is not NAME[:N][=kill|stop]", text);
        rest = end;
    }
    wanted->stop = strcmp(rest, "=stop") == 0;
    if (!*wanted->name || (*rest && !wanted->stop && strcmp(rest, "=kill") != 0))
        give_up("VMSNAP_FAILPOINT is not NAME[:N][=kill|stop]", text);
}

static const Wanted *read_environment(void)
{
    static Wanted wanted = {.trace = -1};
    static gsize done;
    if (!g_once_init_enter(&done))
        return &wanted;
    const char *text = g_getenv("VMSNAP_FAILPOINT");
    const char *trace = g_getenv("VMSNAP_FAILPOINT_TRACE");
    wanted.report = g_getenv("VMSNAP_FAILPOINT_REACHED");
    if (text)
        parse(text, &wanted);
    if (wanted.stop && !wanted.report)
        give_up("VMSNAP_FAILPOINT_REACHED must say where a stop is told", text);
    if (trace)
        wanted.trace = open(trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (trace && wanted.trace < 0)
        give_up("VMSNAP_FAILPOINT_TRACE cannot be opened", trace);
    g_once_init_leave(&done, 1);
    return &wanted;
}

static void write_line(int fd, const char *name)
{
    g_autofree char *line = g_strdup_printf("%s\n", name);
    ssize_t len = (ssize_t)strlen(line);
    if (write(fd, line, (size_t)len) != len)
        give_up("cannot be written down", name);
}

static void tell(const char *path, const char *name)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        give_up("VMSNAP_FAILPOINT_REACHED cannot be opened", path);
    write_line(fd, name);
    if (fsync(fd) < 0)
        give_up("VMSNAP_FAILPOINT_REACHED cannot be synced", path);
    close(fd);
}

void vms_failpoint(const char *name)
{
    const Wanted *wanted = read_environment();
    if (wanted->trace >= 0)
        write_line(wanted->trace, name);
    if (!wanted->name || strcmp(wanted->name, name) != 0)
        return;
    g_mutex_lock(&lock);
    reached++;
    bool now = reached == wanted->at;
    if (now && wanted->stop)
        tell(wanted->report, name);
    if (now)
        kill(getpid(), wanted->stop ? SIGSTOP : SIGKILL);
    g_mutex_unlock(&lock);
}
