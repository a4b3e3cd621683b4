/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Why pages may be moved within a stream: a page's record says what the page holds, whatever came
 * before, and devices are loaded after it. So the last record of each page, in any order, gives the
 * same memory. That holds only for records of the two plain kinds; whatever refers to an earlier
 * record (xbzrle), to another channel (multifd) or to a place in the file (mapped-ram) makes the
 * whole stream unsupported, as does any section between the pages that is not memory's.
 *
 * The stream comes from a guest's QEMU and is believed nothing: every length is checked against the
 * bytes that are there, every address against its block. */
#include "block/ram-stream.h"

#include "base/error.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define BUFFER (1u << 20)
#define MAX_BLOCKS 4096
#define MAX_PAGES ((16ull << 40) / VMS_RAM_PAGE) /* 16 TiB of guest memory */
#define MAGIC 0x5145564du                        /* "QEVM" */
#define VERSION 3
#define RAM_VERSION 4
#define COMMAND_PACKAGED 6

enum { SECTION_START = 1, SECTION_SUBSECTION = 5, SECTION_CONFIGURATION = 7, SECTION_COMMAND = 8 };

typedef struct {
    const VmsRamFile *file;
    uint64_t from; /* offset of buffer[0] */
    size_t at, have;
    uint8_t *buffer;
    VmsRamStream *stream;
    VmsRamIndex *index;
    const VmsRamBlock *block; /* of the record before; NULL: none */
} Scan;

/* --- bytes --- */

static uint64_t position(const Scan *s)
{
    return s->from + s->at;
}

static bool refuse(const Scan *s, GError **error, const char *what)
{
    return vms_fail(error, VMS_ERROR_UNSUPPORTED, "%s at byte %" G_GUINT64_FORMAT, what,
                    position(s));
}

static bool fill(Scan *s, GError **error)
{
    const VmsRamFile *file = s->file;
    if (!vms_check_cancelled(file->cancellable, error))
        return false;
    vms_progress_update(file->progress, "scan", "memory", position(s), file->size);
    memmove(s->buffer, s->buffer + s->at, s->have - s->at);
    s->from += s->at;
    s->have -= s->at;
    s->at = 0;
    while (s->have < BUFFER && s->from + s->have < file->size) {
        size_t want = MIN(BUFFER - s->have, file->size - s->from - s->have);
        ssize_t n = pread(file->fd, s->buffer + s->have, want, (off_t)(s->from + s->have));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vms_fail_errno(error, errno, "read");
        if (n == 0)
            break;
        s->have += (size_t)n;
    }
    return true;
}

/* The next n bytes (n ≤ BUFFER), without going on. */
static const uint8_t *peek(Scan *s, size_t n, GError **error)
{
    if (s->have - s->at < n && !fill(s, error))
        return NULL;
    if (s->have - s->at >= n)
        return s->buffer + s->at;
    refuse(s, error, "the stream ends early");
    return NULL;
}

static const uint8_t *take(Scan *s, size_t n, GError **error)
{
    const uint8_t *bytes = peek(s, n, error);
    if (bytes)
        s->at += n;
    return bytes;
}

static uint32_t word(const uint8_t *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof value);
    return GUINT32_FROM_BE(value);
}

static uint64_t long_word(const uint8_t *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof value);
    return GUINT64_FROM_BE(value);
}

/* A length byte and as many bytes. */
static const uint8_t *take_name(Scan *s, uint8_t *ret_len, GError **error)
{
    const uint8_t *len = peek(s, 1, error);
    if (!len)
        return NULL;
    *ret_len = *len;
    const uint8_t *bytes = take(s, (size_t)*ret_len + 1, error);
    return bytes ? bytes + 1 : NULL;
}

/* --- before the pages --- */

/* Subsections follow where something is not as usual: capabilities that change the stream, or a
 * page size, which may be ours all the same. */
static bool read_configuration(Scan *s, GError **error)
{
    static const char page_bits[] = "configuration/target-page-bits";
    const uint8_t *head = take(s, 5, error), *type;
    if (!head)
        return false;
    uint32_t len = word(head + 1);
    if (len > 255)
        return refuse(s, error, "a machine's name of impossible length");
    if (!take(s, len, error))
        return false;
    while ((type = peek(s, 1, error)) && *type == SECTION_SUBSECTION) {
        uint8_t name_len;
        const uint8_t *name, *rest;
        s->at++;
        if (!(name = take_name(s, &name_len, error)))
            return false;
        if (name_len != sizeof page_bits - 1 || memcmp(name, page_bits, name_len) != 0)
            return refuse(s, error, "an unknown part of the configuration before");
        if (!(rest = take(s, 8, error)))
            return false;
        if (word(rest + 4) != 12)
            return refuse(s, error, "a page size other than 4 KiB before");
    }
    return type != NULL;
}

