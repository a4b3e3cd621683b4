/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirt's save image: read from a repository, so any byte may be wrong. */
#include "base/error.h"
#include "virt/save-image.h"

#include <string.h>

#define XML "<domain><name>web01</name></domain>"
#define COOKIE "<cookie/>"
#define PADDING 64 /* libvirt leaves room for a longer XML */

static void put(GByteArray *image, size_t at, uint32_t value)
{
    for (size_t i = 0; i < 4; i++)
        image->data[at + i] = (uint8_t)(value >> (8 * i));
}

/* As libvirt writes it, with 16 bytes of stream behind. */
static GByteArray *make(bool with_cookie)
{
    GByteArray *image = g_byte_array_new();
    size_t data_len = sizeof(XML) + (with_cookie ? sizeof(COOKIE) : 0) + PADDING;
    g_byte_array_set_size(image, (guint)(VMS_SAVE_HEADER_LEN + data_len + 16));
    memset(image->data, 0, image->len);
    memcpy(image->data, "LibvirtQemudSave", 16);
    put(image, 16, 2);
    put(image, 20, (uint32_t)data_len);
    put(image, 24, 1);
    put(image, 32, with_cookie ? sizeof(XML) : 0);
    memcpy(image->data + VMS_SAVE_HEADER_LEN, XML, sizeof(XML));
    if (with_cookie)
        memcpy(image->data + VMS_SAVE_HEADER_LEN + sizeof(XML), COOKIE, sizeof(COOKIE));
    memcpy(image->data + image->len - 16, "QEVM stream here", 16);
    return image;
}

static VmsSaveImage *parse(GByteArray *image)
{
    g_autoptr(GError) error = NULL;
    uint64_t need;
    VmsSaveImage *parsed = vms_save_image_parse(image->data, image->len, &need, &error);
    g_assert_no_error(error);
    return parsed;
}

static void test_parse(void)
{
    for (int with_cookie = 0; with_cookie < 2; with_cookie++) {
        g_autoptr(GByteArray) image = make(with_cookie);
        g_autoptr(VmsSaveImage) parsed = parse(image);
        g_assert_cmpstr(parsed->xml, ==, XML);
        g_assert_cmpstr(parsed->cookie, ==, with_cookie ? COOKIE : NULL);
        g_assert_true(parsed->was_running);
        g_assert_cmpuint(parsed->format, ==, 0);
        g_assert_cmpmem(image->data + parsed->data_offset, 16, "QEVM stream here", 16);
    }
}

/* A longer and a shorter XML: what was behind it is found again. */
static void test_rewrite(void)
{
    static const char *const others[] = {
        "<domain><name>a name that is much longer than the one before, well beyond the padding "
        "that libvirt leaves, to move everything behind it</name></domain>",
        "<d/>"};
    g_autoptr(GByteArray) image = make(true);
    g_autoptr(VmsSaveImage) parsed = parse(image);
    for (size_t i = 0; i < G_N_ELEMENTS(others); i++) {
        g_autoptr(GBytes) header = vms_save_image_header(parsed, others[i]);
        g_autoptr(GByteArray) whole = g_byte_array_new();
        size_t len;
        const void *data = g_bytes_get_data(header, &len);
        g_byte_array_append(whole, data, (guint)len);
        g_byte_array_append(whole, image->data + parsed->data_offset, 16);
        g_autoptr(VmsSaveImage) again = parse(whole);
        g_assert_cmpstr(again->xml, ==, others[i]);
        g_assert_cmpstr(again->cookie, ==, COOKIE);
        g_assert_true(again->was_running);
        g_assert_cmpuint(again->data_offset, ==, len);
    }
}

