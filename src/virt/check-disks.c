/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A writable disk that cannot be part of the snapshot is a warning where only disks are captured,
 * and a refusal with memory: a memory image whose disk is newer destroys the file system on it when
 * restored. */
#include "base/error.h"
#include "virt/check-private.h"
#include "virt/disk-xml.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEEP_CHAIN 8

typedef struct {
    bool found;
    const char *code, *what;
} Reason;

/* Nothing the guest could have written to. */
static bool is_skipped(const VmsChecking *c, const VmsDisk *disk)
{
    const Reason reasons[] = {
        {g_strcmp0(disk->device, "cdrom") == 0, "disk-cdrom-skipped", "a CD drive"},
        {g_strcmp0(disk->device, "floppy") == 0, "disk-floppy-skipped", "a floppy drive"},
        {disk->readonly, "disk-readonly-skipped", "read-only"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(reasons); i++) {
        if (!reasons[i].found)
            continue;
        vms_check_add(c, VMS_FINDING_INFO, reasons[i].code, disk->target, NULL,
                      "%s, left out of the snapshot", reasons[i].what);
        return true;
    }
    return false;
}

/* The guest writes to it: without it the others would be less than the instant that was asked for.
 */
static void refuse(const VmsChecking *c, const VmsDisk *disk, const char *code, const char *what)
{
    vms_check_add(c, VMS_FINDING_REFUSAL, code, disk->target,
                  "detach it while the snapshot is taken, and back it up by other means",
                  "%s, and cannot be part of a snapshot", what);
}

static bool is_format_known(const VmsDisk *disk)
{
    return g_strcmp0(disk->format, "raw") == 0 || g_strcmp0(disk->format, "qcow2") == 0;
}

static bool is_possible(const VmsChecking *c, xmlDocPtr doc, const VmsDisk *disk)
{
    xmlNodePtr node = vms_disk_xml_find(doc, disk->target);
    const Reason reasons[] = {
        {g_strcmp0(disk->device, "lun") == 0, "disk-lun", "passes a SCSI LUN through"},
        {disk->transient, "disk-transient",
         "is transient: libvirt has an overlay of its own on it"},
        {disk->shareable, "disk-shareable", "is shared with other domains"},
        {disk->source_type == VMS_DISK_NETWORK, "disk-network", "is a network disk"},
        {disk->source_type == VMS_DISK_OTHER, "disk-unsupported",
         "is neither a file nor a block device"},
        {!disk->source, "disk-empty", "has no image"},
        {!disk->format, "disk-no-format", "has no format in its definition"},
        {!is_format_known(disk), "disk-format", "is neither raw nor qcow2"},
        {disk->encrypted, "disk-encrypted", "is encrypted by QEMU, which its overlay would not be"},
        {node && vms_xml_node(doc, node, "source/slices"), "disk-unsupported",
         "is a slice of its image"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(reasons); i++) {
        if (!reasons[i].found)
            continue;
        refuse(c, disk, reasons[i].code, reasons[i].what);
        return false;
    }
    return true;
}

/* Next to the image, but nothing is put next to a device node. */
static char *overlay_dir(const VmsChecking *c, const VmsDisk *disk)
{
    struct stat st;
    bool is_block = disk->source_type == VMS_DISK_BLOCK ||
                    (stat(disk->source, &st) == 0 && S_ISBLK(st.st_mode));
    if (c->options->overlay_dir)
        return g_strdup(c->options->overlay_dir);
    return is_block ? g_strdup(c->options->block_overlay_dir) : g_path_get_dirname(disk->source);
}

static bool check_image(const VmsChecking *c, const VmsDisk *disk)
{
    if (access(disk->source, R_OK) < 0) {
        vms_check_add(c, VMS_FINDING_REFUSAL, "image-unreadable", disk->target,
                      "run vmsnap where and as whom the image can be read", "image %s: %s",
                      disk->source, g_strerror(errno));
        return false;
    }
    if (disk->capacity == 0) {
        vms_check_add(c, VMS_FINDING_REFUSAL, "image-unreadable", disk->target,
                      "see what \"virsh domblkinfo\" says", "libvirt cannot tell the size of %s",
                      disk->source);
        return false;
    }
    return true;
}

static void take_disk(const VmsChecking *c, const VmsDisk *disk)
{
    g_autofree char *dir = overlay_dir(c, disk);
    if (!check_image(c, disk))
        return;
    if (!dir) {
        vms_check_add(c, VMS_FINDING_REFUSAL, "disk-no-overlay-dir", disk->target,
                      "name a directory for overlays", "a block device has no room for an overlay");
        return;
    }
    if (disk->backing->len >= DEEP_CHAIN)
        vms_check_add(c, VMS_FINDING_WARNING, "chain-deep", disk->target, "merge older snapshots",
                      "%u images lie below the active one already", disk->backing->len);
    VmsCheckDisk *taken = g_new0(VmsCheckDisk, 1);
    taken->target = g_strdup(disk->target);
    taken->base = g_strdup(disk->source);
    taken->base_format = g_strdup(disk->format);
    taken->overlay_dir = g_steal_pointer(&dir);
    taken->capacity = disk->capacity;
    g_ptr_array_add(c->check->disks, taken);
}

bool vms_check_disks(const VmsChecking *c, GError **error)
{
    bool any = false;
    g_autoptr(xmlDoc) doc = vms_xml_parse(c->facts->xml, error);
    if (!doc)
        return false;
    for (guint i = 0; i < c->facts->disks->len; i++) {
        const VmsDisk *disk = c->facts->disks->pdata[i];
        if (is_skipped(c, disk) || !is_possible(c, doc, disk))
            continue;
        any = true;
        take_disk(c, disk);
    }
    if (!any)
        vms_check_add(c, VMS_FINDING_REFUSAL, "no-disks", NULL,
                      "attach a writable disk that is a file or a block device",
                      "there is no disk of which a snapshot could be taken");
    return true;
}
