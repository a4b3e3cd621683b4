/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The database of snapshots as another version, a crash or a bad disk left it. */
#include "job/catalog.h"
#include "fuzz.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdlib.h>

static char folder[] = "/dev/shm/vmsnap-fuzz-XXXXXX";

static void remove_folder(void)
{
    static const char *const names[] = {"vmsnap.db", "vmsnap.db-wal", "vmsnap.db-shm"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = g_build_filename(folder, names[i], NULL);
        g_remove(path);
    }
}

static void remove_all(void)
{
    remove_folder();
    g_rmdir(folder);
}

static void put(const uint8_t *data, size_t len)
{
    static bool made;
    if (!made) {
        g_assert_nonnull(mkdtemp(folder));
        atexit(remove_all);
    }
    made = true;
    remove_folder();
    g_autofree char *path = g_build_filename(folder, "vmsnap.db", NULL);
    g_assert_true(g_file_set_contents(path, (const char *)data, (gssize)len, NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    VmsConfig config = {.state_dir = folder};
    g_autoptr(GError) error = NULL;
    put(data, len);
    g_autoptr(VmsCatalog) catalog = vms_catalog_open(&config, &error);
    if (!fuzz_settled(catalog != NULL, &error))
        return 0;
    g_autoptr(GPtrArray) all = vms_catalog_list(catalog, NULL, true, &error);
    if (!fuzz_settled(all != NULL, &error))
        return 0;
    g_autoptr(VmsRecord) found = vms_catalog_find(catalog, "4f2a", &error);
    fuzz_settled(found != NULL, &error);
    for (guint i = 0; i < MIN(all->len, 3); i++)
        fuzz_settled(vms_catalog_save(catalog, all->pdata[i], &error), &error);
    return 0;
}
