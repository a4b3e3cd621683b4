/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A file in a FUSE mount of ours, as another program sees it. Needs root and /dev/fuse. */
#include "base/error.h"
#include "block/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE ((7u << 20) + 333)
#define BAD_BEGIN (5u << 20)
#define BAD_END (BAD_BEGIN + 4096)

typedef struct {
    uint8_t *bytes;
    bool broken; /* reads of [BAD_BEGIN, BAD_END) fail */
    bool closed; /* under lock: reads wait no longer */
    bool waits;  /* reads wait until closed */
    unsigned waiting;
    GMutex lock;
    GCond changed;
} Content;

static char *parent; /* of all mounts */

static bool read_content(void *user, uint64_t offset, void *buffer, size_t length, GError **error)
{
    Content *content = user;
    g_mutex_lock(&content->lock);
    content->waiting++;
    g_cond_broadcast(&content->changed);
    while (content->waits && !content->closed)
        g_cond_wait(&content->changed, &content->lock);
    bool closed = content->closed;
    g_mutex_unlock(&content->lock);
    if (closed)
        return vms_fail(error, VMS_ERROR_CANCELLED, "interrupted");
    g_assert_cmpuint(offset + length, <=, SIZE);
    if (content->broken && offset < BAD_END && offset + length > BAD_BEGIN)
        return vms_fail(error, VMS_ERROR_CORRUPT, "pack 77 is damaged");
    memcpy(buffer, content->bytes + offset, length);
    return true;
}

static Content *content_new(void)
{
    Content *content = g_new0(Content, 1);
    content->bytes = g_malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        content->bytes[i] = (uint8_t)(i * 7 ^ i >> 8 ^ i >> 16);
    g_mutex_init(&content->lock);
    g_cond_init(&content->changed);
    return content;
}

static void content_free(Content *content)
{
    g_mutex_clear(&content->lock);
    g_cond_clear(&content->changed);
    g_free(content->bytes);
    g_free(content);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Content, content_free)

static VmsMount *mount_content(Content *content)
{
    g_autoptr(GError) error = NULL;
    VmsMountFile file = {"web02.save", SIZE, read_content, content};
    VmsMount *mount = vms_mount_new(parent, &file, &error);
    g_assert_no_error(error);
    return mount;
}

static unsigned count_entries(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    unsigned count = 0;
    while (dir && g_dir_read_name(dir))
        count++;
    return count;
}

static void assert_nothing_left(void)
{
    g_autofree char *mounts = NULL;
    g_assert_true(g_file_get_contents("/proc/self/mountinfo", &mounts, NULL, NULL));
    g_assert_null(strstr(mounts, parent));
    g_assert_cmpuint(count_entries(parent), ==, 0);
}

static void test_whole(void)
{
    g_autoptr(Content) content = content_new();
    g_autoptr(VmsMount) mount = mount_content(content);
    g_autofree char *data = NULL;
    size_t len;
    g_assert_false(vms_mount_was_opened(mount));
    g_assert_true(g_file_get_contents(vms_mount_path(mount), &data, &len, NULL));
    g_assert_cmpmem(data, len, content->bytes, SIZE);
    g_assert_true(vms_mount_was_opened(mount));
    g_assert_true(vms_mount_check(mount, NULL));
    g_clear_pointer(&mount, vms_mount_free);
    assert_nothing_left();
}

/* Whatever the page cache makes of it, and past it too. */
static void test_offsets(gconstpointer flags)
{
    g_autoptr(Content) content = content_new();
    g_autoptr(VmsMount) mount = mount_content(content);
    g_autofree uint8_t *buffer = aligned_alloc(4096, 1 << 20);
    int fd = open(vms_mount_path(mount), O_RDONLY | O_CLOEXEC | GPOINTER_TO_INT(flags));
    g_assert_cmpint(fd, >=, 0);
    for (int i = 0; i < 300; i++) {
        size_t length = (size_t)g_test_rand_int_range(1, 256) * 4096;
        size_t offset = (size_t)g_test_rand_int_range(0, SIZE / 4096 + 2) * 4096;
        size_t want = offset < SIZE ? MIN(length, SIZE - offset) : 0;
        ssize_t got = pread(fd, buffer, length, (off_t)offset);
        g_assert_cmpint(got, ==, (ssize_t)want);
        if (want > 0)
            g_assert_cmpmem(buffer, (size_t)got, content->bytes + offset, want);
    }
    close(fd);
}

