/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/s3-range.h"

#include <glib.h>

static bool take_number(const char **text, uint64_t *ret_number)
{
    if (!g_ascii_isdigit(**text))
        return false;
    char *end;
    *ret_number = g_ascii_strtoull(*text, &end, 10);
    *text = end;
    return *ret_number <= INT64_MAX;
}

static bool take_word(const char **text, const char *word)
{
    for (; *word; word++, (*text)++)
        if (g_ascii_tolower(**text) != *word)
            return false;
    return true;
}

bool vms_s3_range_parse(const char *text, uint64_t *ret_first, uint64_t *ret_size)
{
    uint64_t first, last, size;
    if (!text || !take_word(&text, "bytes ") || !take_number(&text, &first) ||
        !take_word(&text, "-") || !take_number(&text, &last) || !take_word(&text, "/") ||
        !take_number(&text, &size) || *text || first > last || last >= size)
        return false;
    *ret_first = first;
    *ret_size = size;
    return true;
}
