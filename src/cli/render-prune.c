/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/text.h"
#include "cli/render.h"
#include "cli/table.h"

void vms_render_prune_json(VmsJsonWriter *out, const VmsPruneResult *result)
{
    const VmsPruneStats *stats = &result->stats;
    const struct {
        const char *key;
        uint64_t value;
    } members[] = {
        {"snapshots", stats->snapshots},
        {"blobs", stats->blobs},
        {"bytes", stats->bytes},
        {"bytes_used", stats->bytes_used},
        {"bytes_unused", stats->bytes_unused},
        {"bytes_unused_left", stats->bytes_unused_left},
        {"bytes_removed", stats->bytes_removed},
        {"bytes_written", stats->bytes_written},
        {"packs", stats->packs},
        {"packs_removed", stats->packs_removed},
        {"packs_repacked", stats->packs_repacked},
        {"packs_written", stats->packs_written},
        {"packs_unindexed", stats->packs_unindexed},
        {"bytes_unindexed", stats->bytes_unindexed},
        {"packs_missing", stats->packs_missing},
        {"indexes_removed", stats->indexes_removed},
        {"indexes_written", stats->indexes_written},
    };
    vms_json_writer_begin_object(out);
    for (size_t i = 0; i < G_N_ELEMENTS(members); i++)
        vms_json_writer_member_uint64(out, members[i].key, members[i].value);
    vms_json_writer_key(out, "duration_us");
    vms_json_writer_int64(out, result->duration_us);
    vms_json_writer_end_object(out);
}

static void append_unindexed(GString *out, const VmsPruneStats *stats)
{
    g_autofree char *bytes = vms_text_size(stats->bytes_unindexed);
    if (stats->packs_unindexed > 0)
        g_string_append_printf(out,
                               "  %" G_GUINT64_FORMAT " packs (%s) are listed by no index: "
                               "somebody may be writing them; they go if a run in half an hour "
                               "or later finds them so again\n",
                               stats->packs_unindexed, bytes);
    if (stats->packs_missing > 0)
        g_string_append_printf(out,
                               "  %" G_GUINT64_FORMAT " packs that an index listed were missing; "
                               "nothing in them was needed\n",
                               stats->packs_missing);
}

void vms_render_prune_text(GString *out, const VmsPruneResult *result)
{
    const VmsPruneStats *stats = &result->stats;
    const char *would = result->dry_run ? "would be " : "";
    uint64_t freed = stats->bytes_removed - MIN(stats->bytes_written, stats->bytes_removed);
    g_autofree char *free_text = vms_text_size(freed);
    g_autofree char *copied = vms_text_size(stats->bytes_written);
    g_autofree char *left = vms_text_size(stats->bytes - MIN(freed, stats->bytes));
    g_autofree char *unused = vms_text_size(stats->bytes_unused_left);
    g_autofree char *duration = vms_table_duration(result->duration_us);
    g_string_append_printf(
        out,
        "%s: %s %sfreed (%s)\n  %" G_GUINT64_FORMAT " packs %sremoved, %" G_GUINT64_FORMAT
        " rewritten (%s copied)\n  %s %s for %" G_GUINT64_FORMAT " snapshots, %s of it unused\n",
        result->location, free_text, would, duration, stats->packs_removed, would,
        stats->packs_repacked, copied, left, result->dry_run ? "would stay" : "stay",
        stats->snapshots, unused);
    append_unindexed(out, stats);
}
