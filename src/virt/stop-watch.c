/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Events come on the thread of libvirt's event loop, which may still be in a callback when it is
 * deregistered: hence the reference count. */
#include "virt/stop-watch.h"

#include "base/error.h"

#include <libvirt/libvirt-qemu.h>

typedef struct {
    bool stop;       /* else resumed */
    bool explained;  /* somebody asked libvirt for the stop */
    int64_t time_us; /* by QEMU's clock, since 1970 */
} Event;

struct VmsStopWatch {
    int references; /* the owner's, and one per registration */
    GMutex lock;
    GArray *events; /* of Event, under lock */
    virConnectPtr conn;
    int stop, resume; /* registrations */
};

static void unref(void *data)
{
    VmsStopWatch *watch = data;
    if (!g_atomic_int_dec_and_test(&watch->references))
        return;
    g_mutex_clear(&watch->lock);
    g_array_unref(watch->events);
    g_free(watch);
}

/* Has somebody paused it, or has an operation of libvirt's that came to nothing? Asked at once, for
 * the reason is gone when the guest runs on. */
static bool is_explained(virDomainPtr domain)
{
    int state = VIR_DOMAIN_NOSTATE, reason = 0;
    if (virDomainGetState(domain, &state, &reason, 0) < 0)
        return false;
    return (state == VIR_DOMAIN_PAUSED && reason != VIR_DOMAIN_PAUSED_UNKNOWN) ||
           (state == VIR_DOMAIN_RUNNING && (reason == VIR_DOMAIN_RUNNING_SAVE_CANCELED ||
                                            reason == VIR_DOMAIN_RUNNING_MIGRATION_CANCELED));
}

static void on_event(virConnectPtr conn, virDomainPtr domain, const char *event, long long seconds,
                     unsigned int micros, const char *details, void *data)
{
    VmsStopWatch *watch = data;
    Event seen = {
        .stop = g_strcmp0(event, "STOP") == 0,
        .time_us = seconds * G_USEC_PER_SEC + micros,
    };
    seen.explained = seen.stop && is_explained(domain);
    g_mutex_lock(&watch->lock);
    g_array_append_val(watch->events, seen);
    g_mutex_unlock(&watch->lock);
}

static int subscribe(VmsStopWatch *watch, virDomainPtr domain, const char *event)
{
    g_atomic_int_inc(&watch->references);
    int id = virConnectDomainQemuMonitorEventRegister(watch->conn, domain, event, on_event, watch,
                                                      unref, 0);
    if (id < 0)
        unref(watch);
    return id;
}

VmsStopWatch *vms_stop_watch_new(virDomainPtr domain, GError **error)
{
    VmsStopWatch *watch = g_new0(VmsStopWatch, 1);
    watch->references = 1;
    watch->events = g_array_new(FALSE, FALSE, sizeof(Event));
    g_mutex_init(&watch->lock);
    watch->conn = virDomainGetConnect(domain);
    virConnectRef(watch->conn);
    watch->stop = subscribe(watch, domain, "STOP");
    watch->resume = watch->stop < 0 ? -1 : subscribe(watch, domain, "RESUME");
    if (watch->resume >= 0)
        return watch;
    vms_virt_fail(error, "watching for a stop of the guest");
    vms_stop_watch_free(watch);
    return NULL;
}

VmsStops vms_stop_watch_get(VmsStopWatch *watch, int64_t from, int64_t safe, int64_t resumed)
{
    VmsStops stops = {0};
    g_mutex_lock(&watch->lock);
    for (guint i = 0; i < watch->events->len; i++) {
        const Event *event = &g_array_index(watch->events, Event, i);
        if (event->stop)
            stops.stops_later += event->time_us > resumed && !event->explained;
        else
            stops.resumes_early += event->time_us > from && event->time_us < safe;
    }
    g_mutex_unlock(&watch->lock);
    return stops;
}

void vms_stop_watch_free(VmsStopWatch *watch)
{
    if (!watch)
        return;
    virConnectPtr conn = watch->conn;
    if (watch->stop >= 0)
        virConnectDomainQemuMonitorEventDeregister(conn, watch->stop);
    if (watch->resume >= 0)
        virConnectDomainQemuMonitorEventDeregister(conn, watch->resume);
    unref(watch);
    virConnectClose(conn);
}
