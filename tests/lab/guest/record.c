/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "record.h"

#include <string.h>
#include <unistd.h>

#define MAGIC 0x31636572736d7600ull
#define WORDS (RECORD_SIZE / sizeof(uint64_t))

uint64_t record_hash(const uint64_t *words, size_t count)
{
    uint64_t hash = 0xcbf29ce484222325ull;

    for (size_t i = 0; i < count; i++)
        hash = (hash ^ words[i]) * 0x100000001b3ull;
    return hash ^ (hash >> 29);
}

void record_make(uint8_t *buf, uint64_t seq, uint64_t nonce, char disk)
{
    uint64_t words[WORDS];
    uint64_t x = seq * 0x9e3779b97f4a7c15ull + nonce + (uint64_t)disk;

    words[0] = MAGIC | (uint64_t)disk;
    words[1] = seq;
    words[2] = nonce;
    for (size_t i = 3; i < WORDS - 1; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        words[i] = x;
    }
    words[WORDS - 1] = record_hash(words, WORDS - 1);
    memcpy(buf, words, RECORD_SIZE);
}

bool record_read(const uint8_t *buf, char disk, uint64_t *ret_seq)
{
    uint64_t words[WORDS];

    memcpy(words, buf, RECORD_SIZE);
    if (words[0] != (MAGIC | (uint64_t)disk) || words[1] == 0)
        return false;
    if (words[WORDS - 1] != record_hash(words, WORDS - 1))
        return false;
    *ret_seq = words[1];
    return true;
}

static void take_record(const uint8_t *buf, char disk, RecordSummary *s, bool *last_is_bad)
{
    uint64_t seq;

    if (*last_is_bad)
        s->bad++; /* it was not the end after all */
    *last_is_bad = !record_read(buf, disk, &seq);
    s->complete++;
    if (*last_is_bad)
        return;
    if (seq != s->complete)
        s->gaps++;
    s->last = seq;
}

bool record_verify(int fd, char disk, RecordSummary *ret_summary)
{
    static const size_t batch = 256;
    uint8_t buf[256 * RECORD_SIZE];
    RecordSummary s = {0};
    bool last_is_bad = false;
    uint64_t offset = 0;
    size_t have = 0;

    for (;;) {
        ssize_t n = pread(fd, buf + have, batch * RECORD_SIZE - have, (off_t)(offset + have));
        if (n < 0)
            return false;
        have += (size_t)n;
        size_t whole = have / RECORD_SIZE;
        for (size_t i = 0; i < whole; i++)
            take_record(buf + i * RECORD_SIZE, disk, &s, &last_is_bad);
        offset += whole * RECORD_SIZE;
        have -= whole * RECORD_SIZE;
        memmove(buf, buf + whole * RECORD_SIZE, have);
        if (n == 0)
            break;
    }
    /* A record at the very end may be half there: nobody was told yet that it was written. */
    s.tail = have + (last_is_bad ? RECORD_SIZE : 0);
    if (last_is_bad && have > 0)
        s.bad++;
    *ret_summary = s;
    return true;
}
