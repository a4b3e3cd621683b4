/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/holds.h"

#include "job/catalog-disks.h"

static void free_hold(void *data)
{
    VmsHold *hold = data;
    g_free(hold->uuid);
    g_free(hold->domain);
    g_free(hold);
}

bool vms_holds_add(VmsCatalog *catalog, const char *uuid, const char *domain, GError **error)
{
    g_autoptr(VmsDbStmt) stmt = vms_db_prepare(
        vms_catalog_db(catalog), "INSERT OR REPLACE INTO holds VALUES (?1,?2)", error);
    if (!stmt)
        return false;
    vms_db_bind_text(stmt, 1, uuid);
    vms_db_bind_text(stmt, 2, domain);
    return vms_db_run(stmt, error);
}

bool vms_holds_remove(VmsCatalog *catalog, const char *uuid, GError **error)
{
    g_autoptr(VmsDbStmt) stmt =
        vms_db_prepare(vms_catalog_db(catalog), "DELETE FROM holds WHERE uuid = ?1", error);
    if (!stmt)
        return false;
    vms_db_bind_text(stmt, 1, uuid);
    return vms_db_run(stmt, error);
}

GPtrArray *vms_holds_list(VmsCatalog *catalog, const char *domain, GError **error)
{
    g_autoptr(GPtrArray) holds = g_ptr_array_new_with_free_func(free_hold);
    g_autoptr(VmsDbStmt) stmt = vms_db_prepare(
        vms_catalog_db(catalog),
        "SELECT uuid, domain FROM holds WHERE ?1 IS NULL OR ?1 IN (uuid, domain) ORDER BY domain",
        error);
    if (!stmt)
        return NULL;
    vms_db_bind_text(stmt, 1, domain);
    for (bool row;;) {
        if (!vms_db_step(stmt, &row, error))
            return NULL;
        if (!row)
            return g_steal_pointer(&holds);
        VmsHold *hold = g_new0(VmsHold, 1);
        hold->uuid = g_strdup(vms_db_column_text(stmt, 0));
        hold->domain = g_strdup(vms_db_column_text(stmt, 1));
        g_ptr_array_add(holds, hold);
    }
}
