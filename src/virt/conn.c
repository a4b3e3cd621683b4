/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirt's default event loop has to be registered before the first connection and driven for ever
 * after; a detached thread does that for the whole process. Errors are not printed by libvirt: they
 * are taken from the calling thread and become ours here and nowhere else. */
#include "virt/conn.h"

#include "base/error.h"

#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>

struct VmsConn {
    virConnectPtr handle;
};

static void ignore_error(void *user, virErrorPtr error)
{
}

static void *run_events(void *unused)
{
    for (;;)
        if (virEventRunDefaultImpl() < 0)
            g_usleep(10000); /* poll(2) itself failed: nothing to wait for */
    return NULL;
}

static void start_events(void)
{
    static gsize started;
    if (!g_once_init_enter(&started))
        return;
    virSetErrorFunc(NULL, ignore_error);
    virEventRegisterDefaultImpl();
    g_thread_unref(g_thread_new("vms-libvirt", run_events, NULL));
    g_once_init_leave(&started, 1);
}

static VmsErrorCode code_of(const virError *error)
{
    switch (error->code) {
    case VIR_ERR_NO_DOMAIN:
    case VIR_ERR_NO_STORAGE_VOL:
    case VIR_ERR_NO_STORAGE_POOL:
        return VMS_ERROR_NOT_FOUND;
    case VIR_ERR_DOM_EXIST:
        return VMS_ERROR_EXISTS;
    case VIR_ERR_AUTH_FAILED:
    case VIR_ERR_AUTH_CANCELLED:
    case VIR_ERR_AUTH_UNAVAILABLE:
    case VIR_ERR_ACCESS_DENIED:
        return VMS_ERROR_AUTH;
    case VIR_ERR_OPERATION_INVALID:
    case VIR_ERR_AGENT_UNRESPONSIVE:
    case VIR_ERR_AGENT_UNSYNCED:
    case VIR_ERR_BLOCK_COPY_ACTIVE:
        return VMS_ERROR_REFUSED;
    case VIR_ERR_OPERATION_TIMEOUT:
    case VIR_ERR_RESOURCE_BUSY:
        return VMS_ERROR_LOCKED;
    case VIR_ERR_NO_SUPPORT:
    case VIR_ERR_CONFIG_UNSUPPORTED:
    case VIR_ERR_OPERATION_UNSUPPORTED:
    case VIR_ERR_ARGUMENT_UNSUPPORTED:
        return VMS_ERROR_UNSUPPORTED;
    default:
        break;
    }
    return vms_error_code_of_text(error->message);
}

bool vms_virt_fail(GError **error, const char *format, ...)
{
    virErrorPtr last = virGetLastError();
    va_list args;
    va_start(args, format);
    g_autofree char *prefix = g_strdup_vprintf(format, args);
    va_end(args);
    if (!last)
        return vms_fail(error, VMS_ERROR_FAILED, "%s: libvirt gave no reason", prefix);
    if (last->domain == VIR_FROM_RPC) /* libvirtd is not there, or went away; guests run on */
        return vms_fail(error, VMS_ERROR_TRANSIENT,
                        "%s: %s; is libvirtd running? Once it is, run the same command again",
                        prefix, last->message);
    return vms_fail(error, code_of(last), "%s: %s", prefix, last->message);
}

bool vms_virt_is_off(virDomainPtr domain)
{
    int active = virDomainIsActive(domain);
    return active == 0 || (active < 0 && virGetLastErrorCode() == VIR_ERR_NO_DOMAIN);
}

/* Paths of images mean files of the host that libvirtd runs on. "qemu:///system" names no host. */
static bool check_local(virConnectPtr handle, GError **error)
{
    char *uri = virConnectGetURI(handle);
    const char *host = uri ? strstr(uri, "://") : NULL;
    bool remote = host && host[3] != '/' && host[3] != '\0';
    if (remote)
        vms_fail(error, VMS_ERROR_UNSUPPORTED,
                 "%s is another host; run vmsnap on the host that the guest runs on", uri);
    free(uri);
    return !remote;
}

VmsConn *vms_conn_open(const char *uri, GError **error)
{
    start_events();
    virConnectPtr handle = virConnectOpenAuth(uri, virConnectAuthPtrDefault, 0);
    if (!handle) {
        vms_virt_fail(error, "connecting to libvirt%s%s", uri ? " at " : "", uri ? uri : "");
        return NULL;
    }
    const char *type = virConnectGetType(handle);
    if (g_strcmp0(type, "QEMU") != 0) {
        vms_fail(error, VMS_ERROR_UNSUPPORTED,
                 "%s is libvirt's %s driver; vmsnap works with QEMU only",
                 uri ? uri : "the default connection", type ? type : "unknown");
        virConnectClose(handle);
        return NULL;
    }
    if (!check_local(handle, error)) {
        virConnectClose(handle);
        return NULL;
    }
    virConnectSetKeepAlive(handle, 5, 5);
    VmsConn *conn = g_new0(VmsConn, 1);
    conn->handle = handle;
    return conn;
}

void vms_conn_free(VmsConn *conn)
{
    if (!conn)
        return;
    virConnectClose(conn->handle);
    g_free(conn);
}

virConnectPtr vms_conn_get(VmsConn *conn)
{
    return conn->handle;
}

unsigned long vms_conn_libvirt_version(VmsConn *conn)
{
    unsigned long version = 0;
    virConnectGetLibVersion(conn->handle, &version);
    return version;
}

/* "did you mean web01?" where one domain's name has the wanted one in it or the other way round. */
static bool no_domain(VmsConn *conn, const char *name, GError **error)
{
    virDomainPtr *domains = NULL;
    int n = virConnectListAllDomains(conn->handle, &domains, 0);
    g_autoptr(GString) close = g_string_new(NULL);
    g_autofree char *wanted = g_utf8_casefold(name, -1);
    for (int i = 0; i < n; i++) {
        const char *other = virDomainGetName(domains[i]);
        g_autofree char *folded = g_utf8_casefold(other, -1);
        if (strstr(folded, wanted) || strstr(wanted, folded))
            g_string_append_printf(close, "%s%s", close->len ? ", " : "", other);
        virDomainFree(domains[i]);
    }
    free(domains);
    if (close->len > 0)
        return vms_fail(error, VMS_ERROR_NOT_FOUND, "no domain \"%s\"; there is %s", name,
                        close->str);
    return vms_fail(error, VMS_ERROR_NOT_FOUND,
                    "no domain \"%s\"; \"virsh list --all\" shows the domains", name);
}

virDomainPtr vms_conn_lookup(VmsConn *conn, const char *name, GError **error)
{
    virDomainPtr domain = virDomainLookupByName(conn->handle, name);
    if (domain)
        return domain;
    if (g_uuid_string_is_valid(name))
        domain = virDomainLookupByUUIDString(conn->handle, name);
    if (domain)
        return domain;
    virErrorPtr last = virGetLastError();
    if (last && last->code == VIR_ERR_NO_DOMAIN)
        no_domain(conn, name, error);
    else
        vms_virt_fail(error, "%s", name);
    return NULL;
}
