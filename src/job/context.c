/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/context.h"

VmsConn *vms_context_conn(VmsContext *context, GError **error)
{
    /* libvirtd may have been restarted since. */
    if (context->conn && virConnectIsAlive(vms_conn_get(context->conn)) != 1)
        vms_context_clear(context);
    if (!context->conn)
        context->conn = vms_conn_open(context->uri, error);
    return context->conn;
}

void vms_context_clear(VmsContext *context)
{
    g_clear_pointer(&context->conn, vms_conn_free);
}
