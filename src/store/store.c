/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/store.h"

#include "base/error.h"

#include <string.h>

/* What every store can keep: an S3 key has at most 1,024 bytes, prefix of the repository included;
 * a file name at most 255, suffix of the temporary file included. */
#define NAME_MAX_BYTES 512
#define PART_MAX_BYTES 200

/* One part between slashes: NULL if fine, else what is wrong with it. */
static const char *check_part(const char *part, size_t len)
{
    if (len == 0)
        return "has an empty part";
    if (len > PART_MAX_BYTES)
        return "has a part that is too long";
    if (part[0] == '.' && (len == 1 || (len == 2 && part[1] == '.')))
        return "has a part that is \".\" or \"..\"";
    for (size_t i = 0; i < len; i++)
        if (!g_ascii_islower(part[i]) && !g_ascii_isdigit(part[i]) && !strchr("._-", part[i]))
            return "may have only a-z 0-9 . _ - and /";
    return NULL;
}

static const char *check_parts(const char *name)
{
    if (strlen(name) > NAME_MAX_BYTES)
        return "is too long";
    for (;;) {
        size_t len = strcspn(name, "/");
        const char *wrong = check_part(name, len);
        if (wrong)
            return wrong;
        if (!name[len])
            return NULL;
        name += len + 1;
    }
}

bool vms_store_valid_name(const char *name)
{
    return !check_parts(name);
}

bool vms_store_check_name(const char *name, GError **error)
{
    const char *wrong = check_parts(name);
    if (!wrong)
        return true;
    return vms_fail(error, VMS_ERROR_INVALID, "object name \"%.80s\" %s", name, wrong);
}

static bool check_prefix(const char *prefix, GError **error)
{
    size_t len = strlen(prefix);
    if (len == 0)
        return true;
    if (prefix[len - 1] != '/')
        return vms_fail(error, VMS_ERROR_INVALID, "prefix \"%.80s\" does not end in /", prefix);
    g_autofree char *name = g_strndup(prefix, len - 1);
    return vms_store_check_name(name, error);
}

bool vms_store_put(VmsStore *store, const char *name, GBytes *data, bool only_new,
                   GCancellable *cancellable, GError **error)
{
    if (vms_store_check_name(name, error) && vms_check_cancelled(cancellable, error) &&
        store->ops->put(store, name, data, only_new, cancellable, error))
        return true;
    return vms_prefix(error, "%s: put %s", store->location, name);
}

GBytes *vms_store_get(VmsStore *store, const char *name, uint64_t offset, uint64_t length,
                      GCancellable *cancellable, GError **error)
{
    GBytes *data = NULL;
    if (vms_store_check_name(name, error) && vms_check_cancelled(cancellable, error))
        data = store->ops->get(store, name, offset, length, cancellable, error);
    if (!data)
        vms_prefix(error, "%s: get %s", store->location, name);
    return data;
}

bool vms_store_has(VmsStore *store, const char *name, bool *ret_exists, uint64_t *ret_size,
                   GCancellable *cancellable, GError **error)
{
    uint64_t size = 0;
    bool exists = false;
    if (!vms_store_check_name(name, error) || !vms_check_cancelled(cancellable, error) ||
        !store->ops->has(store, name, &exists, &size, cancellable, error))
        return vms_prefix(error, "%s: look for %s", store->location, name);
    *ret_exists = exists;
    if (ret_size)
        *ret_size = size;
    return true;
}

bool vms_store_list(VmsStore *store, const char *prefix, VmsStoreListFunc func, void *user,
                    GCancellable *cancellable, GError **error)
{
    if (check_prefix(prefix, error) && vms_check_cancelled(cancellable, error) &&
        store->ops->list(store, prefix, func, user, cancellable, error))
        return true;
    return vms_prefix(error, "%s: list %s", store->location, *prefix ? prefix : "everything");
}

bool vms_store_remove(VmsStore *store, const char *name, GCancellable *cancellable, GError **error)
{
    if (vms_store_check_name(name, error) && vms_check_cancelled(cancellable, error) &&
        store->ops->remove(store, name, cancellable, error))
        return true;
    return vms_prefix(error, "%s: remove %s", store->location, name);
}

void vms_store_free(VmsStore *store)
{
    if (store)
        store->ops->free(store);
}
