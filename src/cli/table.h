/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text for people: aligned columns, times, sizes. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct VmsTable VmsTable;

/* headings: NULL-terminated, borrowed for ever; one that begins with ">" is of a column aligned to
 * the right. */
VmsTable *vms_table_new(const char *const *headings);
void vms_table_free(VmsTable *table);

/* As many cells as headings; NULL is "-". Copied; control characters become "?". */
void vms_table_add(VmsTable *table, const char *const *cells);

/* Appends it with every line behind indent; nothing for a table without rows. */
void vms_table_append(const VmsTable *table, const char *indent, GString *out);

/* "2026-11-21 08:15:02", local time (transfer full). */
char *vms_table_time(int64_t unix_us);
/* "850 ms", "12.3 s", "4 min 10 s" (transfer full). */
char *vms_table_duration(int64_t us);
/* Bytes per second as text, "" where the time is too short to say. */
char *vms_table_rate(uint64_t bytes, int64_t us);
/* text without control characters (transfer full). */
char *vms_table_plain(const char *text);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsTable, vms_table_free)
