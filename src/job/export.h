/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Streaming a captured snapshot to a repository, then block-committing the overlays back. */
#pragma once

#include "job/context.h"
#include "job/record.h"
#include "job/transfer.h"

typedef struct {
    const char *snapshot;   /* id prefix; NULL: the newest captured one of the domain */
    const char *repository; /* configured name, URL or path */
    VmsFormat format;       /* QCOW2: repository is a place of plain images (job/plain.h) */
    bool keep_overlays;
    bool give_up; /* by itself, where the overlays are too full to begin, as where they become it */
    VmsTransfer transfer;
} VmsExportOptions;

typedef struct {
    VmsRecord *record; /* afterwards */
    VmsRepoWriterStats stats;
    uint64_t bytes_total; /* of disks and memory, as the guest sees them */
    uint64_t bytes_zero;  /* of these never read: holes and zeroes */
    uint64_t read_us;     /* spent on reading; the other stages are in stats */
    int64_t duration_us;
    int64_t commit_us; /* merging the overlays; 0 with keep_overlays */
    char *full_reason; /* nullable: why a disk was read in full, the first of them */
} VmsExportResult;

void vms_export_result_free(VmsExportResult *result);

/* Can that be exported to? Opens it, and makes an empty place one of plain images. */
bool vms_export_check_place(VmsContext *context, const VmsExportOptions *options, GError **error);

/* On failure or cancel the snapshot stays captured on this host and can be exported again. */
VmsExportResult *vms_export(VmsContext *context, const char *domain,
                            const VmsExportOptions *options, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsExportResult, vms_export_result_free)
