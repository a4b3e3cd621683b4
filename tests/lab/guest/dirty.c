/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writes pages round and round at a given rate, each filled with what follows from the number of
 * the write. Write s goes to page s mod N, so what page i has to hold follows from the counter
 * alone: a memory image whose pages are from two instants shows as pages with another number, and
 * one that was cut within a page as words of two.
 *
 * The words are a Weyl sequence: one addition each, so that an emulated CPU reaches hundreds of MiB
 * a second, and nothing for a compressor to find.
 *
 * Lock: `lock` is held while a page and the counter change together. */
#include "record.h"
#include "state.h"

#include <pthread.h>
#include <sys/mman.h>
#include <time.h>

#define PAGE_WORDS (4096 / sizeof(uint64_t))
#define PAGES_PER_MIB 256
#define STEP 0x9e3779b97f4a7c15ull
/* Above this rate an overwritten page is looked at in two places only; dirty_verify() sees all. */
#define THOROUGH_MIB 64

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t (*pages)[PAGE_WORDS]; /* NULL until something is to be written */
static uint64_t count;

static uint64_t first_word(uint64_t seq)
{
    return (seq + 1) * 0xd1342543de82ef95ull + lab.nonce;
}

static bool page_is_good(uint64_t index, uint64_t seq, bool thorough)
{
    const uint64_t *p = pages[index];
    uint64_t x = first_word(seq), wrong = 0;

    if (!thorough)
        return p[0] == seq && p[PAGE_WORDS - 1] == x + (PAGE_WORDS - 1) * STEP;
    for (unsigned i = 1; i < PAGE_WORDS; i++)
        wrong |= p[i] ^ (x += STEP);
    return p[0] == seq && !wrong;
}

static void fill_page(uint64_t *p, uint64_t seq)
{
    uint64_t x = first_word(seq);

    p[0] = seq;
    for (unsigned i = 1; i < PAGE_WORDS; i++)
        p[i] = x += STEP;
}

static void write_page(uint64_t seq, bool thorough)
{
    pthread_mutex_lock(&lock);
    if (seq >= count && !page_is_good(seq % count, seq - count, thorough))
        lab.bad_pages++;
    fill_page(pages[seq % count], seq);
    lab.dirty_seq = seq + 1;
    pthread_mutex_unlock(&lock);
}

uint64_t dirty_verify(uint64_t *ret_pages)
{
    uint64_t bad = 0;

    pthread_mutex_lock(&lock);
    uint64_t next = lab.dirty_seq;
    uint64_t have = next < count ? next : count;
    for (uint64_t seq = next - have; seq < next; seq++)
        bad += !page_is_good(seq % count, seq, true);
    pthread_mutex_unlock(&lock);
    *ret_pages = have;
    return bad;
}

static void *map(uint64_t mib)
{
    void *area = mmap(NULL, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return area == MAP_FAILED ? NULL : area;
}

/* Memory that was written once and stays as it is, like most of a guest's. */
static void touch(void)
{
    uint64_t mib = lab_option("lab.touch", 0);
    uint64_t(*area)[PAGE_WORDS] = mib ? map(mib) : NULL;

    for (uint64_t i = 0; area && i < mib * PAGES_PER_MIB; i++) {
        fill_page(area[i], ~i);
        lab.touched = (i + 1) / PAGES_PER_MIB;
    }
}

static uint64_t milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void *dirty_run(void *arg)
{
    struct timespec pause = {.tv_nsec = 5000000};
    uint64_t size = lab_option("lab.dirty_size", 32), rate = 0, start = 0, begin = 0, seq = 0;

    (void)arg;
    touch();
    for (;; clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL)) {
        uint64_t mib = lab.dirty_rate, now = milliseconds();
        uint64_t due = begin + (now - start) * rate / 1000;

        /* after a change, and when it is far behind: go on from here, do not catch up */
        if (mib * PAGES_PER_MIB != rate || due > seq + rate / 2) {
            rate = mib * PAGES_PER_MIB;
            start = now;
            begin = due = seq;
        }
        pause.tv_nsec = rate ? 5000000 : 100000000;
        if (rate == 0 || size == 0)
            continue;
        if (!pages) {
            void *area = map(size);
            if (!area) {
                lab.bad_pages++;
                return NULL;
            }
            pthread_mutex_lock(&lock);
            pages = area;
            count = size * PAGES_PER_MIB;
            pthread_mutex_unlock(&lock);
        }
        /* where the guest cannot keep up, at least the heartbeat and the writer get their turn */
        uint64_t most = rate / 50 > 256 ? rate / 50 : 256;
        for (uint64_t burst = 0; seq < due && burst < most; burst++)
            write_page(seq++, mib <= THOROUGH_MIB);
    }
}