static bool read_command(Scan *s, GError **error)
{
    const uint8_t *head = take(s, 5, error);
    if (!head)
        return false;
    unsigned command = (unsigned)head[1] << 8 | head[2];
    size_t len = (size_t)head[3] << 8 | head[4];
    if (command == COMMAND_PACKAGED)
        return refuse(s, error, "a packaged stream");
    return take(s, len, error) != NULL;
}

/* A page's number is found through its block's name, so names have to differ. */
static const VmsRamBlock *find_block(const Scan *s, const uint8_t *name, uint8_t len)
{
    for (guint i = 0; i < s->stream->blocks->len; i++) {
        const VmsRamBlock *block = &g_array_index(s->stream->blocks, VmsRamBlock, i);
        if (block->name_len == len && memcmp(block->name, name, len) == 0)
            return block;
    }
    return NULL;
}

static bool read_block(Scan *s, uint64_t *left, GError **error)
{
    VmsRamBlock block = {.first = s->stream->pages};
    const uint8_t *bytes = take_name(s, &block.name_len, error);
    if (!bytes)
        return false;
    memcpy(block.name, bytes, block.name_len);
    if (block.name_len == 0 || find_block(s, block.name, block.name_len))
        return refuse(s, error, "a memory block without a name of its own");
    if (!(bytes = take(s, 8, error)))
        return false;
    uint64_t size = long_word(bytes);
    if (size > *left || size % VMS_RAM_PAGE != 0 || s->stream->blocks->len == MAX_BLOCKS)
        return refuse(s, error, "a list of memory blocks that does not add up");
    block.pages = size / VMS_RAM_PAGE;
    s->stream->pages += block.pages;
    *left -= size;
    g_array_append_val(s->stream->blocks, block);
    return true;
}

/* Name, instance and version are read already. Capabilities that put more into the list of blocks
 * (postcopy with huge pages, ignore-shared, mapped-ram) make it not add up or not end here. */
static bool read_setup(Scan *s, GError **error)
{
    const uint8_t *bytes = take(s, 8, error);
    if (!bytes)
        return false;
    uint64_t total = long_word(bytes), left = total & ~(uint64_t)(VMS_RAM_PAGE - 1);
    if (total % VMS_RAM_PAGE != VMS_RAM_FLAG_MEM_SIZE || left == 0 ||
        left / VMS_RAM_PAGE > MAX_PAGES)
        return refuse(s, error, "no size of memory before");
    while (left > 0)
        if (!read_block(s, &left, error))
            return false;
    if (!(bytes = take(s, 8, error)))
        return false;
    return long_word(bytes) == VMS_RAM_FLAG_EOS ||
           refuse(s, error, "a list of memory blocks that goes on before");
}

static bool read_footer(Scan *s, GError **error)
{
    const uint8_t *bytes = take(s, 5, error);
    if (!bytes)
        return false;
    return (bytes[0] == VMS_RAM_SECTION_FOOTER && word(bytes + 1) == s->stream->section) ||
           refuse(s, error, "no end of a section before");
}

static bool read_start(Scan *s, GError **error)
{
    const uint8_t *head = take(s, 5, error), *name, *rest;
    uint8_t len;
    if (!head)
        return false;
    s->stream->section = word(head + 1);
    if (!(name = take_name(s, &len, error)))
        return false;
    if (len != 3 || memcmp(name, "ram", 3) != 0) {
        g_autofree char *shown = g_strndup((const char *)name, len);
        g_autofree char *escaped = g_strescape(shown, NULL);
        return vms_fail(error, VMS_ERROR_UNSUPPORTED,
                        "unknown section \"%s\" at byte %" G_GUINT64_FORMAT, escaped, position(s));
    }
    if (!(rest = take(s, 8, error)))
        return false;
    if (word(rest + 4) != RAM_VERSION)
        return refuse(s, error, "memory of an unknown version before");
    if (!read_setup(s, error) || !(rest = peek(s, 1, error)))
        return false;
    s->stream->footers = *rest == VMS_RAM_SECTION_FOOTER;
    return !s->stream->footers || read_footer(s, error);
}

