/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A shell that waits for the end of a pipe, which we hold the other end of. The pipe ends when we
 * do, by kill -9 at that, for only a process of its own can act then; it is killed when all is
 * well. It is a session of its own, so that Ctrl-C and a signal to our group do not reach it. No
 * part of our memory lives on in it: it is /bin/sh and virsh, with a connection of their own. */
#include "virt/guard.h"

#include "base/process.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

struct VmsGuard {
    GPid pid;
    int line; /* the shell's stdin */
};

/* $1 virsh, $2 URI, $3 UUID, then the commands. libvirt refuses to resume a guest that runs: all
 * is well then, and another try would undo the operator's own suspend. It is asked to resume first,
 * because that waits for a suspend of ours that is still under way. A freeze may still lie in the
 * channel of an agent that hangs, so a thaw is tried for an hour; the first answer ends it. */
static const char script[] = "read -r nothing_ever_comes\n"
                             "virsh=$1 uri=$2 uuid=$3\n"
                             "shift 3\n"
                             "ask() { LC_ALL=C \"$virsh\" -q -c \"$uri\" \"$@\"; }\n"
                             "monitor() { ask qemu-monitor-command --return-value \"$uuid\" "
                             "\"$1\"; }\n"
                             "runs() { [ \"$(ask domstate \"$uuid\")\" = running ]; }\n"
                             "run() {\n"
                             "    case $1 in\n"
                             "    '-{'*) monitor \"${1#-}\" || : ;;\n"
                             "    '{'*) monitor \"$1\" ;;\n"
                             "    resume) ask resume \"$uuid\" || runs ;;\n"
                             "    *' '*) ask \"${1%% *}\" \"$uuid\" ${1#* } ;;\n"
                             "    *) ask \"$1\" \"$uuid\" ;;\n"
                             "    esac\n"
                             "}\n"
                             "for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do\n"
                             "    failed=\n"
                             "    for command; do run \"$command\" || failed=yes; done\n"
                             "    [ \"$failed\" ] || exit\n"
                             "    sleep 1\n"
                             "done\n"
                             "try=0\n"
                             "while [ \"$*\" = domfsthaw ] && [ $try -lt 360 ] && runs; do\n"
                             "    run domfsthaw && exit\n"
                             "    try=$((try + 1))\n"
                             "    sleep 10\n"
                             "done\n";

static void own_session(void *unused)
{
    setsid();
}

static VmsGuard *spawn(const char *virsh, const char *uri, const char *uuid,
                       const char *const *commands)
{
    const char *const words[] = {"/bin/sh", "-c", script, "vmsnap-guard", virsh, uri, uuid};
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_auto(GStrv) env = vms_process_environ();
    g_autoptr(GError) error = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
        g_ptr_array_add(argv, (char *)words[i]);
    for (const char *const *command = commands; *command; command++)
        g_ptr_array_add(argv, (char *)*command);
    g_ptr_array_add(argv, NULL);
    VmsGuard *guard = g_new0(VmsGuard, 1);
    if (g_spawn_async_with_pipes("/", (char **)argv->pdata, env,
                                 G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL |
                                     G_SPAWN_STDERR_TO_DEV_NULL | G_SPAWN_CLOEXEC_PIPES,
                                 own_session, NULL, &guard->pid, &guard->line, NULL, NULL, &error))
        return guard;
    g_info("no guard: %s", error->message);
    g_free(guard);
    return NULL;
}

VmsGuard *vms_guard_new(virDomainPtr domain, const char *const *commands)
{
    char uuid[VIR_UUID_STRING_BUFLEN];
    g_autofree char *virsh = g_find_program_in_path("virsh");
    char *uri = virConnectGetURI(virDomainGetConnect(domain));
    VmsGuard *guard = NULL;
    if (virsh && uri && virDomainGetUUIDString(domain, uuid) == 0)
        guard = spawn(virsh, uri, uuid, commands);
    free(uri);
    return guard;
}

void vms_guard_dismiss(VmsGuard *guard)
{
    if (!guard)
        return;
    kill(guard->pid, SIGKILL);
    while (waitpid(guard->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    vms_guard_release(guard);
}

void vms_guard_release(VmsGuard *guard)
{
    if (!guard)
        return;
    close(guard->line); /* nobody waits for the shell: it may take half a minute */
    g_free(guard);
}
