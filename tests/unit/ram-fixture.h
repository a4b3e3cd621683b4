/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Migration streams made by hand, as QEMU's migration/savevm.c and ram.c write them, and a reader
 * that loads them as QEMU does: record by record into the memory it describes. */
#pragma once

#include "base/error.h"
#include "block/ram-image.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096u
#define SECTION 3u
#define HEAD "the file's own header"
#define TAIL "\4devices and what else follows"

enum { ZERO = 0x02, MEM_SIZE = 0x04, DATA = 0x08, EOS = 0x10, CONTINUE = 0x20 };

typedef struct {
    const char *name;
    uint64_t pages;
} Block;

/* --- writing --- */

G_GNUC_UNUSED static void put(GByteArray *s, const void *data, size_t len)
{
    g_byte_array_append(s, data, (guint)len);
}

G_GNUC_UNUSED static void put8(GByteArray *s, uint8_t value)
{
    put(s, &value, 1);
}

G_GNUC_UNUSED static void put16(GByteArray *s, uint16_t value)
{
    value = GUINT16_TO_BE(value);
    put(s, &value, 2);
}

G_GNUC_UNUSED static void put32(GByteArray *s, uint32_t value)
{
    value = GUINT32_TO_BE(value);
    put(s, &value, 4);
}

G_GNUC_UNUSED static void put64(GByteArray *s, uint64_t value)
{
    value = GUINT64_TO_BE(value);
    put(s, &value, 8);
}

G_GNUC_UNUSED static void put_name(GByteArray *s, const char *name)
{
    put8(s, (uint8_t)strlen(name));
    put(s, name, strlen(name));
}

G_GNUC_UNUSED static void put_section(GByteArray *s, uint8_t type)
{
    put8(s, type);
    put32(s, SECTION);
}

G_GNUC_UNUSED static void put_section_end(GByteArray *s)
{
    put64(s, EOS);
    put_section(s, 0x7e);
}

G_GNUC_UNUSED static void put_magic(GByteArray *s)
{
    put32(s, 0x5145564d);
    put32(s, 3);
}

G_GNUC_UNUSED static void put_machine(GByteArray *s)
{
    put8(s, 7);
    put32(s, 8);
    put(s, "pc-q35-9", 8);
}

G_GNUC_UNUSED static void put_setup(GByteArray *s, const Block *blocks, size_t count)
{
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += blocks[i].pages * PAGE;
    put_section(s, 1);
    put_name(s, "ram");
    put32(s, 0);
    put32(s, 4);
    put64(s, total | MEM_SIZE);
    for (size_t i = 0; i < count; i++) {
        put_name(s, blocks[i].name);
        put64(s, blocks[i].pages * PAGE);
    }
    put_section_end(s);
}

/* name NULL: the block of the record before. seed 0: a page of zeroes. */
G_GNUC_UNUSED static void put_page(GByteArray *s, const char *name, uint64_t page, uint32_t seed)
{
    uint32_t data[PAGE / 4];
    put64(s, page * PAGE | (seed ? DATA : ZERO) | (name ? 0 : CONTINUE));
    if (name)
        put_name(s, name);
    for (uint32_t i = 0; i < PAGE / 4; i++)
        data[i] = seed * 2654435761u + i * 40503u;
    if (seed)
        put(s, data, PAGE);
    else
        put8(s, 0);
}

/* The usual beginning. */
G_GNUC_UNUSED static GByteArray *stream_new(const Block *blocks, size_t count)
{
    GByteArray *s = g_byte_array_new();
    put(s, HEAD, strlen(HEAD));
    put_magic(s);
    put_machine(s);
    put_setup(s, blocks, count);
    return s;
}

G_GNUC_UNUSED static void put_tail(GByteArray *s)
{
    put(s, TAIL, strlen(TAIL));
}

/* --- as QEMU loads it --- */

typedef struct {
    GHashTable *pages;   /* "block/page" to SHA-256 of its data, "" for zeroes */
    unsigned records;    /* of pages */
    char last_block[64]; /* of the record before */
    uint64_t last_page;
    bool sorted;          /* within each block */
    unsigned parts, ends; /* sections */
} Memory;

G_GNUC_UNUSED static Memory *memory_new(void)
{
    Memory *m = g_new0(Memory, 1);
    m->pages = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    m->sorted = true;
    return m;
}

G_GNUC_UNUSED static void memory_free(Memory *m)
{
    g_hash_table_unref(m->pages);
    g_free(m);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Memory, memory_free)

