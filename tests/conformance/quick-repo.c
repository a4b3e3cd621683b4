/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "quick-repo.h"

#include "codec/hash.h"
#include "repo/config.h"
#include "repo/key-file.h"
#include "repo/object.h"

#include <string.h>

static const VmsKdfParams quick = {.n = 2, .r = 8, .p = 1};

static bool put_key(VmsStore *store, const VmsSealKey *master, const VmsSecret *password,
                    GError **error)
{
    g_autofree char *text = vms_key_file_build(master, password, &quick, error);
    VmsId id;
    if (!text)
        return false;
    vms_hash(text, strlen(text), id.bytes);
    g_autofree char *name = vms_object_name("keys", &id);
    g_autoptr(GBytes) bytes = g_bytes_new(text, strlen(text));
    return vms_store_put(store, name, bytes, true, NULL, error);
}

bool quick_repo_init(VmsStore *store, const VmsSecret *password, VmsId *ret_id, GError **error)
{
    g_autoptr(VmsSealKey) master = vms_seal_key_generate(error);
    g_autofree char *config = master ? vms_config_build(ret_id, error) : NULL;
    g_autoptr(GBytes) sealed =
        config ? vms_object_encode(master, config, strlen(config), false, error) : NULL;
    return sealed && put_key(store, master, password, error) &&
           vms_store_put(store, "config", sealed, true, NULL, error);
}
