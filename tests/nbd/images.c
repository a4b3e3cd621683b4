/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "images.h"

#include <glib/gstdio.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static char *scratch;

void images_setup(void)
{
    scratch = g_dir_make_tmp("vmsnap-block-XXXXXX", NULL);
    g_assert_nonnull(scratch);
}

char *images_path(const char *name)
{
    return g_build_filename(scratch, name, NULL);
}

void images_teardown(void)
{
    GDir *dir = g_dir_open(scratch, 0, NULL);
    const char *name;
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = images_path(name);
        umount2(path, MNT_DETACH);
        if (g_remove(path) < 0)
            g_test_message("left behind: %s", path);
    }
    g_dir_close(dir);
    g_rmdir(scratch);
    g_free(scratch);
}

void images_run(const char *program, ...)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_autofree char *out = NULL, *err = NULL;
    g_autoptr(GError) error = NULL;
    int status;
    va_list args;
    va_start(args, program);
    for (const char *arg = program; arg; arg = va_arg(args, const char *))
        g_ptr_array_add(argv, (char *)arg);
    va_end(args);
    g_ptr_array_add(argv, NULL);
    g_spawn_sync(NULL, (char **)argv->pdata, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, &err,
                 &status, &error);
    g_assert_no_error(error);
    if (status != 0)
        g_error("%s: %s", program, err);
}

/* Fields 2 to 4 of /proc/PID/stat; false where there is no such process. */
static bool read_stat(const char *pid, char *name, char *state, pid_t *parent)
{
    g_autofree char *path = g_strdup_printf("/proc/%s/stat", pid);
    g_autofree char *text = NULL;
    int ppid;
    if (!g_file_get_contents(path, &text, NULL, NULL) ||
        sscanf(text, "%*d (%15[^)]) %c %d", name, state, &ppid) != 3)
        return false;
    *parent = ppid;
    return true;
}

pid_t images_server_pid(void)
{
    GDir *dir = g_dir_open("/proc", 0, NULL);
    const char *entry;
    pid_t found = 0;
    while ((entry = g_dir_read_name(dir))) {
        char name[16], state;
        pid_t parent;
        if (g_ascii_isdigit(*entry) && read_stat(entry, name, &state, &parent) &&
            parent == getpid() && strcmp(name, "qemu-nbd") == 0)
            found = (pid_t)g_ascii_strtoll(entry, NULL, 10);
    }
    g_dir_close(dir);
    return found;
}

bool images_is_alive(pid_t pid)
{
    g_autofree char *entry = g_strdup_printf("%d", pid);
    char name[16], state;
    pid_t parent;
    return read_stat(entry, name, &state, &parent) && state != 'Z';
}

uint64_t images_allocated(const char *path)
{
    struct stat status;
    g_assert_cmpint(stat(path, &status), ==, 0);
    return (uint64_t)status.st_blocks * 512;
}

char *images_small_fs(const char *name, uint64_t bytes)
{
    g_autofree char *path = images_path(name);
    g_autofree char *options = g_strdup_printf("size=%" G_GUINT64_FORMAT, bytes);
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return NULL;
    g_assert_cmpint(g_mkdir(path, 0700), ==, 0);
    g_assert_cmpint(mount("none", path, "tmpfs", 0, options), ==, 0);
    return g_steal_pointer(&path);
}
