/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* quick-repo DIRECTORY PASSWORD-FILE: a repository that is opened in no time. */
#include "../conformance/quick-repo.h"

#include "store/dir.h"

#include <stdio.h>

static bool make(const char *path, const char *text, GError **error)
{
    VmsId id;
    g_autoptr(VmsSecret) password = vms_secret_new_string(text);
    g_autoptr(VmsStore) store = vms_dir_open(path, true, error);
    return store && quick_repo_init(store, password, &id, error);
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *password = NULL;
    if (argc != 3)
        return 2;
    if (g_file_get_contents(argv[2], &password, NULL, &error) &&
        make(argv[1], g_strchomp(password), &error))
        return 0;
    fprintf(stderr, "quick-repo: %s\n", error->message);
    return 1;
}
