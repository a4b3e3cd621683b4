/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/rate.h"

#include "base/rate.h"

typedef struct {
    VmsStore store;
    VmsStore *inner;
    VmsRate *rate;
} Rate;

/* A lock that waits behind gigabytes would become stale. What nobody can cancel clears up after a
 * cancel, and is not to wait for what was never sent. */
static bool is_free(const char *name, GCancellable *cancellable)
{
    return !cancellable || g_str_has_prefix(name, "locks/");
}

static bool rate_put(VmsStore *store, const char *name, GBytes *data, bool only_new,
                     GCancellable *cancellable, GError **error)
{
    Rate *self = (Rate *)store;
    return (is_free(name, cancellable) ||
            vms_rate_take(self->rate, g_bytes_get_size(data), cancellable, error)) &&
           self->inner->ops->put(self->inner, name, data, only_new, cancellable, error);
}

static GBytes *rate_get(VmsStore *store, const char *name, uint64_t offset, uint64_t length,
                        GCancellable *cancellable, GError **error)
{
    VmsStore *inner = ((Rate *)store)->inner;
    return inner->ops->get(inner, name, offset, length, cancellable, error);
}

static bool rate_has(VmsStore *store, const char *name, bool *ret_exists, uint64_t *ret_size,
                     GCancellable *cancellable, GError **error)
{
    VmsStore *inner = ((Rate *)store)->inner;
    return inner->ops->has(inner, name, ret_exists, ret_size, cancellable, error);
}

static bool rate_list(VmsStore *store, const char *prefix, VmsStoreListFunc func, void *user,
                      GCancellable *cancellable, GError **error)
{
    VmsStore *inner = ((Rate *)store)->inner;
    return inner->ops->list(inner, prefix, func, user, cancellable, error);
}

static bool rate_remove(VmsStore *store, const char *name, GCancellable *cancellable,
                        GError **error)
{
    VmsStore *inner = ((Rate *)store)->inner;
    return inner->ops->remove(inner, name, cancellable, error);
}

static VmsStoreParts *rate_begin_parts(VmsStore *store, const char *name, uint64_t size,
                                       uint64_t part_size, GCancellable *cancellable,
                                       GError **error)
{
    VmsStore *inner = ((Rate *)store)->inner;
    return inner->ops->begin_parts(inner, name, size, part_size, cancellable, error);
}

static bool rate_put_part(VmsStore *store, VmsStoreParts *parts, unsigned index, GBytes *data,
                          GCancellable *cancellable, GError **error)
{
    Rate *self = (Rate *)store;
    return vms_rate_take(self->rate, g_bytes_get_size(data), cancellable, error) &&
           self->inner->ops->put_part(self->inner, parts, index, data, cancellable, error);
}

static bool rate_finish_parts(VmsStore *store, VmsStoreParts *parts, GCancellable *cancellable,
                              GError **error)
{
    VmsStore *inner = ((Rate *)store)->inner;
    return inner->ops->finish_parts(inner, parts, cancellable, error);
}

static void rate_free_parts(VmsStore *store, VmsStoreParts *parts)
{
    VmsStore *inner = ((Rate *)store)->inner;
    inner->ops->free_parts(inner, parts);
}

static bool rate_abort_parts(VmsStore *store, uint64_t older_than_s, unsigned *ret_count,
                             GCancellable *cancellable, GError **error)
{
    VmsStore *inner = ((Rate *)store)->inner;
    return inner->ops->abort_parts(inner, older_than_s, ret_count, cancellable, error);
}

static void rate_free(VmsStore *store)
{
    Rate *self = (Rate *)store;
    vms_store_free(self->inner);
    vms_rate_free(self->rate);
    g_free(store->location);
    g_free(self);
}

static const VmsStoreOps rate_ops = {
    .put = rate_put,
    .get = rate_get,
    .has = rate_has,
    .list = rate_list,
    .remove = rate_remove,
    .free = rate_free,
    .begin_parts = rate_begin_parts,
    .put_part = rate_put_part,
    .finish_parts = rate_finish_parts,
    .free_parts = rate_free_parts,
    .abort_parts = rate_abort_parts,
};

VmsStore *vms_rate_store_new(VmsStore *inner, uint64_t bytes_per_s)
{
    Rate *self = g_new0(Rate, 1);
    self->store.ops = &rate_ops;
    self->store.location = g_strdup(inner->location);
    self->inner = inner;
    self->rate = vms_rate_new(bytes_per_s);
    return &self->store;
}
