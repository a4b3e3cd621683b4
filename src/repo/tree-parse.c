/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* {"nodes":[{"name":…,"type":…,"size":…,"content":[…],"subtree":…},…]}. The nesting level says
 * where we are: 1 document, 2 nodes, 3 node, 4 content. Other members, whatever they contain, are
 * skipped. */
#include "repo/tree-parse.h"

#include "base/error.h"
#include "base/json-stream.h"
#include "repo/node-name.h"

#include <string.h>

#define MAX_NODES 1000000
#define MAX_NAMES (64u << 20) /* bytes of all of them */
#define BATCH 1024

typedef enum {
    FIELD_OTHER,
    FIELD_NAME,
    FIELD_TYPE,
    FIELD_SIZE,
    FIELD_CONTENT,
    FIELD_SUBTREE
} Field;

struct VmsTreeParse {
    VmsJsonStream *stream;
    VmsTree *tree;
    unsigned depth;
    unsigned known_depth; /* the innermost level that is part of the format */
    bool nodes_next;      /* the key just read was "nodes" */
    Field field;
    VmsNode *node; /* the one being read */
    bool has_type, has_subtree;
    VmsId ids[BATCH]; /* of its content, not appended yet */
    size_t pending;
    size_t names; /* bytes */
};

static void free_node(void *data)
{
    VmsNode *node = data;

    if (node != NULL) {
        vms_content_free(node->content);
        g_free(node->name);
        g_free(node);
    }
}

void vms_tree_free(VmsTree *tree)
{
    if (tree != NULL) {
        g_ptr_array_unref(tree->nodes);
        g_free(tree);
    }
}

static bool invalid(GError **error, const char *what)
{
    return vms_fail(error, VMS_ERROR_INVALID, "tree: %s", what);
}

static bool begin_node(VmsTreeParse *parse, GError **error)
{
    if (parse->tree->nodes->len >= MAX_NODES)
        return invalid(error, "more than a million entries");
    parse->node = g_new0(VmsNode, 1);
    parse->has_type = parse->has_subtree = false;
    return true;
}

static bool begin(VmsTreeParse *parse, bool array, GError **error)
{
    bool at_known = parse->depth == parse->known_depth;
    bool content = parse->depth == 3 && parse->field == FIELD_CONTENT;
    bool expected = at_known && (parse->depth == 0 || (parse->depth == 1 && parse->nodes_next) ||
                                 parse->depth == 2 || content);

    parse->depth++;
    if (!expected) {
        if (at_known && parse->depth == 4 && parse->field != FIELD_OTHER)
            return invalid(error, "a list or an object where a value belongs");
        return true;
    }
    if (array != (parse->depth % 2 == 0))
        return invalid(error, "an array and an object are mixed up");
    parse->known_depth = parse->depth;
    parse->nodes_next = false;
    if (parse->depth == 3)
        return begin_node(parse, error);
    if (parse->depth == 4) {
        if (parse->node->content != NULL)
            return invalid(error, "two content lists");
        parse->pending = 0;
        parse->node->content = vms_content_new(0, error);
        return parse->node->content != NULL;
    }
    return true;
}

static bool end_node(VmsTreeParse *parse, GError **error)
{
    if (parse->node->name == NULL || !parse->has_type)
        return invalid(error, "an entry lacks its name or type");
    if (parse->node->type == VMS_NODE_DIR && !parse->has_subtree)
        return invalid(error, "a directory lacks its subtree");
    parse->names += strlen(parse->node->name);
    g_ptr_array_add(parse->tree->nodes, g_steal_pointer(&parse->node));
    return parse->names <= MAX_NAMES || invalid(error, "names of more than 64 MiB");
}

static bool append_pending(VmsTreeParse *parse, GError **error)
{
    size_t pending = parse->pending;

    parse->pending = 0;
    return vms_content_append(parse->node->content, parse->ids, pending, error);
}

static bool end(VmsTreeParse *parse, GError **error)
{
    bool known = parse->depth == parse->known_depth;

    parse->depth--;
    if (!known)
        return true;
    parse->known_depth = parse->depth;
    parse->field = FIELD_OTHER;
    if (parse->depth == 2)
        return end_node(parse, error);
    return parse->depth != 3 || append_pending(parse, error);
}

