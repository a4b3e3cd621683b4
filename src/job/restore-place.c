/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/restore-place.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

static const char *const never[] = {"/bin", "/boot", "/dev", "/etc", "/lib",      "/proc",
                                    "/run", "/sbin", "/sys", "/usr", "/var/spool"};

/* dir as it is with all links followed, as far as it exists (transfer full). */
static char *real_path(const char *dir)
{
    g_autofree char *full = g_canonicalize_filename(dir, "/");
    g_autofree char *real = realpath(full, NULL);
    if (real)
        return g_strdup(real);
    g_autofree char *parent = g_path_get_dirname(full), *name = g_path_get_basename(full);
    if (g_str_equal(parent, full))
        return g_strdup(full);
    g_autofree char *above = real_path(parent);
    return g_build_filename(above, name, NULL);
}

/* path is one of never, or below. "/lib" stands for "/lib64" too. */
static bool is_below(const char *path, const char *top)
{
    size_t len = strlen(top);
    if (strncmp(path, top, len) != 0)
        return false;
    return path[len] == '\0' || path[len] == '/' || g_str_equal(top, "/lib");
}

bool vms_restore_place_check(const char *dir, GError **error)
{
    g_autofree char *path = real_path(dir);
    bool bad = strstr(path, "/.") != NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(never); i++)
        bad = bad || is_below(path, never[i]);
    return !bad || vms_fail(error, VMS_ERROR_REFUSED,
                            "the snapshot says that it belongs into %s: nothing is put there on a "
                            "snapshot's word",
                            path);
}
