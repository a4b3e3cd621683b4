/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/text.h"

#include "base/error.h"

#include <string.h>

/* Years 1 to 9999: what GDateTime knows, and four digits. */
#define FIRST_S INT64_C(-62135596800)
#define LAST_S INT64_C(253402300799)

char *vms_text_hex(const uint8_t *data, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    char *text = g_malloc(2 * len + 1);
    for (size_t i = 0; i < len; i++) {
        text[2 * i] = digits[data[i] >> 4];
        text[2 * i + 1] = digits[data[i] & 15];
    }
    text[2 * len] = '\0';
    return text;
}

/* The value of a hex digit and 1; 0: none. */
static const uint8_t hex_digit[256] = {
    ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
    ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

bool vms_text_unhex(const char *text, uint8_t *data, size_t len, GError **error)
{
    if (strlen(text) != 2 * len)
        return vms_fail(error, VMS_ERROR_INVALID, "\"%.80s\" does not have %zu hex digits", text,
                        2 * len);
    for (size_t i = 0; i < len; i++) {
        unsigned high = hex_digit[(uint8_t)text[2 * i]], low = hex_digit[(uint8_t)text[2 * i + 1]];
        if (high == 0 || low == 0)
            return vms_fail(error, VMS_ERROR_INVALID, "\"%.80s\" is not hexadecimal", text);
        data[i] = (uint8_t)((high - 1) << 4 | (low - 1));
    }
    return true;
}

bool vms_text_parse_size(const char *text, uint64_t *ret_bytes, GError **error)
{
    static const char units[] = "KMGTPE";
    char *end = NULL;
    double number = g_ascii_strtod(text, &end);
    unsigned shift = 0;
    const char *unit = *end ? strchr(units, g_ascii_toupper(*end)) : NULL;
    if (unit && *end) {
        shift = 10 * (unsigned)(unit - units + 1);
        end++;
        if (*end == 'i')
            end++;
    }
    if (*end == 'B')
        end++;
    double bytes = number * (double)(UINT64_C(1) << shift);
    if (!g_ascii_isdigit(*text) || *end || !(bytes < 9e18))
        return vms_fail(error, VMS_ERROR_INVALID, "\"%.40s\" is not a size like 512K or 1.5GiB",
                        text);
    *ret_bytes = (uint64_t)bytes;
    return true;
}

char *vms_text_size(uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    unsigned unit = 0;
    while (value >= 1024 && unit + 1 < G_N_ELEMENTS(units)) {
        value /= 1024;
        unit++;
    }
    return g_strdup_printf(unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

char *vms_text_time(int64_t unix_us)
{
    int64_t us = CLAMP(unix_us, FIRST_S * 1000000, LAST_S * 1000000 + 999999);
    int64_t rest = (us % 1000000 + 1000000) % 1000000; /* before 1970 too */
    g_autoptr(GDateTime) seconds = g_date_time_new_from_unix_utc((us - rest) / 1000000);
    g_autofree char *text = g_date_time_format(seconds, "%m-%dT%H:%M:%S");
    return g_strdup_printf("%04d-%s.%06d000Z", g_date_time_get_year(seconds), text, (int)rest);
}

bool vms_text_parse_time(const char *text, int64_t *ret_unix_us, GError **error)
{
    g_autoptr(GTimeZone) utc = g_time_zone_new_utc();
    g_autoptr(GDateTime) time = g_date_time_new_from_iso8601(text, utc);
    int64_t seconds = time ? g_date_time_to_unix(time) : INT64_MIN;
    if (seconds < FIRST_S || seconds > LAST_S)
        return vms_fail(error, VMS_ERROR_INVALID, "\"%.60s\" is not an RFC 3339 time", text);
    *ret_unix_us = seconds * 1000000 + g_date_time_get_microsecond(time);
    return true;
}
