/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/json-writer.h"

#include "base/json.h"

#include <string.h>

struct VmsJsonWriter {
    GString *out;
    bool pretty;
    bool after_key; /* the next value belongs to a key just written */
    unsigned depth;
    bool has_items[VMS_JSON_MAX_DEPTH + 1]; /* per level: a comma is due */
};

VmsJsonWriter *vms_json_writer_new(bool pretty)
{
    VmsJsonWriter *writer = g_new0(VmsJsonWriter, 1);
    writer->out = g_string_new(NULL);
    writer->pretty = pretty;
    return writer;
}

void vms_json_writer_free(VmsJsonWriter *writer)
{
    if (!writer)
        return;
    g_string_free(writer->out, TRUE);
    g_free(writer);
}

static void new_line(VmsJsonWriter *writer)
{
    if (!writer->pretty)
        return;
    g_string_append_c(writer->out, '\n');
    for (unsigned i = 0; i < writer->depth; i++)
        g_string_append(writer->out, "  ");
}

/* Before every key and every value that is not a key's: comma and line. */
static void separate(VmsJsonWriter *writer)
{
    if (writer->after_key) {
        writer->after_key = false;
        return;
    }
    if (writer->has_items[writer->depth])
        g_string_append_c(writer->out, ',');
    if (writer->depth > 0)
        new_line(writer);
    writer->has_items[writer->depth] = true;
}

static void begin(VmsJsonWriter *writer, char bracket)
{
    separate(writer);
    g_string_append_c(writer->out, bracket);
    g_return_if_fail(writer->depth < VMS_JSON_MAX_DEPTH);
    writer->has_items[++writer->depth] = false;
}

static void end(VmsJsonWriter *writer, char bracket)
{
    g_return_if_fail(writer->depth > 0);
    bool empty = !writer->has_items[writer->depth--];
    if (!empty)
        new_line(writer);
    g_string_append_c(writer->out, bracket);
}

void vms_json_writer_begin_object(VmsJsonWriter *writer)
{
    begin(writer, '{');
}

void vms_json_writer_end_object(VmsJsonWriter *writer)
{
    end(writer, '}');
}

void vms_json_writer_begin_array(VmsJsonWriter *writer)
{
    begin(writer, '[');
}

void vms_json_writer_end_array(VmsJsonWriter *writer)
{
    end(writer, ']');
}

static void append_quoted(GString *out, const char *text)
{
    g_string_append_c(out, '"');
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p == '"' || *p == '\\') {
            g_string_append_c(out, '\\');
            g_string_append_c(out, (char)*p);
        } else if (*p == '\n') {
            g_string_append(out, "\\n");
        } else if (*p == '\t') {
            g_string_append(out, "\\t");
        } else if (*p < 0x20 || *p == 0x7f) {
            g_string_append_printf(out, "\\u%04x", *p);
        } else {
            g_string_append_c(out, (char)*p);
        }
    }
    g_string_append_c(out, '"');
}

void vms_json_writer_key(VmsJsonWriter *writer, const char *key)
{
    separate(writer);
    append_quoted(writer->out, key);
    g_string_append(writer->out, writer->pretty ? ": " : ":");
    writer->after_key = true;
}

void vms_json_writer_string(VmsJsonWriter *writer, const char *text)
{
    if (!text) {
        vms_json_writer_null(writer);
        return;
    }
    separate(writer);
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    append_quoted(writer->out, valid);
}

void vms_json_writer_uint64(VmsJsonWriter *writer, uint64_t value)
{
    separate(writer);
    g_string_append_printf(writer->out, "%" G_GUINT64_FORMAT, value);
}

void vms_json_writer_int64(VmsJsonWriter *writer, int64_t value)
{
    separate(writer);
    g_string_append_printf(writer->out, "%" G_GINT64_FORMAT, value);
}

void vms_json_writer_double(VmsJsonWriter *writer, double value)
{
    char buffer[G_ASCII_DTOSTR_BUF_SIZE];
    separate(writer);
    g_string_append(writer->out, g_ascii_formatd(buffer, sizeof buffer, "%.6g", value));
}

void vms_json_writer_bool(VmsJsonWriter *writer, bool value)
{
    separate(writer);
    g_string_append(writer->out, value ? "true" : "false");
}

void vms_json_writer_null(VmsJsonWriter *writer)
{
    separate(writer);
    g_string_append(writer->out, "null");
}

void vms_json_writer_member_string(VmsJsonWriter *writer, const char *key, const char *text)
{
    vms_json_writer_key(writer, key);
    vms_json_writer_string(writer, text);
}

void vms_json_writer_member_uint64(VmsJsonWriter *writer, const char *key, uint64_t value)
{
    vms_json_writer_key(writer, key);
    vms_json_writer_uint64(writer, value);
}

void vms_json_writer_member_bool(VmsJsonWriter *writer, const char *key, bool value)
{
    vms_json_writer_key(writer, key);
    vms_json_writer_bool(writer, value);
}

GString *vms_json_writer_take(VmsJsonWriter *writer)
{
    GString *taken = writer->out;
    writer->out = g_string_new(NULL);
    return taken;
}

char *vms_json_writer_finish(VmsJsonWriter *writer)
{
    if (writer->pretty)
        g_string_append_c(writer->out, '\n');
    return g_string_free(vms_json_writer_take(writer), FALSE);
}
