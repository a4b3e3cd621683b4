/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libfuse speaks the protocol; device and mount are opened here and not by fuse_session_mount,
 * which would fall back to a set-uid helper that talks on our stderr and cannot allow other users.
 * So errno tells why it does not work, and no program is needed.
 *
 * On disk there is PARENT/XXXXXX/ with "lock", on which this process holds a flock, and "files",
 * the mount point. When we are killed, the kernel closes the device: every read of the file that is
 * under way or comes later fails at once, nobody hangs. What stays is a dead mount; the flock tells
 * the next one who comes that it may be removed without touching it. A flock on PARENT itself keeps
 * two who start at the same time apart.
 *
 * allow_other: QEMU reads as a user of its own. It is given a descriptor; nobody but root passes
 * the folder, which is 0700.
 *
 * Threads: THREADS ("mount") poll the device, which does not block, and answer one request each, so
 * that a read that waits for the network does not keep others waiting. `wake` ends them. The lock
 * guards error and opened; nothing is called while it is held. */
#define FUSE_USE_VERSION 31
#include "block/mount.h"

#include "base/durable.h"
#include "base/error.h"
#include "base/failpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define THREADS 4
#define FILE_INODE 2
#define NEVER_S 1e6 /* nothing here ever changes */

struct VmsMount {
    VmsMountFile file;
    char *name;
    char *folder, *lock_path, *dir, *path;
    int lock_fd;                  /* -1: no folder yet */
    int wake;                     /* an eventfd, readable when the threads shall end; -1: none */
    struct fuse_session *session; /* owns the device; nullable */
    GThread *threads[THREADS];
    struct timespec born;
    GMutex lock;
    GError *error;
    bool opened;
};

/* --- what the kernel asks --- */

static void fill_stat(const VmsMount *mount, fuse_ino_t inode, struct stat *st)
{
    bool is_file = inode == FILE_INODE;
    *st = (struct stat){
        .st_ino = inode,
        .st_mode = is_file ? S_IFREG | 0444 : S_IFDIR | 0555,
        .st_nlink = is_file ? 1 : 2,
        .st_uid = getuid(),
        .st_gid = getgid(),
        .st_size = is_file ? (off_t)mount->file.size : 0,
        .st_blocks = is_file ? (blkcnt_t)(mount->file.size / 512 + 1) : 0,
        .st_blksize = 1 << 20,
        .st_atim = mount->born,
        .st_mtim = mount->born,
        .st_ctim = mount->born,
    };
}

static void on_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    const VmsMount *mount = fuse_req_userdata(request);
    struct fuse_entry_param entry = {
        .ino = FILE_INODE, .attr_timeout = NEVER_S, .entry_timeout = NEVER_S};
    if (parent != FUSE_ROOT_ID || !g_str_equal(name, mount->name)) {
        fuse_reply_err(request, ENOENT);
        return;
    }
    fill_stat(mount, FILE_INODE, &entry.attr);
    fuse_reply_entry(request, &entry);
}

static void on_getattr(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info)
{
    struct stat st;
    fill_stat(fuse_req_userdata(request), inode, &st);
    fuse_reply_attr(request, &st, NEVER_S);
}

static void on_readdir(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
                       struct fuse_file_info *info)
{
    const VmsMount *mount = fuse_req_userdata(request);
    const char *const names[] = {".", "..", mount->name};
    g_autofree char *buffer = g_malloc(size);
    size_t used = 0;
    for (off_t at = offset; at >= 0 && at < (off_t)G_N_ELEMENTS(names); at++) {
        struct stat st;
        fill_stat(mount, at == 2 ? FILE_INODE : FUSE_ROOT_ID, &st);
        size_t need =
            fuse_add_direntry(request, buffer + used, size - used, names[at], &st, at + 1);
        if (need > size - used)
            break;
        used += need;
    }
    fuse_reply_buf(request, buffer, used);
}

static void on_open(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info)
{
    VmsMount *mount = fuse_req_userdata(request);
    if (inode != FILE_INODE) {
        fuse_reply_err(request, EISDIR);
        return;
    }
    g_mutex_lock(&mount->lock);
    mount->opened = true;
    g_mutex_unlock(&mount->lock);
    info->keep_cache = 1;
    info->noflush = 1; /* a process that dies with its own file open would wait for itself */
    fuse_reply_open(request, info);
}