/* Fed byte by byte: it says how much it wants, and needs no more than that. */
static void test_need(void)
{
    g_autoptr(GByteArray) image = make(true);
    g_autoptr(VmsSaveImage) parsed = parse(image);
    for (size_t len = 0; len < parsed->data_offset; len++) {
        g_autoptr(GError) error = NULL;
        g_autofree uint8_t *exact = g_memdup2(image->data, len); /* for the address sanitizer */
        uint64_t need = 0;
        g_assert_null(vms_save_image_parse(exact ? exact : (uint8_t *)"", len, &need, &error));
        g_assert_true(vms_error_is(error, VMS_ERROR_INVALID));
        g_assert_cmpuint(need, ==,
                         len < VMS_SAVE_HEADER_LEN ? VMS_SAVE_HEADER_LEN : parsed->data_offset);
    }
}

static void expect(GByteArray *image, VmsErrorCode code)
{
    g_autoptr(GError) error = NULL;
    uint64_t need = 0;
    g_assert_null(vms_save_image_parse(image->data, image->len, &need, &error));
    g_test_message("%s", error->message);
    g_assert_true(vms_error_is(error, code));
    g_assert_cmpuint(need, <=, VMS_SAVE_HEADER_LEN + (16 << 20));
}

static void test_bad(void)
{
    static const struct {
        size_t at;
        uint32_t value;
        VmsErrorCode code;
    } cases[] = {
        {0, 0x01020304, VMS_ERROR_INVALID},      /* magic */
        {16, 3, VMS_ERROR_UNSUPPORTED},          /* version */
        {16, 0x02000000, VMS_ERROR_UNSUPPORTED}, /* other byte order */
        {20, 0, VMS_ERROR_INVALID},              /* no XML */
        {20, 0xffffffff, VMS_ERROR_INVALID},
        {20, 17 << 20, VMS_ERROR_INVALID},
        {28, 6, VMS_ERROR_UNSUPPORTED}, /* sparse: offsets are absolute */
        {28, 0xffffffff, VMS_ERROR_UNSUPPORTED},
        {32, 0xffffffff, VMS_ERROR_INVALID}, /* cookie */
        {32, sizeof(XML) + sizeof(COOKIE) + PADDING, VMS_ERROR_INVALID},
        {32, 4, VMS_ERROR_INVALID}, /* inside the XML, which then does not end */
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GByteArray) image = make(true);
        put(image, cases[i].at, cases[i].value);
        expect(image, cases[i].code);
    }
    g_autoptr(GByteArray) partial = make(true);
    memcpy(partial->data, "LibvirtQemudPart", 16);
    expect(partial, VMS_ERROR_CORRUPT);
    g_autoptr(GByteArray) endless = make(false);
    memset(endless->data + VMS_SAVE_HEADER_LEN, 'x', endless->len - VMS_SAVE_HEADER_LEN);
    expect(endless, VMS_ERROR_INVALID);
}

/* snapshot_image_format in qemu.conf: the compressed stream is only passed on. */
static void test_compressed(void)
{
    for (uint32_t format = 1; format <= 5; format++) {
        g_autoptr(GByteArray) image = make(true);
        put(image, 28, format);
        g_autoptr(VmsSaveImage) parsed = parse(image);
        g_autoptr(GBytes) header = vms_save_image_header(parsed, XML);
        g_assert_cmpuint(((const uint8_t *)g_bytes_get_data(header, NULL))[28], ==, format);
    }
}

/* Every byte of header and XML, turned over: an error or an image, never a read beyond the end. */
static void test_flipped(void)
{
    g_autoptr(GByteArray) image = make(true);
    for (guint i = 0; i < image->len; i++) {
        g_autofree uint8_t *copy = g_memdup2(image->data, image->len);
        uint64_t need = 0;
        copy[i] ^= 0xff;
        g_autoptr(VmsSaveImage) parsed = vms_save_image_parse(copy, image->len, &need, NULL);
        if (parsed)
            g_assert_cmpuint(parsed->data_offset, <=, image->len);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/save-image/parse", test_parse);
    g_test_add_func("/save-image/rewrite", test_rewrite);
    g_test_add_func("/save-image/need", test_need);
    g_test_add_func("/save-image/bad", test_bad);
    g_test_add_func("/save-image/compressed", test_compressed);
    g_test_add_func("/save-image/flipped", test_flipped);
    return g_test_run();
}
