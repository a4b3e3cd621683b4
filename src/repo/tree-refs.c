/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* {"nodes":[{…,"content":[…],"subtree":…},…]}. The nesting level says where we are: 1 document, 2
 * nodes, 3 node, 4 content. What is not understood here would be taken for unused, so a document of
 * another shape is an error; members that hold no references are skipped. */
#include "repo/tree-refs.h"

#include "base/error.h"
#include "base/json-stream.h"
#include "repo/blob-stream.h"

#include <string.h>

typedef enum { FIELD_OTHER, FIELD_NODES, FIELD_CONTENT, FIELD_SUBTREE } Field;

typedef struct {
    VmsTreeRefsFunc func;
    void *user;
    VmsJsonStream *stream;
    unsigned depth;
    unsigned known_depth; /* the innermost level that is part of the format */
    Field field;
    bool has_nodes;
} Refs;

static bool invalid(GError **error)
{
    return vms_fail(error, VMS_ERROR_INVALID, "not a tree as restic writes it");
}

static bool begin(Refs *refs, bool array, GError **error)
{
    bool known = refs->depth == refs->known_depth;
    bool expected = known && (refs->depth == 0 || refs->depth == 2 ||
                              (refs->depth == 1 && refs->field == FIELD_NODES) ||
                              (refs->depth == 3 && refs->field == FIELD_CONTENT));

    refs->depth++;
    if (!expected)
        return !known || refs->field == FIELD_OTHER || invalid(error);
    if (array != (refs->depth % 2 == 0))
        return invalid(error);
    refs->known_depth = refs->depth;
    if (refs->depth != 4)
        refs->field = FIELD_OTHER;
    return true;
}

static void end(Refs *refs)
{
    bool known = refs->depth == refs->known_depth;

    refs->depth--;
    if (known) {
        refs->known_depth = refs->depth;
        refs->field = FIELD_OTHER;
    }
}

static void key(Refs *refs, const char *name)
{
    refs->field = FIELD_OTHER;
    if (refs->depth == 1 && strcmp(name, "nodes") == 0)
        refs->field = FIELD_NODES;
    else if (refs->depth == 3 && strcmp(name, "content") == 0)
        refs->field = FIELD_CONTENT;
    else if (refs->depth == 3 && strcmp(name, "subtree") == 0)
        refs->field = FIELD_SUBTREE;
    refs->has_nodes |= refs->field == FIELD_NODES;
}

static bool text_value(Refs *refs, const char *text, GError **error)
{
    bool content = refs->depth == 4;
    VmsId id;

    if (!content && refs->field == FIELD_OTHER)
        return refs->depth != 2 || invalid(error);
    if (!content && refs->field != FIELD_SUBTREE)
        return invalid(error);
    if (!vms_id_parse(text, &id, NULL))
        return invalid(error);
    return refs->func(refs->user, content ? VMS_BLOB_DATA : VMS_BLOB_TREE, &id, error);
}

static bool handle(void *user, VmsJsonEvent event, const char *text, size_t len, GError **error)
{
    Refs *refs = user;
    bool known = refs->depth == refs->known_depth;

    switch (event) {
    case VMS_JSON_BEGIN_OBJECT:
    case VMS_JSON_BEGIN_ARRAY:
        return begin(refs, event == VMS_JSON_BEGIN_ARRAY, error);
    case VMS_JSON_END_OBJECT:
    case VMS_JSON_END_ARRAY:
        end(refs);
        return true;
    case VMS_JSON_KEY:
        if (known)
            key(refs, text);
        return true;
    case VMS_JSON_STRING:
        return !known || text_value(refs, text, error);
    case VMS_JSON_NULL: /* "nodes", "content" and "subtree" may be null */
        return !known || refs->depth % 2 == 1 || invalid(error);
    case VMS_JSON_NUMBER:
    case VMS_JSON_TRUE:
    case VMS_JSON_FALSE:
        return !known || (refs->depth % 2 == 1 && refs->field == FIELD_OTHER) || invalid(error);
    }
    return true;
}

static bool feed(void *user, uint8_t *data, size_t len, GError **error)
{
    return vms_json_stream_feed(((Refs *)user)->stream, data, len, error);
}

bool vms_tree_refs_read(VmsRepo *repo, const VmsId *tree, VmsTreeRefsFunc func, void *user,
                        GCancellable *cancellable, GError **error)
{
    Refs refs = {.func = func, .user = user};
    g_autoptr(VmsJsonStream) stream = vms_json_stream_new(handle, &refs);
    g_autoptr(GError) local = NULL;
    char hex[VMS_ID_HEX_LEN + 1];

    refs.stream = stream;
    if (vms_blob_stream_read(repo, VMS_BLOB_TREE, tree, feed, &refs, cancellable, &local) &&
        vms_json_stream_finish(stream, &local) && (refs.has_nodes || invalid(&local)))
        return true;
    vms_id_hex(tree, hex);
    if (vms_error_is(local, VMS_ERROR_INVALID)) /* stored so: the tree is damaged */
        return vms_fail(error, VMS_ERROR_CORRUPT, "tree %s: %s", hex, local->message);
    g_propagate_prefixed_error(error, g_steal_pointer(&local), "tree %s: ", hex);
    return false;
}
