/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replay FOLDER…: gives every file below to the target that this is linked with, once, and says so
 * in TAP. So what a fuzzer has found stays mended without a fuzzer. */
#include "fuzz.h"

#include <stdio.h>

static void replay(const char *path)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    gsize len = 0;
    g_file_get_contents(path, &text, &len, &error);
    g_assert_no_error(error);
    g_autofree uint8_t *bytes = g_memdup2(text, len); /* of that size, without a NUL behind */
    g_assert_cmpint(LLVMFuzzerTestOneInput(bytes, len), ==, 0);
}

static unsigned replay_all(const char *folder)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GDir) dir = g_dir_open(folder, 0, &error);
    unsigned count = 0;
    g_assert_no_error(error);
    for (const char *name; (name = g_dir_read_name(dir));) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        replay(path);
        printf("ok %u - %s\n", ++count, name);
    }
    return count;
}

int main(int argc, char **argv)
{
    static const uint8_t nothing[1];
    unsigned count = 0;
    g_assert_cmpint(LLVMFuzzerTestOneInput(nothing, 0), ==, 0);
    for (int i = 1; i < argc; i++)
        count += replay_all(argv[i]);
    printf("1..%u\n", count);
    return count > 0 ? 0 : 1; /* a folder that is empty tests nothing */
}
