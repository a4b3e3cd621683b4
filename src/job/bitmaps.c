/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/bitmaps.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "virt/bitmap.h"
#include "virt/image.h"

/* Is the image an overlay that another snapshot made and that is not merged? */
static bool is_ours(const GPtrArray *records, const VmsRecordDisk *disk)
{
    for (guint i = 0; i < records->len; i++) {
        const VmsRecordDisk *other = vms_record_disk(records->pdata[i], disk->target);
        if (other && !other->merged && g_str_equal(other->overlay, disk->base))
            return true;
    }
    return false;
}

void vms_bitmaps_plan(VmsCatalog *catalog, VmsRecord *record, GCancellable *cancellable)
{
    g_autoptr(GPtrArray) records = vms_catalog_list(catalog, record->uuid, true, NULL);
    for (guint i = 0; records && i < record->disks->len; i++) {
        VmsRecordDisk *disk = record->disks->pdata[i];
        if (!g_str_equal(disk->base_format, "qcow2") || is_ours(records, disk))
            continue;
        g_autoptr(VmsImageInfo) info =
            vms_image_info_read(disk->base, disk->base_format, cancellable, NULL);
        if (info && info->can_have_bitmaps && !info->internal_snapshots)
            disk->bitmap = g_strdup_printf("vmsnap-%s", record->id);
    }
}

void vms_bitmaps_begin(virDomainPtr domain, VmsRecord *record, GCancellable *cancellable)
{
    for (guint i = 0; i < record->disks->len; i++) {
        VmsRecordDisk *disk = record->disks->pdata[i];
        g_autoptr(GError) cause = NULL;
        if (!disk->bitmap)
            continue;
        bool begun = vms_bitmap_begin(domain, disk->base, disk->bitmap, cancellable, &cause);
        vms_failpoint("create.bitmap-begun");
        if (begun)
            continue;
        g_clear_pointer(&disk->bitmap, g_free);
        vms_record_add_note(record, "bitmap-missing",
                            "disk %s: no dirty bitmap could be begun, so the next export may have "
                            "to read all of the disk: %s",
                            disk->target, cause->message);
    }
}

static void drop(virDomainPtr domain, VmsRecordDisk *disk)
{
    bool gone = false;
    g_autoptr(GError) cause = NULL;
    if (!vms_bitmap_remove(domain, disk->base, disk->bitmap, &gone, &cause))
        g_info("disk %s: bitmap %s: %s", disk->target, disk->bitmap, cause->message);
    vms_failpoint("bitmap.removed");
    if (gone)
        g_clear_pointer(&disk->bitmap, g_free);
}

void vms_bitmaps_drop(virDomainPtr domain, VmsRecord *record)
{
    for (guint i = 0; i < record->disks->len; i++) {
        VmsRecordDisk *disk = record->disks->pdata[i];
        if (disk->bitmap)
            drop(domain, disk);
    }
}

/* Does a later export to that repository have one of the disk? */
static bool is_succeeded(const GPtrArray *records, const VmsRecordExport *export,
                         const char *target)
{
    for (guint i = 0; i < records->len; i++) {
        const VmsRecordExport *later = vms_record_export(records->pdata[i], export->repository);
        const VmsRecordDisk *disk = vms_record_disk(records->pdata[i], target);
        if (later && later->sequence > export->sequence && disk && disk->bitmap)
            return true;
    }
    return false;
}

static bool is_needed(const GPtrArray *records, const VmsRecord *record, const VmsRecordDisk *disk)
{
    if (record->exports->len == 0)
        return !vms_catalog_ended(record->status);
    for (guint i = 0; i < record->exports->len; i++)
        if (!is_succeeded(records, record->exports->pdata[i], disk->target))
            return true;
    return false;
}

/* While the disk runs on an overlay of ours, an image of a domain that is shut off may be frozen.
 */
static bool is_frozen(const GPtrArray *records, const VmsRecordDisk *disk)
{
    for (guint i = 0; i < records->len; i++) {
        const VmsRecord *record = records->pdata[i];
        const VmsRecordDisk *other = vms_record_disk(record, disk->target);
        if (other && !other->merged && !vms_catalog_ended(record->status))
            return true;
    }
    return false;
}

void vms_bitmaps_expire(VmsCatalog *catalog, virDomainPtr domain, const VmsRecord *record)
{
    g_autoptr(GPtrArray) records = vms_catalog_list(catalog, record->uuid, true, NULL);
    for (guint i = 0; records && i < records->len; i++) {
        VmsRecord *other = records->pdata[i];
        bool changed = false;
        if (g_str_equal(other->id, record->id)) /* the caller's is newer than this one */
            continue;
        for (guint d = 0; d < other->disks->len; d++) {
            VmsRecordDisk *disk = other->disks->pdata[d];
            if (!disk->bitmap || is_frozen(records, disk) || is_needed(records, other, disk))
                continue;
            drop(domain, disk);
            changed = changed || !disk->bitmap;
        }
        if (changed)
            vms_catalog_save(catalog, other, NULL);
        vms_failpoint("bitmap.forgotten");
    }
}
