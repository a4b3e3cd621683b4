/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/capture-memory.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "base/text.h"
#include "job/check.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

/* libvirt's live snapshot instead, if check has nothing against it; what check says of that engine
 * is noted like the reason. Nothing has happened yet but that overlay files were made, which serve
 * either. */
static bool fall_back(VmsCapture *capture, const GError *cause, GError **error)
{
    VmsRecord *record = capture->record;
    VmsCreateOptions options = *capture->options;
    options.memory = VMS_MEMORY_LIVE;
    g_autoptr(VmsCheck) found =
        vms_check_facts(capture->context, capture->domain, capture->facts, &options, true, error);
    if (!found || (found->refused && !vms_check_fail(found, error)))
        return vms_prefix(error, "%s; libvirt's live snapshot, instead of it", cause->message);
    vms_record_add_note(
        record, "cow-failed",
        "copy-on-write memory could not be prepared, so libvirt's live snapshot was "
        "taken: %s",
        cause->message);
    vms_check_note(found, record);
    record->engine = VMS_ENGINE_LIVE;
    capture->quiesce = found->quiesce;
    vms_failpoint("create.fallen-back");
    return vms_catalog_save(capture->catalog, record, error);
}

bool vms_capture_prepare_memory(VmsCapture *capture, GError **error)
{
    VmsRecord *record = capture->record;
    g_autoptr(GError) cause = NULL;
    bool unchanged = false;
    if (record->engine != VMS_ENGINE_COW)
        return true;
    capture->cow = vms_cow_prepare(capture->domain, capture->facts, record->memory_path,
                                   capture->context->progress, capture->context->cancellable,
                                   &unchanged, &cause);
    if (capture->cow)
        return true;
    if (unchanged && capture->options->memory == VMS_MEMORY_AUTO)
        return fall_back(capture, cause, error);
    g_propagate_error(error, g_steal_pointer(&cause));
    return false;
}

/* What was free when it was checked is gone. */
static bool write_failed(const VmsRecord *record, GError *cause, GError **error)
{
    struct statvfs space;
    g_autofree char *dir = g_path_get_dirname(record->memory_path);
    bool full = vms_error_is(cause, VMS_ERROR_NO_SPACE);
    g_propagate_error(error, cause);
    if (!full || statvfs(dir, &space) < 0)
        return false;
    g_autofree char *left = vms_text_size((uint64_t)space.f_bavail * space.f_frsize);
    return vms_prefix(error,
                      "memory file %s: its file system has run full while it was written (%s are "
                      "free); make room there, and run it again",
                      record->memory_path, left);
}

static bool take_memory_facts(VmsRecord *record, GError **error)
{
    struct stat st;
    if (!record->memory_path)
        return true;
    if (stat(record->memory_path, &st) < 0)
        return vms_fail_errno(error, errno, "memory file %s", record->memory_path);
    record->memory_device = st.st_dev;
    record->memory_inode = st.st_ino;
    record->memory_size = (uint64_t)st.st_size;
    return true;
}

bool vms_capture_finish_memory(VmsCapture *capture, GError **error)
{
    VmsRecord *record = capture->record;
    GError *cause = NULL;
    if (capture->cow && !vms_cow_finish(capture->cow, &cause))
        return write_failed(record, cause, error);
    vms_heartbeat_mark(capture->heartbeat, VMS_HEARTBEAT_DONE);
    if (capture->heartbeat && !vms_heartbeat_gaps(capture->heartbeat, &record->heartbeat))
        record->heartbeat = (VmsHeartbeatGaps){0};
    if (capture->cow)
        record->timing = *vms_cow_times(capture->cow);
    return take_memory_facts(record, error);
}

bool vms_capture_restore_huge(VmsCapture *capture)
{
    VmsRecord *record = capture->record;
    g_autoptr(GError) cause = NULL;
    if (!capture->cow)
        return true;
    if (!vms_cow_restore_huge(capture->cow, &cause))
        vms_record_add_note(record, "huge-pages-split",
                            "%s; the guest's memory stays in small "
                            "pages, the next pause will be longer",
                            cause->message);
    record->timing = *vms_cow_times(capture->cow);
    vms_catalog_save(capture->catalog, record, NULL);
    return true;
}