static void on_read(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
                    struct fuse_file_info *info)
{
    VmsMount *mount = fuse_req_userdata(request);
    g_autoptr(GError) error = NULL;
    uint64_t begin = MIN((uint64_t)offset, mount->file.size);
    size_t length = MIN(size, mount->file.size - begin);
    g_autofree char *buffer = g_malloc(MAX(length, 1));
    if (length == 0 || mount->file.read(mount->file.user, begin, buffer, length, &error)) {
        fuse_reply_buf(request, buffer, length);
        return;
    }
    g_mutex_lock(&mount->lock);
    if (!mount->error)
        mount->error = g_steal_pointer(&error);
    g_mutex_unlock(&mount->lock);
    fuse_reply_err(request, EIO);
}

static const struct fuse_lowlevel_ops operations = {
    .lookup = on_lookup,
    .getattr = on_getattr,
    .readdir = on_readdir,
    .open = on_open,
    .read = on_read,
};

static void *serve(void *data)
{
    VmsMount *mount = data;
    struct fuse_buf request = {0};
    struct pollfd ready[] = {{fuse_session_fd(mount->session), POLLIN, 0},
                             {mount->wake, POLLIN, 0}};
    for (;;) {
        if ((poll(ready, G_N_ELEMENTS(ready), -1) < 0 && errno != EINTR) || ready[1].revents)
            break;
        int got = fuse_session_receive_buf(mount->session, &request);
        if (got > 0)
            fuse_session_process_buf(mount->session, &request);
        else if (got != -EINTR && got != -EAGAIN)
            break; /* unmounted by somebody else */
    }
    free(request.mem);
    return NULL;
}

/* --- folders --- */

static void remove_folder(const char *folder, const char *dir, const char *lock_path)
{
    umount2(dir, MNT_DETACH | UMOUNT_NOFOLLOW); /* EINVAL where nothing is mounted */
    rmdir(dir);
    unlink(lock_path);
    rmdir(folder);
}

/* The caller has locked parent. */
static void remove_dead(const char *parent)
{
    g_autoptr(GDir) entries = g_dir_open(parent, 0, NULL);
    const char *name;
    while (entries && (name = g_dir_read_name(entries))) {
        g_autofree char *folder = g_build_filename(parent, name, NULL);
        g_autofree char *dir = g_build_filename(folder, "files", NULL);
        g_autofree char *lock_path = g_build_filename(folder, "lock", NULL);
        int fd = open(lock_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0) { /* killed between making the folder and the lock */
            if (errno == ENOENT)
                remove_folder(folder, dir, lock_path);
            continue;
        }
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            remove_folder(folder, dir, lock_path);
        close(fd);
    }
}

static bool make_folder(VmsMount *mount, const char *parent, GError **error)
{
    g_autofree char *folder = g_build_filename(parent, "XXXXXX", NULL);
    if (!mkdtemp(folder))
        return vms_fail_errno(error, errno, "making a folder in %s", parent);
    vms_failpoint("restore.mount-folder-made");
    mount->folder = g_steal_pointer(&folder);
    mount->lock_path = g_build_filename(mount->folder, "lock", NULL);
    mount->dir = g_build_filename(mount->folder, "files", NULL);
    mount->path = g_build_filename(mount->dir, mount->name, NULL);
    mount->lock_fd = open(mount->lock_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (mount->lock_fd < 0 || flock(mount->lock_fd, LOCK_EX | LOCK_NB) < 0 ||
        mkdir(mount->dir, 0500) < 0)
        return vms_fail_errno(error, errno, "%s", mount->folder);
    return true;
}

/* -1: not locked. */
static int lock_parent(const char *parent, GError **error)
{
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX) == 0)
        return fd;
    vms_fail_errno(error, errno, "%s", parent);
    if (fd >= 0)
        close(fd);
    return -1;
}

void vms_mount_remove_dead(const char *parent)
{
    int fd = lock_parent(parent, NULL);
    if (fd < 0)
        return;
    remove_dead(parent);
    close(fd);
}

static bool prepare(VmsMount *mount, const char *parent, GError **error)
{
    if (!vms_durable_mkdir(parent, 0700, error))
        return false;
    int fd = lock_parent(parent, error);
    if (fd < 0)
        return false;
    remove_dead(parent);
    bool ok = make_folder(mount, parent, error);
    close(fd);
    return ok;
}

/* --- mounting --- */

static void log_line(enum fuse_log_level level, const char *format, va_list args)
{
    g_autofree char *text = g_strdup_vprintf(format, args);
    g_debug("%s", g_strchomp(text));
}

static bool open_session(VmsMount *mount, int device, GError **error)
{
    char *argv[] = {(char *)"vmsnap", NULL};
    struct fuse_args args = FUSE_ARGS_INIT(1, argv);
    g_autofree char *device_path = g_strdup_printf("/dev/fd/%d", device);
    fuse_set_log_func(log_line);
    mount->session = fuse_session_new(&args, &operations, sizeof operations, mount);
    fuse_opt_free_args(&args);
    if (!mount->session || fuse_session_mount(mount->session, device_path) != 0)
        return vms_fail(error, VMS_ERROR_UNSUPPORTED, "FUSE: libfuse cannot use /dev/fuse");
    return true;
}

