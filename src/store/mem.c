/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/mem.h"

#include "base/error.h"

#include <string.h>

typedef struct {
    VmsStore store;
    GMutex lock;         /* guards objects */
    GHashTable *objects; /* char* → GBytes* */
} Mem;

static bool mem_put(VmsStore *store, const char *name, GBytes *data, bool only_new,
                    GCancellable *cancellable, GError **error)
{
    Mem *mem = (Mem *)store;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&mem->lock);
    if (only_new && g_hash_table_contains(mem->objects, name))
        return vms_fail(error, VMS_ERROR_EXISTS, "exists already");
    g_hash_table_replace(mem->objects, g_strdup(name), g_bytes_ref(data));
    return true;
}

static GBytes *mem_get(VmsStore *store, const char *name, uint64_t offset, uint64_t length,
                       GCancellable *cancellable, GError **error)
{
    Mem *mem = (Mem *)store;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&mem->lock);
    GBytes *data = g_hash_table_lookup(mem->objects, name);
    if (!data)
        return vms_fail_null(error, VMS_ERROR_NOT_FOUND, "does not exist");
    uint64_t size = g_bytes_get_size(data);
    uint64_t rest = offset <= size ? size - offset : 0;
    if (length == UINT64_MAX && offset <= size)
        length = rest;
    if (offset > size || length > rest)
        return vms_fail_null(error, VMS_ERROR_CORRUPT, "ends at byte %" G_GUINT64_FORMAT, size);
    return g_bytes_new_from_bytes(data, (size_t)offset, (size_t)length);
}

static bool mem_has(VmsStore *store, const char *name, bool *ret_exists, uint64_t *ret_size,
                    GCancellable *cancellable, GError **error)
{
    Mem *mem = (Mem *)store;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&mem->lock);
    GBytes *data = g_hash_table_lookup(mem->objects, name);
    *ret_exists = data != NULL;
    *ret_size = data ? g_bytes_get_size(data) : 0;
    return true;
}

typedef struct {
    char *name;
    uint64_t size;
} Entry;

static void entry_clear(void *entry)
{
    g_free(((Entry *)entry)->name);
}

/* A copy, so that func may call the store. */
static GArray *entries_below(Mem *mem, const char *prefix)
{
    GArray *entries = g_array_new(FALSE, FALSE, sizeof(Entry));
    g_array_set_clear_func(entries, entry_clear);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&mem->lock);
    GHashTableIter iter;
    void *name, *data;
    g_hash_table_iter_init(&iter, mem->objects);
    while (g_hash_table_iter_next(&iter, &name, &data)) {
        if (!g_str_has_prefix(name, prefix))
            continue;
        Entry entry = {g_strdup(name), g_bytes_get_size(data)};
        g_array_append_val(entries, entry);
    }
    return entries;
}

static bool mem_list(VmsStore *store, const char *prefix, VmsStoreListFunc func, void *user,
                     GCancellable *cancellable, GError **error)
{
    g_autoptr(GArray) entries = entries_below((Mem *)store, prefix);
    for (unsigned i = 0; i < entries->len; i++) {
        Entry *entry = &g_array_index(entries, Entry, i);
        if (!vms_check_cancelled(cancellable, error) ||
            !func(user, entry->name, entry->size, error))
            return false;
    }
    return true;
}

static bool mem_remove(VmsStore *store, const char *name, GCancellable *cancellable, GError **error)
{
    Mem *mem = (Mem *)store;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&mem->lock);
    g_hash_table_remove(mem->objects, name);
    return true;
}

typedef struct {
    VmsStoreParts parts;
    uint8_t *data;
} MemParts;

static VmsStoreParts *mem_begin_parts(VmsStore *store, const char *name, uint64_t size,
                                      uint64_t part_size, GCancellable *cancellable, GError **error)
{
    uint8_t *data = g_try_malloc0((size_t)size);
    if (!data)
        return vms_fail_null(error, VMS_ERROR_NO_SPACE, "no memory");
    MemParts *parts = g_new0(MemParts, 1);
    parts->parts = (VmsStoreParts){g_strdup(name), size, part_size};
    parts->data = data;
    return &parts->parts;
}

static bool mem_put_part(VmsStore *store, VmsStoreParts *parts, unsigned index, GBytes *data,
                         GCancellable *cancellable, GError **error)
{
    size_t len;
    const void *bytes = g_bytes_get_data(data, &len);
    memcpy(((MemParts *)parts)->data + index * parts->part_size, bytes, len);
    return true;
}

static bool mem_finish_parts(VmsStore *store, VmsStoreParts *parts, GCancellable *cancellable,
                             GError **error)
{
    uint8_t *data = g_steal_pointer(&((MemParts *)parts)->data);
    g_autoptr(GBytes) bytes = g_bytes_new_take(data, (size_t)parts->size);
    return mem_put(store, parts->name, bytes, false, cancellable, error);
}

static void mem_free_parts(VmsStore *store, VmsStoreParts *parts)
{
    g_free(((MemParts *)parts)->data);
    g_free(parts->name);
    g_free(parts);
}

/* What never ended in memory went with its process. */
static bool mem_abort_parts(VmsStore *store, uint64_t older_than_s, unsigned *ret_count,
                            GCancellable *cancellable, GError **error)
{
    return true;
}

static void mem_free(VmsStore *store)
{
    Mem *mem = (Mem *)store;
    g_hash_table_unref(mem->objects);
    g_mutex_clear(&mem->lock);
    g_free(store->location);
    g_free(mem);
}

static const VmsStoreOps mem_ops = {
    .put = mem_put,
    .get = mem_get,
    .has = mem_has,
    .list = mem_list,
    .remove = mem_remove,
    .free = mem_free,
    .begin_parts = mem_begin_parts,
    .put_part = mem_put_part,
    .finish_parts = mem_finish_parts,
    .free_parts = mem_free_parts,
    .abort_parts = mem_abort_parts,
};

VmsStore *vms_mem_new(void)
{
    Mem *mem = g_new0(Mem, 1);
    mem->store.ops = &mem_ops;
    mem->store.location = g_strdup("memory");
    g_mutex_init(&mem->lock);
    mem->objects =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_bytes_unref);
    return &mem->store;
}
