/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading a tree blob's JSON in pieces. Pure but for the temporary files of long content lists. */
#pragma once

#include "repo/tree.h"

typedef struct VmsTreeParse VmsTreeParse;

VmsTreeParse *vms_tree_parse_new(void);
void vms_tree_parse_free(VmsTreeParse *parse);

/* INVALID: malformed JSON, a node without name or type, a malformed id, more than a million nodes.
 */
bool vms_tree_parse_feed(VmsTreeParse *parse, const void *data, size_t len, GError **error);
VmsTree *vms_tree_parse_finish(VmsTreeParse *parse, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsTreeParse, vms_tree_parse_free)
