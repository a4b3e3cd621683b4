/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What every job is given: configuration, connection, directories, progress, cancellation. */
#pragma once

#include "base/progress.h"
#include "job/config.h"
#include "virt/conn.h"

typedef struct {
    const VmsConfig *config; /* borrowed */
    const char *uri;         /* libvirt connection; NULL: libvirt's default */
    uint64_t growth;         /* of overlays while a job works, bytes (job/growth.h) */
    bool is_guarded;         /* a guest that stands for want of room is seen to (overlay-guard.h) */
    uint64_t limit_upload;   /* bytes per second that stores take; 0: no limit */
    VmsProgress *progress;   /* nullable */
    GCancellable *cancellable; /* cancelled by SIGINT, SIGTERM */
    VmsConn *conn;             /* opened on first use, by vms_context_conn */
} VmsContext;

/* Opens the connection on first use. */
VmsConn *vms_context_conn(VmsContext *context, GError **error);

/* The domain (transfer full) over a connection that is alive: that of known (nullable), or another
 * one, for libvirtd may have been restarted meanwhile. NULL: it cannot be reached within a minute,
 * or cancelled (nullable). */
virDomainPtr vms_context_reach(VmsContext *context, virDomainPtr known, const char *uuid,
                               GCancellable *cancellable);

/* Closes it. */
void vms_context_clear(VmsContext *context);
