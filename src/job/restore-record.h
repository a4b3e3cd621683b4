/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a restore is about to make, or has made: a row of the catalog while it is at work. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef enum {
    VMS_MADE_DISK,      /* the guest may write to it once it runs */
    VMS_MADE_FILE,      /* UEFI variables, TPM state */
    VMS_MADE_DIRECTORY, /* removed once it is empty */
    VMS_MADE_TEMPORARY  /* a file or a directory with all in it; it has the restore's random id */
} VmsMadeKind;

typedef struct {
    VmsMadeKind kind;
    char *path;
    dev_t device; /* P3 */
    ino_t inode;  /* 0: about to be made; not yet under its name */
    int64_t
        written_ns; /* time of the last change when it was whole, ns since 1970; 0: is not whole */
} VmsMade;

typedef struct {
    char *id;                    /* 16 hex digits, random */
    char *snapshot;              /* 64 hex */
    char *repository;            /* location */
    char *domain;                /* name to be; NULL: disks only */
    char *uuid;                  /* NULL likewise */
    int64_t begun_us;            /* µs since 1970 */
    bool memory;                 /* with memory: whole only once the guest runs */
    bool defining;               /* the domain is, or is about to be, defined */
    bool keep_tpm;               /* a TPM state was there before that is not of this snapshot */
    unsigned frozen_filesystems; /* of the captured memory, to be thawed; 0: none */
    GPtrArray *made;             /* of VmsMade*, in that order */
} VmsRestoreRecord;

/* With a new id, begun now. */
VmsRestoreRecord *vms_restore_record_new(void);
void vms_restore_record_free(VmsRestoreRecord *record);

VmsMade *vms_restore_record_add(VmsRestoreRecord *record, VmsMadeKind kind, const char *path);
VmsMade *vms_restore_record_find(const VmsRestoreRecord *record, const char *path); /* or NULL */

/* "disk", "file", "directory", "temporary". */
const char *vms_made_kind_name(VmsMadeKind kind);
bool vms_made_kind_parse(const char *name, VmsMadeKind *ret_kind);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsRestoreRecord, vms_restore_record_free)
