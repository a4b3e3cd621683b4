/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/context.h"

#define PATIENCE_US (60 * G_USEC_PER_SEC) /* for libvirt to come back */

VmsConn *vms_context_conn(VmsContext *context, GError **error)
{
    /* libvirtd may have been restarted since. */
    if (context->conn && virConnectIsAlive(vms_conn_get(context->conn)) != 1)
        vms_context_clear(context);
    if (!context->conn)
        context->conn = vms_conn_open(context->uri, error);
    return context->conn;
}

virDomainPtr vms_context_reach(VmsContext *context, virDomainPtr known, const char *uuid,
                               GCancellable *cancellable)
{
    int64_t end = g_get_monotonic_time() + PATIENCE_US;
    if (known && virConnectIsAlive(virDomainGetConnect(known)) == 1) {
        virDomainRef(known);
        return known;
    }
    vms_progress_message(context->progress,
                         "libvirt does not answer; waiting for it for up to %d s",
                         (int)(PATIENCE_US / G_USEC_PER_SEC));
    for (;;) {
        VmsConn *conn = vms_context_conn(context, NULL);
        virDomainPtr domain = conn ? vms_conn_lookup(conn, uuid, NULL) : NULL;
        if (domain || g_get_monotonic_time() > end || g_cancellable_is_cancelled(cancellable))
            return domain;
        g_usleep(G_USEC_PER_SEC / 4);
    }
}

void vms_context_clear(VmsContext *context)
{
    g_clear_pointer(&context->conn, vms_conn_free);
}
