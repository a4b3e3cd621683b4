/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Can this domain be snapshotted, what would happen, and why not: findings, each with a stable
 * code. */
#pragma once

#include "virt/facts.h"

typedef enum {
    VMS_FINDING_INFO,    /* something is left out or worth knowing */
    VMS_FINDING_WARNING, /* the snapshot is less than it could be */
    VMS_FINDING_REFUSAL  /* no snapshot until the remedy is applied */
} VmsFindingSeverity;

typedef struct {
    const char *code; /* stable kebab-case: "agent-missing"; static */
    VmsFindingSeverity severity;
    char *target;   /* disk, nullable */
    char *sentence; /* what was found, without the domain's name */
    char *remedy;   /* what to do about it; nullable for INFO only */
} VmsFinding;

typedef enum {
    VMS_CHECK_MEMORY_NONE, /* disks only */
    VMS_CHECK_MEMORY_LIVE, /* libvirt's live snapshot or refusal */
    VMS_CHECK_MEMORY_COW,  /* copy-on-write or refusal */
    VMS_CHECK_MEMORY_AUTO  /* the first of cow, live, none that is possible, with warnings */
} VmsCheckMemory;

/* How memory would be captured. */
typedef enum { VMS_CHECK_ENGINE_NONE, VMS_CHECK_ENGINE_LIVE, VMS_CHECK_ENGINE_COW } VmsCheckEngine;

typedef enum {
    VMS_CHECK_QUIESCE_OFF,
    VMS_CHECK_QUIESCE_AUTO,   /* frozen where the agent answers, else a warning */
    VMS_CHECK_QUIESCE_REQUIRE /* frozen or refusal */
} VmsCheckQuiesce;

typedef struct {
    VmsCheckMemory memory;
    VmsCheckQuiesce quiesce;
    const char *overlay_dir;       /* nullable: each overlay next to its base */
    const char *block_overlay_dir; /* for disks that are block devices, when overlay_dir is NULL */
    const char *memory_dir;        /* where the memory file would go */
    uint64_t overlay_reserve;      /* bytes of growth wanted per overlay; 0: 5 % of the disk, 64 MiB
                                    * to 8 GiB */
    /* Keeps other vmsnaps from the domain for the moment in which QEMU's settings are tried; false:
     * one is at work. NULL where the caller does so anyway. */
    bool (*lock)(void *user);
    void (*unlock)(void *user);
    void *lock_user;
} VmsCheckOptions;

/* One disk that would be part of the snapshot. */
typedef struct {
    char *target;
    char *base; /* path of the active layer, which becomes the frozen image */
    char *base_format;
    char *overlay_dir; /* where its overlay goes */
    uint64_t capacity; /* bytes */
} VmsCheckDisk;

typedef struct {
    GPtrArray *findings;   /* of VmsFinding*, refusals first */
    GPtrArray *disks;      /* of VmsCheckDisk*, XML order */
    bool refused;          /* at least one refusal */
    bool no_space;         /* every refusal is about free space: exit status 9 rather than 3 */
    VmsCheckEngine engine; /* what would capture the memory */
    bool quiesce;          /* file systems would be frozen; see finding "quiesce-skipped-live" */
    uint64_t memory_need;  /* bytes of local space for the memory file at most; 0 without memory */
    uint64_t overlay_need; /* bytes of local space for all overlays */
} VmsCheck;

/* Asks libvirt, the guest agent (5 s) and the file systems; changes nothing, but for a migration
 * capability that is switched on and off at once to learn whether QEMU allows it. facts: of the
 * same domain, just read. An error only where the question could not be answered at all; a refusal
 * is a finding. */
VmsCheck *vms_check_run(virDomainPtr domain, const VmsFacts *facts, const VmsCheckOptions *options,
                        GError **error);
void vms_check_free(VmsCheck *check);

/* "none", "live", "cow". */
const char *vms_check_engine_name(VmsCheckEngine engine);

/* "info", "warning", "refusal": the stable names used in --json. */
const char *vms_check_severity_name(VmsFindingSeverity severity);

/* The first finding of that code, NULL if there is none. */
const VmsFinding *vms_check_find(const VmsCheck *check, const char *code);

/* One error for a refused check, all sentences and remedies in it: REFUSED, or NO_SPACE. Returns
 * false. */
bool vms_check_fail(const VmsCheck *check, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsCheck, vms_check_free)
