/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Choosing chunks of a disk, and knowing an image again. */
#include "job/chunk-runs.h"
#include "virt/image.h"

#include <glib.h>

static void check_run(const VmsChunkRuns *runs, uint64_t at, uint64_t disk_chunk)
{
    const VmsChunkRun *run = vms_chunk_runs_find(runs, at);
    g_assert_cmpuint(run->first + (at - run->before), ==, disk_chunk);
}

static void test_runs(void)
{
    g_autoptr(VmsChunkRuns) runs =
        vms_chunk_runs_new(1050, 100); /* eleven chunks, the last of 50 */
    g_assert_cmpuint(vms_chunk_runs_chunks(runs), ==, 0);
    g_assert_cmpuint(vms_chunk_runs_size(runs), ==, 0);
    vms_chunk_runs_add(runs, 99, 1);
    vms_chunk_runs_add(runs, 100, 1); /* neighbours are one run */
    vms_chunk_runs_add(runs, 100, 0);
    vms_chunk_runs_add(runs, 150, 30);
    vms_chunk_runs_add(runs, 399, 2);
    g_assert_cmpuint(runs->runs->len, ==, 2);
    g_assert_cmpuint(vms_chunk_runs_chunks(runs), ==, 4);
    g_assert_cmpuint(vms_chunk_runs_size(runs), ==, 400);
    vms_chunk_runs_add(runs, 1049, 5000); /* beyond the end */
    vms_chunk_runs_add(runs, 1050, 10);
    g_assert_cmpuint(runs->runs->len, ==, 3);
    g_assert_cmpuint(vms_chunk_runs_chunks(runs), ==, 5);
    g_assert_cmpuint(vms_chunk_runs_size(runs), ==, 450);
    const uint64_t chunks[] = {0, 1, 3, 4, 10};
    for (size_t i = 0; i < G_N_ELEMENTS(chunks); i++)
        check_run(runs, i, chunks[i]);
}

static GPtrArray *layers(const char *text)
{
    GPtrArray *parsed = vms_layers_parse(text);
    g_assert_nonnull(parsed);
    return parsed;
}

static void test_layers(void)
{
    const char *text = "f:8:1:12:5.000000001 7.5 /images/a b\\n.qcow2\nb:253:4 - /dev/vg/base\n";
    g_autoptr(GPtrArray) two = layers(text);
    g_assert_cmpuint(two->len, ==, 2);
    g_assert_cmpstr(((VmsLayer *)two->pdata[0])->path, ==, "/images/a b\n.qcow2");
    g_autofree char *again = vms_layers_to_text(two);
    g_assert_cmpstr(again, ==, text);
    g_assert_null(vms_layers_parse(NULL));
    g_assert_null(vms_layers_parse(""));
    g_assert_null(vms_layers_parse("two words\n"));
    g_autoptr(GPtrArray) base = layers("b:253:4 - /dev/vg/base\n");
    g_assert_true(vms_layers_equal(two, 0, two, false));
    g_assert_true(vms_layers_equal(two, 1, base, false));
    g_assert_false(vms_layers_equal(two, 0, base, false));
    g_assert_false(vms_layers_equal(base, 2, base, false));
    const char *const others[] = {"b:253:5 - /dev/vg/base\n", "b:253:4 - /dev/vg/other\n",
                                  "b:253:4 1.0 /dev/vg/base\n"};
    for (size_t i = 0; i < G_N_ELEMENTS(others); i++) {
        g_autoptr(GPtrArray) other = layers(others[i]);
        g_assert_false(vms_layers_equal(two, 1, other, false));
        g_assert_cmpint(vms_layers_equal(two, 1, other, true), ==, i == 2);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tracking/runs", test_runs);
    g_test_add_func("/tracking/layers", test_layers);
    return g_test_run();
}
