/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every name is one that a file can have, every content list can be read. */
#include "fuzz.h"
#include "repo/node-name.h"
#include "repo/tree-parse.h"

static VmsTree *read_pieces(const uint8_t *data, size_t len, GError **error)
{
    g_autoptr(VmsTreeParse) parse = vms_tree_parse_new();
    for (size_t at = 0; at < len; at += 113)
        if (!vms_tree_parse_feed(parse, data + at, MIN(113, len - at), error))
            return NULL;
    return vms_tree_parse_finish(parse, error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsTree) tree = read_pieces(data, len, &error);
    if (!fuzz_settled(tree != NULL, &error))
        return 0;
    for (guint i = 0; i < tree->nodes->len; i++) {
        const VmsNode *node = tree->nodes->pdata[i];
        VmsId id;
        g_assert_true(vms_node_name_valid(node->name));
        g_assert_nonnull(vms_tree_find(tree, node->name));
        uint64_t count = node->content ? vms_content_count(node->content) : 0;
        for (uint64_t at = 0; at < MIN(count, 100); at++)
            g_assert_true(vms_content_get(node->content, at, &id, NULL));
    }
    return 0;
}
