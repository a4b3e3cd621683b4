/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The pieces, in order:
 *
 *   the file up to the stream (a save image's header and XML)   verbatim
 *   the stream up to the first page                             verbatim
 *   begin of one section with pages
 *   memory: a piece per aligned group of pages of a block, the first record with the block's name,
 *     so that no piece depends on its neighbours; groups of zeroes only, up to 64 MiB of them, are
 *     one piece; what the stream does not mention is not mentioned
 *   end of the section, and the empty end section where the stream had one
 *   devices and whatever else follows                           verbatim
 *
 * The pieces are walked twice: first only to count and add up, because sizes are asked before the
 * first byte, then to give them out. Both walks take the same decisions from the same index. */
#include "block/ram-image.h"

#include "base/error.h"
#include "block/ram-reader.h"
#include "block/ram-stream.h"

#include <string.h>

#define GROUP_PAGES (VMS_RAM_GROUP / VMS_RAM_PAGE)
#define RUN_PAGES (VMS_RAM_ZERO_RUN / VMS_RAM_PAGE)
#define RECORD 8 /* bytes of address and flags */
/* A run of zeroes must fit a piece: a record and a byte per page, and one name. */
G_STATIC_ASSERT(RUN_PAGES *(RECORD + 1) + 256 <= VMS_RAM_PIECE_MAX);
G_STATIC_ASSERT(GROUP_PAGES *(RECORD + VMS_RAM_PAGE) + 256 <= VMS_RAM_PIECE_MAX);

typedef enum { AT_FILE_HEAD, AT_STREAM_HEAD, AT_BEGIN, AT_MEMORY, AT_END, AT_TAIL, AT_DONE } Stage;

/* Where a walk is. */
typedef struct {
    Stage stage;
    uint64_t offset; /* in the file: verbatim stages */
    guint block;
    uint64_t page; /* within block */
} Walk;

typedef enum { PIECE_NONE, PIECE_COPY, PIECE_BEGIN, PIECE_PAGES, PIECE_END } PieceKind;

typedef struct {
    PieceKind kind;
    size_t length;
    uint64_t offset; /* COPY */
    guint block;     /* PAGES */
    uint64_t page, page_count;
} Piece;

struct VmsRamImage {
    VmsRamReader *reader;
    VmsRamIndex *index;
    VmsRamStream *stream;
    uint64_t file_size, begin;
    Walk walk;
    VmsRamImageStats stats;
};

/* --- what comes next --- */

static size_t footer_length(const VmsRamImage *image)
{
    return image->stream->footers ? 5 : 0;
}

/* Verbatim bytes of [walk->offset, end), at most a piece of them; false where none are left. */
static bool next_copy(Walk *walk, uint64_t end, Piece *piece)
{
    if (walk->offset >= end)
        return false;
    *piece = (Piece){.kind = PIECE_COPY,
                     .offset = walk->offset,
                     .length = MIN(VMS_RAM_PIECE_MAX, end - walk->offset)};
    walk->offset += piece->length;
    return true;
}

typedef struct {
    uint64_t data, zero; /* pages */
} Group;

static bool count_group(VmsRamImage *image, const VmsRamBlock *block, uint64_t page,
                        Group *ret_group, GError **error)
{
    uint64_t end = MIN(page + GROUP_PAGES, block->pages), place = 0;
    *ret_group = (Group){0};
    for (; page < end; page++) {
        if (!vms_ram_index_get(image->index, block->first + page, &place, error))
            return false;
        ret_group->zero += place == VMS_RAM_ZERO;
        ret_group->data += place > VMS_RAM_ZERO;
    }
    return true;
}

/* A group with data, or a run of groups without, up to an address aligned to the longest run. */
static bool next_group(VmsRamImage *image, const VmsRamBlock *block, Walk *walk, Piece *piece,
                       Group *ret_sum, GError **error)
{
    uint64_t run_end = MIN(block->pages, (walk->page / RUN_PAGES + 1) * RUN_PAGES);
    Group group;
    *piece = (Piece){.kind = PIECE_PAGES, .block = walk->block, .page = walk->page};
    *ret_sum = (Group){0};
    while (walk->page < run_end) {
        if (!count_group(image, block, walk->page, &group, error))
            return false;
        if (group.data > 0 && walk->page > piece->page)
            break;
        walk->page = MIN(walk->page + GROUP_PAGES, block->pages);
        ret_sum->data += group.data;
        ret_sum->zero += group.zero;
        if (group.data > 0)
            break;
    }
    piece->page_count = walk->page - piece->page;
    return true;
}

/* PIECE_NONE at the end of memory. */
static bool next_memory(VmsRamImage *image, Walk *walk, Piece *piece, Group *ret_sum,
                        GError **error)
{
    const GArray *blocks = image->stream->blocks;
    while (walk->block < blocks->len) {
        const VmsRamBlock *block = &g_array_index(blocks, VmsRamBlock, walk->block);
        if (walk->page >= block->pages) {
            walk->block++;
            walk->page = 0;
            continue;
        }
        if (!next_group(image, block, walk, piece, ret_sum, error))
            return false;
        if (ret_sum->data + ret_sum->zero == 0) /* not mentioned at all */
            continue;
        piece->length = 1 + block->name_len + ret_sum->data * (RECORD + VMS_RAM_PAGE) +
                        ret_sum->zero * (RECORD + 1);
        return true;
    }
    *piece = (Piece){.kind = PIECE_NONE};
    return true;
}

static bool next_piece(VmsRamImage *image, Walk *walk, Piece *piece, Group *ret_sum, GError **error)
{
    size_t end_length = RECORD + footer_length(image);
    *ret_sum = (Group){0};
    *piece = (Piece){.kind = PIECE_NONE};
    for (; walk->stage != AT_DONE; walk->stage++) {
        switch (walk->stage) {
        case AT_FILE_HEAD:
            if (next_copy(walk, image->begin, piece))
                return true;
            break;
        case AT_STREAM_HEAD:
            if (next_copy(walk, image->stream->pages_from, piece))
                return true;
            break;
        case AT_BEGIN:
            *piece = (Piece){.kind = PIECE_BEGIN, .length = 5};
            walk->stage++;
            return true;
        case AT_MEMORY:
            if (!next_memory(image, walk, piece, ret_sum, error))
                return false;
            if (piece->kind != PIECE_NONE)
                return true;
            break;
        case AT_END:
            *piece = (Piece){.kind = PIECE_END, .length = end_length};
            if (image->stream->ended)
                piece->length += 5 + end_length;
            walk->stage++;
            walk->offset = image->stream->tail_from;
            return true;
        case AT_TAIL:
        default:
            if (next_copy(walk, image->file_size, piece))
                return true;
        }
    }
    return true;
}

/* --- its bytes --- */

static uint8_t *put_byte(uint8_t *to, uint8_t value)
{
    *to = value;
    return to + 1;
}

static uint8_t *put_word(uint8_t *to, uint32_t value)
{
    value = GUINT32_TO_BE(value);
    memcpy(to, &value, sizeof value);
    return to + sizeof value;
}

static uint8_t *put_long(uint8_t *to, uint64_t value)
{
    value = GUINT64_TO_BE(value);
    memcpy(to, &value, sizeof value);
    return to + sizeof value;
}

static uint8_t *put_section(const VmsRamImage *image, uint8_t *to, uint8_t type)
{
    return put_word(put_byte(to, type), image->stream->section);
}

static uint8_t *put_section_end(const VmsRamImage *image, uint8_t *to)
{
    to = put_long(to, VMS_RAM_FLAG_EOS);
    return image->stream->footers ? put_section(image, to, VMS_RAM_SECTION_FOOTER) : to;
}

static void put_end(const VmsRamImage *image, uint8_t *to)
{
    to = put_section_end(image, to);
    if (image->stream->ended)
        put_section_end(image, put_section(image, to, VMS_RAM_SECTION_END));
}

static bool put_pages(VmsRamImage *image, const Piece *piece, uint8_t *to, GError **error)
{
    const VmsRamBlock *block = &g_array_index(image->stream->blocks, VmsRamBlock, piece->block);
    bool named = false;
    for (uint64_t page = piece->page; page < piece->page + piece->page_count; page++) {
        uint64_t place = 0;
        if (!vms_ram_index_get(image->index, block->first + page, &place, error))
            return false;
        if (place == VMS_RAM_ABSENT)
            continue;
        uint64_t flags = place == VMS_RAM_ZERO ? VMS_RAM_FLAG_ZERO : VMS_RAM_FLAG_PAGE;
        to = put_long(to, page * VMS_RAM_PAGE | flags | (named ? VMS_RAM_FLAG_CONTINUE : 0));
        if (!named) {
            to = put_byte(to, block->name_len);
            memcpy(to, block->name, block->name_len);
            to += block->name_len;
            named = true;
        }
        if (place == VMS_RAM_ZERO) {
            to = put_byte(to, 0);
            continue;
        }
        if (!vms_ram_reader_read(image->reader, place, to, VMS_RAM_PAGE, error))
            return false;
        to += VMS_RAM_PAGE;
    }
    return true;
}

bool vms_ram_image_next(VmsRamImage *image, void *buffer, size_t *ret_length, GError **error)
{
    Piece piece;
    Group sum;
    if (!next_piece(image, &image->walk, &piece, &sum, error))
        return false;
    switch (piece.kind) {
    case PIECE_COPY:
        if (!vms_ram_reader_read(image->reader, piece.offset, buffer, piece.length, error))
            return false;
        break;
    case PIECE_BEGIN:
        put_section(image, buffer, VMS_RAM_SECTION_PART);
        break;
    case PIECE_PAGES:
        if (!put_pages(image, &piece, buffer, error))
            return false;
        break;
    case PIECE_END:
        put_end(image, buffer);
        break;
    case PIECE_NONE:
        break;
    }
    *ret_length = piece.length;
    return true;
}

/* --- opening --- */

static bool add_up(VmsRamImage *image, GCancellable *cancellable, GError **error)
{
    Walk walk = {0};
    Piece piece;
    Group sum;
    do {
        if (!vms_check_cancelled(cancellable, error) ||
            !next_piece(image, &walk, &piece, &sum, error))
            return false;
        image->stats.size += piece.length;
        image->stats.pieces += piece.kind != PIECE_NONE;
        image->stats.pages_data += sum.data;
        image->stats.pages_zero += sum.zero;
    } while (piece.kind != PIECE_NONE);
    image->stats.pages_repeated =
        image->stream->records - image->stats.pages_data - image->stats.pages_zero;
    return true;
}

VmsRamImage *vms_ram_image_open(const VmsRamFile *file, int index_fd, GError **error)
{
    g_autoptr(VmsRamImage) image = g_new0(VmsRamImage, 1);
    image->file_size = file->size;
    image->begin = file->begin;
    image->reader = vms_ram_reader_new(file->fd);
    image->index = vms_ram_index_new(index_fd);
    image->stream = vms_ram_stream_scan(file, image->index, error);
    if (!image->stream || !add_up(image, file->cancellable, error))
        return NULL;
    return g_steal_pointer(&image);
}

void vms_ram_image_free(VmsRamImage *image)
{
    if (!image)
        return;
    vms_ram_stream_free(image->stream);
    vms_ram_index_free(image->index);
    vms_ram_reader_free(image->reader);
    g_free(image);
}

void vms_ram_image_stats(const VmsRamImage *image, VmsRamImageStats *ret_stats)
{
    *ret_stats = image->stats;
}
