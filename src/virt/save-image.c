/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The layout is libvirt's qemu_saveimage.h: magic, then little- or host-endian words version,
 * data_len, was_running, compressed, cookieOffset, and unused words up to 92 bytes. data_len counts
 * the XML with its NUL and the cookie with its NUL; cookieOffset is where the cookie begins,
 * counted from the XML's start, 0 for none. libvirt writes host order and swaps on reading where
 * the version looks swapped. */
#include "virt/save-image.h"

#include "base/error.h"

#include <string.h>

#define MAGIC "LibvirtQemudSave"
#define MAGIC_PARTIAL "LibvirtQemudPart"
#define MAGIC_LEN 16
#define VERSION 2
#define SPARSE 6u /* 0 raw, 1 to 5 compressed by a program: a stream, wherever it begins */
#define MAX_DATA ((16u << 20) - VMS_SAVE_HEADER_LEN) /* bytes: with the header 16 MiB */

/* Offsets of the words after the magic. */
enum { AT_VERSION = 16, AT_DATA_LEN = 20, AT_RUNNING = 24, AT_FORMAT = 28, AT_COOKIE = 32 };

static uint32_t get_word(const uint8_t *header, size_t at)
{
    uint32_t word;
    memcpy(&word, header + at, sizeof word);
    return GUINT32_FROM_LE(word);
}

static void put_word(uint8_t *header, size_t at, uint32_t value)
{
    uint32_t word = GUINT32_TO_LE(value);
    memcpy(header + at, &word, sizeof word);
}

static bool check_header(const uint8_t *header, GError **error)
{
    if (memcmp(header, MAGIC_PARTIAL, MAGIC_LEN) == 0)
        return vms_fail(error, VMS_ERROR_CORRUPT, "the save image was never finished");
    if (memcmp(header, MAGIC, MAGIC_LEN) != 0)
        return vms_fail(error, VMS_ERROR_INVALID, "not a libvirt save image");
    uint32_t version = get_word(header, AT_VERSION);
    if (version != VERSION && GUINT32_SWAP_LE_BE(version) == VERSION)
        return vms_fail(error, VMS_ERROR_UNSUPPORTED,
                        "the save image is from a host of the other byte order");
    if (version != VERSION)
        return vms_fail(error, VMS_ERROR_UNSUPPORTED, "save image of version %u", version);
    if (get_word(header, AT_DATA_LEN) == 0 || get_word(header, AT_DATA_LEN) > MAX_DATA)
        return vms_fail(error, VMS_ERROR_INVALID, "save image with %u bytes of XML",
                        get_word(header, AT_DATA_LEN));
    return true;
}

/* A NUL-terminated text within the first len bytes. */
static char *take_text(const uint8_t *data, size_t len, const char *what, GError **error)
{
    if (!memchr(data, '\0', len))
        return vms_fail_null(error, VMS_ERROR_INVALID, "save image: %s without an end", what);
    return g_strdup((const char *)data);
}

VmsSaveImage *vms_save_image_parse(const void *data, size_t len, uint64_t *ret_need, GError **error)
{
    const uint8_t *header = data;
    *ret_need = VMS_SAVE_HEADER_LEN;
    if (len < VMS_SAVE_HEADER_LEN)
        return vms_fail_null(error, VMS_ERROR_INVALID, "save image ends within its header");
    if (!check_header(header, error))
        return NULL;
    uint32_t data_len = get_word(header, AT_DATA_LEN);
    uint32_t cookie = get_word(header, AT_COOKIE);
    *ret_need = VMS_SAVE_HEADER_LEN + (uint64_t)data_len;
    if (len < *ret_need)
        return vms_fail_null(error, VMS_ERROR_INVALID, "save image ends within its XML");
    if (cookie >= data_len)
        return vms_fail_null(error, VMS_ERROR_INVALID, "save image: cookie beyond its data");
    g_autoptr(VmsSaveImage) image = g_new0(VmsSaveImage, 1);
    const uint8_t *text = header + VMS_SAVE_HEADER_LEN;
    image->xml = take_text(text, cookie ? cookie : data_len, "XML", error);
    if (image->xml && cookie)
        image->cookie = take_text(text + cookie, data_len - cookie, "cookie", error);
    if (!image->xml || (cookie && !image->cookie))
        return NULL;
    image->was_running = get_word(header, AT_RUNNING) != 0;
    image->format = get_word(header, AT_FORMAT);
    if (image->format >= SPARSE)
        return vms_fail_null(error, VMS_ERROR_UNSUPPORTED,
                             "save image of format %u; its data cannot be moved", image->format);
    image->data_offset = *ret_need;
    return g_steal_pointer(&image);
}

void vms_save_image_free(VmsSaveImage *image)
{
    if (!image)
        return;
    g_free(image->xml);
    g_free(image->cookie);
    g_free(image);
}

GBytes *vms_save_image_header(const VmsSaveImage *image, const char *xml)
{
    size_t xml_len = strlen(xml) + 1;
    size_t cookie_len = image->cookie ? strlen(image->cookie) + 1 : 0;
    size_t total = VMS_SAVE_HEADER_LEN + xml_len + cookie_len;
    uint8_t *header = g_malloc0(total);
    memcpy(header, MAGIC, MAGIC_LEN);
    put_word(header, AT_VERSION, VERSION);
    put_word(header, AT_DATA_LEN, (uint32_t)(xml_len + cookie_len));
    put_word(header, AT_RUNNING, image->was_running);
    put_word(header, AT_FORMAT, image->format);
    put_word(header, AT_COOKIE, cookie_len ? (uint32_t)xml_len : 0);
    memcpy(header + VMS_SAVE_HEADER_LEN, xml, xml_len);
    if (cookie_len)
        memcpy(header + VMS_SAVE_HEADER_LEN + xml_len, image->cookie, cookie_len);
    return g_bytes_new_take(header, total);
}
