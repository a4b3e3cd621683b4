/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Go's literal escapes: \a \b \f \n \r \t \v \\ \" \xHH \uHHHH \UHHHHHHHH, and \OOO when reading.
 * What is not printable is escaped. Go's JSON encoder further writes <, > and & as \u00XX; the same
 * is done here, so that a tree that restic reads and writes again keeps its bytes, and with them
 * its id. */
#include "repo/node-name.h"

#include "base/error.h"

#include <string.h>

bool vms_node_name_valid(const char *name)
{
    return name[0] != '\0' && strchr(name, '/') == NULL && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

/* One character of the literal; in JSON a backslash and a quote are doubled up once more. */
static void append_json(GString *json, char c)
{
    if (c == '\\' || c == '"')
        g_string_append_c(json, '\\');
    if (c == '<' || c == '>' || c == '&')
        g_string_append_printf(json, "\\u%04x", c);
    else
        g_string_append_c(json, c);
}

static void append_ascii(GString *json, unsigned char c)
{
    static const char from[] = "\a\b\f\n\r\t\v\\\"";
    static const char to[] = "abfnrtv\\\"";
    const char *found = strchr(from, c);

    if (found != NULL) {
        append_json(json, '\\');
        append_json(json, to[found - from]);
    } else if (c < 0x20 || c == 0x7f) {
        g_string_append_printf(json, "\\\\x%02x", c);
    } else {
        append_json(json, (char)c);
    }
}

/* Go's notion: letters, marks, numbers, punctuation and symbols. */
static bool is_printable(gunichar c)
{
    switch (g_unichar_type(c)) {
    case G_UNICODE_CONTROL:
    case G_UNICODE_FORMAT:
    case G_UNICODE_UNASSIGNED:
    case G_UNICODE_PRIVATE_USE:
    case G_UNICODE_SURROGATE:
    case G_UNICODE_LINE_SEPARATOR:
    case G_UNICODE_PARAGRAPH_SEPARATOR:
    case G_UNICODE_SPACE_SEPARATOR:
        return false;
    default:
        return true;
    }
}

void vms_node_name_append(GString *json, const char *name)
{
    const char *p = name;

    g_string_append_c(json, '"');
    while (*p != '\0') {
        gunichar c = g_utf8_get_char_validated(p, -1);

        if (c == (gunichar)-1 || c == (gunichar)-2) {
            g_string_append_printf(json, "\\\\x%02x", (unsigned char)*p++);
            continue;
        }
        const char *next = g_utf8_next_char(p);
        if (c < 0x80)
            append_ascii(json, (unsigned char)c);
        else if (is_printable(c))
            g_string_append_len(json, p, next - p);
        else
            g_string_append_printf(json, c < 0x10000 ? "\\\\u%04x" : "\\\\U%08x", c);
        p = next;
    }
    g_string_append_c(json, '"');
}

/* Exactly digits digits of base. */
static bool read_digits(const char **p, int digits, unsigned base, guint32 *ret_value)
{
    guint32 value = 0;

    for (int i = 0; i < digits; i++, (*p)++) {
        int digit = g_ascii_xdigit_value(**p);

        if (digit < 0 || (unsigned)digit >= base)
            return false;
        value = value * base + (unsigned)digit;
    }
    *ret_value = value;
    return true;
}

/* After the backslash. */
static bool read_escape(const char **p, GString *name)
{
    static const char from[] = "abfnrtv\\\"'";
    static const char to[] = "\a\b\f\n\r\t\v\\\"'";
    const char *found = **p != '\0' ? strchr(from, **p) : NULL;
    guint32 value = 0;
    char kind = **p;

    if (found != NULL) {
        g_string_append_c(name, to[found - from]);
        (*p)++;
        return true;
    }
    if (kind >= '0' && kind <= '3' && read_digits(p, 3, 8, &value)) {
        g_string_append_c(name, (char)value);
        return value != 0;
    }
    (*p) += kind != '\0';
    if (kind == 'x' && read_digits(p, 2, 16, &value)) {
        g_string_append_c(name, (char)value);
        return value != 0;
    }
    if ((kind == 'u' && read_digits(p, 4, 16, &value)) ||
        (kind == 'U' && read_digits(p, 8, 16, &value))) {
        if (value == 0 || !g_unichar_validate(value))
            return false;
        g_string_append_unichar(name, value);
        return true;
    }
    return false;
}

bool vms_node_name_parse(const char *quoted, char **ret_name, GError **error)
{
    g_autoptr(GString) name = g_string_new(NULL);

    for (const char *p = quoted; *p != '\0';) {
        if (*p != '\\') {
            g_string_append_c(name, *p++);
            continue;
        }
        p++;
        if (!read_escape(&p, name))
            return vms_fail(error, VMS_ERROR_INVALID, "tree: a malformed name \"%.80s\"", quoted);
    }
    if (!vms_node_name_valid(name->str))
        return vms_fail(error, VMS_ERROR_INVALID, "tree: an impossible name \"%.80s\"", quoted);
    *ret_name = g_string_free(g_steal_pointer(&name), FALSE);
    return true;
}
