/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A regular file, because a reader that stalls behind a pipe stops the guest, and QEMU's main loop
 * with it. Its space is reserved before anything starts. */
#include "virt/cow-file.h"

#include "base/durable.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "virt/cow.h"
#include "virt/save-image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEVICE_STATE (UINT64_C(64) << 20) /* bytes, with video memory */

struct VmsCowFile {
    char *path;
    int fd;
    dev_t device;
    ino_t inode;
    off_t header_len;
    bool finished;
};

uint64_t vms_cow_memory_need(const VmsFacts *facts)
{
    return facts->memory + facts->memory / 20 + DEVICE_STATE;
}

/* The definition names the disks as they are before the cut: those are the snapshot's. */
static bool write_header(VmsCowFile *file, virDomainPtr domain, const VmsFacts *facts,
                         GError **error)
{
    char *xml = virDomainGetXMLDesc(domain, VIR_DOMAIN_XML_SECURE | VIR_DOMAIN_XML_MIGRATABLE);
    if (!xml)
        return vms_virt_fail(error, "reading the definition");
    VmsSaveImage image = {.was_running = facts->state != VIR_DOMAIN_PAUSED};
    g_autoptr(GBytes) header = vms_save_image_header(&image, xml);
    size_t len;
    const void *data = g_bytes_get_data(header, &len);
    free(xml);
    file->header_len = (off_t)len;
    return vms_durable_write_all(file->fd, data, len, error);
}

/* Not every file system can reserve; the free space has been checked before. */
static bool reserve(VmsCowFile *file, uint64_t need, GError **error)
{
    while (fallocate(file->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)need) < 0) {
        if (errno == EOPNOTSUPP || errno == ENOSYS)
            return true;
        if (errno != EINTR)
            return vms_fail_errno(error, errno, "reserving %" G_GUINT64_FORMAT " MiB for memory",
                                  need >> 20);
    }
    return true;
}

VmsCowFile *vms_cow_file_create(virDomainPtr domain, const VmsFacts *facts, const char *path,
                                GError **error)
{
    g_autoptr(VmsCowFile) file = g_new0(VmsCowFile, 1);
    struct stat st;
    file->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (file->fd < 0) {
        vms_fail_errno(error, errno, "memory file %s", path);
        return NULL;
    }
    file->path = g_strdup(path);
    if (fstat(file->fd, &st) == 0 && fchmod(file->fd, 0600) == 0) {
        file->device = st.st_dev;
        file->inode = st.st_ino;
        vms_failpoint("cow.file-made");
        if (reserve(file, vms_cow_memory_need(facts), error) &&
            write_header(file, domain, facts, error))
            return g_steal_pointer(&file);
    } else {
        vms_fail_errno(error, errno, "stat");
    }
    vms_prefix(error, "memory file %s", path);
    return NULL;
}

int vms_cow_file_fd(const VmsCowFile *file)
{
    return file->fd;
}

bool vms_cow_file_finish(VmsCowFile *file, GError **error)
{
    off_t end = lseek(file->fd, 0, SEEK_CUR);
    if (end <= file->header_len)
        return vms_fail(error, VMS_ERROR_FAILED, "memory file %s: QEMU has written nothing",
                        file->path);
    /* Cuts off what was reserved beyond the end too. */
    if (ftruncate(file->fd, end) < 0 || fsync(file->fd) < 0)
        return vms_fail_errno(error, errno, "memory file %s", file->path);
    vms_failpoint("cow.file-synced");
    file->finished = true;
    return true;
}

void vms_cow_file_free(VmsCowFile *file)
{
    struct stat st;
    if (!file)
        return;
    if (file->fd >= 0)
        close(file->fd);
    if (!file->finished && file->path && lstat(file->path, &st) == 0 && st.st_dev == file->device &&
        st.st_ino == file->inode)
        unlink(file->path);
    g_free(file->path);
    g_free(file);
}