static void test_listing(void)
{
    g_autoptr(Content) content = content_new();
    g_autoptr(VmsMount) mount = mount_content(content);
    g_autofree char *dir = g_path_get_dirname(vms_mount_path(mount));
    g_autofree char *other = g_build_filename(dir, "other", NULL);
    struct stat st;
    g_assert_cmpuint(count_entries(dir), ==, 1);
    g_assert_cmpint(stat(vms_mount_path(mount), &st), ==, 0);
    g_assert_cmpint(st.st_size, ==, SIZE);
    g_assert_cmpint(stat(other, &st), ==, -1);
    g_assert_cmpint(errno, ==, ENOENT);
    g_assert_cmpint(open(vms_mount_path(mount), O_WRONLY), ==, -1);
    g_assert_cmpint(errno, ==, EROFS);
    g_autofree char *folder = g_path_get_dirname(dir);
    g_assert_cmpint(stat(folder, &st), ==, 0);
    g_assert_cmpint(st.st_mode & 0777, ==, 0700);
}

/* Who reads gets EIO, we keep the reason; what is whole can still be read. */
static void test_error(void)
{
    g_autoptr(Content) content = content_new();
    content->broken = true;
    g_autoptr(VmsMount) mount = mount_content(content);
    g_autoptr(GError) error = NULL;
    uint8_t buffer[4096];
    int fd = open(vms_mount_path(mount), O_RDONLY | O_CLOEXEC);
    g_assert_cmpint(pread(fd, buffer, sizeof buffer, 0), ==, sizeof buffer);
    g_assert_true(vms_mount_check(mount, &error));
    g_assert_cmpint(pread(fd, buffer, sizeof buffer, BAD_BEGIN), ==, -1);
    g_assert_cmpint(errno, ==, EIO);
    g_assert_false(vms_mount_check(mount, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
    g_assert_cmpstr(error->message, ==, "pack 77 is damaged");
    g_assert_cmpint(pread(fd, buffer, sizeof buffer, 1 << 20), ==, sizeof buffer);
    close(fd);
}

typedef struct {
    int fd;
    ssize_t got;
    int cause;
} Reading;

static void *read_first(void *data)
{
    Reading *reading = data;
    uint8_t byte;
    reading->got = pread(reading->fd, &byte, 1, 0);
    reading->cause = errno;
    return NULL;
}

/* A reader in the middle of a read, and one that only holds the file: both get an error. */
static void test_unmount_while_open(void)
{
    g_autoptr(Content) content = content_new();
    content->waits = true;
    VmsMount *mount = mount_content(content);
    Reading reading = {.fd = open(vms_mount_path(mount), O_RDONLY | O_CLOEXEC)};
    g_assert_cmpint(reading.fd, >=, 0);
    GThread *reader = g_thread_new("reader", read_first, &reading);
    g_mutex_lock(&content->lock);
    while (content->waiting == 0)
        g_cond_wait(&content->changed, &content->lock);
    content->closed = true;
    g_cond_broadcast(&content->changed);
    g_mutex_unlock(&content->lock);
    vms_mount_free(mount);
    g_thread_join(reader);
    g_assert_cmpint(reading.got, ==, -1);
    assert_nothing_left();
    read_first(&reading);
    g_assert_cmpint(reading.got, ==, -1);
    close(reading.fd);
}

/* This thread alone becomes somebody else, and is done. */
static void *use_as_nobody(void *data)
{
    Reading *reading = data;
    struct stat st;
    g_assert_cmpint(syscall(SYS_setresuid, 65534, 65534, 65534), ==, 0);
    read_first(reading);
    if (reading->got == 1 && fstat(reading->fd, &st) < 0)
        reading->cause = errno;
    else
        reading->cause = 0;
    return NULL;
}

/* As QEMU does: a descriptor that root opened, in the hands of another user. */
static void test_other_user(void)
{
    g_autoptr(Content) content = content_new();
    g_autoptr(VmsMount) mount = mount_content(content);
    Reading reading = {.fd = open(vms_mount_path(mount), O_RDONLY | O_CLOEXEC)};
    g_assert_cmpint(reading.fd, >=, 0);
    g_thread_join(g_thread_new("nobody", use_as_nobody, &reading));
    g_assert_cmpint(reading.got, ==, 1);
    g_assert_cmpint(reading.cause, ==, 0);
    close(reading.fd);
}

static void test_no_leaks(void)
{
    g_autoptr(Content) content = content_new();
    vms_mount_free(mount_content(content));
    unsigned before = count_entries("/proc/self/fd");
    for (int i = 0; i < 20; i++)
        vms_mount_free(mount_content(content));
    g_assert_cmpuint(count_entries("/proc/self/fd"), ==, before);
    assert_nothing_left();
}

/* Another process, which only holds a mount until it is killed. */
static int hold(void)
{
    g_autoptr(Content) content = content_new();
    g_autoptr(VmsMount) mount = mount_content(content);
    if (write(STDOUT_FILENO, "+", 1) != 1)
        return 1;
    pause();
    return 0;
}

static GPid start_holder(const char *folder)
{
    char *argv[] = {(char *)"/proc/self/exe", (char *)"hold", (char *)folder, NULL};
    g_autoptr(GError) error = NULL;
    GPid pid;
    int out;
    char byte = 0;
    g_spawn_async_with_pipes(NULL, argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &pid, NULL,
                             &out, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpint(read(out, &byte, 1), ==, 1);
    g_assert_cmpint(byte, ==, '+');
    close(out);
    return pid;
}

static void end_holder(GPid pid)
{
    kill(pid, SIGKILL);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
    g_spawn_close_pid(pid);
}

static int open_only_file(void)
{
    g_autoptr(GDir) dir = g_dir_open(parent, 0, NULL);
    g_autofree char *path =
        g_build_filename(parent, g_dir_read_name(dir), "files", "web02.save", NULL);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
    return fd;
}

/* Who waits for the file to be readable, as QEMU does, learns that its server is gone, even if it
 * asks for the first time then. */
static void test_killed_before_poll(void)
{
    uint8_t byte;
    GPid holder = start_holder(parent);
    struct pollfd ready = {open_only_file(), POLLIN, 0};
    end_holder(holder);
    g_assert_cmpint(poll(&ready, 1, 0), ==, 1);
    g_assert_cmpint(ready.revents & POLLIN, ==, POLLIN);
    g_assert_cmpint(pread(ready.fd, &byte, 1, 0), ==, -1);
    close(ready.fd);
    g_autoptr(Content) content = content_new();
    vms_mount_free(mount_content(content));
    assert_nothing_left();
}

/* Whoever reads from a dead mount is told so; the next mount removes it, and no living one. */
static void test_killed(void)
{
    g_autoptr(Content) content = content_new();
    GPid living = start_holder(parent);
    GPid dead = start_holder(parent);
    g_assert_cmpuint(count_entries(parent), ==, 2);
    end_holder(dead);
    VmsMount *mount = mount_content(content);
    g_assert_cmpuint(count_entries(parent), ==, 2);
    vms_mount_free(mount);
    g_assert_cmpuint(count_entries(parent), ==, 1);
    end_holder(living);
    vms_mount_free(mount_content(content));
    assert_nothing_left();
}

int main(int argc, char **argv)
{
    if (argc == 3 && g_str_equal(argv[1], "hold")) {
        parent = argv[2];
        return hold();
    }
    g_test_init(&argc, &argv, NULL);
    if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0) {
        g_print("1..0 # SKIP needs root and /dev/fuse\n");
        return 77;
    }
    g_autofree char *top = g_dir_make_tmp("vmsnap-mount-XXXXXX", NULL);
    parent = g_build_filename(top, "mounts", NULL);
    g_test_add_func("/mount/whole", test_whole);
    g_test_add_data_func("/mount/offsets", GINT_TO_POINTER(0), test_offsets);
    g_test_add_data_func("/mount/offsets-direct", GINT_TO_POINTER(O_DIRECT), test_offsets);
    g_test_add_func("/mount/listing", test_listing);
    g_test_add_func("/mount/error", test_error);
    g_test_add_func("/mount/unmount-while-open", test_unmount_while_open);
    g_test_add_func("/mount/other-user", test_other_user);
    g_test_add_func("/mount/no-leaks", test_no_leaks);
    g_test_add_func("/mount/killed-before-poll", test_killed_before_poll);
    g_test_add_func("/mount/killed", test_killed);
    int status = g_test_run();
    g_rmdir(parent);
    g_rmdir(top);
    g_free(parent);
    return status;
}
