/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What several commands print alike: snapshots of this host, snapshots of a repository, notes,
 * pruning. */
#pragma once

#include "base/json-writer.h"
#include "job/export.h"
#include "job/manifest.h"
#include "job/prune.h"
#include "job/record.h"

/* Members of vmsnap.json and of schemas/snapshot.v1.json, as one JSON object. */
void vms_render_record_json(VmsJsonWriter *out, const VmsRecord *record);
void vms_render_manifest_json(VmsJsonWriter *out, const VmsManifest *manifest);

/* The whole document {"schema": …, "snapshot": …} (transfer full). */
char *vms_render_record_document(const char *schema, const VmsRecord *record);
/* The same with what was stored. */
char *vms_render_export_document(const char *schema, const VmsExportResult *result);

/* Table of the disks, then of the memory, behind two blanks. */
void vms_render_record_text(GString *out, const VmsRecord *record);
void vms_render_manifest_text(GString *out, const VmsManifest *manifest);
void vms_render_notes_text(GString *out, const GPtrArray *notes);
/* What an export did, and what comes next. */
void vms_render_export_text(GString *out, const VmsExportResult *result);

/* "memory and 2 disks at one instant" … (transfer full) */
char *vms_render_what(VmsConsistency consistency, guint disks, unsigned frozen_filesystems);

/* How full the overlays of a snapshot are at this moment: "1.2 GiB, 34 %" (NULL: it has none;
 * transfer full), a line from so many percent on, and the member "growth". */
char *vms_render_growth_cell(const VmsRecord *record);
void vms_render_growth_text(GString *out, const VmsRecord *record, unsigned from);
void vms_render_growth_json(VmsJsonWriter *out, const VmsRecord *record);

/* What a prune did or would do, as one JSON object and as lines. */
void vms_render_prune_json(VmsJsonWriter *out, const VmsPruneResult *result);
void vms_render_prune_text(GString *out, const VmsPruneResult *result);
