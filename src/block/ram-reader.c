/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pages in the order of addresses lie one after the other in the file, but for strays. A window
 * that follows only where reads go on saves most of the system calls; a stray is read by itself and
 * leaves the window alone. */
#include "block/ram-reader.h"

#include "base/error.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define WINDOW (512u << 10) /* bytes */
#define NEAR 4096u          /* bytes between two reads that follow each other */

struct VmsRamReader {
    int fd;
    uint64_t begin, end; /* of the window */
    uint64_t next;       /* where the read before ended */
    uint8_t *window;
};

VmsRamReader *vms_ram_reader_new(int fd)
{
    VmsRamReader *reader = g_new0(VmsRamReader, 1);
    reader->fd = fd;
    reader->window = g_malloc(WINDOW);
    return reader;
}

void vms_ram_reader_free(VmsRamReader *reader)
{
    if (!reader)
        return;
    g_free(reader->window);
    g_free(reader);
}

/* At least min bytes, at most max; *ret_length is what was there. */
static bool read_some(int fd, uint64_t offset, uint8_t *to, size_t min, size_t max,
                      size_t *ret_length, GError **error)
{
    size_t done = 0;
    while (done < min) {
        ssize_t n = pread(fd, to + done, max - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vms_fail_errno(error, errno, "read");
        if (n == 0)
            return vms_fail(error, VMS_ERROR_CORRUPT, "the file has become shorter");
        done += (size_t)n;
    }
    *ret_length = done;
    return true;
}

static bool move_window(VmsRamReader *reader, uint64_t offset, size_t length, GError **error)
{
    size_t have = 0;
    reader->begin = reader->end = 0;
    if (!read_some(reader->fd, offset, reader->window, length, WINDOW, &have, error))
        return false;
    reader->begin = offset;
    reader->end = offset + have;
    return true;
}

bool vms_ram_reader_read(VmsRamReader *reader, uint64_t offset, void *buffer, size_t length,
                         GError **error)
{
    bool follows = offset >= reader->next && offset - reader->next <= NEAR;
    bool within = offset >= reader->begin && offset + length <= reader->end;
    size_t have;
    reader->next = offset + length;
    if (!within && (!follows || length > WINDOW))
        return read_some(reader->fd, offset, buffer, length, length, &have, error);
    if (!within && !move_window(reader, offset, length, error))
        return false;
    memcpy(buffer, reader->window + (offset - reader->begin), length);
    return true;
}
