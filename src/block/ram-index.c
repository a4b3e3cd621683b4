/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Streams are mostly in the order of addresses, with strays: a page that was written again, or that
 * a guest write made the copy-on-write engine save early. A cache of many short lines keeps the
 * place where the stream goes on while strays come and go. */
#include "block/ram-index.h"

#include "base/error.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define LINE 512 /* pages; 2 MiB of guest memory */
#define LINES 64

typedef struct {
    uint64_t number; /* of the line + 1; 0: empty */
    bool dirty;
    uint64_t places[LINE];
} Line;

struct VmsRamIndex {
    int fd;
    Line lines[LINES];
};

VmsRamIndex *vms_ram_index_new(int fd)
{
    VmsRamIndex *index = g_new0(VmsRamIndex, 1);
    index->fd = fd;
    return index;
}

void vms_ram_index_free(VmsRamIndex *index)
{
    g_free(index);
}

static bool write_line(const VmsRamIndex *index, Line *line, GError **error)
{
    const uint8_t *from = (const uint8_t *)line->places;
    size_t left = sizeof line->places;
    off_t at = (off_t)((line->number - 1) * sizeof line->places);
    while (left > 0) {
        ssize_t n = pwrite(index->fd, from, left, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return vms_fail_errno(error, n < 0 ? errno : EIO, "temporary file of the page index");
        from += n;
        at += n;
        left -= (size_t)n;
    }
    line->dirty = false;
    return true;
}

/* What is beyond the end of the file was never set. */
static bool read_line(const VmsRamIndex *index, Line *line, GError **error)
{
    uint8_t *to = (uint8_t *)line->places;
    size_t left = sizeof line->places;
    off_t at = (off_t)((line->number - 1) * sizeof line->places);
    while (left > 0) {
        ssize_t n = pread(index->fd, to, left, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vms_fail_errno(error, errno, "temporary file of the page index");
        if (n == 0)
            break;
        to += n;
        at += n;
        left -= (size_t)n;
    }
    memset(to, 0, left);
    return true;
}

static Line *get_line(VmsRamIndex *index, uint64_t page, GError **error)
{
    uint64_t number = page / LINE + 1;
    Line *line = &index->lines[number % LINES];
    if (line->number == number)
        return line;
    if (line->dirty && !write_line(index, line, error))
        return NULL;
    line->number = number;
    if (read_line(index, line, error))
        return line;
    line->number = 0;
    return NULL;
}

bool vms_ram_index_set(VmsRamIndex *index, uint64_t page, uint64_t place, GError **error)
{
    Line *line = get_line(index, page, error);
    if (!line)
        return false;
    line->places[page % LINE] = place;
    line->dirty = true;
    return true;
}

bool vms_ram_index_get(VmsRamIndex *index, uint64_t page, uint64_t *ret_place, GError **error)
{
    const Line *line = get_line(index, page, error);
    if (!line)
        return false;
    *ret_place = line->places[page % LINE];
    return true;
}
