/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a repository back to a domain. */
#pragma once

#include "job/context.h"

typedef enum {
    VMS_RESTORE_MEMORY_AUTO,
    VMS_RESTORE_MEMORY_YES,
    VMS_RESTORE_MEMORY_NO
} VmsRestoreMemory;

/* Where libvirt read the memory from. */
typedef enum {
    VMS_MEMORY_SOURCE_NONE, /* there is none, or it was not wanted */
    VMS_MEMORY_SOURCE_FUSE, /* the repository, through a FUSE file */
    VMS_MEMORY_SOURCE_FILE, /* a temporary file */
} VmsMemorySource;

typedef struct {
    const char *snapshot; /* repository id prefix, local id prefix, or "latest" */
    const char
        *repository; /* name, URL, path; NULL: the only configured one or where the catalog says */
    const char *as;  /* new domain name; NULL: the original's, identity kept */
    const char *disks_to; /* directory; NULL: where each disk was */
    const char *const
        *disks;         /* NULL-terminated targets: only these, no domain is defined; NULL: all */
    const char *format; /* raw or qcow2; NULL: as it was */
    VmsRestoreMemory memory;
    bool spool;  /* the memory by way of a temporary file, also where FUSE would do */
    bool start;  /* start it (always where memory is restored) */
    bool paused; /* leave it paused */
} VmsRestoreOptions;

typedef struct {
    char *target, *path, *format;
    uint64_t size; /* bytes */
} VmsRestoredDisk;

typedef struct {
    char *snapshot; /* 64 hex */
    char *domain;   /* NULL where only disks were restored */
    char *uuid;
    VmsMemorySource memory_source;
    bool memory, started;
    unsigned thawed_filesystems; /* frozen in the captured memory, thawed after restore */
    GPtrArray *disks;            /* of VmsRestoredDisk* */
    GPtrArray *notes;            /* of VmsNote* */
    uint64_t bytes_fetched;      /* plaintext, without zeroes */
    int64_t duration_us;
} VmsRestoreResult;

void vms_restore_result_free(VmsRestoreResult *result);

/* All or nothing: on failure the files made are removed and no domain is left defined. */
VmsRestoreResult *vms_restore(VmsContext *context, const VmsRestoreOptions *options,
                              GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsRestoreResult, vms_restore_result_free)
