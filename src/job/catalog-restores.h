/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The catalog's restores that are at work, or were killed. Private to job/. */
#pragma once

#include "job/catalog.h"
#include "job/restore-record.h"

/* Inserts or replaces it with its files, durable on return. */
bool vms_catalog_save_restore(VmsCatalog *catalog, const VmsRestoreRecord *record, GError **error);

/* The oldest first: GPtrArray of VmsRestoreRecord*. domain: name or UUID, NULL for all. */
GPtrArray *vms_catalog_list_restores(VmsCatalog *catalog, const char *domain, GError **error);

/* *ret_record NULL where there is none of that id (any more). */
bool vms_catalog_find_restore(VmsCatalog *catalog, const char *id, VmsRestoreRecord **ret_record,
                              GError **error);

/* It has ended. */
bool vms_catalog_remove_restore(VmsCatalog *catalog, const char *id, GError **error);
