/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A guest's memory put in order: the same guest comes out of it, and a change stays where it is. */
#include "ram-fixture.h"

#include "job/inputs.h"

static const Block two[] = {{"pc.ram", 100}, {"vga.vram", 40}};

/* Pages in no order, twice, zero after data and data after zero; the live engine's form. */
static GByteArray *mixed(bool ended, size_t *ret_setup_end)
{
    GByteArray *s = stream_new(two, 2);
    *ret_setup_end = s->len;
    put_section(s, 2);
    put_page(s, "pc.ram", 7, 1);
    put_page(s, NULL, 8, 2);
    put_page(s, NULL, 3, 0);
    put_page(s, "vga.vram", 39, 3);
    put_page(s, "pc.ram", 99, 4);
    put_section_end(s);
    put_section(s, 2);
    put_page(s, NULL, 7, 5); /* the block goes on over sections */
    put_page(s, NULL, 3, 6);
    put_page(s, "vga.vram", 0, 0);
    put_section_end(s);
    if (ended) {
        put_section(s, 3);
        put_page(s, "pc.ram", 8, 0);
        put_page(s, "vga.vram", 39, 7);
        put_section_end(s);
    }
    put_tail(s);
    return s;
}

static void test_same_memory(void)
{
    for (int ended = 0; ended < 2; ended++) {
        size_t setup_end, tail, new_tail;
        g_autoptr(GError) error = NULL;
        g_autoptr(GByteArray) s = mixed(ended, &setup_end);
        g_autoptr(Ordered) o = order(s, &error);
        g_assert_no_error(error);
        g_autoptr(Memory) before = load(s, setup_end, true, &tail);
        g_autoptr(Memory) after = load(o->bytes, setup_end, true, &new_tail);
        assert_same_memory(before, after);
        g_assert_true(after->sorted && !before->sorted);
        g_assert_cmpuint(after->parts, ==, 1);
        g_assert_cmpuint(after->ends, ==, before->ends);
        g_assert_cmpuint(after->records, ==, g_hash_table_size(after->pages));
        g_assert_cmpmem(s->data, setup_end, o->bytes->data, setup_end);
        g_assert_cmpmem(s->data + tail, s->len - tail, o->bytes->data + new_tail,
                        o->bytes->len - new_tail);
        g_assert_cmpuint(o->stats.pages_repeated, ==, ended ? 4 : 2);
        g_assert_cmpuint(o->stats.pages_data + o->stats.pages_zero, ==, after->records);
        /* once in order it stays as it is */
        g_autoptr(Ordered) again = order(o->bytes, &error);
        g_assert_cmpmem(o->bytes->data, o->bytes->len, again->bytes->data, again->bytes->len);
    }
}

/* Old machines' sections have no footers; some streams have a command in front. */
static void test_other_forms(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GByteArray) s = g_byte_array_new();
    put(s, HEAD, strlen(HEAD));
    put_magic(s);
    put8(s, 8);
    put16(s, 3);
    put16(s, 4);
    put32(s, 1);
    put_machine(s);
    put8(s, 5);
    put_name(s, "configuration/target-page-bits");
    put32(s, 1);
    put32(s, 12);
    put_setup(s, two, 2);
    g_byte_array_set_size(s, s->len - 5);
    size_t setup_end = s->len, tail;
    put_section(s, 2);
    put_page(s, "pc.ram", 1, 9);
    put_page(s, NULL, 0, 8);
    put64(s, EOS);
    put_tail(s);
    g_autoptr(Ordered) o = order(s, &error);
    g_assert_no_error(error);
    g_autoptr(Memory) before = load(s, setup_end, false, &tail);
    g_autoptr(Memory) after = load(o->bytes, setup_end, false, &tail);
    assert_same_memory(before, after);
    g_assert_cmpuint(o->bytes->len, ==, s->len);
    g_assert_cmpmem(o->bytes->data + tail, o->bytes->len - tail, TAIL, strlen(TAIL));
}

