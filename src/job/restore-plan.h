/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a restore will make, decided and checked before the first byte is fetched. Private to job/.
 */
#pragma once

#include "job/manifest.h"
#include "job/restore.h"
#include "repo/tree.h"

typedef struct {
    const VmsManifestDisk *disk; /* of the manifest */
    char *path;                  /* final name */
    const char *format;          /* raw or qcow2 */
    VmsTree *tree;               /* owns node */
    const VmsNode *node;         /* disk.raw */
    uint64_t data_size;          /* bytes that are not zero */
} VmsPlannedDisk;

typedef struct {
    VmsManifest *manifest;
    VmsId root;       /* tree of the snapshot */
    char *folder;     /* "/web01" */
    char *xml;        /* domain.xml as stored */
    GPtrArray *disks; /* of VmsPlannedDisk* */
    bool define;      /* make a domain (not with --disk) */
    bool memory;
    char *domain;      /* name to be */
    char *nvram_path;  /* nullable */
    char *memory_path; /* nullable: temporary save image */
    VmsTree *memory_tree;
    const VmsNode *memory_node;
    uint64_t bytes_total; /* of all disks and memory, with zeroes: for progress */
} VmsRestorePlan;

/* NOT_FOUND, EXISTS (file or domain), NO_SPACE, INVALID, CORRUPT. */
VmsRestorePlan *vms_restore_plan(VmsContext *context, VmsRepo *repo, VmsManifest *manifest,
                                 const VmsId *root, const VmsRestoreOptions *options,
                                 GError **error);
void vms_restore_plan_free(VmsRestorePlan *plan);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsRestorePlan, vms_restore_plan_free)