static bool read_head(Scan *s, GError **error)
{
    const uint8_t *bytes = take(s, 8, error);
    if (!bytes)
        return false;
    if (word(bytes) != MAGIC || word(bytes + 4) != VERSION)
        return refuse(s, error, "no migration stream of version 3 before");
    while ((bytes = peek(s, 1, error))) {
        if (*bytes == SECTION_START)
            return read_start(s, error);
        if (*bytes != SECTION_CONFIGURATION && *bytes != SECTION_COMMAND) {
            g_autofree char *what = g_strdup_printf("a section of type %u before memory", *bytes);
            return refuse(s, error, what);
        }
        if (!(*bytes == SECTION_COMMAND ? read_command(s, error) : read_configuration(s, error)))
            return false;
    }
    return false;
}

/* --- pages --- */

static bool is_zero(const uint8_t *page)
{
    return page[0] == 0 && memcmp(page, page + 1, VMS_RAM_PAGE - 1) == 0;
}

static bool read_page_data(Scan *s, unsigned kind, uint64_t *ret_place, GError **error)
{
    const uint8_t *bytes = take(s, kind == VMS_RAM_FLAG_ZERO ? 1 : VMS_RAM_PAGE, error);
    if (!bytes)
        return false;
    if (kind == VMS_RAM_FLAG_ZERO && *bytes != 0)
        return refuse(s, error, "a page filled with other than zeroes before");
    if (kind == VMS_RAM_FLAG_ZERO || is_zero(bytes))
        *ret_place = VMS_RAM_ZERO;
    else
        *ret_place = position(s) - VMS_RAM_PAGE;
    return true;
}

static bool read_page(Scan *s, uint64_t record, GError **error)
{
    uint64_t page = record / VMS_RAM_PAGE, place = 0;
    unsigned flags = record % VMS_RAM_PAGE, kind = flags & ~VMS_RAM_FLAG_CONTINUE;
    if (kind != VMS_RAM_FLAG_ZERO && kind != VMS_RAM_FLAG_PAGE) {
        g_autofree char *what = g_strdup_printf("a record with flags 0x%03x before", flags);
        return refuse(s, error, what);
    }
    if (!(flags & VMS_RAM_FLAG_CONTINUE)) {
        uint8_t len;
        const uint8_t *name = take_name(s, &len, error);
        if (!name)
            return false;
        s->block = find_block(s, name, len);
    }
    if (!s->block || page >= s->block->pages)
        return refuse(s, error, "a page outside of memory before");
    s->stream->records++;
    return read_page_data(s, kind, &place, error) &&
           vms_ram_index_set(s->index, s->block->first + page, place, error);
}

/* One part or end section; its type is read already. */
static bool read_pages(Scan *s, GError **error)
{
    const uint8_t *bytes = take(s, 4, error);
    if (!bytes)
        return false;
    if (word(bytes) != s->stream->section)
        return refuse(s, error, "a section of another device among memory's before");
    while ((bytes = take(s, 8, error))) {
        uint64_t record = long_word(bytes);
        if (record == VMS_RAM_FLAG_EOS)
            return !s->stream->footers || read_footer(s, error);
        if (!read_page(s, record, error))
            return false;
    }
    return false;
}

static bool scan(Scan *s, GError **error)
{
    const uint8_t *type;
    if (!read_head(s, error))
        return false;
    s->stream->pages_from = position(s);
    for (;;) {
        if (!(type = peek(s, 1, error))) /* devices have to follow */
            return false;
        if (s->stream->ended || (*type != VMS_RAM_SECTION_PART && *type != VMS_RAM_SECTION_END))
            break;
        s->stream->ended = *type == VMS_RAM_SECTION_END;
        s->at++;
        if (!read_pages(s, error))
            return false;
    }
    s->stream->tail_from = position(s);
    if (s->stream->tail_from > s->stream->pages_from)
        return true;
    g_autofree char *what = g_strdup_printf("a section of type %u where pages should be", *type);
    return refuse(s, error, what);
}

VmsRamStream *vms_ram_stream_scan(const VmsRamFile *file, VmsRamIndex *index, GError **error)
{
    g_autoptr(VmsRamStream) stream = g_new0(VmsRamStream, 1);
    g_autofree uint8_t *buffer = g_malloc(BUFFER);
    stream->blocks = g_array_new(FALSE, FALSE, sizeof(VmsRamBlock));
    Scan s = {
        .file = file, .from = file->begin, .buffer = buffer, .stream = stream, .index = index};
    return scan(&s, error) ? g_steal_pointer(&stream) : NULL;
}

void vms_ram_stream_free(VmsRamStream *stream)
{
    if (!stream)
        return;
    g_array_unref(stream->blocks);
    g_free(stream);
}
