/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Eight bytes at a time: content lists are tens of megabytes of strings without anything special.
 * A word that may hold something special is looked at byte by byte, so the arithmetic only has to
 * be right about words that hold nothing. */
#include "base/json-scan.h"

#include <stdint.h>
#include <string.h>

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* A byte below n, which is at most 0x80. */
static uint64_t has_below(uint64_t word, uint64_t n)
{
    return (word - EACH(n)) & ~word & EACH(0x80);
}

static uint64_t has_special(uint64_t word)
{
    return has_below(word, 0x20) | has_below(word ^ EACH('"'), 1) | has_below(word ^ EACH('\\'), 1);
}

size_t vms_json_plain_run(const char *data, size_t len, bool *ret_ascii)
{
    uint64_t seen = 0, word;
    size_t run = 0;

    for (; run + sizeof(word) <= len; run += sizeof(word)) {
        memcpy(&word, data + run, sizeof(word));
        if (has_special(word) != 0)
            break;
        seen |= word;
    }
    for (; run < len; run++) {
        uint8_t c = (uint8_t)data[run];

        if (c == '"' || c == '\\' || c < 0x20)
            break;
        seen |= c;
    }
    *ret_ascii = (seen & EACH(0x80)) == 0;
    return run;
}
