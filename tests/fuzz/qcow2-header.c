/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Of an image in a place of plain images, before QEMU sees it. */
#include "fuzz.h"
#include "job/plain-header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    int fd = fuzz_file(data, len);
    uint64_t size;
    g_autofree char *name = vms_plain_header_read(fd, &size);
    close(fd);
    g_assert_true(!name || strlen(name) < 1024);
    return 0;
}
