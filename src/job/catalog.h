/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The local database of snapshots. What a job is about to do is saved before it does it. */
#pragma once

#include "job/config.h"
#include "job/record.h"

typedef struct VmsCatalog VmsCatalog;

/* state_dir/vmsnap.db; makes the directory (0700). NO_SPACE, AUTH, CORRUPT, UNSUPPORTED. */
VmsCatalog *vms_catalog_open(const VmsConfig *config, GError **error);
void vms_catalog_free(VmsCatalog *catalog);

/* Inserts or replaces the record with its disks and notes, durable on return. */
bool vms_catalog_save(VmsCatalog *catalog, const VmsRecord *record, GError **error);

/* The same, but that a file system without room is no error: for who is about to make some, and
 * saves again when it is done. */
bool vms_catalog_save_if_room(VmsCatalog *catalog, const VmsRecord *record, GError **error);

/* Greater than that of any export there was. */
bool vms_catalog_next_export(VmsCatalog *catalog, int64_t *ret_sequence, GError **error);

/* As they were made, the oldest first: GPtrArray of VmsRecord*. domain: name or UUID, NULL for all.
 * ended: also done, failed and abandoned ones. */
GPtrArray *vms_catalog_list(VmsCatalog *catalog, const char *domain, bool ended, GError **error);

/* By a prefix (≥ 4 hex digits) of the local id or of the repository's snapshot id. NOT_FOUND;
 * INVALID if ambiguous, naming the candidates. */
VmsRecord *vms_catalog_find(VmsCatalog *catalog, const char *prefix, GError **error);

/* True for done, failed and abandoned: nothing of it is left on this host. */
bool vms_catalog_ended(VmsStatus status);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsCatalog, vms_catalog_free)
