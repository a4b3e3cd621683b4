/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Trees: directories of files and directories, as restic's tree blobs. */
#pragma once

#include "repo/content.h"
#include "repo/writer.h"

typedef struct VmsTreeBuilder VmsTreeBuilder;

/* One directory. mtime_us (µs since 1970) is used for every node: the time of the cut. */
VmsTreeBuilder *vms_tree_builder_new(int64_t mtime_us);
void vms_tree_builder_free(VmsTreeBuilder *builder);

/* A file whose bytes are given: stored as blobs of at most 1 MiB. */
bool vms_tree_builder_add_bytes(VmsTreeBuilder *builder, VmsRepoWriter *writer, const char *name,
                                const void *data, size_t len, GError **error);
/* A file of size bytes whose blobs are in the repository or the writer. Borrows content until save.
 */
void vms_tree_builder_add_file(VmsTreeBuilder *builder, const char *name, uint64_t size,
                               const VmsContent *content);
void vms_tree_builder_add_dir(VmsTreeBuilder *builder, const char *name, const VmsId *subtree);

/* Writes the tree blob as a stream (nodes sorted by name); its id is the directory's. */
bool vms_tree_builder_save(VmsTreeBuilder *builder, VmsRepoWriter *writer, VmsId *ret_id,
                           GError **error);

/* Reading. */
typedef enum { VMS_NODE_FILE, VMS_NODE_DIR, VMS_NODE_OTHER } VmsNodeType;

typedef struct {
    char *name;
    VmsNodeType type;
    uint64_t size;       /* bytes, files */
    VmsContent *content; /* files; nullable */
    VmsId subtree;       /* directories */
} VmsNode;

typedef struct {
    GPtrArray *nodes; /* of VmsNode* */
} VmsTree;

/* Reads a tree blob of any size as a stream. CORRUPT, NOT_FOUND. */
VmsTree *vms_tree_load(VmsRepo *repo, const VmsId *id, GCancellable *cancellable, GError **error);
void vms_tree_free(VmsTree *tree);
/* NULL where there is none. */
VmsNode *vms_tree_find(VmsTree *tree, const char *name);

/* Reads a whole small file (≤ 16 MiB, else INVALID) of a snapshot by its path:
 * "/web01/vmsnap.json". NOT_FOUND names the missing part. */
GBytes *vms_tree_read_file(VmsRepo *repo, const VmsId *root, const char *path,
                           GCancellable *cancellable, GError **error);
/* Finds a node by path; *ret_tree owns it. */
bool vms_tree_lookup(VmsRepo *repo, const VmsId *root, const char *path, VmsTree **ret_tree,
                     VmsNode **ret_node, GCancellable *cancellable, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsTreeBuilder, vms_tree_builder_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsTree, vms_tree_free)
