/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What was read is written and read again; every name is one that a path may be made of. */
#include "job/manifest.h"
#include "fuzz.h"
#include "job/plain-name.h"

/* Dots may be in a name, but lead nowhere. */
static void check_path(const char *path)
{
    g_auto(GStrv) parts = g_strsplit(path, "/", -1);
    for (char **part = parts; *part; part++)
        g_assert_false(g_str_equal(*part, "") || g_str_equal(*part, ".") ||
                       g_str_equal(*part, ".."));
}

static void check_names(const VmsManifest *manifest)
{
    g_assert_null(strchr(manifest->domain, '/'));
    g_assert_null(strchr(manifest->id, '/'));
    for (guint i = 0; i < manifest->disks->len; i++) {
        const VmsManifestDisk *disk = manifest->disks->pdata[i];
        g_assert_null(strpbrk(disk->target, "/."));
        g_assert_true(!disk->image || vms_plain_is_file(disk->image->name));
    }
    for (guint i = 0; i < manifest->files->len; i++) {
        const VmsManifestFile *file = manifest->files->pdata[i];
        check_path(file->name);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    g_autofree char *text = fuzz_text(data, len);
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsManifest) manifest = vms_manifest_parse(text, len, &error);
    if (!fuzz_settled(manifest != NULL, &error))
        return 0;
    check_names(manifest);
    g_autofree char *again = vms_manifest_to_json(manifest);
    g_autoptr(VmsManifest) same = vms_manifest_parse(again, strlen(again), &error);
    g_assert_no_error(error);
    g_assert_cmpuint(same->disks->len, ==, manifest->disks->len);
    return 0;
}
