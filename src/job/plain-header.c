/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/plain-header.h"

#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#define HEADER 104 /* bytes, of version 3 */

static uint64_t big_endian(const uint8_t *bytes, unsigned count)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < count; i++)
        value = value << 8 | bytes[i];
    return value;
}

static bool read_at(int fd, void *buffer, size_t len, uint64_t offset)
{
    return pread(fd, buffer, len, (off_t)offset) == (ssize_t)len;
}

char *vms_plain_header_read(int fd, uint64_t *ret_size)
{
    uint8_t header[HEADER];
    char name[1024] = {0};
    if (!read_at(fd, header, sizeof header, 0) || memcmp(header, "QFI\xfb", 4) != 0 ||
        big_endian(header + 4, 4) != 3)
        return NULL;
    uint64_t offset = big_endian(header + 8, 8), length = big_endian(header + 16, 4);
    uint64_t encryption = big_endian(header + 32, 4), incompatible = big_endian(header + 72, 8);
    *ret_size = big_endian(header + 24, 8);
    if (encryption || incompatible || length >= sizeof name || offset > INT32_MAX)
        return NULL;
    if (offset > 0 && !read_at(fd, name, length, offset))
        return NULL;
    return g_strdup(name);
}
