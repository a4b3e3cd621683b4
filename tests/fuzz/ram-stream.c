/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A memory file: taken apart and read to the end, or refused as not understood. */
#include "block/ram-image.h"
#include "fuzz.h"

static void drain(VmsRamImage *image)
{
    g_autofree uint8_t *buffer = g_malloc(VMS_RAM_PIECE_MAX);
    VmsRamImageStats stats;
    uint64_t bytes = 0, pieces = 0;
    vms_ram_image_stats(image, &stats);
    for (size_t len = 1; len > 0; bytes += len, pieces += len > 0) {
        g_autoptr(GError) error = NULL;
        g_assert_true(vms_ram_image_next(image, buffer, &len, &error));
        g_assert_cmpuint(len, <=, VMS_RAM_PIECE_MAX);
    }
    g_assert_cmpuint(bytes, ==, stats.size);
    g_assert_cmpuint(pieces, ==, stats.pieces);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    int fd = fuzz_file(data, len), index = fuzz_file(NULL, 0);
    VmsRamFile file = {.fd = fd, .size = len};
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsRamImage) image = vms_ram_image_open(&file, index, &error);
    if (fuzz_settled(image != NULL, &error))
        drain(image);
    g_clear_pointer(&image, vms_ram_image_free);
    close(fd);
    close(index);
    return 0;
}
