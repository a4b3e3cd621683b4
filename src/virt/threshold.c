/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Events come on the thread of libvirt's event loop, which may still be in a callback when it is
 * deregistered: hence the reference count, and the lock under which crossed is called. */
#include "virt/threshold.h"

#include "base/error.h"

struct VmsThreshold {
    int references; /* the owner's, and one per registration */
    GMutex lock;
    void (*crossed)(void *user); /* under lock; NULL: the owner is gone */
    void *user;
    virDomainPtr domain;
    int ids[2];      /* of registrations; -1: none */
    GHashTable *set; /* targets that have one of ours; the owner's thread only */
};

static void unref(void *data)
{
    VmsThreshold *threshold = data;
    if (!g_atomic_int_dec_and_test(&threshold->references))
        return;
    g_mutex_clear(&threshold->lock);
    g_free(threshold);
}

static void tell(VmsThreshold *threshold)
{
    g_mutex_lock(&threshold->lock);
    if (threshold->crossed)
        threshold->crossed(threshold->user);
    g_mutex_unlock(&threshold->lock);
}

static void on_threshold(virConnectPtr conn, virDomainPtr domain, const char *device,
                         const char *path, unsigned long long offset, unsigned long long excess,
                         void *data)
{
    tell(data);
}

static void on_error(virConnectPtr conn, virDomainPtr domain, const char *path, const char *alias,
                     int action, void *data)
{
    tell(data);
}

static int subscribe(VmsThreshold *threshold, int event, virConnectDomainEventGenericCallback func)
{
    g_atomic_int_inc(&threshold->references);
    int id = virConnectDomainEventRegisterAny(virDomainGetConnect(threshold->domain),
                                              threshold->domain, event, func, threshold, unref);
    if (id < 0)
        unref(threshold);
    return id;
}

VmsThreshold *vms_threshold_new(virDomainPtr domain, void (*crossed)(void *user), void *user,
                                GError **error)
{
    VmsThreshold *threshold = g_new0(VmsThreshold, 1);
    threshold->references = 1;
    threshold->crossed = crossed;
    threshold->user = user;
    threshold->set = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_mutex_init(&threshold->lock);
    virDomainRef(domain);
    threshold->domain = domain;
    threshold->ids[0] = subscribe(threshold, VIR_DOMAIN_EVENT_ID_BLOCK_THRESHOLD,
                                  VIR_DOMAIN_EVENT_CALLBACK(on_threshold));
    threshold->ids[1] =
        subscribe(threshold, VIR_DOMAIN_EVENT_ID_IO_ERROR, VIR_DOMAIN_EVENT_CALLBACK(on_error));
    if (threshold->ids[0] >= 0 && threshold->ids[1] >= 0)
        return threshold;
    vms_virt_fail(error, "watching how the overlays grow");
    vms_threshold_free(threshold);
    return NULL;
}

bool vms_threshold_set(VmsThreshold *threshold, const char *target, uint64_t offset)
{
    if (virDomainSetBlockThreshold(threshold->domain, target, offset, 0) < 0)
        return false;
    g_hash_table_add(threshold->set, g_strdup(target));
    return true;
}

/* One on an image that is merged by now went with it. */
static void take_back(VmsThreshold *threshold)
{
    GHashTableIter iter;
    void *target;
    g_hash_table_iter_init(&iter, threshold->set);
    while (g_hash_table_iter_next(&iter, &target, NULL))
        virDomainSetBlockThreshold(threshold->domain, target, 0, 0);
}

void vms_threshold_free(VmsThreshold *threshold)
{
    if (!threshold)
        return;
    virDomainPtr domain = threshold->domain;
    g_mutex_lock(&threshold->lock);
    threshold->crossed = NULL;
    g_mutex_unlock(&threshold->lock);
    take_back(threshold);
    for (size_t i = 0; i < G_N_ELEMENTS(threshold->ids); i++)
        if (threshold->ids[i] >= 0)
            virConnectDomainEventDeregisterAny(virDomainGetConnect(domain), threshold->ids[i]);
    g_hash_table_unref(threshold->set);
    unref(threshold);
    virDomainFree(domain);
}
