/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The document is {"packs":[{"id":…,"blobs":[{"id":…,"type":…,"offset":…,"length":…,
 * "uncompressed_length":…},…]},…]}. Members may come in any order and unknown ones are skipped, so
 * a pack is handed on when its object ends. The nesting level says where we are: 1 document, 2
 * packs, 3 pack, 4 blobs, 5 blob. */
#include "repo/index-file.h"

#include "base/error.h"
#include "base/json-stream.h"

#include <string.h>

typedef enum { FIELD_OTHER, FIELD_ID, FIELD_TYPE, FIELD_OFFSET, FIELD_LENGTH, FIELD_PLAIN } Field;

struct VmsIndexParser {
    VmsJsonStream *stream;
    VmsIndexFileFunc func;
    void *user;
    unsigned depth;
    unsigned known_depth; /* the innermost level that is part of the format */
    bool next_is_known;   /* the key just read opens the next level: "packs" or "blobs" */
    Field field;
    bool pack_has_id;
    VmsId pack;
    GArray *blobs; /* of the current pack */
    VmsPackBlob blob;
    unsigned seen; /* bit per Field of the current blob */
};

typedef VmsIndexParser Parser;

static bool invalid(GError **error, const char *what)
{
    return vms_fail(error, VMS_ERROR_INVALID, "index: %s", what);
}

static bool begin(Parser *parser, bool array, GError **error)
{
    bool expected =
        parser->depth == parser->known_depth &&
        (parser->depth == 0 || parser->depth == 2 || parser->depth == 4 || parser->next_is_known);

    parser->depth++;
    if (!expected)
        return true;
    if (array != (parser->depth % 2 == 0))
        return invalid(error, "an array and an object are mixed up");
    parser->known_depth = parser->depth;
    parser->next_is_known = false;
    parser->field = FIELD_OTHER;
    if (parser->depth == 3) {
        parser->pack_has_id = false;
        g_array_set_size(parser->blobs, 0);
    }
    if (parser->depth == 5) {
        parser->blob = (VmsPackBlob){0};
        parser->seen = 0;
    }
    return true;
}

static bool end_blob(Parser *parser, GError **error)
{
    unsigned needed = 1u << FIELD_ID | 1u << FIELD_TYPE | 1u << FIELD_OFFSET | 1u << FIELD_LENGTH;
    const VmsPackBlob *blob = &parser->blob;

    if ((parser->seen & needed) != needed)
        return invalid(error, "a blob lacks its id, type, offset or length");
    if (blob->length < VMS_SEAL_OVERHEAD || (uint64_t)blob->offset + blob->length > UINT32_MAX)
        return invalid(error, "a blob lies at an impossible place");
    if (parser->blobs->len >= VMS_PACK_MAX_ENTRIES)
        return invalid(error, "a pack lists too many blobs");
    g_array_append_val(parser->blobs, parser->blob);
    return true;
}

static bool end(Parser *parser, GError **error)
{
    bool known = parser->depth == parser->known_depth;

    parser->depth--;
    if (!known)
        return true;
    parser->known_depth = parser->depth;
    parser->field = FIELD_OTHER;
    if (parser->depth == 4)
        return end_blob(parser, error);
    if (parser->depth == 2) {
        if (!parser->pack_has_id)
            return invalid(error, "a pack lacks its id");
        return parser->func(parser->user, &parser->pack, (const VmsPackBlob *)parser->blobs->data,
                            parser->blobs->len, error);
    }
    return true;
}

static void key(Parser *parser, const char *name)
{
    static const char *const fields[] = {"",       "id",     "type",
                                         "offset", "length", "uncompressed_length"};

    if (parser->depth != parser->known_depth)
        return;
    parser->field = FIELD_OTHER;
    parser->next_is_known = (parser->depth == 1 && strcmp(name, "packs") == 0) ||
                            (parser->depth == 3 && strcmp(name, "blobs") == 0);
    if (parser->depth == 3 && strcmp(name, "id") == 0)
        parser->field = FIELD_ID;
    for (unsigned i = FIELD_ID; parser->depth == 5 && i < G_N_ELEMENTS(fields); i++)
        if (strcmp(name, fields[i]) == 0)
            parser->field = (Field)i;
}

static bool number(Parser *parser, const char *text, GError **error)
{
    guint64 value = 0;

    if (parser->field < FIELD_OFFSET)
        return parser->field == FIELD_OTHER || invalid(error, "a number where a text belongs");
    if (!g_ascii_string_to_unsigned(text, 10, 0, UINT32_MAX, &value, NULL))
        return invalid(error, "a number is out of range");
    if (parser->field == FIELD_OFFSET)
        parser->blob.offset = (uint32_t)value;
    else if (parser->field == FIELD_LENGTH)
        parser->blob.length = (uint32_t)value;
    else
        parser->blob.plain_length = (uint32_t)value;
    parser->seen |= 1u << parser->field;
    return true;
}

