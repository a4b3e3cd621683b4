/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lock: guards fault and calls; nothing is called while it is held. */
#include "store/fault.h"

#include <string.h>

typedef struct {
    VmsStore store;
    VmsStore *inner;
    GMutex lock;
    VmsFault fault;
    unsigned calls;
} Fault;

/* What is to be done to a call. */
typedef struct {
    bool strikes;
    VmsFaultMode mode;
    VmsErrorCode code;
} Turn;

static Turn next_turn(Fault *self, VmsFaultKinds kind, const char *name)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&self->lock);
    const VmsFault *fault = &self->fault;
    if (!(fault->kinds & kind) || (fault->prefix && !g_str_has_prefix(name, fault->prefix)))
        return (Turn){0};
    unsigned call = ++self->calls;
    bool strikes = fault->at > 0 && call >= fault->at &&
                   (fault->times == 0 || call - fault->at < fault->times);
    return (Turn){strikes, fault->mode, fault->code};
}

static bool refused(const Turn *turn)
{
    return turn->strikes && turn->mode == VMS_FAULT_REFUSE;
}

static bool lost(const Turn *turn)
{
    return turn->strikes && turn->mode == VMS_FAULT_LOSE;
}

static bool fail(const Turn *turn, GError **error)
{
    return vms_fail(error, turn->code, "made to fail");
}

static bool fault_put(VmsStore *store, const char *name, GBytes *data, bool only_new,
                      GCancellable *cancellable, GError **error)
{
    VmsStore *inner = ((Fault *)store)->inner;
    Turn turn = next_turn((Fault *)store, VMS_FAULT_PUT, name);
    if (refused(&turn))
        return fail(&turn, error);
    return inner->ops->put(inner, name, data, only_new, cancellable, error) &&
           (!lost(&turn) || fail(&turn, error));
}

static GBytes *spoil(GBytes *data, uint64_t length, VmsFaultMode mode, GError **error)
{
    size_t size;
    const uint8_t *bytes = g_bytes_get_data(data, &size);
    if (size == 0)
        return g_bytes_ref(data);
    if (mode == VMS_FAULT_SHORT && length != UINT64_MAX)
        return vms_fail_null(error, VMS_ERROR_CORRUPT, "ends too early");
    if (mode == VMS_FAULT_SHORT)
        return g_bytes_new_from_bytes(data, 0, size / 2);
    uint8_t *copy = g_memdup2(bytes, size);
    copy[size / 2] ^= 1;
    return g_bytes_new_take(copy, size);
}

static GBytes *fault_get(VmsStore *store, const char *name, uint64_t offset, uint64_t length,
                         GCancellable *cancellable, GError **error)
{
    VmsStore *inner = ((Fault *)store)->inner;
    Turn turn = next_turn((Fault *)store, VMS_FAULT_GET, name);
    if (refused(&turn) || lost(&turn)) {
        fail(&turn, error);
        return NULL;
    }
    GBytes *data = inner->ops->get(inner, name, offset, length, cancellable, error);
    if (!data || !turn.strikes)
        return data;
    GBytes *spoilt = spoil(data, length, turn.mode, error);
    g_bytes_unref(data);
    return spoilt;
}

static bool fault_has(VmsStore *store, const char *name, bool *ret_exists, uint64_t *ret_size,
                      GCancellable *cancellable, GError **error)
{
    VmsStore *inner = ((Fault *)store)->inner;
    Turn turn = next_turn((Fault *)store, VMS_FAULT_HAS, name);
    if (refused(&turn) || lost(&turn))
        return fail(&turn, error);
    return inner->ops->has(inner, name, ret_exists, ret_size, cancellable, error);
}

typedef struct {
    VmsStoreListFunc func;
    void *user;
    unsigned left; /* names until it breaks off */
    const Turn *turn;
} Listing;

static bool count_name(void *user, const char *name, uint64_t size, GError **error)
{
    ++*(unsigned *)user;
    return true;
}

static bool tell_name(void *user, const char *name, uint64_t size, GError **error)
{
    Listing *listing = user;
    if (listing->left == 0)
        return fail(listing->turn, error);
    listing->left--;
    return listing->func(listing->user, name, size, error);
}

