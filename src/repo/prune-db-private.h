/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What prune-db.c and prune-db-plan.c share. */
#pragma once

#include "base/db.h"
#include "repo/prune-db.h"

typedef enum {
    VMS_PRUNE_DB_MARK,
    VMS_PRUNE_DB_STORED,
    VMS_PRUNE_DB_FIND_USED,
    VMS_PRUNE_DB_SET_USED,
    VMS_PRUNE_DB_ADD_DUPLICATE,
    VMS_PRUNE_DB_FIND_PACK,
    VMS_PRUNE_DB_SET_LISTED,
    VMS_PRUNE_DB_STATEMENTS
} VmsPruneDbStatement;

struct VmsPruneDb {
    VmsDb *db;
    VmsDbStmt *statements[VMS_PRUNE_DB_STATEMENTS];
};

/* The id at the beginning of a column. */
void vms_prune_db_column_id(VmsDbStmt *stmt, int at, VmsId *ret_id);