static bool text_value(Parser *parser, const char *text, GError **error)
{
    if (parser->field == FIELD_OTHER)
        return true;
    if (parser->field >= FIELD_OFFSET)
        return invalid(error, "a text where a number belongs");
    if (parser->field == FIELD_TYPE) {
        bool tree = strcmp(text, "tree") == 0;

        if (!tree && strcmp(text, "data") != 0)
            return invalid(error, "a blob of an unknown type");
        parser->blob.type = tree ? VMS_BLOB_TREE : VMS_BLOB_DATA;
    } else if (!vms_id_parse(text, parser->depth == 3 ? &parser->pack : &parser->blob.id, error)) {
        return vms_prefix(error, "index");
    }
    parser->pack_has_id |= parser->depth == 3;
    parser->seen |= 1u << parser->field;
    return true;
}

static bool handle(void *user, VmsJsonEvent event, const char *text, size_t len, GError **error)
{
    Parser *parser = user;
    bool known = parser->depth == parser->known_depth;

    switch (event) {
    case VMS_JSON_BEGIN_OBJECT:
    case VMS_JSON_BEGIN_ARRAY:
        return begin(parser, event == VMS_JSON_BEGIN_ARRAY, error);
    case VMS_JSON_END_OBJECT:
    case VMS_JSON_END_ARRAY:
        return end(parser, error);
    case VMS_JSON_KEY:
        key(parser, text);
        return true;
    case VMS_JSON_NUMBER:
        return !known || number(parser, text, error);
    case VMS_JSON_STRING:
        return !known || text_value(parser, text, error);
    case VMS_JSON_TRUE:
    case VMS_JSON_FALSE:
    case VMS_JSON_NULL:
        break;
    }
    return true;
}

VmsIndexParser *vms_index_parser_new(VmsIndexFileFunc func, void *user)
{
    VmsIndexParser *parser = g_new0(VmsIndexParser, 1);

    parser->func = func;
    parser->user = user;
    parser->blobs = g_array_new(FALSE, FALSE, sizeof(VmsPackBlob));
    parser->stream = vms_json_stream_new(handle, parser);
    return parser;
}

void vms_index_parser_free(VmsIndexParser *parser)
{
    if (parser != NULL) {
        vms_json_stream_free(parser->stream);
        g_array_unref(parser->blobs);
        g_free(parser);
    }
}

bool vms_index_parser_feed(VmsIndexParser *parser, const void *text, size_t len, GError **error)
{
    return vms_json_stream_feed(parser->stream, text, len, error);
}

bool vms_index_parser_finish(VmsIndexParser *parser, GError **error)
{
    return vms_json_stream_finish(parser->stream, error);
}

bool vms_index_file_parse(const void *text, size_t len, VmsIndexFileFunc func, void *user,
                          GError **error)
{
    g_autoptr(VmsIndexParser) parser = vms_index_parser_new(func, user);

    return vms_index_parser_feed(parser, text, len, error) &&
           vms_index_parser_finish(parser, error);
}

VmsIndexListing *vms_index_listing_new(const VmsId *file)
{
    VmsIndexListing *listing = g_new0(VmsIndexListing, 1);

    listing->file = *file;
    listing->packs = g_array_new(FALSE, FALSE, sizeof(VmsIndexPack));
    listing->blobs = g_array_new(FALSE, FALSE, sizeof(VmsPackBlob));
    return listing;
}

bool vms_index_listing_add(void *user, const VmsId *pack, const VmsPackBlob *blobs, size_t count,
                           GError **error)
{
    VmsIndexListing *listing = user;
    VmsIndexPack entry = {.id = *pack, .first = listing->blobs->len, .count = (uint32_t)count};

    g_array_append_vals(listing->blobs, blobs, (guint)count);
    g_array_append_val(listing->packs, entry);
    return true;
}

void vms_index_listing_free(VmsIndexListing *listing)
{
    if (listing != NULL) {
        g_clear_pointer(&listing->packs, g_array_unref);
        g_clear_pointer(&listing->blobs, g_array_unref);
        g_free(listing);
    }
}

GString *vms_index_file_begin(void)
{
    return g_string_new("{\"packs\":[");
}

void vms_index_file_pack(GString *text, const VmsId *pack, const VmsPackBlob *blobs, size_t count)
{
    char hex[VMS_ID_HEX_LEN + 1];

    vms_id_hex(pack, hex);
    if (text->str[text->len - 1] == '}')
        g_string_append_c(text, ',');
    g_string_append_printf(text, "{\"id\":\"%s\",\"blobs\":[", hex);
    for (size_t i = 0; i < count; i++) {
        vms_id_hex(&blobs[i].id, hex);
        g_string_append_printf(text, "%s{\"id\":\"%s\",\"type\":\"%s\",\"offset\":%u,\"length\":%u",
                               i > 0 ? "," : "", hex,
                               blobs[i].type == VMS_BLOB_TREE ? "tree" : "data", blobs[i].offset,
                               blobs[i].length);
        if (blobs[i].plain_length != 0)
            g_string_append_printf(text, ",\"uncompressed_length\":%u", blobs[i].plain_length);
        g_string_append_c(text, '}');
    }
    g_string_append(text, "]}");
}

void vms_index_file_end(GString *text)
{
    g_string_append(text, "]}");
}
