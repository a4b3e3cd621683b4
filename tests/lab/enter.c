/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs a command inside a lab's mount and pid namespaces; `up` compiles it to DIR/bin/lab-enter.
 *
 *     DIR/bin/lab-enter COMMAND ARG...
 *     DIR/bin/NAME ARG...              a symlink to it: runs NAME
 *
 * DIR/bin is taken out of PATH.
 *
 * nsenter(1) would do, but for two things tests need: a signal sent to it must reach the command
 * (with its own number: an interrupt has to arrive as one), and killing it must kill the command.
 * Called inside the lab already, it becomes the command itself. Exit status: the command's, death
 * by a signal included; 125 if the lab is not up, 126 or 127 if the command cannot be run. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile pid_t child;

__attribute__((noreturn, format(printf, 2, 3))) static void die(int status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fprintf(stderr, "lab-enter: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(status);
}

/* What a terminal sends goes to the command as well; only what was meant for us is passed on. */
static void forward(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (info->si_code <= 0 && child > 0)
        kill(child, number);
}

static bool read_file(const char *path, char *buf, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

    if (fd >= 0)
        close(fd);
    if (n < 0)
        return false;
    buf[n] = '\0';
    return true;
}

static bool start_time_is(int pid, unsigned long long wanted)
{
    char path[64], buf[1024];
    unsigned long long start;

    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (!read_file(path, buf, sizeof buf) || !strrchr(buf, ')'))
        return false;
    /* field 22; what follows the command's name starts with field 3 */
    return sscanf(
               strrchr(buf, ')') + 2,
               "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
               &start) == 1 &&
           start == wanted;
}

static void enter(int pid)
{
    char path[64];
    int ns[2];
    static const char *const names[2] = {"mnt", "pid"};

    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, names[i]);
        ns[i] = open(path, O_RDONLY | O_CLOEXEC);
        if (ns[i] < 0)
            die(125, "%s: %s", path, strerror(errno));
    }
    for (int i = 0; i < 2; i++) {
        if (setns(ns[i], 0) < 0)
            die(125, "cannot enter the %s namespace: %s", names[i], strerror(errno));
        close(ns[i]);
    }
}

/* Takes DIR/bin out of PATH. */
static void strip_path(const char *bin)
{
    const char *path = getenv("PATH");
    char *copy = strdup(path ? path : "/usr/sbin:/usr/bin:/sbin:/bin"), *save = NULL;
    char *result = calloc(1, strlen(copy) + 1);

    for (char *item = strtok_r(copy, ":", &save); item; item = strtok_r(NULL, ":", &save)) {
        if (strcmp(item, bin) == 0)
            continue;
        if (*result)
            strcat(result, ":");
        strcat(result, item);
    }
    setenv("PATH", result, 1);
    free(copy);
    free(result);
}

__attribute__((noreturn)) static void become(char **argv, const char *bin, bool by_name)
{
    const char *file = argv[0];

    strip_path(bin); /* inside, the stand-ins are of no use, and in a lab within the lab wrong */
    if (by_name && strcmp(argv[0], "vmsnap") == 0 && getenv("VMSNAP_BIN"))
        file = getenv("VMSNAP_BIN");
    execvp(file, argv);
    die(errno == ENOENT ? 127 : 126, "%s: %s", file, strerror(errno));
}

static int wait_for_child(void)
{
    int status;

    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFSIGNALED(status)) {
        const struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none); /* the command has dumped its own, if any */
        signal(WTERMSIG(status), SIG_DFL);
        raise(WTERMSIG(status));
    }
    return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
    static const int passed[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGCONT};
    struct sigaction action = {.sa_sigaction = forward, .sa_flags = SA_SIGINFO | SA_RESTART};
    char bin[4096], file[4200], buf[128], own[128], cwd[4096], theirs[128];
    unsigned long long start;
    int pid;

    ssize_t n = readlink("/proc/self/exe", bin, sizeof bin - 1);
    if (n < 0)
        die(125, "/proc/self/exe: %s", strerror(errno));
    bin[n] = '\0';
    *strrchr(bin, '/') = '\0';
    char *name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
    bool by_name = strcmp(name, "lab-enter") != 0;
    if (by_name)
        argv[0] = name;
    else if (argc < 2)
        die(2, "usage: lab-enter COMMAND ARG...");
    else
        argv++;

    snprintf(file, sizeof file, "%s/../lab.pid", bin);
    if (!read_file(file, buf, sizeof buf) ||
        sscanf(buf, "%d %llu %120s", &pid, &start, theirs) != 3)
        die(125, "this lab is not up (%s)", file);
    n = readlink("/proc/self/ns/mnt", own, sizeof own - 1);
    own[n < 0 ? 0 : n] = '\0';
    if (strcmp(own, theirs) == 0)
        become(argv, bin, by_name);
    if (!start_time_is(pid, start))
        die(125, "this lab has ended (%s)", file);
    if (!getcwd(cwd, sizeof cwd))
        strcpy(cwd, "/");
    enter(pid);
    if (chdir(cwd) < 0 && chdir("/") < 0)
        die(125, "%s: %s", cwd, strerror(errno));

    sigset_t all, old;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &old); /* none may come between fork and handlers */
    child = fork();
    if (child < 0)
        die(125, "fork: %s", strerror(errno));
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        sigprocmask(SIG_SETMASK, &old, NULL);
        become(argv, bin, by_name);
    }
    for (size_t i = 0; i < sizeof passed / sizeof passed[0]; i++)
        sigaction(passed[i], &action, NULL);
    sigprocmask(SIG_SETMASK, &old, NULL);
    return wait_for_child();
}