G_GNUC_UNUSED static uint64_t get64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, 8);
    return GUINT64_FROM_BE(value);
}

/* Page records up to the end mark, or to end. What follows. */
G_GNUC_UNUSED static const uint8_t *load_pages(Memory *m, const uint8_t *at, const uint8_t *end)
{
    while (at < end) {
        uint64_t record = get64(at), page = record / PAGE;
        unsigned flags = record % PAGE;
        at += 8;
        if (flags == EOS)
            return at;
        bool other = false;
        if (!(flags & CONTINUE)) {
            g_autofree char *name = g_strndup((const char *)at + 1, *at);
            other = !g_str_equal(name, m->last_block);
            g_strlcpy(m->last_block, name, sizeof m->last_block);
            at += *at + 1;
        }
        g_assert_cmpstr(m->last_block, !=, ""); /* QEMU: "no name of a block" */
        size_t len = flags & DATA ? PAGE : 1;
        m->sorted = m->sorted && (other || m->records == 0 || page > m->last_page);
        m->records++;
        m->last_page = page;
        g_hash_table_replace(
            m->pages, g_strdup_printf("%s/%" G_GUINT64_FORMAT, m->last_block, page),
            flags & DATA ? g_compute_checksum_for_data(G_CHECKSUM_SHA256, at, len) : g_strdup(""));
        at += len;
    }
    return at;
}

/* The whole of a stream made here; *ret_tail is where it ends to be memory's. */
G_GNUC_UNUSED static Memory *load(const GByteArray *s, size_t setup_end, bool footers,
                                  size_t *ret_tail)
{
    Memory *m = memory_new();
    const uint8_t *at = s->data + setup_end, *end = s->data + s->len;
    while (at < end && (*at == 2 || *at == 3)) {
        *(*at == 2 ? &m->parts : &m->ends) += 1;
        at = load_pages(m, at + 5, end) + (footers ? 5 : 0);
    }
    *ret_tail = (size_t)(at - s->data);
    return m;
}

G_GNUC_UNUSED static void assert_same_memory(Memory *a, Memory *b)
{
    GHashTableIter iter;
    void *key, *value;
    g_assert_cmpuint(g_hash_table_size(a->pages), ==, g_hash_table_size(b->pages));
    g_hash_table_iter_init(&iter, a->pages);
    while (g_hash_table_iter_next(&iter, &key, &value))
        g_assert_cmpstr(value, ==, g_hash_table_lookup(b->pages, key));
}

/* --- in order --- */

typedef struct {
    GByteArray *bytes; /* of all pieces */
    GPtrArray *pieces; /* of GBytes */
    VmsRamImageStats stats;
} Ordered;

G_GNUC_UNUSED static void ordered_free(Ordered *o)
{
    g_byte_array_unref(o->bytes);
    g_ptr_array_unref(o->pieces);
    g_free(o);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Ordered, ordered_free)

G_GNUC_UNUSED static int file_of(const void *data, size_t len)
{
    int fd = memfd_create("vmsnap-test", MFD_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, (const uint8_t *)data + done, len - done);
        g_assert_cmpint(n, >, 0);
        done += (size_t)n;
    }
    return fd;
}

/* Every promise of the header that holds for any stream is checked here. NULL: refused. */
G_GNUC_UNUSED static Ordered *order(const GByteArray *s, GError **error)
{
    int fd = file_of(s->data, s->len), index_fd = file_of(NULL, 0);
    VmsRamFile file = {.fd = fd, .size = s->len, .begin = strlen(HEAD)};
    g_autoptr(VmsRamImage) image = vms_ram_image_open(&file, index_fd, error);
    Ordered *o = NULL;
    if (image) {
        g_autofree uint8_t *buffer = g_malloc(VMS_RAM_PIECE_MAX);
        size_t len = 1;
        o = g_new0(Ordered, 1);
        o->bytes = g_byte_array_new();
        o->pieces = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
        vms_ram_image_stats(image, &o->stats);
        while (len > 0) {
            GError *local = NULL;
            g_assert_true(vms_ram_image_next(image, buffer, &len, &local));
            g_assert_cmpuint(len, <=, VMS_RAM_PIECE_MAX);
            g_byte_array_append(o->bytes, buffer, (guint)len);
            if (len > 0)
                g_ptr_array_add(o->pieces, g_bytes_new(buffer, len));
        }
        g_assert_cmpuint(o->bytes->len, ==, o->stats.size);
        g_assert_cmpuint(o->pieces->len, ==, o->stats.pieces);
    }
    close(fd);
    close(index_fd);
    return o;
}