/* A page of zeroes that was sent as data is zeroes all the same. */
static void test_zero_data(void)
{
    static const uint8_t zeroes[PAGE];
    g_autoptr(GError) error = NULL;
    g_autoptr(GByteArray) s = stream_new(two, 2);
    put_section(s, 2);
    put64(s, 5 * PAGE | DATA);
    put_name(s, "pc.ram");
    put(s, zeroes, PAGE);
    put_section_end(s);
    put_tail(s);
    g_autoptr(Ordered) o = order(s, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(o->stats.pages_zero, ==, 1);
    g_assert_cmpuint(o->bytes->len, ==, s->len - PAGE + 1);
}

static GByteArray *filled(uint64_t pages, uint64_t changed, uint32_t seed, const char *xml)
{
    const Block block = {"pc.ram", pages};
    GByteArray *s = stream_new(&block, 1);
    put_section(s, 2);
    for (uint64_t page = 0; page < pages; page++)
        put_page(s, page ? NULL : "pc.ram", page, page == changed ? seed : 10 + (uint32_t)page);
    put_section_end(s);
    put_tail(s);
    put(s, xml, strlen(xml));
    return s;
}

static unsigned count_new(const Ordered *a, const Ordered *b)
{
    g_autoptr(GHashTable) known = g_hash_table_new(g_bytes_hash, g_bytes_equal);
    unsigned fresh = 0;
    for (guint i = 0; i < a->pieces->len; i++)
        g_hash_table_add(known, a->pieces->pdata[i]);
    for (guint i = 0; i < b->pieces->len; i++)
        fresh += !g_hash_table_contains(known, b->pieces->pdata[i]);
    return fresh;
}

/* A page that changes, or becomes zero, touches its own piece only; so does what follows memory. */
static void test_change_stays_local(void)
{
    g_autoptr(GByteArray) s = filled(1000, 0, 1, "");
    g_autoptr(Ordered) first = order(s, NULL);
    g_assert_cmpuint(first->pieces->len, ==, 5 + (1000 * PAGE + VMS_RAM_GROUP - 1) / VMS_RAM_GROUP);
    for (uint32_t seed = 0; seed < 3000; seed += 2999) {
        g_autoptr(GByteArray) changed = filled(1000, 500, seed, "more");
        changed->data[strlen(HEAD) + 20] ^= 1; /* the machine's name */
        g_autoptr(Ordered) second = order(changed, NULL);
        /* page 500 and, to make the two differ, page 0; the stream's head; the tail */
        g_assert_cmpuint(count_new(first, second), ==, 4);
    }
    /* a longer header shifts all and changes nothing but itself: it is a piece of its own */
    g_assert_cmpuint(g_bytes_get_size(first->pieces->pdata[0]), ==, strlen(HEAD));
}

/* Each piece of memory by itself can be loaded: it depends on none before it. */
static void test_pieces_stand_alone(void)
{
    g_autoptr(GByteArray) s = filled(200, 0, 0, "");
    g_autoptr(Ordered) o = order(s, NULL);
    unsigned records = 0;
    for (guint i = 3; i < o->pieces->len - 2; i++) {
        g_autoptr(Memory) m = memory_new();
        size_t len;
        const uint8_t *data = g_bytes_get_data(o->pieces->pdata[i], &len);
        g_assert_true(load_pages(m, data, data + len) == data + len);
        records += m->records;
    }
    g_assert_cmpuint(records, ==, 200);
}

static GByteArray *untouched(uint64_t pages, uint64_t touched)
{
    const Block block = {"pc.ram", pages};
    GByteArray *s = stream_new(&block, 1);
    put_section(s, 2);
    for (uint64_t page = 0; page < pages; page++)
        put_page(s, page ? NULL : "pc.ram", page, page == touched);
    put_section_end(s);
    put_tail(s);
    return s;
}

/* 160 MiB of zeroes are three pieces; one page in the middle splits one of them. */
static void test_zero_runs(void)
{
    g_autoptr(GByteArray) s = untouched(40960, 0), other = untouched(40960, 20000);
    g_autoptr(GByteArray) none = untouched(40960, 50000);
    g_autoptr(Ordered) zero = order(none, NULL), a = order(s, NULL), b = order(other, NULL);
    g_assert_cmpuint(zero->pieces->len, ==, 5 + 3);
    g_assert_cmpuint(a->pieces->len, ==, 5 + 1 + 3);
    g_assert_cmpuint(b->pieces->len, ==, 5 + 1 + 4);
    g_assert_cmpuint(count_new(zero, b), ==, 3);
    g_assert_cmpuint(zero->stats.pages_zero, ==, 40960);
    g_assert_cmpuint(b->stats.pages_zero, ==, 40959);
}

/* What the stream does not mention (a balloon, free pages) is not made up. */
static void test_absent(void)
{
    const Block block = {"pc.ram", 100000};
    g_autoptr(GError) error = NULL;
    g_autoptr(GByteArray) s = stream_new(&block, 1);
    size_t setup_end = s->len, tail;
    put_section(s, 2);
    put_page(s, "pc.ram", 99999, 0);
    put_page(s, NULL, 50000, 1);
    put_page(s, NULL, 33, 0);
    put_section_end(s);
    put_tail(s);
    g_autoptr(Ordered) o = order(s, &error);
    g_autoptr(Memory) before = load(s, setup_end, true, &tail);
    g_autoptr(Memory) after = load(o->bytes, setup_end, true, &tail);
    assert_same_memory(before, after);
    g_assert_cmpuint(o->pieces->len, ==, 5 + 3);
}

/* The index is larger than its cache, and pages come from all over. */
static void test_random_order(void)
{
    const Block block = {"pc.ram", 200000};
    g_autoptr(GRand) random = g_rand_new_with_seed(20261121);
    g_autoptr(GError) error = NULL;
    g_autoptr(GByteArray) s = stream_new(&block, 1);
    size_t setup_end = s->len, tail;
    put_section(s, 2);
    for (unsigned i = 0; i < 8000; i++)
        put_page(s, i ? NULL : "pc.ram", (uint64_t)g_rand_int_range(random, 0, 200000),
                 i % 8 == 0 ? i + 1 : 0);
    put_section_end(s);
    put_tail(s);
    g_autoptr(Ordered) o = order(s, &error);
    g_assert_no_error(error);
    g_autoptr(Memory) before = load(s, setup_end, true, &tail);
    g_autoptr(Memory) after = load(o->bytes, setup_end, true, &tail);
    assert_same_memory(before, after);
    g_assert_true(after->sorted);
}

/* --- through job's input: a save image --- */

static char *write_file(const void *data, size_t len)
{
    char *path = g_strdup("/tmp/vmsnap-test-ram-XXXXXX");
    int fd = g_mkstemp(path);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, data, len), ==, (ssize_t)len);
    close(fd);
    return path;
}