static bool fault_list(VmsStore *store, const char *prefix, VmsStoreListFunc func, void *user,
                       GCancellable *cancellable, GError **error)
{
    VmsStore *inner = ((Fault *)store)->inner;
    Turn turn = next_turn((Fault *)store, VMS_FAULT_LIST, prefix);
    if (refused(&turn))
        return fail(&turn, error);
    if (!lost(&turn))
        return inner->ops->list(inner, prefix, func, user, cancellable, error);
    unsigned count = 0;
    Listing listing = {func, user, 0, &turn};
    if (!inner->ops->list(inner, prefix, count_name, &count, cancellable, error))
        return false;
    listing.left = count / 2;
    return inner->ops->list(inner, prefix, tell_name, &listing, cancellable, error) &&
           fail(&turn, error);
}

static bool fault_remove(VmsStore *store, const char *name, GCancellable *cancellable,
                         GError **error)
{
    VmsStore *inner = ((Fault *)store)->inner;
    Turn turn = next_turn((Fault *)store, VMS_FAULT_REMOVE, name);
    if (refused(&turn))
        return fail(&turn, error);
    return inner->ops->remove(inner, name, cancellable, error) &&
           (!lost(&turn) || fail(&turn, error));
}

static VmsStoreParts *fault_begin_parts(VmsStore *store, const char *name, uint64_t size,
                                        uint64_t part_size, GCancellable *cancellable,
                                        GError **error)
{
    VmsStore *inner = ((Fault *)store)->inner;
    Turn turn = next_turn((Fault *)store, VMS_FAULT_PUT, name);
    if (refused(&turn) || lost(&turn)) {
        fail(&turn, error);
        return NULL;
    }
    return inner->ops->begin_parts(inner, name, size, part_size, cancellable, error);
}

static bool fault_put_part(VmsStore *store, VmsStoreParts *parts, unsigned index, GBytes *data,
                           GCancellable *cancellable, GError **error)
{
    VmsStore *inner = ((Fault *)store)->inner;
    Turn turn = next_turn((Fault *)store, VMS_FAULT_PUT, parts->name);
    if (refused(&turn))
        return fail(&turn, error);
    return inner->ops->put_part(inner, parts, index, data, cancellable, error) &&
           (!lost(&turn) || fail(&turn, error));
}

/* Not lost: done twice is what only some stores can tell (s3-parts.c). */
static bool fault_finish_parts(VmsStore *store, VmsStoreParts *parts, GCancellable *cancellable,
                               GError **error)
{
    VmsStore *inner = ((Fault *)store)->inner;
    Turn turn = next_turn((Fault *)store, VMS_FAULT_PUT, parts->name);
    if (refused(&turn) || lost(&turn))
        return fail(&turn, error);
    return inner->ops->finish_parts(inner, parts, cancellable, error);
}

static void fault_free_parts(VmsStore *store, VmsStoreParts *parts)
{
    VmsStore *inner = ((Fault *)store)->inner;
    inner->ops->free_parts(inner, parts);
}

static bool fault_abort_parts(VmsStore *store, uint64_t older_than_s, unsigned *ret_count,
                              GCancellable *cancellable, GError **error)
{
    VmsStore *inner = ((Fault *)store)->inner;
    Turn turn = next_turn((Fault *)store, VMS_FAULT_REMOVE, "");
    if (refused(&turn) || lost(&turn))
        return fail(&turn, error);
    return inner->ops->abort_parts(inner, older_than_s, ret_count, cancellable, error);
}

static void fault_free(VmsStore *store)
{
    Fault *self = (Fault *)store;
    vms_store_free(self->inner);
    g_mutex_clear(&self->lock);
    g_free(store->location);
    g_free(self);
}

static const VmsStoreOps fault_ops = {
    .put = fault_put,
    .get = fault_get,
    .has = fault_has,
    .list = fault_list,
    .remove = fault_remove,
    .free = fault_free,
    .begin_parts = fault_begin_parts,
    .put_part = fault_put_part,
    .finish_parts = fault_finish_parts,
    .free_parts = fault_free_parts,
    .abort_parts = fault_abort_parts,
};

VmsStore *vms_fault_new(VmsStore *inner)
{
    Fault *self = g_new0(Fault, 1);
    self->store.ops = &fault_ops;
    self->store.location = g_strdup(inner->location);
    self->inner = inner;
    g_mutex_init(&self->lock);
    return &self->store;
}

void vms_fault_set(VmsStore *store, const VmsFault *fault)
{
    Fault *self = (Fault *)store;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&self->lock);
    self->fault = *fault;
    self->calls = 0;
}

unsigned vms_fault_calls(VmsStore *store)
{
    Fault *self = (Fault *)store;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&self->lock);
    return self->calls;
}
