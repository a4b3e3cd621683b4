/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How full the overlays of a snapshot are, as it is now: nobody watches them while no vmsnap works
 * on it. */
#include "base/text.h"
#include "cli/render.h"
#include "job/catalog.h"
#include "job/growth.h"

/* False where there is nothing to tell. */
static bool measure(const VmsRecord *record, VmsGrowth *ret_growth)
{
    g_autoptr(GPtrArray) disks = vms_growth_disks(record);
    *ret_growth = (VmsGrowth){0};
    return !vms_catalog_ended(record->status) &&
           vms_growth_measure(disks, VMS_GROWTH_AUTO, NULL, ret_growth, NULL) && ret_growth->place;
}

char *vms_render_growth_cell(const VmsRecord *record)
{
    g_auto(VmsGrowth) growth = {0};
    if (!measure(record, &growth))
        return NULL;
    g_autofree char *taken = vms_text_size(growth.taken);
    return g_strdup_printf("%s, %u %%", taken, growth.percent);
}

void vms_render_growth_text(GString *out, const VmsRecord *record, unsigned from)
{
    g_auto(VmsGrowth) growth = {0};
    if (!measure(record, &growth) || growth.percent < from)
        return;
    g_autofree char *text = vms_growth_text(&growth);
    g_string_append_printf(out, "  snapshot %s (%s): %s\n", record->id,
                           vms_status_name(record->status), text);
}

void vms_render_growth_json(VmsJsonWriter *out, const VmsRecord *record)
{
    g_auto(VmsGrowth) growth = {0};
    vms_json_writer_key(out, "growth");
    if (!measure(record, &growth)) {
        vms_json_writer_null(out);
        return;
    }
    vms_json_writer_begin_object(out);
    vms_json_writer_member_uint64(out, "taken", growth.taken);
    vms_json_writer_member_uint64(out, "merge_need", growth.merge);
    vms_json_writer_member_uint64(out, "free", growth.free);
    vms_json_writer_member_uint64(out, "percent", growth.percent);
    vms_json_writer_member_string(out, "directory", growth.place);
    vms_json_writer_end_object(out);
}
