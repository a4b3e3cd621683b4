/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The connection to libvirt. Opening it starts libvirt's event loop on a thread of its own. */
#pragma once

#include <libvirt/libvirt.h>

#include <gio/gio.h>
#include <stdbool.h>

typedef struct VmsConn VmsConn;

/* uri nullable: libvirt's default (LIBVIRT_DEFAULT_URI). Keepalive on, so that a dead libvirtd is
 * noticed. FAILED, AUTH; UNSUPPORTED where the driver is not QEMU. */
VmsConn *vms_conn_open(const char *uri, GError **error);
void vms_conn_free(VmsConn *conn);
virConnectPtr vms_conn_get(VmsConn *conn);
unsigned long vms_conn_libvirt_version(VmsConn *conn); /* major*1000000 + minor*1000 + micro */

/* By name or UUID. NOT_FOUND lists close names or says how to list them. */
virDomainPtr vms_conn_lookup(VmsConn *conn, const char *name, GError **error);

/* Nothing of it runs: it is shut off, or was transient and is gone. False too where that cannot be
 * asked. */
bool vms_virt_is_off(virDomainPtr domain);

/* Converts the calling thread's last libvirt error into *error with the nearest code and a prefix;
 * returns false. The only place where libvirt's errors are converted. */
bool vms_virt_fail(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsConn, vms_conn_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(virDomain, virDomainFree)
