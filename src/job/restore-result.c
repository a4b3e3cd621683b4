/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/restore-result.h"

#include "job/record.h"

static void disk_free(void *data)
{
    VmsRestoredDisk *disk = data;
    g_free(disk->target);
    g_free(disk->path);
    g_free(disk->format);
    g_free(disk);
}

void vms_restore_result_free(VmsRestoreResult *result)
{
    if (!result)
        return;
    g_free(result->snapshot);
    g_free(result->domain);
    g_free(result->uuid);
    g_ptr_array_unref(result->disks);
    g_ptr_array_unref(result->notes);
    g_free(result);
}

VmsRestoreResult *vms_restore_result_new(const char *snapshot)
{
    VmsRestoreResult *result = g_new0(VmsRestoreResult, 1);
    result->snapshot = g_strdup(snapshot);
    result->disks = g_ptr_array_new_with_free_func(disk_free);
    result->notes = vms_notes_new();
    return result;
}

void vms_restore_result_add_disk(VmsRestoreResult *result, const VmsPlannedDisk *disk)
{
    VmsRestoredDisk *restored = g_new0(VmsRestoredDisk, 1);
    restored->target = g_strdup(disk->disk->target);
    restored->path = g_strdup(disk->path);
    restored->format = g_strdup(disk->format);
    restored->size = disk->disk->size;
    g_ptr_array_add(result->disks, restored);
}
