/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether there is FUSE is found out by mounting an empty file: everything else (the kernel's
 * configuration, a container, capabilities) would be a guess. Whether libvirtd sees the mount is
 * known only when it is there: it may live in another mount namespace, or a security module may
 * keep it out. So libvirtd is first asked to read the header. If it fails and nobody has even
 * opened the file, the memory is written to a file after all.
 *
 * virDomainRestore blocks until QEMU has read everything. Ctrl-C makes every read fail, so that it
 * comes back soon; libvirt then removes what it had started. */
#include "job/memory-restore.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "block/mount.h"
#include "job/record.h"
#include "virt/define.h"

#include <unistd.h>

static void note_spooled(VmsMemoryRestore *restore, const char *why)
{
    g_autofree char *text = g_strdup_printf(
        "the memory is written to a temporary file first, for libvirt cannot read it straight from "
        "the repository: %s",
        why);
    vms_notes_add(restore->notes, "memory-spooled", text);
    vms_progress_message(restore->context->progress, "%s", text);
    restore->spool = true;
}

static char *mount_parent(const VmsMemoryRestore *restore)
{
    return g_build_filename(restore->context->config->run_dir, "restore", NULL);
}

bool vms_memory_restore_prepare(VmsMemoryRestore *restore, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autofree char *parent = mount_parent(restore);
    if (!restore->spool) {
        VmsMountFile nothing = {.name = "nothing"};
        g_autoptr(VmsMount) mount = vms_mount_new(parent, &nothing, &cause);
        if (!mount)
            note_spooled(restore, cause->message);
    }
    g_autofree char *dir = g_path_get_dirname(restore->file_path);
    return !restore->spool || vms_memory_image_space(dir, restore->node->size, error);
}

static bool read_image(void *user, uint64_t offset, void *buffer, size_t length, GError **error)
{
    return vms_memory_image_read(user, offset, buffer, length, error);
}

/* *ret_refused: libvirt never got at it, and *error says why. */
static bool restore_mounted(VmsMemoryRestore *restore, VmsMemoryImage *image, bool *ret_refused,
                            GError **error)
{
    VmsConn *conn = restore->context->conn;
    VmsMountFile file = {"memory.save", vms_memory_image_size(image), read_image, image};
    g_autoptr(GError) cause = NULL;
    g_autofree char *parent = mount_parent(restore);
    g_autoptr(VmsMount) mount = vms_mount_new(parent, &file, error);
    *ret_refused = !mount;
    if (!mount)
        return false;
    const char *path = vms_mount_path(mount);
    bool readable = vms_define_can_read_memory(conn, path, &cause);
    if (!readable && !vms_mount_was_opened(mount)) {
        *ret_refused = true;
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    vms_failpoint("restore.memory-next");
    bool restored = readable && vms_define_restore_memory(conn, path, restore->paused, &cause);
    vms_failpoint("restore.memory-done");
    if (restored)
        return true;
    if (vms_check_cancelled(restore->context->cancellable, error) && vms_mount_check(mount, error))
        g_propagate_error(error, g_steal_pointer(&cause));
    return false;
}

static bool restore_file(VmsMemoryRestore *restore, VmsMemoryImage *image, GError **error)
{
    bool ok = vms_memory_image_write(image, restore->file_path, error) &&
              vms_check_cancelled(restore->context->cancellable, error);
    vms_failpoint("restore.memory-written");
    ok = ok && vms_define_restore_memory(restore->context->conn, restore->file_path,
                                         restore->paused, error);
    vms_failpoint("restore.memory-read");
    unlink(restore->file_path);
    return ok;
}

bool vms_memory_restore_run(VmsMemoryRestore *restore, VmsMemorySource *ret_source,
                            uint64_t *ret_fetched, GError **error)
{
    g_autoptr(VmsMemoryImage) image =
        vms_memory_image_open(&restore->fetch, restore->node, restore->xml, restore->user, error);
    if (!image)
        return false;
    if (!restore->spool) {
        g_autoptr(GError) cause = NULL;
        bool refused;
        if (restore_mounted(restore, image, &refused, &cause)) {
            *ret_source = VMS_MEMORY_SOURCE_FUSE;
            *ret_fetched = vms_memory_image_fetched(image);
            return true;
        }
        if (!refused || g_cancellable_is_cancelled(restore->context->cancellable)) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return false;
        }
        note_spooled(restore, cause->message);
    }
    if (!restore_file(restore, image, error))
        return false;
    *ret_source = VMS_MEMORY_SOURCE_FILE;
    *ret_fetched = vms_memory_image_fetched(image);
    return true;
}