static bool mount_device(const char *dir, int device, GError **error)
{
    g_autofree char *options =
        g_strdup_printf("fd=%d,rootmode=40000,user_id=%u,group_id=%u,allow_other,"
                        "default_permissions",
                        device, (unsigned)getuid(), (unsigned)getgid());
    unsigned long flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
    return mount("vmsnap", dir, "fuse.vmsnap", flags, options) == 0 ||
           vms_fail(error, VMS_ERROR_UNSUPPORTED, "mounting a FUSE file: %s", g_strerror(errno));
}

/* The session takes the device. */
static bool do_mount(VmsMount *mount, GError **error)
{
    int device = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (device < 0)
        return vms_fail(error, VMS_ERROR_UNSUPPORTED, "/dev/fuse: %s", g_strerror(errno));
    if (mount_device(mount->dir, device, error) && open_session(mount, device, error))
        return true;
    close(device);
    return false;
}

static bool start_threads(VmsMount *mount, GError **error)
{
    mount->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (mount->wake < 0)
        return vms_fail_errno(error, errno, "eventfd");
    for (size_t i = 0; i < THREADS; i++) {
        mount->threads[i] = g_thread_try_new("mount", serve, mount, error);
        if (!mount->threads[i])
            return vms_convert(error);
    }
    return true;
}

/* The kernel asks once whether we answer poll(2), and knows from then on that the file is always
 * ready. If we died before it asked, it would call the file erroneous but not readable, and QEMU,
 * which waits for nothing but readable, would wait for ever. So it is made to ask now. */
static bool settle_poll(VmsMount *mount, GError **error)
{
    struct pollfd ready = {open(mount->path, O_RDONLY | O_CLOEXEC), POLLIN, 0};
    bool ok = ready.fd >= 0 && poll(&ready, 1, -1) >= 0;
    if (!ok)
        vms_fail(error, VMS_ERROR_UNSUPPORTED, "a FUSE file: %s", g_strerror(errno));
    if (ready.fd >= 0)
        close(ready.fd);
    g_mutex_lock(&mount->lock);
    mount->opened = false;
    g_mutex_unlock(&mount->lock);
    return ok;
}

VmsMount *vms_mount_new(const char *parent, const VmsMountFile *file, GError **error)
{
    g_autoptr(VmsMount) mount = g_new0(VmsMount, 1);
    mount->file = *file;
    mount->name = g_strdup(file->name);
    mount->lock_fd = mount->wake = -1;
    clock_gettime(CLOCK_REALTIME, &mount->born);
    g_mutex_init(&mount->lock);
    if (!prepare(mount, parent, error) || !do_mount(mount, error) || !start_threads(mount, error) ||
        !settle_poll(mount, error))
        return NULL;
    vms_failpoint("restore.mounted");
    return g_steal_pointer(&mount);
}

void vms_mount_free(VmsMount *mount)
{
    if (!mount)
        return;
    uint64_t one = 1;
    if (mount->wake >= 0 && write(mount->wake, &one, sizeof one) != sizeof one)
        g_debug("eventfd: %s", g_strerror(errno));
    for (size_t i = 0; i < THREADS; i++)
        if (mount->threads[i])
            g_thread_join(mount->threads[i]);
    /* Closing the device ends what others still wait for. */
    if (mount->session)
        fuse_session_destroy(mount->session);
    if (mount->folder)
        remove_folder(mount->folder, mount->dir, mount->lock_path);
    if (mount->lock_fd >= 0)
        close(mount->lock_fd);
    if (mount->wake >= 0)
        close(mount->wake);
    g_clear_error(&mount->error);
    g_mutex_clear(&mount->lock);
    g_free(mount->path);
    g_free(mount->dir);
    g_free(mount->lock_path);
    g_free(mount->folder);
    g_free(mount->name);
    g_free(mount);
}

const char *vms_mount_path(const VmsMount *mount)
{
    return mount->path;
}

bool vms_mount_was_opened(VmsMount *mount)
{
    g_mutex_lock(&mount->lock);
    bool opened = mount->opened;
    g_mutex_unlock(&mount->lock);
    return opened;
}

bool vms_mount_check(VmsMount *mount, GError **error)
{
    g_mutex_lock(&mount->lock);
    if (mount->error && error)
        *error = g_error_copy(mount->error);
    bool ok = !mount->error;
    g_mutex_unlock(&mount->lock);
    return ok;
}
