/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/plain-name.h"

#include "store/store.h"

#include <string.h>

#define MOST_FOLDER 200 /* bytes: less than any file system's longest name */

/* What a repository has at its root, or we. */
static bool is_reserved(const char *folder)
{
    static const char *const names[] = {"config", "data",      "index", "keys",
                                        "locks",  "snapshots", "tmp",   "vmsnap-images.json"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        if (g_str_equal(folder, names[i]))
            return true;
    return false;
}

char *vms_plain_folder(const char *domain)
{
    g_autoptr(GString) folder = g_string_new(NULL);
    g_autofree char *text = g_utf8_make_valid(domain, -1);
    for (const char *at = text; *at && folder->len < MOST_FOLDER; at = g_utf8_next_char(at)) {
        char c = g_ascii_tolower(*at);
        bool good = g_ascii_isalnum(c) || c == '-' || c == '_' || (c == '.' && folder->len > 0);
        g_string_append_c(folder, good ? c : '_');
    }
    /* a directory's temporary files end like this: NAME.tmp-XXXXXX */
    g_string_replace(folder, ".tmp-", "_tmp-", 0);
    if (folder->len == 0 || is_reserved(folder->str))
        g_string_append_c(folder, '_');
    return g_string_free(g_steal_pointer(&folder), FALSE);
}

char *vms_plain_snapshot_folder(const char *domain, const char *id)
{
    g_autofree char *folder = vms_plain_folder(domain);
    return g_strdup_printf("%s/%s", folder, id);
}

char *vms_plain_object(const char *folder, const char *id, const char *name)
{
    return g_strdup_printf("%s/%s/%s", folder, id, name);
}

char *vms_plain_backing(const char *id, const char *name)
{
    return g_strdup_printf("../%s/%s", id, name);
}

bool vms_plain_is_file(const char *name)
{
    const char *slash = strchr(name, '/');
    if (!vms_store_valid_name(name) || g_str_equal(name, VMS_PLAIN_MANIFEST))
        return false;
    return !slash || (g_str_has_prefix(name, "tpm/") && !strchr(slash + 1, '/'));
}
