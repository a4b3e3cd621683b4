/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Migration streams that are not what vmsnap knows, cut off, or made to harm: each is refused as
 * unsupported, with words, and none is taken apart wrongly. */
#include "ram-fixture.h"

static const Block two[] = {{"pc.ram", 20}, {"vga.vram", 10}};

/* Where a stream is made otherwise than usual. */
typedef struct {
    const char *name;
    void (*make)(GByteArray *s); /* from the magic on */
} Strange;

static void pages(GByteArray *s)
{
    put_section(s, 2);
    put_page(s, "pc.ram", 3, 1);
    put_page(s, NULL, 4, 0);
    put_section_end(s);
}

static void begin(GByteArray *s)
{
    put_magic(s);
    put_machine(s);
}

static void usual(GByteArray *s)
{
    begin(s);
    put_setup(s, two, 2);
    pages(s);
}

static void other_magic(GByteArray *s)
{
    put32(s, 0x5145564e);
    put32(s, 3);
    put_setup(s, two, 2);
    pages(s);
}

static void other_version(GByteArray *s)
{
    put32(s, 0x5145564d);
    put32(s, 2);
    put_setup(s, two, 2);
    pages(s);
}

static void subsection(GByteArray *s)
{
    begin(s);
    put8(s, 5);
    put_name(s, "configuration/capabilities");
    put32(s, 1);
    put32(s, 12);
    put_setup(s, two, 2);
    pages(s);
}

static void larger_pages(GByteArray *s)
{
    begin(s);
    put8(s, 5);
    put_name(s, "configuration/target-page-bits");
    put32(s, 1);
    put32(s, 14);
    put_setup(s, two, 2);
    pages(s);
}

static void long_machine(GByteArray *s)
{
    put_magic(s);
    put8(s, 7);
    put32(s, 0xffffffff);
    put_setup(s, two, 2);
    pages(s);
}

static void packaged(GByteArray *s)
{
    begin(s);
    put8(s, 8);
    put16(s, 6);
    put16(s, 4);
    put32(s, 0);
    put_setup(s, two, 2);
    pages(s);
}

static void device_first(GByteArray *s)
{
    begin(s);
    put_section(s, 4);
    put_name(s, "virtio-mem");
    put_setup(s, two, 2);
    pages(s);
}

static void put_start(GByteArray *s, const char *name, uint32_t version, uint64_t total)
{
    begin(s);
    put_section(s, 1);
    put_name(s, name);
    put32(s, 0);
    put32(s, version);
    put64(s, total);
}

static void other_iterable(GByteArray *s)
{
    put_start(s, "dirty-bitmap", 1, EOS);
    put_section(s, 0x7e);
    put_setup(s, two, 2);
    pages(s);
}

static void other_ram_version(GByteArray *s)
{
    put_start(s, "ram", 5, PAGE | MEM_SIZE);
    put_name(s, "pc.ram");
    put64(s, PAGE);
    put_section_end(s);
    pages(s);
}

/* One block of that size where total says so. */
static void put_sizes(GByteArray *s, uint64_t total, const char *name, uint64_t size)
{
    put_start(s, "ram", 4, total);
    put_name(s, name);
    put64(s, size);
    put_section_end(s);
    pages(s);
}

static void no_total(GByteArray *s)
{
    put_sizes(s, 20 * PAGE, "pc.ram", 20 * PAGE);
}

static void total_of_nothing(GByteArray *s)
{
    put_sizes(s, MEM_SIZE, "pc.ram", 20 * PAGE);
}

static void block_above_total(GByteArray *s)
{
    put_sizes(s, 20 * PAGE | MEM_SIZE, "pc.ram", 21 * PAGE);
}

/* Sizes whose sum is right only modulo 2^64. */
static void wraps_around(GByteArray *s)
{
    put_start(s, "ram", 4, 20 * PAGE | MEM_SIZE);
    put_name(s, "pc.ram");
    put64(s, 21 * PAGE);
    put_name(s, "vga.vram");
    put64(s, -(uint64_t)PAGE);
    put_section_end(s);
    pages(s);
}

