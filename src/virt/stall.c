/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirt says that it was an I/O error, QEMU which: "nospace" of a device lasts until the guest is
 * resumed. */
#include "virt/stall.h"

#include "base/error.h"
#include "virt/qmp.h"

#include <string.h>

/* What the device stands on, whatever filters a block job has put between. */
static bool is_image(VmsJson *device, const char *const *images)
{
    VmsJson *inserted;
    const char *file;
    if (!vms_json_has(device, "inserted") ||
        !vms_json_object(device, "inserted", &inserted, NULL) ||
        !vms_json_string(inserted, "file", &file, NULL))
        return false;
    for (; *images; images++)
        if (strstr(file, *images))
            return true;
    return false;
}

static bool is_full(virDomainPtr domain, const char *const *images)
{
    g_autoptr(VmsJson) reply = NULL;
    VmsJson *devices, *device;
    const char *status;
    if (!vms_qmp_run(domain, "{\"execute\":\"query-block\"}", -1, &reply, NULL) ||
        !vms_json_array(reply, "return", &devices, NULL))
        return false;
    for (size_t i = 0; i < vms_json_length(devices); i++)
        if (vms_json_element_object(devices, i, &device, NULL) &&
            vms_json_has(device, "io-status") &&
            vms_json_string(device, "io-status", &status, NULL) && g_str_equal(status, "nospace") &&
            is_image(device, images))
            return true;
    return false;
}

bool vms_stall_is(virDomainPtr domain, const char *const *images)
{
    int state = VIR_DOMAIN_NOSTATE, reason = 0;
    return virDomainGetState(domain, &state, &reason, 0) == 0 && state == VIR_DOMAIN_PAUSED &&
           reason == VIR_DOMAIN_PAUSED_IOERROR && is_full(domain, images);
}

bool vms_stall_end(virDomainPtr domain, GError **error)
{
    return virDomainResume(domain) == 0 || vms_virt_fail(error, "resume");
}
