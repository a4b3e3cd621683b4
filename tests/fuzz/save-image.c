/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirt's header, and the one that is written in its place. */
#include "virt/save-image.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    g_autoptr(GError) error = NULL;
    uint64_t need = 0, again_need;
    g_autoptr(VmsSaveImage) image = vms_save_image_parse(data, len, &need, &error);
    g_assert_cmpuint(need, <=, 16 << 20);
    if (!fuzz_settled(image != NULL, &error))
        return 0;
    g_assert_cmpuint(image->data_offset, <=, len);
    g_autoptr(GBytes) header = vms_save_image_header(image, "<domain/>");
    gsize size;
    const void *bytes = g_bytes_get_data(header, &size);
    g_autoptr(VmsSaveImage) again = vms_save_image_parse(bytes, size, &again_need, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(again->xml, ==, "<domain/>");
    g_assert_cmpstr(again->cookie, ==, image->cookie);
    return 0;
}
