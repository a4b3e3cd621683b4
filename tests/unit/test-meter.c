/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the command line draws: the progress bar and tables. */
#include "base/error.h"
#include "cli/meter.h"
#include "cli/table.h"

#include <string.h>

#define MIB 1048576.0

static void check_bar(const VmsProgressState *state, double rate, int width, const char *expected)
{
    g_autofree char *line = vms_meter_bar(state, rate, width);
    g_assert_cmpstr(line, ==, expected);
    g_assert_cmpint((int)strlen(line), <=, width);
}

static void test_bar(void)
{
    VmsProgressState state = {"export", "vda", 512 << 20, 1024 << 20};
    check_bar(
        &state, 64 * MIB, 100,
        "export vda  [###############...............]   50 %  512.0 MiB of 1.0 GiB  64.0 MiB/s  "
        "0:08 left");
    state.done = state.total;
    check_bar(&state, 0, 60, "export vda  [###################]  100 %  1.0 GiB of 1.0 GiB");
    state.item = NULL;
    state.done = 0;
    check_bar(&state, 0, 40, "export  [.......]    0 %  0 B of 1.0 GiB");
}

/* More done than was expected, an unknown total, a rate that would take days: nothing silly. */
static void test_bar_edges(void)
{
    VmsProgressState over = {"commit", NULL, 200, 100};
    check_bar(&over, 1, 60, "commit  [####################]  100 %  200 B of 100 B  1 B/s");
    VmsProgressState unknown = {"memory", NULL, 4096, 0};
    check_bar(&unknown, 0, 60, "memory  4.0 KiB");
    VmsProgressState slow = {"export", NULL, 0, UINT64_MAX};
    g_autofree char *line = vms_meter_bar(&slow, 1, 79);
    g_assert_null(strstr(line, "left"));
    VmsProgressState hour = {"export", NULL, 0, 3661};
    g_autofree char *hours = vms_meter_bar(&hour, 1, 79);
    g_assert_nonnull(strstr(hours, "1:01:01 left"));
    check_bar(&over, 1, 10, "commit  10");
}

static void test_kinds(void)
{
    static const char *const names[] = {"none", "plain", "bar", "json"};
    g_autoptr(GError) error = NULL;
    VmsMeterKind kind;
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_assert_true(vms_meter_parse(names[i], &kind, &error));
        g_assert_cmpint(kind, ==, (int)i);
    }
    g_assert_false(vms_meter_parse("loud", &kind, &error));
    g_assert_true(vms_error_is(error, VMS_ERROR_USAGE));
}

static void test_table(void)
{
    static const char *const headings[] = {"name", ">size", "note", NULL};
    g_autoptr(VmsTable) table = vms_table_new(headings);
    g_autoptr(GString) out = g_string_new(NULL);
    vms_table_append(table, "", out);
    g_assert_cmpstr(out->str, ==, "");
    const char *first[] = {"vda", "10", "f\xc3\xbcr\x1b[2J"}, *second[] = {"data", "1000", NULL};
    vms_table_add(table, first);
    vms_table_add(table, second);
    vms_table_append(table, " ", out);
    g_assert_cmpstr(out->str, ==,
                    " NAME  SIZE  NOTE\n"
                    " vda     10  f\xc3\xbcr?[2J\n"
                    " data  1000  -\n");
}

static void test_durations(void)
{
    static const struct {
        int64_t us;
        const char *text;
    } cases[] = {
        {0, "0 us"},        {999, "999 us"},      {1000, "1 ms"},
        {999999, "999 ms"}, {12340000, "12.3 s"}, {250000000, "4 min 10 s"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = vms_table_duration(cases[i].us);
        g_assert_cmpstr(text, ==, cases[i].text);
    }
    g_autofree char *rate = vms_table_rate(1 << 20, 500000), *none = vms_table_rate(1, 0);
    g_assert_cmpstr(rate, ==, "2.0 MiB/s");
    g_assert_cmpstr(none, ==, "");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/meter/bar", test_bar);
    g_test_add_func("/meter/bar-edges", test_bar_edges);
    g_test_add_func("/meter/kinds", test_kinds);
    g_test_add_func("/meter/table", test_table);
    g_test_add_func("/meter/durations", test_durations);
    return g_test_run();
}
