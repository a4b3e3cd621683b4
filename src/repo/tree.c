/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/tree.h"

#include "base/error.h"
#include "repo/blob-stream.h"
#include "repo/tree-parse.h"

#include <string.h>

#define MAX_FILE (16u << 20)

static bool feed(void *user, uint8_t *data, size_t len, GError **error)
{
    return vms_tree_parse_feed(user, data, len, error);
}

VmsTree *vms_tree_load(VmsRepo *repo, const VmsId *id, GCancellable *cancellable, GError **error)
{
    g_autoptr(VmsTreeParse) parse = vms_tree_parse_new();
    g_autoptr(GError) local = NULL;
    VmsTree *tree = NULL;

    if (vms_blob_stream_read(repo, VMS_BLOB_TREE, id, feed, parse, cancellable, &local))
        tree = vms_tree_parse_finish(parse, &local);
    if (tree == NULL) {
        char hex[VMS_ID_HEX_LEN + 1];

        vms_id_hex(id, hex);
        if (vms_error_is(local, VMS_ERROR_INVALID)) /* stored so: the tree is damaged */
            vms_fail(error, VMS_ERROR_CORRUPT, "tree %s: %s", hex, local->message);
        else
            g_propagate_prefixed_error(error, g_steal_pointer(&local), "tree %s: ", hex);
    }
    return tree;
}

VmsNode *vms_tree_find(VmsTree *tree, const char *name)
{
    for (guint i = 0; i < tree->nodes->len; i++) {
        VmsNode *node = g_ptr_array_index(tree->nodes, i);

        if (strcmp(node->name, name) == 0)
            return node;
    }
    return NULL;
}

bool vms_tree_lookup(VmsRepo *repo, const VmsId *root, const char *path, VmsTree **ret_tree,
                     VmsNode **ret_node, GCancellable *cancellable, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(path, "/", -1);
    g_autoptr(VmsTree) tree = NULL;
    VmsNode *node = NULL;
    VmsId id = *root;

    for (char **part = parts; *part != NULL; part++) {
        if ((*part)[0] == '\0')
            continue;
        if (node != NULL && node->type != VMS_NODE_DIR)
            return vms_fail(error, VMS_ERROR_NOT_FOUND, "%s: %s is not a directory", path,
                            node->name);
        g_clear_pointer(&tree, vms_tree_free);
        tree = vms_tree_load(repo, &id, cancellable, error);
        if (tree == NULL)
            return vms_prefix(error, "%s", path);
        node = vms_tree_find(tree, *part);
        if (node == NULL)
            return vms_fail(error, VMS_ERROR_NOT_FOUND, "the snapshot has no %s (%s is missing)",
                            path, *part);
        id = node->subtree;
    }
    if (node == NULL)
        return vms_fail(error, VMS_ERROR_NOT_FOUND, "\"%s\" names no file of the snapshot", path);
    *ret_tree = g_steal_pointer(&tree);
    *ret_node = node;
    return true;
}

static bool append_blobs(VmsRepo *repo, const VmsNode *node, GByteArray *bytes,
                         GCancellable *cancellable, GError **error)
{
    uint64_t count = node->content != NULL ? vms_content_count(node->content) : 0;

    for (uint64_t at = 0; at < count; at++) {
        VmsId id;

        if (!vms_content_get(node->content, at, &id, error))
            return false;
        g_autoptr(GBytes) blob = vms_repo_read_blob(repo, VMS_BLOB_DATA, &id, cancellable, error);
        if (blob == NULL)
            return false;
        gsize len = g_bytes_get_size(blob);
        if (len > node->size - bytes->len)
            return vms_fail(error, VMS_ERROR_CORRUPT, "its chunks are more than its size");
        g_byte_array_append(bytes, g_bytes_get_data(blob, NULL), (guint)len);
    }
    if (bytes->len != node->size)
        return vms_fail(error, VMS_ERROR_CORRUPT, "its chunks do not make up its size");
    return true;
}

GBytes *vms_tree_read_file(VmsRepo *repo, const VmsId *root, const char *path,
                           GCancellable *cancellable, GError **error)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_autoptr(VmsTree) tree = NULL;
    VmsNode *node = NULL;

    if (!vms_tree_lookup(repo, root, path, &tree, &node, cancellable, error))
        return NULL;
    if (node->type != VMS_NODE_FILE || node->size > MAX_FILE)
        return vms_fail_null(error, VMS_ERROR_INVALID, "%s is not a small file", path);
    if (!append_blobs(repo, node, bytes, cancellable, error)) {
        vms_prefix(error, "%s", path);
        return NULL;
    }
    return g_byte_array_free_to_bytes(g_steal_pointer(&bytes));
}
