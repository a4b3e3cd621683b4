/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* json-glib answers some mistakes with a default value or a crash (a string read as a number is 0,
 * 2^64-1 is -1, deep nesting overflows the stack on 1.6). So: size and depth are checked on the
 * text before it is parsed, and every accessor checks the node's type before it asks for the value.
 * Places are made on demand and freed with the root. */
#include "base/json.h"

#include "base/error.h"

#include <json-glib/json-glib.h>
#include <string.h>

struct VmsJson {
    JsonNode *node;     /* owned by the parser of the root */
    char *path;         /* "disks[0]", "" for the root */
    VmsJson *root;      /* itself for the root */
    JsonParser *parser; /* root only */
    GPtrArray *places;  /* root only: of VmsJson* */
};

static void place_free(void *data)
{
    VmsJson *place = data;
    g_free(place->path);
    g_free(place);
}

/* Outside of strings. json-glib would take comments too, in which a quote is none, and several
 * documents one after the other, and loses memory over it. */
static bool is_expected(char c)
{
    return g_ascii_isalnum(c) || strchr(" \t\r\n{}[]:,.+-", c);
}

static bool check_structure(const char *text, size_t len, GError **error)
{
    unsigned depth = 0, values = 0;
    bool in_string = false, begun = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (depth == 0 && !g_ascii_isspace(c)) {
            if (begun || (c != '{' && c != '['))
                return vms_fail(error, VMS_ERROR_INVALID,
                                "malformed JSON: not one object or one list");
            begun = true;
        }
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (!is_expected(c)) {
            return vms_fail(error, VMS_ERROR_INVALID, "malformed JSON: unexpected byte 0x%02x",
                            (unsigned char)c);
        } else if (c == '{' || c == '[') {
            values++;
            if (++depth > VMS_JSON_MAX_DEPTH)
                return vms_fail(error, VMS_ERROR_INVALID, "JSON nests deeper than %d levels",
                                VMS_JSON_MAX_DEPTH);
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
        values += c == ',';
    }
    return values <= VMS_JSON_MAX_VALUES ||
           vms_fail(error, VMS_ERROR_INVALID, "JSON of more than %u values", VMS_JSON_MAX_VALUES);
}

VmsJson *vms_json_parse(const char *text, size_t len, GError **error)
{
    if (len > VMS_JSON_MAX_SIZE)
        return vms_fail_null(error, VMS_ERROR_INVALID, "JSON document of %zu bytes is too large",
                             len);
    if (!g_utf8_validate_len(text, len, NULL))
        return vms_fail_null(error, VMS_ERROR_INVALID, "JSON document is not UTF-8");
    if (!check_structure(text, len, error))
        return NULL;
    g_autoptr(JsonParser) parser = json_parser_new_immutable();
    g_autoptr(GError) cause = NULL;
    if (!json_parser_load_from_data(parser, text, (gssize)len, &cause))
        return vms_fail_null(error, VMS_ERROR_INVALID, "malformed JSON: %s", cause->message);
    JsonNode *node = json_parser_get_root(parser);
    if (!node)
        return vms_fail_null(error, VMS_ERROR_INVALID, "empty JSON document");
    VmsJson *root = g_new0(VmsJson, 1);
    root->node = node;
    root->path = g_strdup("");
    root->root = root;
    root->parser = g_steal_pointer(&parser);
    root->places = g_ptr_array_new_with_free_func(place_free);
    return root;
}

void vms_json_free(VmsJson *root)
{
    if (!root)
        return;
    g_return_if_fail(root->root == root);
    g_ptr_array_unref(root->places);
    g_object_unref(root->parser);
    place_free(root);
}

static VmsJson *place_new(VmsJson *parent, JsonNode *node, char *path)
{
    VmsJson *place = g_new0(VmsJson, 1);
    place->node = node;
    place->path = path;
    place->root = parent->root;
    g_ptr_array_add(parent->root->places, place);
    return place;
}

static char *member_path(const VmsJson *object, const char *member)
{
    return *object->path ? g_strdup_printf("%s.%s", object->path, member) : g_strdup(member);
}

static bool wrong(const char *path, const char *what, GError **error)
{
    return vms_fail(error, VMS_ERROR_INVALID, "%s: %s", *path ? path : "document", what);
}

