/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/table.h"

#include "base/text.h"

#include <string.h>

struct VmsTable {
    const char *const *headings;
    guint columns;
    GPtrArray *rows; /* of char** */
};

VmsTable *vms_table_new(const char *const *headings)
{
    VmsTable *table = g_new0(VmsTable, 1);
    table->headings = headings;
    table->columns = g_strv_length((char **)headings);
    table->rows = g_ptr_array_new_with_free_func((GDestroyNotify)g_strfreev);
    return table;
}

void vms_table_free(VmsTable *table)
{
    if (!table)
        return;
    g_ptr_array_unref(table->rows);
    g_free(table);
}

char *vms_table_plain(const char *text)
{
    char *copy = g_utf8_make_valid(text, -1);
    for (char *at = copy; *at; at++)
        if (g_ascii_iscntrl(*at))
            *at = '?';
    return copy;
}

void vms_table_add(VmsTable *table, const char *const *cells)
{
    char **row = g_new0(char *, table->columns + 1);
    for (guint i = 0; i < table->columns; i++)
        row[i] = vms_table_plain(cells[i] ? cells[i] : "-");
    g_ptr_array_add(table->rows, row);
}

static const char *heading(const VmsTable *table, guint column)
{
    const char *text = table->headings[column];
    return *text == '>' ? text + 1 : text;
}

static glong width_of(const VmsTable *table, guint column)
{
    glong width = g_utf8_strlen(heading(table, column), -1);
    for (guint i = 0; i < table->rows->len; i++) {
        char **row = table->rows->pdata[i];
        width = MAX(width, g_utf8_strlen(row[column], -1));
    }
    return width;
}

static void append_cell(GString *out, const char *text, glong width, bool right, bool last)
{
    g_autofree char *fill = g_strnfill((gsize)(width - g_utf8_strlen(text, -1)), ' ');
    if (right)
        g_string_append(out, fill);
    g_string_append(out, text);
    if (!right && !last)
        g_string_append(out, fill);
    g_string_append(out, last ? "\n" : "  ");
}

void vms_table_append(const VmsTable *table, const char *indent, GString *out)
{
    if (table->rows->len == 0)
        return;
    g_autofree glong *widths = g_new(glong, table->columns);
    for (guint c = 0; c < table->columns; c++)
        widths[c] = width_of(table, c);
    for (guint r = 0; r <= table->rows->len; r++) {
        char **row = r > 0 ? table->rows->pdata[r - 1] : NULL;
        g_string_append(out, indent);
        for (guint c = 0; c < table->columns; c++) {
            g_autofree char *top = g_ascii_strup(heading(table, c), -1);
            append_cell(out, row ? row[c] : top, widths[c], table->headings[c][0] == '>',
                        c + 1 == table->columns);
        }
    }
}

char *vms_table_time(int64_t unix_us)
{
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_local(unix_us / 1000000);
    return time ? g_date_time_format(time, "%Y-%m-%d %H:%M:%S") : g_strdup("?");
}

char *vms_table_duration(int64_t us)
{
    if (us < 1000)
        return g_strdup_printf("%d us", (int)us);
    if (us < 1000000)
        return g_strdup_printf("%d ms", (int)(us / 1000));
    if (us < 120000000)
        return g_strdup_printf("%.1f s", (double)us / 1e6);
    int64_t seconds = us / 1000000;
    return g_strdup_printf("%d min %d s", (int)(seconds / 60), (int)(seconds % 60));
}

char *vms_table_rate(uint64_t bytes, int64_t us)
{
    if (us < 1000)
        return g_strdup("");
    g_autofree char *size = vms_text_size((uint64_t)((double)bytes * 1e6 / (double)us));
    return g_strdup_printf("%s/s", size);
}
