/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The things an export reads. Private to job/. */
#pragma once

#include "job/chunk-runs.h"
#include "job/context.h"
#include "job/manifest.h"
#include "job/pipeline.h"

/* A disk image through qemu-nbd, which opens and locks it and knows its holes; the data of a raw
 * one on a local file system is read from the file itself. Free with vms_input_free. */
VmsInput *vms_input_disk(const char *path, const char *format, GCancellable *cancellable,
                         GError **error);

/* The extents of a part of a disk that is read whole. */
bool vms_input_disk_extents(VmsInput *disk, uint64_t offset, uint64_t length,
                            VmsInputExtentFunc func, void *user, GCancellable *cancellable,
                            GError **error);

/* From now on the disk is only these chunks, one after the other. Borrows runs. */
void vms_input_disk_select(VmsInput *disk, const VmsChunkRuns *runs);

/* A plain file, holes known from the file system. */
VmsInput *vms_input_file(const char *path, GError **error);

/* The memory file of a snapshot: a save image. Its pages are put in order and it is cut along guest
 * addresses (VMS_MEMORY_PAGES), or, where it is not fully understood, it is a plain file
 * (VMS_MEMORY_STREAM) and *ret_reason says why (else NULL; transfer full). */
VmsInput *vms_input_memory(const char *path, VmsContext *context, VmsMemoryLayout *ret_layout,
                           char **ret_reason, GError **error);

/* CORRUPT where the memory file of a snapshot has not the size that it had at the cut. */
bool vms_input_check_memory(const VmsRecord *record, GError **error);

void vms_input_free(VmsInput *input);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsInput, vms_input_free)