static void block_below_total(GByteArray *s)
{
    put_sizes(s, 21 * PAGE | MEM_SIZE, "pc.ram", 20 * PAGE);
}

static void odd_block(GByteArray *s)
{
    put_sizes(s, 20 * PAGE | MEM_SIZE, "pc.ram", 20 * PAGE - 512);
}

static void more_than_any_machine(GByteArray *s)
{
    put_sizes(s, 1ull << 63 | MEM_SIZE, "pc.ram", 1ull << 63);
}

static void nameless_block(GByteArray *s)
{
    put_sizes(s, 20 * PAGE | MEM_SIZE, "", 20 * PAGE);
}

static void twin_blocks(GByteArray *s)
{
    static const Block twins[] = {{"pc.ram", 20}, {"pc.ram", 10}};
    begin(s);
    put_setup(s, twins, 2);
    pages(s);
}

/* postcopy with huge pages, ignore-shared: more about each block than its size. */
static void more_about_blocks(GByteArray *s)
{
    put_start(s, "ram", 4, 20 * PAGE | MEM_SIZE);
    put_name(s, "pc.ram");
    put64(s, 20 * PAGE);
    put64(s, 2 << 20);
    put_section_end(s);
    pages(s);
}

static void other_footer(GByteArray *s)
{
    usual(s);
    s->data[s->len - 1]++;
}

static void part_of_another(GByteArray *s)
{
    usual(s);
    put8(s, 2);
    put32(s, SECTION + 1);
    put64(s, EOS);
    put8(s, 0x7e);
    put32(s, SECTION + 1);
    pages(s);
}

static void no_memory(GByteArray *s)
{
    begin(s);
    put_setup(s, two, 2);
}

static void put_record(GByteArray *s, const char *name, uint64_t record, uint8_t fill)
{
    begin(s);
    put_setup(s, two, 2);
    pages(s);
    put_section(s, 2);
    put64(s, record);
    if (name)
        put_name(s, name);
    put8(s, fill);
    put_section_end(s);
}

static void filled_page(GByteArray *s)
{
    put_record(s, "pc.ram", PAGE | ZERO, 0xff);
}

static void unknown_block(GByteArray *s)
{
    put_record(s, "pc.rom", PAGE | ZERO, 0);
}

static void beyond_block(GByteArray *s)
{
    put_record(s, "vga.vram", 10 * PAGE | ZERO, 0);
}

static void far_beyond_block(GByteArray *s)
{
    put_record(s, "pc.ram", ~(uint64_t)(PAGE - 1) | ZERO, 0);
}

static void goes_on_with_nothing(GByteArray *s)
{
    begin(s);
    put_setup(s, two, 2);
    put_section(s, 2);
    put_page(s, NULL, 3, 0);
    put_section_end(s);
}

static const Strange strange[] = {
    {"magic", other_magic},
    {"version", other_version},
    {"subsection", subsection},
    {"page-size", larger_pages},
    {"machine", long_machine},
    {"packaged", packaged},
    {"device-first", device_first},
    {"other-iterable", other_iterable},
    {"ram-version", other_ram_version},
    {"no-total", no_total},
    {"total-of-nothing", total_of_nothing},
    {"block-above-total", block_above_total},
    {"wraps-around", wraps_around},
    {"block-below-total", block_below_total},
    {"odd-block", odd_block},
    {"more-than-any-machine", more_than_any_machine},
    {"nameless-block", nameless_block},
    {"twin-blocks", twin_blocks},
    {"more-about-blocks", more_about_blocks},
    {"footer", other_footer},
    {"part-of-another", part_of_another},
    {"no-memory", no_memory},
    {"filled-page", filled_page},
    {"unknown-block", unknown_block},
    {"beyond-block", beyond_block},
    {"far-beyond-block", far_beyond_block},
    {"goes-on-with-nothing", goes_on_with_nothing},
};