static void key(VmsTreeParse *parse, const char *name)
{
    static const char *const fields[] = {"", "name", "type", "size", "content", "subtree"};

    if (parse->depth != parse->known_depth)
        return;
    parse->field = FIELD_OTHER;
    parse->nodes_next = parse->depth == 1 && strcmp(name, "nodes") == 0;
    for (unsigned i = FIELD_NAME; parse->depth == 3 && i < G_N_ELEMENTS(fields); i++)
        if (strcmp(name, fields[i]) == 0)
            parse->field = (Field)i;
}

static bool node_text(VmsTreeParse *parse, const char *text, GError **error)
{
    VmsNode *node = parse->node;

    switch (parse->field) {
    case FIELD_NAME:
        g_clear_pointer(&node->name, g_free);
        return vms_node_name_parse(text, &node->name, error);
    case FIELD_TYPE:
        parse->has_type = true;
        node->type = strcmp(text, "file") == 0  ? VMS_NODE_FILE
                     : strcmp(text, "dir") == 0 ? VMS_NODE_DIR
                                                : VMS_NODE_OTHER;
        return true;
    case FIELD_SUBTREE:
        parse->has_subtree = true;
        return vms_id_parse(text, &node->subtree, error);
    case FIELD_SIZE:
    case FIELD_CONTENT:
        return invalid(error, "a text where it does not belong");
    case FIELD_OTHER:
        break;
    }
    return true;
}

static bool text_value(VmsTreeParse *parse, const char *text, GError **error)
{
    if (parse->depth == 3)
        return node_text(parse, text, error);
    if (parse->depth != 4)
        return true;
    if (!vms_id_parse(text, &parse->ids[parse->pending], error))
        return vms_prefix(error, "tree");
    return ++parse->pending < BATCH || append_pending(parse, error);
}

static bool number(VmsTreeParse *parse, const char *text, GError **error)
{
    guint64 size = 0;

    if (parse->depth == 4)
        return invalid(error, "a number in a content list");
    if (parse->depth != 3 || parse->field == FIELD_OTHER)
        return true;
    if (parse->field != FIELD_SIZE ||
        !g_ascii_string_to_unsigned(text, 10, 0, INT64_MAX, &size, NULL))
        return invalid(error, "an impossible number");
    parse->node->size = size;
    return true;
}

static bool handle(void *user, VmsJsonEvent event, const char *text, size_t len, GError **error)
{
    VmsTreeParse *parse = user;
    bool known = parse->depth == parse->known_depth;

    switch (event) {
    case VMS_JSON_BEGIN_OBJECT:
    case VMS_JSON_BEGIN_ARRAY:
        return begin(parse, event == VMS_JSON_BEGIN_ARRAY, error);
    case VMS_JSON_END_OBJECT:
    case VMS_JSON_END_ARRAY:
        return end(parse, error);
    case VMS_JSON_KEY:
        key(parse, text);
        return true;
    case VMS_JSON_STRING:
        return !known || text_value(parse, text, error);
    case VMS_JSON_NUMBER:
        return !known || number(parse, text, error);
    case VMS_JSON_TRUE:
    case VMS_JSON_FALSE:
    case VMS_JSON_NULL:
        return !known || parse->depth != 4 || invalid(error, "no id in a content list");
    }
    return true;
}

VmsTreeParse *vms_tree_parse_new(void)
{
    VmsTreeParse *parse = g_new0(VmsTreeParse, 1);

    parse->stream = vms_json_stream_new(handle, parse);
    parse->tree = g_new0(VmsTree, 1);
    parse->tree->nodes = g_ptr_array_new_with_free_func(free_node);
    return parse;
}

void vms_tree_parse_free(VmsTreeParse *parse)
{
    if (parse != NULL) {
        vms_json_stream_free(parse->stream);
        vms_tree_free(parse->tree);
        free_node(parse->node);
        g_free(parse);
    }
}

bool vms_tree_parse_feed(VmsTreeParse *parse, const void *data, size_t len, GError **error)
{
    return vms_json_stream_feed(parse->stream, data, len, error);
}

VmsTree *vms_tree_parse_finish(VmsTreeParse *parse, GError **error)
{
    if (!vms_json_stream_finish(parse->stream, error))
        return NULL;
    return g_steal_pointer(&parse->tree);
}
