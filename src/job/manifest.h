/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmsnap.json of a stored snapshot (schemas/manifest.v1.json). */
#pragma once

#include "base/json-writer.h"
#include "job/record.h"
#include "repo/id.h"

/* An object of a snapshot that is stored as plain files. */
typedef struct {
    char *name;     /* below the snapshot's folder: "vda.qcow2", "memory.save", "tpm/…" */
    uint64_t bytes; /* all of it */
    char *sha256;   /* 64 hex */
    char *backing;  /* nullable, of images: local id of the snapshot whose image it stands on */
} VmsManifestFile;

typedef struct {
    char *target, *bus, *format;
    char *source;        /* path of the image at the cut, to know where it belongs */
    uint64_t size;       /* bytes, virtual */
    uint64_t chunk_size; /* bytes; of an image its clusters */
    VmsDiskTracking tracking;
    VmsManifestFile *image; /* VMS_FORMAT_QCOW2, else NULL */
} VmsManifestDisk;

/* How memory.save is laid out; for people: restoring goes by the blobs' lengths. */
typedef enum {
    VMS_MEMORY_STREAM, /* as QEMU wrote it */
    VMS_MEMORY_PAGES,  /* every page once, by address, in pieces of their own */
} VmsMemoryLayout;

const char *vms_memory_layout_name(VmsMemoryLayout layout); /* "stream", "pages" */

typedef struct {
    VmsId repository_id; /* of the snapshot file, of plain images that of this; not in the JSON */
    VmsFormat format;
    char *id; /* the local one, 16 hex */
    char *domain, *uuid, *host;
    int64_t time_us; /* the cut */
    VmsEngine engine;
    VmsConsistency consistency;
    unsigned frozen_filesystems;
    uint64_t memory_size; /* bytes of the save image; 0: none */
    VmsMemoryLayout memory_layout;
    bool nvram, tpm;
    char *full_reason; /* nullable: why a disk was read in full, the first of them */
    char *version_vmsnap, *version_libvirt, *version_qemu;
    GPtrArray *disks; /* of VmsManifestDisk* */
    GPtrArray *files; /* VMS_FORMAT_QCOW2: of VmsManifestFile*, all but images and manifest */
    GPtrArray *notes; /* of VmsNote* */
} VmsManifest;

/* The member "notes" of the object being written; notes: of VmsNote*. */
void vms_notes_write(VmsJsonWriter *out, const GPtrArray *notes);

VmsManifest *vms_manifest_new(void);
void vms_manifest_free(VmsManifest *manifest);
/* Appends a disk; its chunk size is still to be set. */
VmsManifestDisk *vms_manifest_add_disk(VmsManifest *manifest, const char *target, const char *bus,
                                       const char *format, const char *source, uint64_t size);
/* Copies name and sha256. */
VmsManifestFile *vms_manifest_file_new(const char *name, uint64_t bytes, const char *sha256);
void vms_manifest_file_free(VmsManifestFile *file);
/* NULL: none of that target. */
VmsManifestDisk *vms_manifest_disk(const VmsManifest *manifest, const char *target);
/* Writes member "tracking" of a disk. */
void vms_disk_tracking_write(VmsJsonWriter *out, const VmsDiskTracking *tracking);
/* Member "image" of a disk and "files" of the manifest, where they have any. */
void vms_manifest_image_write(VmsJsonWriter *out, const VmsManifestDisk *disk);
void vms_manifest_files_write(VmsJsonWriter *out, const VmsManifest *manifest);
char *vms_manifest_to_json(const VmsManifest *manifest);
/* From untrusted storage. INVALID names the member; UNSUPPORTED for a newer manifest version. */
VmsManifest *vms_manifest_parse(const char *text, size_t len, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsManifest, vms_manifest_free)
