/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Each case runs in a child, because that is what a fail point ends. */
#include "base/failpoint.h"

#include <glib.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static char *folder;

static char *in_folder(const char *name)
{
    return g_build_filename(folder, name, NULL);
}

/* a, b, a, b, then exits with 0. */
static void pass(void)
{
    for (int i = 0; i < 2; i++) {
        vms_failpoint("test.a");
        vms_failpoint("test.b");
    }
    _exit(0);
}

/* wanted: nullable. */
static pid_t start(const char *wanted, const char *report, const char *trace)
{
    const struct rlimit no_core = {0, 0};
    pid_t child = fork();
    g_assert_cmpint(child, >=, 0);
    if (child != 0)
        return child;
    setrlimit(RLIMIT_CORE, &no_core);
    if (wanted)
        g_setenv("VMSNAP_FAILPOINT", wanted, TRUE);
    if (report)
        g_setenv("VMSNAP_FAILPOINT_REACHED", report, TRUE);
    if (trace)
        g_setenv("VMSNAP_FAILPOINT_TRACE", trace, TRUE);
    pass();
    return 0;
}

static int end(pid_t child, int flags)
{
    int status;
    g_assert_cmpint(waitpid(child, &status, flags), ==, child);
    return status;
}

static void check_trace(const char *wanted, int number, const char *passed)
{
    g_autofree char *trace = in_folder("trace");
    g_autofree char *text = NULL;
    g_unlink(trace);
    int status = end(start(wanted, NULL, trace), 0);
    g_assert_cmpint(WIFSIGNALED(status) ? WTERMSIG(status) : 0, ==, number);
    g_assert_true(g_file_get_contents(trace, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, passed);
}

static void test_kill(void)
{
    check_trace(NULL, 0, "test.a\ntest.b\ntest.a\ntest.b\n");
    check_trace("test.b", SIGKILL, "test.a\ntest.b\n");
    check_trace("test.a=kill", SIGKILL, "test.a\n");
    check_trace("test.a:2", SIGKILL, "test.a\ntest.b\ntest.a\n");
    check_trace("test.b:2=kill", SIGKILL, "test.a\ntest.b\ntest.a\ntest.b\n");
    check_trace("test.a:3", 0, "test.a\ntest.b\ntest.a\ntest.b\n");
    check_trace("test", 0, "test.a\ntest.b\ntest.a\ntest.b\n");
}

static void test_stop(void)
{
    g_autofree char *report = in_folder("reached");
    g_autofree char *text = NULL;
    pid_t child = start("test.b:2=stop", report, NULL);
    g_assert_true(WIFSTOPPED(end(child, WUNTRACED)));
    g_assert_true(g_file_get_contents(report, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "test.b\n");
    g_assert_cmpint(kill(child, SIGCONT), ==, 0);
    g_assert_cmpint(end(child, 0), ==, 0);
}

static void test_malformed(void)
{
    static const char *const wrong[] = {
        "",          ":1",        "test.a:",     "test.a:0",   "test.a:x",
        "test.a:1x", "test.a=",   "test.a=stay", "test.a:1=",  "Test.a",
        "test.a ",   "test.a:-1", "test.a, b",   "test.a=stop" /* REACHED is missing */
    };
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        int status = end(start(wrong[i], NULL, NULL), 0);
        g_test_message("%s", wrong[i]);
        g_assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    }
    int status = end(start(NULL, NULL, "/nowhere/trace"), 0);
    g_assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("failpoint-XXXXXX", NULL);
    g_assert_nonnull(folder);
    g_test_add_func("/failpoint/kill", test_kill);
    g_test_add_func("/failpoint/stop", test_stop);
    g_test_add_func("/failpoint/malformed", test_malformed);
    int status = g_test_run();
    g_autofree char *trace = in_folder("trace"), *report = in_folder("reached");
    g_unlink(trace);
    g_unlink(report);
    g_rmdir(folder);
    g_free(folder);
    return status;
}