static JsonNode *find_member(VmsJson *object, const char *member, GError **error)
{
    if (!JSON_NODE_HOLDS_OBJECT(object->node)) {
        wrong(object->path, "is not an object", error);
        return NULL;
    }
    JsonNode *node = json_object_get_member(json_node_get_object(object->node), member);
    if (!node) {
        g_autofree char *path = member_path(object, member);
        wrong(path, "is missing", error);
    }
    return node;
}

static bool node_string(JsonNode *node, const char *path, const char **ret_text, GError **error)
{
    if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_STRING)
        return wrong(path, "is not a string", error);
    *ret_text = json_node_get_string(node);
    return true;
}

bool vms_json_string(VmsJson *object, const char *member, const char **ret_text, GError **error)
{
    JsonNode *node = find_member(object, member, error);
    if (!node)
        return false;
    g_autofree char *path = member_path(object, member);
    return node_string(node, path, ret_text, error);
}

bool vms_json_uint64(VmsJson *object, const char *member, uint64_t *ret_value, GError **error)
{
    JsonNode *node = find_member(object, member, error);
    if (!node)
        return false;
    g_autofree char *path = member_path(object, member);
    if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_INT64)
        return wrong(path, "is not a whole number", error);
    gint64 value = json_node_get_int(node);
    /* json-glib 1.6 wraps what does not fit into a negative number, 1.10 stops at the largest one.
     */
    if (value < 0 || value == G_MAXINT64)
        return wrong(path, "is negative or too large", error);
    *ret_value = (uint64_t)value;
    return true;
}

bool vms_json_bool(VmsJson *object, const char *member, bool *ret_value, GError **error)
{
    JsonNode *node = find_member(object, member, error);
    if (!node)
        return false;
    g_autofree char *path = member_path(object, member);
    if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_BOOLEAN)
        return wrong(path, "is not true or false", error);
    *ret_value = json_node_get_boolean(node);
    return true;
}

bool vms_json_object(VmsJson *object, const char *member, VmsJson **ret_object, GError **error)
{
    JsonNode *node = find_member(object, member, error);
    if (!node)
        return false;
    g_autofree char *path = member_path(object, member);
    if (!JSON_NODE_HOLDS_OBJECT(node))
        return wrong(path, "is not an object", error);
    *ret_object = place_new(object, node, g_steal_pointer(&path));
    return true;
}

bool vms_json_array(VmsJson *object, const char *member, VmsJson **ret_array, GError **error)
{
    JsonNode *node = find_member(object, member, error);
    if (!node)
        return false;
    g_autofree char *path = member_path(object, member);
    if (!JSON_NODE_HOLDS_ARRAY(node))
        return wrong(path, "is not an array", error);
    *ret_array = place_new(object, node, g_steal_pointer(&path));
    return true;
}

bool vms_json_has(VmsJson *object, const char *member)
{
    if (!JSON_NODE_HOLDS_OBJECT(object->node))
        return false;
    JsonNode *node = json_object_get_member(json_node_get_object(object->node), member);
    return node && !JSON_NODE_HOLDS_NULL(node);
}

size_t vms_json_length(VmsJson *array)
{
    if (!JSON_NODE_HOLDS_ARRAY(array->node))
        return 0;
    return json_array_get_length(json_node_get_array(array->node));
}

static JsonNode *find_element(VmsJson *array, size_t at, char **ret_path, GError **error)
{
    *ret_path = g_strdup_printf("%s[%zu]", array->path, at);
    if (at < vms_json_length(array))
        return json_array_get_element(json_node_get_array(array->node), (guint)at);
    wrong(*ret_path, "is missing", error);
    return NULL;
}

bool vms_json_element_string(VmsJson *array, size_t at, const char **ret_text, GError **error)
{
    g_autofree char *path = NULL;
    JsonNode *node = find_element(array, at, &path, error);
    return node && node_string(node, path, ret_text, error);
}

bool vms_json_element_object(VmsJson *array, size_t at, VmsJson **ret_object, GError **error)
{
    g_autofree char *path = NULL;
    JsonNode *node = find_element(array, at, &path, error);
    if (!node)
        return false;
    if (!JSON_NODE_HOLDS_OBJECT(node))
        return wrong(path, "is not an object", error);
    *ret_object = place_new(array, node, g_steal_pointer(&path));
    return true;
}
