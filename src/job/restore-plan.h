/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a restore will make, decided and checked before the first byte is fetched. Private to job/.
 */
#pragma once

#include "job/plain-chain.h"
#include "job/restore.h"
#include "job/stored.h"
#include "repo/tree.h"

typedef struct {
    const VmsManifestDisk *disk; /* of the manifest */
    char *path;                  /* final name */
    const char *format;          /* raw or qcow2 */
    VmsTree *tree;               /* owns node */
    const VmsNode *node;         /* disk.raw, of a repository */
    VmsPlainChain *chain;        /* of plain images, else NULL */
    uint64_t data_size;          /* bytes that are not zero, at most */
    uint64_t temporary_size;     /* bytes needed beside, while it is restored */
} VmsPlannedDisk;

typedef struct {
    const VmsStored *stored;
    const VmsManifest *manifest;
    char *xml;        /* domain.xml as stored */
    GPtrArray *disks; /* of VmsPlannedDisk* */
    bool define;      /* make a domain (not with --disk) */
    bool memory;
    char *domain;      /* name to be */
    char *nvram_path;  /* nullable */
    char *memory_path; /* nullable: temporary save image */
    VmsTree *memory_tree;
    const VmsNode *memory_node;         /* of a repository */
    const VmsManifestFile *memory_file; /* of plain images */
    uint64_t bytes_total;               /* of all disks and memory, with zeroes: for progress */
} VmsRestorePlan;

/* NOT_FOUND, EXISTS (file or domain), NO_SPACE, INVALID, CORRUPT. */
VmsRestorePlan *vms_restore_plan(VmsContext *context, const VmsStored *stored,
                                 const VmsRestoreOptions *options, GError **error);
void vms_restore_plan_free(VmsRestorePlan *plan);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsRestorePlan, vms_restore_plan_free)
