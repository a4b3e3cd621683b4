/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Everything the child needs is made before the fork: between fork and exec only async-signal-safe
 * calls are allowed, because other threads may hold any lock at that moment. */
#include "block/launch.h"

#include "base/error.h"
#include "base/process.h"
#include "block/nbd-socket.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

void vms_launch_free(VmsLaunch *launch)
{
    if (!launch)
        return;
    if (launch->listen_fd >= 0)
        close(launch->listen_fd);
    for (int i = 0; i < 2; i++) {
        if (launch->stderr_pipe[i] >= 0)
            close(launch->stderr_pipe[i]);
    }
    g_strfreev(launch->argv);
    g_free(launch->envp); /* points into environ and launch */
    g_free(launch);
}

static void put_number(char *at, pid_t number)
{
    char digits[16];
    int n = 0;
    do {
        digits[n++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    while (n > 0)
        *at++ = digits[--n];
    *at = '\0';
}

void vms_launch_child(VmsLaunch *launch, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(126);
    setpgid(0, 0); /* Ctrl-C is ours to handle: it must not cut the server off first */
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* above all that is overwritten */
    int null = fcntl(open("/dev/null", O_RDWR), F_DUPFD, 10);
    int listener = fcntl(launch->listen_fd, F_DUPFD, 10);
    int words = fcntl(launch->stderr_pipe[1], F_DUPFD, 10);
    int image = launch->image_fd < 0 ? null : fcntl(launch->image_fd, F_DUPFD, 10);
    if (null < 0 || image < 0 || listener < 0 || words < 0 || dup2(null, 0) < 0 ||
        dup2(null, 1) < 0 || dup2(words, 2) < 0 || dup2(listener, 3) < 0 || dup2(image, 4) < 0)
        _exit(126);
    close_range(5, ~0U, 0);
    put_number(launch->listen_pid + strlen("LISTEN_PID="), getpid());
    execve(launch->argv[0], launch->argv, launch->envp);
    static const char failed[] = "qemu-nbd: cannot be executed\n";
    ssize_t ignored = write(2, failed, sizeof(failed) - 1);
    (void)ignored;
    _exit(127);
}

static char **make_argv(const char *path, const char *format, int image_fd, const char *const *more,
                        GError **error)
{
    g_autofree char *program = g_find_program_in_path("qemu-nbd");
    if (!program)
        return vms_fail_null(error, VMS_ERROR_NOT_FOUND,
                             "qemu-nbd is not installed (Debian: apt install qemu-utils)");
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(argv, g_steal_pointer(&program));
    /* -t -e 0: stays when the last of any number of connections goes */
    const char *always[] = {"-t", "-e", "0", "-f", format};
    const char *for_writing[] = {"--cache=writeback", "--discard=unmap"};
    for (size_t i = 0; i < G_N_ELEMENTS(always); i++)
        g_ptr_array_add(argv, g_strdup(always[i]));
    for (size_t i = 0; image_fd >= 0 && i < G_N_ELEMENTS(for_writing); i++)
        g_ptr_array_add(argv, g_strdup(for_writing[i]));
    if (image_fd < 0)
        g_ptr_array_add(argv, g_strdup("-r"));
    for (; more && *more; more++)
        g_ptr_array_add(argv, g_strdup(*more));
    g_ptr_array_add(argv, g_strdup("--"));
    g_ptr_array_add(argv, g_strdup(image_fd < 0 ? path : "/proc/self/fd/4"));
    g_ptr_array_add(argv, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&argv), FALSE);
}

static bool is_replaced(const char *variable)
{
    static const char *const names[] = {"LISTEN_", "LC_ALL=", "LANG="};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        if (g_str_has_prefix(variable, names[i]))
            return true;
    }
    return vms_process_is_private(variable);
}

static char **make_env(VmsLaunch *launch)
{
    GPtrArray *env = g_ptr_array_new();
    for (char **at = environ; *at; at++) {
        if (!is_replaced(*at))
            g_ptr_array_add(env, *at);
    }
    g_ptr_array_add(env, (char *)"LC_ALL=C"); /* we read its messages */
    g_ptr_array_add(env, (char *)"LISTEN_FDS=1");
    g_strlcpy(launch->listen_pid, "LISTEN_PID=", sizeof(launch->listen_pid));
    g_ptr_array_add(env, launch->listen_pid);
    g_ptr_array_add(env, NULL);
    return (char **)g_ptr_array_free(env, FALSE);
}

VmsLaunch *vms_launch_new(const char *path, const char *format, int image_fd,
                          const char *const *more, int *ret_socket_path, GError **error)
{
    g_autoptr(VmsLaunch) launch = g_new0(VmsLaunch, 1);
    launch->listen_fd = launch->stderr_pipe[0] = launch->stderr_pipe[1] = -1;
    launch->image_fd = image_fd;
    launch->argv = make_argv(path, format, image_fd, more, error);
    if (!launch->argv)
        return NULL;
    launch->envp = make_env(launch);
    if (pipe2(launch->stderr_pipe, O_CLOEXEC) < 0) {
        vms_fail_errno(error, errno, "make a pipe");
        return NULL;
    }
    if (!vms_nbd_socket_make(&launch->listen_fd, ret_socket_path, error))
        return NULL;
    return g_steal_pointer(&launch);
}
