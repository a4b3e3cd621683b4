/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The catalog's rows of a snapshot's disks and of the repositories that have it, and its database.
 * Private to job/catalog*.c. */
#pragma once

#include "base/db.h"
#include "job/catalog.h"
#include "job/record.h"

/* Borrowed. */
VmsDb *vms_catalog_db(VmsCatalog *catalog);

/* Disks and exports both; the snapshot's row is there and has none yet. */
bool vms_catalog_insert_disks(VmsDb *db, const VmsRecord *record, GError **error);
/* Appends them to the record. */
bool vms_catalog_read_disks(VmsDb *db, VmsRecord *record, GError **error);