static GByteArray *save_image(uint32_t format, const GByteArray *stream)
{
    GByteArray *image = g_byte_array_new();
    const uint32_t words[] = {2, 5, 1, format, 0};
    put(image, "LibvirtQemudSave", 16);
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
        uint32_t word = GUINT32_TO_LE(words[i]);
        put(image, &word, 4);
    }
    g_byte_array_set_size(image, 92);
    memset(image->data + 36, 0, 92 - 36);
    put(image, "<a/>", 5);
    put(image, stream->data + strlen(HEAD), stream->len - strlen(HEAD));
    return image;
}

static VmsMemoryLayout layout_of(const GByteArray *file, char **ret_reason)
{
    g_autofree char *path = write_file(file->data, file->len);
    g_autoptr(GError) error = NULL;
    VmsMemoryLayout layout;
    VmsContext context = {0};
    g_autoptr(VmsInput) input = vms_input_memory(path, &context, &layout, ret_reason, &error);
    g_assert_no_error(error);
    g_assert_true((layout == VMS_MEMORY_PAGES) == (input->next != NULL));
    g_assert_cmpuint(layout == VMS_MEMORY_STREAM ? input->size : file->len, ==, file->len);
    unlink(path);
    return layout;
}

/* Whatever is not understood is stored as it is, and a reason given. */
static void test_fallback(void)
{
    size_t setup_end;
    g_autoptr(GByteArray) s = mixed(true, &setup_end);
    g_autofree char *reason = NULL;
    g_autoptr(GByteArray) good = save_image(0, s);
    g_assert_cmpint(layout_of(good, &reason), ==, VMS_MEMORY_PAGES);
    g_assert_null(reason);
    for (uint32_t format = 1; format < 8; format++) {
        g_autofree char *why = NULL;
        g_autoptr(GByteArray) compressed = save_image(format, s);
        g_assert_cmpint(layout_of(compressed, &why), ==, VMS_MEMORY_STREAM);
        g_assert_nonnull(strstr(why, "format"));
    }
    for (guint len = 0; len < 140; len++) {
        g_autofree char *why = NULL;
        g_autoptr(GByteArray) cut = g_byte_array_new();
        put(cut, good->data, len);
        g_assert_cmpint(layout_of(cut, &why), ==, VMS_MEMORY_STREAM);
        g_assert_cmpstr(why, !=, "");
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ram/same-memory", test_same_memory);
    g_test_add_func("/ram/other-forms", test_other_forms);
    g_test_add_func("/ram/zero-data", test_zero_data);
    g_test_add_func("/ram/change-stays-local", test_change_stays_local);
    g_test_add_func("/ram/pieces-stand-alone", test_pieces_stand_alone);
    g_test_add_func("/ram/zero-runs", test_zero_runs);
    g_test_add_func("/ram/absent", test_absent);
    g_test_add_func("/ram/random-order", test_random_order);
    g_test_add_func("/ram/fallback", test_fallback);
    return g_test_run();
}