static GByteArray *make(void (*func)(GByteArray *s))
{
    GByteArray *s = g_byte_array_new();
    put(s, HEAD, strlen(HEAD));
    func(s);
    put_tail(s);
    return s;
}

static void assert_refused(const GByteArray *s)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Ordered) o = order(s, &error);
    g_assert_null(o);
    g_assert_error(error, VMS_ERROR, VMS_ERROR_UNSUPPORTED);
    g_assert_cmpuint(strlen(error->message), >, 10);
}

static void test_strange(const void *data)
{
    const Strange *one = data;
    g_autoptr(GByteArray) s = make(one->make);
    assert_refused(s);
}

static void test_usual(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GByteArray) s = make(usual);
    g_autoptr(Ordered) o = order(s, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(o->stats.pages_data, ==, 1);
}

/* Every flag that is no plain page, alone and with others: xbzrle, multifd, compressed, hooks. */
static void test_flags(void)
{
    for (unsigned flags = 0; flags < PAGE; flags++) {
        unsigned kind = flags & ~(unsigned)CONTINUE;
        if (kind == ZERO || kind == DATA || flags == EOS)
            continue;
        g_autoptr(GByteArray) s = g_byte_array_new();
        put(s, HEAD, strlen(HEAD));
        begin(s);
        put_setup(s, two, 2);
        pages(s);
        put_section(s, 2);
        put64(s, 2 * PAGE | flags);
        if (!(flags & CONTINUE))
            put_name(s, "pc.ram");
        put8(s, 0);
        put_section_end(s);
        put_tail(s);
        assert_refused(s);
    }
}

/* Cut off at every byte: refused until at least a byte follows memory. */
static void test_truncated(void)
{
    g_autoptr(GByteArray) s = make(usual);
    for (guint len = (guint)strlen(HEAD); len < s->len; len++) {
        g_autoptr(GByteArray) cut = g_byte_array_new();
        put(cut, s->data, len);
        if (len <= s->len - strlen(TAIL)) {
            assert_refused(cut);
            continue;
        }
        g_autoptr(Ordered) o = order(cut, NULL);
        g_assert_nonnull(o);
    }
}

/* Any byte made any other: refused, or taken apart into something of the promised form (order
 * checks that), and never more pages than were there. */
static void test_damaged(void)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(42);
    g_autoptr(GByteArray) s = make(usual);
    unsigned taken = 0;
    for (unsigned i = 0; i < 20000; i++) {
        g_autoptr(GByteArray) bad = g_byte_array_new();
        g_autoptr(GError) error = NULL;
        put(bad, s->data, s->len);
        for (int n = g_rand_int_range(random, 1, 4); n > 0; n--) {
            guint at = (guint)g_rand_int_range(random, (int)strlen(HEAD), (int)s->len);
            if (at > 300 && at < s->len - 100) /* rarely within the page */
                at = 300 - at % 250;
            bad->data[at] = (uint8_t)g_rand_int(random);
        }
        g_autoptr(Ordered) o = order(bad, &error);
        taken += o != NULL;
        if (o)
            g_assert_cmpuint(o->stats.pages_data + o->stats.pages_zero, <=, 2);
        else
            g_assert_error(error, VMS_ERROR, VMS_ERROR_UNSUPPORTED);
    }
    g_test_message("%u of 20000 were taken apart", taken);
    g_assert_cmpuint(taken, >, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(strange); i++) {
        g_autofree char *path = g_strdup_printf("/ram-hostile/strange/%s", strange[i].name);
        g_test_add_data_func(path, &strange[i], test_strange);
    }
    g_test_add_func("/ram-hostile/usual", test_usual);
    g_test_add_func("/ram-hostile/flags", test_flags);
    g_test_add_func("/ram-hostile/truncated", test_truncated);
    g_test_add_func("/ram-hostile/damaged", test_damaged);
    return g_test_run();
}
