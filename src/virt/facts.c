/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "virt/facts.h"

#include "base/error.h"
#include "base/json.h"
#include "virt/facts-xml.h"

#include <libvirt/libvirt-qemu.h>

#include <stdlib.h>
#include <string.h>

static void disk_free(void *data)
{
    VmsDisk *disk = data;
    g_free(disk->target);
    g_free(disk->bus);
    g_free(disk->device);
    g_free(disk->format);
    g_free(disk->source);
    g_clear_pointer(&disk->backing, g_ptr_array_unref);
    g_free(disk);
}

VmsFacts *vms_facts_new(void)
{
    VmsFacts *facts = g_new0(VmsFacts, 1);
    facts->disks = g_ptr_array_new_with_free_func(disk_free);
    return facts;
}

void vms_facts_free(VmsFacts *facts)
{
    if (!facts)
        return;
    g_free(facts->name);
    g_free(facts->uuid);
    g_ptr_array_unref(facts->disks);
    g_free(facts->nvram);
    g_free(facts->heartbeat_socket);
    g_free(facts->tpm_state);
    g_strfreev(facts->blockers);
    g_free(facts->xml);
    g_free(facts->xml_persistent);
    g_free(facts);
}

VmsDisk *vms_facts_disk(const VmsFacts *facts, const char *target)
{
    for (guint i = 0; i < facts->disks->len; i++) {
        VmsDisk *disk = facts->disks->pdata[i];
        if (g_strcmp0(disk->target, target) == 0)
            return disk;
    }
    return NULL;
}

static char *take_xml(virDomainPtr domain, unsigned flags, GError **error)
{
    char *xml = virDomainGetXMLDesc(domain, flags);
    if (!xml) {
        vms_virt_fail(error, "reading the definition");
        return NULL;
    }
    char *copy = g_strdup(xml);
    free(xml);
    return copy;
}

static bool read_state(virDomainPtr domain, VmsFacts *facts, GError **error)
{
    int active = virDomainIsActive(domain);
    int persistent = virDomainIsPersistent(domain);
    if (virDomainGetState(domain, &facts->state, &facts->state_reason, 0) < 0 || active < 0 ||
        persistent < 0)
        return vms_virt_fail(error, "reading the state");
    facts->active = active;
    facts->persistent = persistent;
    return true;
}

/* Sizes come from libvirt, because only it (or QEMU) may open images that belong to another user.
 */
static void read_sizes(virDomainPtr domain, VmsFacts *facts)
{
    for (guint i = 0; i < facts->disks->len; i++) {
        VmsDisk *disk = facts->disks->pdata[i];
        virDomainBlockInfo info;
        if (!disk->source || virDomainGetBlockInfo(domain, disk->target, &info, 0) < 0)
            continue;
        disk->capacity = info.capacity;
        disk->allocation = info.allocation;
    }
}

VmsFacts *vms_facts_read(virDomainPtr domain, GError **error)
{
    g_autoptr(VmsFacts) facts = vms_facts_new();
    if (!read_state(domain, facts, error))
        return NULL;
    facts->xml = take_xml(domain, 0, error);
    if (!facts->xml)
        return NULL;
    if (facts->persistent) {
        facts->xml_persistent = take_xml(domain, VIR_DOMAIN_XML_INACTIVE, error);
        if (!facts->xml_persistent)
            return NULL;
    }
    if (!vms_facts_parse(facts, error))
        return NULL;
    read_sizes(domain, facts);
    return g_steal_pointer(&facts);
}

/* {"return":{"qemu":{"major":7,"minor":2,"micro":22},"package":"…"},"id":"…"} */
static bool parse_version(const char *reply, unsigned *ret_version, GError **error)
{
    g_autoptr(VmsJson) root = vms_json_parse(reply, strlen(reply), error);
    VmsJson *result, *qemu;
    uint64_t major, minor, micro;
    if (!root || !vms_json_object(root, "return", &result, error) ||
        !vms_json_object(result, "qemu", &qemu, error) ||
        !vms_json_uint64(qemu, "major", &major, error) ||
        !vms_json_uint64(qemu, "minor", &minor, error) ||
        !vms_json_uint64(qemu, "micro", &micro, error))
        return false;
    *ret_version = (unsigned)(major * 1000000 + minor * 1000 + micro);
    return true;
}

bool vms_facts_qemu_version(virDomainPtr domain, unsigned *ret_version, GError **error)
{
    if (virDomainIsActive(domain) != 1) {
        unsigned long version = 0;
        if (virConnectGetVersion(virDomainGetConnect(domain), &version) < 0)
            return vms_virt_fail(error, "asking for QEMU's version");
        *ret_version = (unsigned)version;
        return true;
    }
    char *reply = NULL;
    if (virDomainQemuMonitorCommand(domain, "{\"execute\":\"query-version\"}", &reply, 0) < 0)
        return vms_virt_fail(error, "asking for QEMU's version");
    bool ok = parse_version(reply, ret_version, error);
    free(reply);
    return ok;
}
