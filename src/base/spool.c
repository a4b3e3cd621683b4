/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/spool.h"

#include "base/durable.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *default_dir(void)
{
    const char *dir = g_getenv("TMPDIR");

    return dir == NULL || dir[0] == '\0' ? "/var/tmp" : dir; /* not /tmp, which may be memory */
}

static bool spool_fail(GError **error, int errnum, const char *dir)
{
    bool full = errnum == ENOSPC || errnum == EDQUOT;

    return vms_fail_errno(error, errnum, "temporary file in %s%s", dir,
                          full ? " (make room there, or name another folder in TMPDIR)" : "");
}

int vms_spool_open(const char *dir, GError **error)
{
    if (dir == NULL)
        dir = default_dir();

    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) { /* file systems without O_TMPFILE */
        g_autofree char *path = g_build_filename(dir, "vmsnap-XXXXXX", NULL);

        fd = mkostemp(path, O_CLOEXEC);
        if (fd >= 0)
            unlink(path);
    }
    if (fd < 0)
        spool_fail(error, errno, dir);
    return fd;
}

char *vms_spool_folder(GError **error)
{
    g_autofree char *path = g_build_filename(default_dir(), "vmsnap-XXXXXX", NULL);

    if (g_mkdtemp(path) != NULL)
        return g_steal_pointer(&path);
    spool_fail(error, errno, default_dir());
    return NULL;
}

void vms_spool_remove_folder(const char *path)
{
    g_autoptr(GDir) files = g_dir_open(path, 0, NULL);
    const char *name;

    while (files != NULL && (name = g_dir_read_name(files)) != NULL) {
        g_autofree char *file = g_build_filename(path, name, NULL);

        unlink(file);
    }
    rmdir(path);
}

bool vms_spool_write(int fd, uint64_t offset, const void *data, size_t len, GError **error)
{
    return vms_durable_write_at(fd, data, len, offset, error) ||
           vms_prefix(error, "temporary file in %s (TMPDIR chooses another folder)", default_dir());
}

bool vms_spool_read(int fd, uint64_t offset, void *data, size_t len, GError **error)
{
    uint8_t *p = data;

    while (len > 0) {
        ssize_t done = pread(fd, p, len, (off_t)offset);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return vms_fail_errno(error, errno, "temporary file");
        if (done == 0)
            return vms_fail(error, VMS_ERROR_CORRUPT, "temporary file ends early");
        p += done;
        len -= (size_t)done;
        offset += (uint64_t)done;
    }
    return true;
}

typedef struct {
    void *data;
    size_t len;
} Mapping;

static void unmap(void *user)
{
    Mapping *mapping = user;

    munmap(mapping->data, mapping->len);
    g_free(mapping);
}

GBytes *vms_spool_map(int fd, size_t len, GError **error)
{
    void *data = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);

    if (data == MAP_FAILED) {
        vms_fail_errno(error, errno, "temporary file: mmap");
        return NULL;
    }
    Mapping *mapping = g_new(Mapping, 1);
    *mapping = (Mapping){.data = data, .len = len};
    return g_bytes_new_with_free_func(data, len, unmap, mapping);
}
