/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One run of an export, and what both formats need. Private to job/export*.c. */
#pragma once

#include "job/catalog.h"
#include "job/export.h"
#include "job/location.h"
#include "job/manifest.h"
#include "job/overlay-guard.h"

typedef struct {
    VmsContext *context;
    const VmsExportOptions *options;
    VmsCatalog *catalog;
    VmsRecord *record;
    virDomainPtr domain; /* nullable: no longer defined */
    VmsLocation *location;
    char *place; /* nullable: id of a place of plain images */
    VmsOverlayGuard *guard;
    VmsExportResult *result;
} VmsExportJob;

/* Everything up to and including the commit point, and on the record, not yet saved, that it was
 * passed. What a run that was killed right after the commit point has left there whole is not
 * stored again. */
bool vms_export_to_repository(VmsExportJob *e, GError **error);
bool vms_export_to_place(VmsExportJob *e, GError **error);

/* A manifest without disks and files (transfer full). */
VmsManifest *vms_export_describe(VmsExportJob *e);

/* What storing it has brought to light, on the record: notes, how each disk was tracked. */
void vms_export_take(VmsExportJob *e, const VmsManifest *manifest);

/* On the record: it is stored there. id: of the repository or the place. */
bool vms_export_record(VmsExportJob *e, VmsFormat format, const char *id, const VmsId *snapshot,
                       GError **error);
