/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "virt/rescue.h"

#include <stdlib.h>

struct VmsRescue {
    char *uri; /* nullable: libvirt's default */
    char uuid[VIR_UUID_STRING_BUFLEN];
    virConnectPtr own;   /* NULL while the domain's own connection lives */
    virDomainPtr domain; /* NULL while there is no connection */
};

VmsRescue *vms_rescue_new(virDomainPtr domain)
{
    VmsRescue *rescue = g_new0(VmsRescue, 1);
    char *uri = virConnectGetURI(virDomainGetConnect(domain));
    rescue->uri = g_strdup(uri);
    free(uri);
    virDomainGetUUIDString(domain, rescue->uuid);
    virDomainRef(domain);
    rescue->domain = domain;
    return rescue;
}

static void disconnect(VmsRescue *rescue)
{
    g_clear_pointer(&rescue->domain, virDomainFree);
    if (rescue->own)
        virConnectClose(rescue->own);
    rescue->own = NULL;
}

void vms_rescue_free(VmsRescue *rescue)
{
    if (!rescue)
        return;
    disconnect(rescue);
    g_free(rescue->uri);
    g_free(rescue);
}

virDomainPtr vms_rescue_domain(VmsRescue *rescue)
{
    if (rescue->domain && virConnectIsAlive(virDomainGetConnect(rescue->domain)) == 1)
        return rescue->domain;
    disconnect(rescue);
    rescue->own = virConnectOpen(rescue->uri);
    if (rescue->own)
        rescue->domain = virDomainLookupByUUIDString(rescue->own, rescue->uuid);
    return rescue->domain;
}
