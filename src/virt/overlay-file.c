/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The file is made by us with O_EXCL, so that its device and inode are known before anything is in
 * it, and then filled by qemu-img, which gets it as a descriptor: whoever may write to the
 * directory cannot have it write elsewhere. qemu-img is not let near the base (-u): the size is
 * given, and a running guest's image is locked. */
#include "virt/overlay.h"

#include "base/durable.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

VmsOverlay *vms_overlay_new(const char *target, const char *base, const char *base_format,
                            const char *overlay)
{
    VmsOverlay *self = g_new0(VmsOverlay, 1);
    self->target = g_strdup(target);
    self->base = g_strdup(base);
    self->base_format = g_strdup(base_format);
    self->overlay = g_strdup(overlay);
    return self;
}

void vms_overlay_free(VmsOverlay *overlay)
{
    if (!overlay)
        return;
    g_free(overlay->target);
    g_free(overlay->base);
    g_free(overlay->base_format);
    g_free(overlay->overlay);
    g_free(overlay);
}

/* Does the path still lead to the file we made? */
static bool check_same(const VmsOverlay *overlay, GError **error)
{
    struct stat st;
    if (lstat(overlay->overlay, &st) < 0)
        return vms_fail_errno(error, errno, "overlay %s", overlay->overlay);
    if (!S_ISREG(st.st_mode) || st.st_dev != overlay->device || st.st_ino != overlay->inode)
        return vms_fail(error, VMS_ERROR_EXISTS, "%s is not the file vmsnap made; it is left alone",
                        overlay->overlay);
    return true;
}

/* Its descriptor, -1 on failure. */
static int make_empty(VmsOverlay *overlay, GError **error)
{
    struct stat base, st;
    if (stat(overlay->base, &base) < 0) {
        vms_fail_errno(error, errno, "image %s", overlay->base);
        return -1;
    }
    int fd = open(overlay->overlay, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        vms_fail_errno(error, errno, "overlay %s", overlay->overlay);
        return -1;
    }
    vms_failpoint("overlay.opened");
    int failed = fstat(fd, &st) < 0 ? errno : 0;
    if (!failed) {
        overlay->device = st.st_dev;
        overlay->inode = st.st_ino;
        if (fchmod(fd, 0600) < 0 || fchown(fd, base.st_uid, base.st_gid) < 0)
            failed = errno;
    }
    if (!failed)
        return fd;
    close(fd);
    vms_fail_errno(error, failed, "overlay %s", overlay->overlay);
    return -1;
}

static bool fill(const VmsOverlay *overlay, int fd, uint64_t capacity, GCancellable *cancellable,
                 GError **error)
{
    g_autofree char *size = g_strdup_printf("%" G_GUINT64_FORMAT, capacity);
    const char *const argv[] = {
        "qemu-img",           "create", "-q",          "-u",           "-f", "qcow2", "-F",
        overlay->base_format, "-b",     overlay->base, VMS_PROCESS_FD, size, NULL};
    return vms_process_run_on(fd, argv, cancellable, error) && check_same(overlay, error) &&
           vms_durable_sync_parent(overlay->overlay, error);
}

bool vms_overlay_create_file(VmsOverlay *overlay, uint64_t capacity, GCancellable *cancellable,
                             GError **error)
{
    if (capacity == 0)
        return vms_fail(error, VMS_ERROR_INVALID, "the size of %s is unknown", overlay->base);
    overlay->device = 0;
    overlay->inode = 0;
    int fd = make_empty(overlay, error);
    vms_failpoint("overlay.made");
    bool ok = fd >= 0 && fill(overlay, fd, capacity, cancellable, error);
    if (fd >= 0)
        close(fd);
    if (!ok && overlay->inode)
        vms_overlay_remove_file(overlay, NULL);
    return ok;
}

bool vms_overlay_remove_file(const VmsOverlay *overlay, GError **error)
{
    struct stat st;
    if (lstat(overlay->overlay, &st) < 0 && errno == ENOENT)
        return true;
    if (!check_same(overlay, error))
        return false;
    vms_failpoint("overlay.removing");
    if (unlink(overlay->overlay) < 0 && errno != ENOENT)
        return vms_fail_errno(error, errno, "overlay %s", overlay->overlay);
    return true;
}
