/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A snapshot as this host knows it: one row of the catalog, and what the commands print. */
#pragma once

#include "virt/cow.h"
#include "virt/heartbeat.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef enum {
    VMS_STATUS_PREPARING,
    VMS_STATUS_CAPTURING,
    VMS_STATUS_CAPTURED, /* a consistent point exists on this host only */
    VMS_STATUS_EXPORTING,
    VMS_STATUS_EXPORTED, /* durable in a repository; overlays still there */
    VMS_STATUS_COMMITTING,
    VMS_STATUS_DONE,     /* durable in a repository; overlays merged */
    VMS_STATUS_FAILED,   /* reason says what and what was undone */
    VMS_STATUS_ABANDONED /* dropped by the operator */
} VmsStatus;

typedef enum { VMS_ENGINE_NONE, VMS_ENGINE_LIVE, VMS_ENGINE_COW } VmsEngine;
typedef enum {
    VMS_CONSISTENCY_CRASH,
    VMS_CONSISTENCY_QUIESCED,
    VMS_CONSISTENCY_MEMORY
} VmsConsistency;

/* How an export knows what of a disk has changed since the snapshot before. */
typedef enum {
    VMS_TRACKING_UNKNOWN, /* not exported yet, or by a vmsnap that did not say so */
    VMS_TRACKING_NONE,    /* all of it was read */
    VMS_TRACKING_OVERLAY, /* what lies in the overlays that were kept since the parent */
    VMS_TRACKING_BITMAP   /* a dirty bitmap in the image, begun with the parent */
} VmsTracking;

/* What a snapshot is stored as. */
typedef enum {
    VMS_FORMAT_RESTIC, /* in a repository */
    VMS_FORMAT_QCOW2   /* as plain images beside a manifest */
} VmsFormat;

typedef struct {
    VmsTracking method;
    char *parent;           /* nullable: the repository's id of the snapshot built upon, 64 hex */
    uint64_t bytes_changed; /* by the guest since the parent; 0 where all was read */
    char *full_reason;      /* of VMS_TRACKING_NONE: code */
} VmsDiskTracking;

typedef struct {
    char *target; /* vda */
    char *bus;
    char *base;        /* path of the frozen image: the snapshot's disk */
    char *base_format; /* raw, qcow2 … */
    char *overlay;     /* path of the overlay made for this snapshot */
    dev_t device;      /* of the overlay file (P3) */
    ino_t inode;
    uint64_t capacity; /* bytes the guest sees */
    bool merged;       /* overlay committed and removed */
    char *pressed;     /* nullable: what a merge does to the guest (virt/commit.h) */
    char *chain;       /* nullable: the frozen image and what it stands on (virt/image.h) */
    char *bitmap;      /* nullable: name of the dirty bitmap that we began with this snapshot */
    VmsDiskTracking tracking; /* of the last export */
} VmsRecordDisk;

/* One repository that has the snapshot, or one place of plain images. */
typedef struct {
    VmsFormat format;
    char *repository; /* its own id, hex */
    char *snapshot;   /* 64 hex; of plain images the SHA-256 of their manifest */
    int64_t sequence; /* of this host's exports: clocks may be set back, this is not */
} VmsRecordExport;

/* Something the operator should know that is not an error: skipped disk, degraded freeze … */
typedef struct {
    char *code; /* kebab-case, stable */
    char *text;
} VmsNote;

typedef struct {
    char *id; /* 16 hex digits, random */
    char *domain;
    char *uuid;
    VmsStatus status;
    char *reason;       /* nullable; of failed and abandoned, or why it is being dropped */
    bool was_running;   /* the guest, before the cut: who finds it paused may resume it */
    int64_t created_us; /* µs since 1970: the cut (or the begin, before it) */
    VmsEngine engine;
    VmsConsistency consistency;
    unsigned frozen_filesystems; /* 0: not quiesced */
    int64_t freeze_us;           /* how long file systems were frozen; 0 */
    int64_t switch_us;  /* the overlay transaction, or the live snapshot, as seen from here */
    VmsCowTimes timing; /* of engine cow */
    VmsHeartbeatGaps heartbeat; /* no beats: not measured */
    char *memory_path;          /* nullable */
    dev_t memory_device;
    ino_t memory_inode;
    uint64_t memory_size;      /* bytes */
    char *domain_xml;          /* at the cut */
    char *nvram;               /* nullable: copy of the UEFI variables taken with the cut */
    char *tpm;                 /* nullable: directory with copies of the TPM's state files */
    char *repository;          /* nullable: location it was exported to */
    char *repository_snapshot; /* nullable: 64 hex */
    GPtrArray *exports;        /* of VmsRecordExport*, one per repository */
    GPtrArray *disks;          /* of VmsRecordDisk* */
    GPtrArray *notes;          /* of VmsNote* */
} VmsRecord;

VmsRecord *vms_record_new(void);
void vms_record_free(VmsRecord *record);
VmsRecordDisk *vms_record_add_disk(VmsRecord *record, const char *target);
void vms_record_add_note(VmsRecord *record, const char *code, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

/* Enters or replaces what is known of that repository. */
void vms_record_set_export(VmsRecord *record, VmsFormat format, const char *repository,
                           const char *snapshot, int64_t sequence);
/* NULL: it was never stored there. */
const VmsRecordExport *vms_record_export(const VmsRecord *record, const char *repository);
/* Of the last export, which is what record->repository says. */
VmsFormat vms_record_format(const VmsRecord *record);
VmsRecordDisk *vms_record_disk(const VmsRecord *record, const char *target); /* NULL: none */

/* source NULL: all of it unknown. */
void vms_disk_tracking_copy(VmsDiskTracking *target, const VmsDiskTracking *source);
void vms_disk_tracking_clear(VmsDiskTracking *tracking);

/* Stable names for --json, tables and tags: "captured", "live", "quiesced" … */
const char *vms_status_name(VmsStatus status);
const char *vms_engine_name(VmsEngine engine);
const char *vms_consistency_name(VmsConsistency consistency);
const char *vms_tracking_name(VmsTracking tracking); /* NULL: unknown */
const char *vms_format_name(VmsFormat format);       /* "restic", "qcow2" */
bool vms_format_parse(const char *name, VmsFormat *ret_format);
bool vms_tracking_parse(const char *name, VmsTracking *ret_tracking);
bool vms_status_parse(const char *name, VmsStatus *ret_status);
bool vms_engine_parse(const char *name, VmsEngine *ret_engine);
bool vms_consistency_parse(const char *name, VmsConsistency *ret_consistency);

/* A list of VmsNote*. */
GPtrArray *vms_notes_new(void);
void vms_notes_add(GPtrArray *notes, const char *code, const char *text);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsRecord, vms_record_free)
