/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The memory of packs: nothing is filled anew that somebody still looks at. */
#include "repo/pack-buffer.h"

#include <string.h>

#define SIZE 10000u

static void test_grows(void)
{
    VmsPackBuffers *buffers = vms_pack_buffers_new();
    VmsPackBuffer *buffer = vms_pack_buffers_take(buffers, SIZE);
    uint8_t piece[777];

    for (unsigned i = 0; i < 100; i++) {
        memset(piece, (int)i, sizeof(piece));
        vms_pack_buffer_append(buffer, piece, sizeof(piece));
        g_assert_cmpuint(buffer->capacity, >=, buffer->len);
        g_assert_cmpuint((uintptr_t)buffer->data % 4096, ==, 0);
    }
    g_assert_cmpuint(buffer->len, ==, 100 * sizeof(piece));
    for (size_t at = 0; at < buffer->len; at++)
        g_assert_cmpuint(buffer->data[at], ==, at / sizeof(piece));
    vms_pack_buffer_free(buffer);
    vms_pack_buffers_unref(buffers);
}

/* What is lent comes back only when the last one lets go of it, be that after everything else. */
static void test_lent(void)
{
    VmsPackBuffers *buffers = vms_pack_buffers_new();
    VmsPackBuffer *first = vms_pack_buffers_take(buffers, SIZE);
    uint8_t *first_data = first->data;

    vms_pack_buffer_append(first, "first", 5);
    GBytes *bytes = vms_pack_buffers_lend(buffers, first);
    GBytes *part = g_bytes_new_from_bytes(bytes, 1, 4);
    g_bytes_unref(bytes);

    VmsPackBuffer *second = vms_pack_buffers_take(buffers, SIZE);
    g_assert_true(second->data != first_data);
    vms_pack_buffer_append(second, "other", 5);
    g_assert_cmpmem(g_bytes_get_data(part, NULL), 4, "irst", 4);
    g_bytes_unref(part);

    VmsPackBuffer *again = vms_pack_buffers_take(buffers, SIZE);
    g_assert_true(again->data == first_data);
    g_assert_cmpuint(again->len, ==, 0);
    vms_pack_buffer_free(again);

    bytes = vms_pack_buffers_lend(buffers, second);
    vms_pack_buffers_unref(buffers);
    g_assert_cmpmem(g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes), "other", 5);
    g_bytes_unref(bytes);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pack-buffer/grows", test_grows);
    g_test_add_func("/pack-buffer/lent", test_lent);
    return g_test_run();
}
