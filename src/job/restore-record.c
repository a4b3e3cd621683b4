/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/restore-record.h"

static const char *const kinds[] = {"disk", "file", "directory", "temporary"};

const char *vms_made_kind_name(VmsMadeKind kind)
{
    return kinds[kind];
}

bool vms_made_kind_parse(const char *name, VmsMadeKind *ret_kind)
{
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
        if (g_strcmp0(name, kinds[i]) == 0) {
            *ret_kind = (VmsMadeKind)i;
            return true;
        }
    return false;
}

static void free_made(void *data)
{
    VmsMade *made = data;
    g_free(made->path);
    g_free(made);
}

VmsRestoreRecord *vms_restore_record_new(void)
{
    VmsRestoreRecord *record = g_new0(VmsRestoreRecord, 1);
    record->id = g_strdup_printf("%08x%08x", g_random_int(), g_random_int());
    record->begun_us = g_get_real_time();
    record->made = g_ptr_array_new_with_free_func(free_made);
    return record;
}

void vms_restore_record_free(VmsRestoreRecord *record)
{
    if (!record)
        return;
    g_free(record->id);
    g_free(record->snapshot);
    g_free(record->repository);
    g_free(record->domain);
    g_free(record->uuid);
    g_ptr_array_unref(record->made);
    g_free(record);
}

VmsMade *vms_restore_record_add(VmsRestoreRecord *record, VmsMadeKind kind, const char *path)
{
    VmsMade *made = g_new0(VmsMade, 1);
    made->kind = kind;
    made->path = g_strdup(path);
    g_ptr_array_add(record->made, made);
    return made;
}

VmsMade *vms_restore_record_find(const VmsRestoreRecord *record, const char *path)
{
    for (guint i = 0; i < record->made->len; i++) {
        VmsMade *made = record->made->pdata[i];
        if (g_str_equal(made->path, path))
            return made;
    }
    return NULL;
}
