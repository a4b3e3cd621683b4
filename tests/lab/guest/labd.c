/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guest's one daemon: writer, dirtier and heartbeat as threads, and a control socket.
 *
 * Requests, one word and a newline each, answered with one line:
 *   pause    stop the writer between two records until `resume` (the freeze hook's pair)
 *   resume
 *   hold     the same, but only as long as this connection lives (labcheck)
 *   dirty N  from now on dirty N MiB of memory a second
 *   state    the counters as JSON */
#include "state.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

LabState lab;

static _Atomic bool paused; /* by `pause`; written by control connections only */
static pthread_mutex_t pause_lock = PTHREAD_MUTEX_INITIALIZER;

uint64_t lab_option(const char *name, uint64_t fallback)
{
    char line[4096] = " ", key[64];
    FILE *f = fopen("/proc/cmdline", "re");

    if (!f)
        return fallback;
    if (!fgets(line + 1, sizeof line - 1, f))
        line[1] = '\0';
    fclose(f);
    snprintf(key, sizeof key, " %s=", name);
    const char *at = strstr(line, key);
    return at ? strtoull(at + strlen(key), NULL, 10) : fallback;
}

/* A second pause or resume changes nothing, so that a repeated freeze cannot lock the writer. */
static bool set_paused(bool on)
{
    bool ok = true;

    pthread_mutex_lock(&pause_lock);
    if (paused != on) {
        ok = writer_hold(on);
        if (ok)
            paused = on;
        else
            writer_hold(false);
    }
    pthread_mutex_unlock(&pause_lock);
    return ok;
}

static void print_state(FILE *out)
{
    uint64_t pages, bad = dirty_verify(&pages);

    fprintf(out,
            "{\"nonce\":\"%016llx\",\"tick\":%llu,\"seq\":%llu,\"errors\":%llu,\"held\":%s,"
            "\"memory\":{\"pages\":%llu,\"written\":%llu,\"bad\":%llu,\"touched\":%llu}}\n",
            (unsigned long long)lab.nonce, (unsigned long long)lab.tick,
            (unsigned long long)lab.seq, (unsigned long long)lab.errors,
            writer_is_held() ? "true" : "false", (unsigned long long)pages,
            (unsigned long long)lab.dirty_seq, (unsigned long long)(bad + lab.bad_pages),
            (unsigned long long)lab.touched);
}

static void *serve(void *arg)
{
    int fd = (int)(intptr_t)arg;
    FILE *in = fdopen(fd, "r"), *out = fdopen(dup(fd), "w");
    unsigned holds = 0;
    char line[32];

    while (in && out && fgets(line, sizeof line, in)) {
        line[strcspn(line, "\n")] = '\0';
        bool ok = true;
        if (strcmp(line, "state") == 0) {
            print_state(out);
            fflush(out);
            continue;
        }
        if (strcmp(line, "hold") == 0) {
            ok = writer_hold(true);
            holds++;
        } else if (strcmp(line, "pause") == 0 || strcmp(line, "resume") == 0) {
            ok = set_paused(line[0] == 'p');
        } else if (strncmp(line, "dirty ", 6) == 0) {
            lab.dirty_rate = strtoull(line + 6, NULL, 10);
        } else {
            ok = false;
        }
        fprintf(out, ok ? "ok\n" : "failed\n");
        fflush(out);
    }
    while (holds-- > 0)
        writer_hold(false);
    if (out)
        fclose(out);
    if (in)
        fclose(in);
    return NULL;
}

static void start(void *(*run)(void *), void *arg)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, run, arg) != 0)
        abort();
    pthread_detach(thread);
}

int main(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/run/labd.sock"};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    signal(SIGPIPE, SIG_IGN);
    if (getrandom(&lab.nonce, sizeof lab.nonce, 0) != (ssize_t)sizeof lab.nonce)
        return 1;
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, 8) < 0) {
        perror("labd: control socket");
        return 1;
    }
    lab.dirty_rate = lab_option("lab.dirty", 0);
    start(heartbeat_run, NULL);
    start(writer_run, NULL);
    start(dirty_run, NULL);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            start(serve, (void *)(intptr_t)fd);
    }
}
