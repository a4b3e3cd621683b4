/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One 32-byte record per chunk: in memory while the list is short (a directory may hold thousands
 * of small files, and each would cost a descriptor), else in an unlinked file. There each call is
 * one pread or pwrite, which the kernel keeps apart; in memory chunks are apart by themselves. So
 * any number of threads may set and get at once without a lock. What was never set is a hole. */
#include "repo/content.h"

#include "base/error.h"
#include "base/spool.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define SHORT 64  /* ids kept in memory */
#define BATCH 512 /* ids written at once */

struct VmsContent {
    uint64_t count;
    int fd;     /* -1 while short */
    VmsId *ids; /* NULL once long */
};

VmsContent *vms_content_new(uint64_t count, GError **error)
{
    g_autoptr(VmsContent) content = g_new0(VmsContent, 1);

    content->fd = -1;
    content->count = count;
    if (count <= SHORT) {
        content->ids = g_new0(VmsId, SHORT);
        return g_steal_pointer(&content);
    }
    if (count > (uint64_t)INT64_MAX / VMS_ID_LEN)
        return vms_fail_null(error, VMS_ERROR_INVALID,
                             "a content list of %" G_GUINT64_FORMAT " chunks is impossible", count);
    content->fd = vms_spool_open(NULL, error);
    if (content->fd < 0)
        return NULL;
    if (ftruncate(content->fd, (off_t)(count * VMS_ID_LEN)) != 0) {
        vms_fail_errno(error, errno, "temporary file");
        return NULL;
    }
    return g_steal_pointer(&content);
}

void vms_content_free(VmsContent *content)
{
    if (content != NULL) {
        if (content->fd >= 0)
            close(content->fd);
        g_free(content->ids);
        g_free(content);
    }
}

uint64_t vms_content_count(const VmsContent *content)
{
    return content->count;
}

static bool check_range(const VmsContent *content, uint64_t at, uint64_t count, GError **error)
{
    if (at > content->count || count > content->count - at)
        return vms_fail(error, VMS_ERROR_INVALID,
                        "chunk %" G_GUINT64_FORMAT
                        " is beyond the content list of %" G_GUINT64_FORMAT " chunks",
                        at, content->count);
    return true;
}

bool vms_content_set(VmsContent *content, uint64_t at, const VmsId *id, GError **error)
{
    if (!check_range(content, at, 1, error))
        return false;
    if (content->ids == NULL)
        return vms_spool_write(content->fd, at * VMS_ID_LEN, id, VMS_ID_LEN, error);
    content->ids[at] = *id;
    return true;
}

bool vms_content_fill(VmsContent *content, uint64_t at, uint64_t count, const VmsId *id,
                      GError **error)
{
    VmsId batch[BATCH];

    if (!check_range(content, at, count, error))
        return false;
    for (size_t i = 0; i < MIN(count, BATCH); i++)
        batch[i] = *id;
    while (count > 0) {
        size_t n = MIN(count, BATCH);

        if (content->ids != NULL)
            memcpy(content->ids + at, batch, n * VMS_ID_LEN);
        else if (!vms_spool_write(content->fd, at * VMS_ID_LEN, batch, n * VMS_ID_LEN, error))
            return false;
        at += n;
        count -= n;
    }
    return true;
}

bool vms_content_get(const VmsContent *content, uint64_t at, VmsId *ret_id, GError **error)
{
    return vms_content_read(content, at, 1, ret_id, error);
}

bool vms_content_read(const VmsContent *content, uint64_t at, size_t count, VmsId *ret_ids,
                      GError **error)
{
    if (!check_range(content, at, count, error))
        return false;
    if (content->ids == NULL)
        return vms_spool_read(content->fd, at * VMS_ID_LEN, ret_ids, count * VMS_ID_LEN, error);
    memcpy(ret_ids, content->ids + at, count * VMS_ID_LEN);
    return true;
}

/* From memory into a file. */
static bool spill(VmsContent *content, GError **error)
{
    content->fd = vms_spool_open(NULL, error);
    if (content->fd < 0 ||
        !vms_spool_write(content->fd, 0, content->ids, content->count * VMS_ID_LEN, error))
        return false;
    g_clear_pointer(&content->ids, g_free);
    return true;
}

bool vms_content_append(VmsContent *content, const VmsId *ids, size_t count, GError **error)
{
    if (content->ids != NULL && content->count + count > SHORT && !spill(content, error))
        return false;
    if (content->ids != NULL)
        memcpy(content->ids + content->count, ids, count * VMS_ID_LEN);
    else if (!vms_spool_write(content->fd, content->count * VMS_ID_LEN, ids, count * VMS_ID_LEN,
                              error))
        return false;
    content->count += count;
    return true;
}
