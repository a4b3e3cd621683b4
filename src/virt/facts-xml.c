/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "virt/facts-xml.h"

#include "base/error.h"
#include "virt/heartbeat.h"
#include "virt/tpm.h"
#include "virt/xml.h"

#define AGENT_CHANNEL "/domain/devices/channel[target/@name='org.qemu.guest_agent.0']"
/* QEMU has to be the one that listens; where it connects, somebody else already does. */
#define HEARTBEAT_SOCKET                                                                           \
    "/domain/devices/channel[@type='unix'][target/@name='" VMS_HEARTBEAT_PORT "']"                 \
    "/source[@mode='bind']/@path"

static const struct {
    const char *type, *xpath;
    VmsDiskSourceType source_type;
} sources[] = {
    {"file", "source/@file", VMS_DISK_FILE},
    {"block", "source/@dev", VMS_DISK_BLOCK},
    {"network", "concat(source/@protocol, ':', source/@name)", VMS_DISK_NETWORK},
};

/* Devices that write guest memory behind QEMU's back, or cannot be migrated at all. What comes
 * before the colon is the kind, of which check makes its code. USB devices of the host may be
 * saved: QEMU detaches them. */
static const struct {
    const char *xpath, *what;
} blockers[] = {
    {"/domain/devices/hostdev[not(@mode='subsystem' and @type='usb')]"
     "[not(teaming/@type='transient')]",
     "hostdev: a device of the host is passed through"},
    {"/domain/devices/interface[@type='hostdev'][not(teaming/@type='transient')]",
     "hostdev: a network interface of the host is passed through"},
    {"/domain/devices/disk[@type='nvme']",
     "hostdev: an NVMe controller is passed through as a disk"},
    {"/domain/devices/interface[@type='vhostuser']", "vhost-user: a vhost-user network interface"},
    {"/domain/devices/disk[@type='vhostuser']", "vhost-user: a vhost-user disk"},
    {"/domain/devices/interface[@type='vdpa'] | /domain/devices/disk[@type='vhostvdpa']",
     "vdpa: a vDPA device"},
    {"/domain/devices/filesystem[driver/@type='virtiofs']", "virtiofs: a virtiofs share"},
    {"/domain/devices/filesystem[not(driver/@type='virtiofs')]", "9p: a 9p share"},
    {"/domain/devices/tpm/backend[@type='passthrough']", "tpm: the host's TPM is passed through"},
    {"/domain/devices/shmem[not(@role='master')]", "shmem: memory shared with other domains"},
    {"/domain/launchSecurity", "launch-security: memory encrypted for this host"},
    {"/domain/cpu/feature[@name='invtsc'][@policy='require' or @policy='force']"
     "[not(/domain/clock/timer[@name='tsc']/@frequency)]",
     "invtsc: CPU feature invtsc without a fixed TSC frequency"},
};

static void read_source(xmlDocPtr doc, xmlNodePtr node, VmsDisk *disk)
{
    g_autofree char *type = vms_xml_string(doc, node, "@type");
    disk->source_type = VMS_DISK_OTHER;
    for (size_t i = 0; i < G_N_ELEMENTS(sources); i++) {
        if (g_strcmp0(type, sources[i].type) != 0)
            continue;
        disk->source_type = sources[i].source_type;
        if (disk->source_type != VMS_DISK_NETWORK) {
            disk->source = vms_xml_string(doc, node, sources[i].xpath);
            return;
        }
        g_autofree char *protocol = vms_xml_string(doc, node, "source/@protocol");
        g_autofree char *name = vms_xml_string(doc, node, "source/@name");
        disk->source = g_strdup_printf("%s:%s", protocol ? protocol : "", name ? name : "");
        return;
    }
    disk->source = vms_xml_string(doc, node, "source/@*");
}

static GPtrArray *read_backing(xmlDocPtr doc, xmlNodePtr disk)
{
    GPtrArray *backing = g_ptr_array_new_with_free_func(g_free);
    xmlNodePtr node = disk;
    while ((node = vms_xml_node(doc, node, "backingStore"))) {
        char *path = vms_xml_string(doc, node, "source/@file | source/@dev | source/@name");
        if (path)
            g_ptr_array_add(backing, path);
    }
    return backing;
}

static bool read_disk(xmlDocPtr doc, xmlNodePtr node, VmsFacts *facts, GError **error)
{
    VmsDisk *disk = g_new0(VmsDisk, 1);
    g_ptr_array_add(facts->disks, disk);
    disk->target = vms_xml_string(doc, node, "target/@dev");
    disk->bus = vms_xml_string(doc, node, "target/@bus");
    disk->device = vms_xml_string(doc, node, "@device");
    disk->format = vms_xml_string(doc, node, "driver/@type");
    disk->readonly = vms_xml_node(doc, node, "readonly") != NULL;
    disk->shareable = vms_xml_node(doc, node, "shareable") != NULL;
    disk->transient = vms_xml_node(doc, node, "transient") != NULL;
    disk->encrypted = vms_xml_node(doc, node, "encryption | source/encryption") != NULL;
    disk->backing = read_backing(doc, node);
    read_source(doc, node, disk);
    if (!disk->device)
        disk->device = g_strdup("disk");
    return disk->target || vms_fail(error, VMS_ERROR_INVALID, "a disk without a target");
}

static bool read_disks(xmlDocPtr doc, VmsFacts *facts, GError **error)
{
    g_autoptr(GPtrArray) nodes = vms_xml_nodes(doc, NULL, "/domain/devices/disk");
    for (guint i = 0; i < nodes->len; i++)
        if (!read_disk(doc, nodes->pdata[i], facts, error))
            return false;
    return true;
}

static void read_blockers(xmlDocPtr doc, VmsFacts *facts)
{
    g_autoptr(GStrvBuilder) found = g_strv_builder_new();
    for (size_t i = 0; i < G_N_ELEMENTS(blockers); i++)
        if (vms_xml_node(doc, NULL, blockers[i].xpath))
            g_strv_builder_add(found, blockers[i].what);
    facts->blockers = g_strv_builder_end(found);
}

/* <nvram>PATH</nvram>, or since libvirt 8.5 <nvram type='…'><source …/></nvram>; neither until it
 * was made from a template. */
static void read_nvram(xmlDocPtr doc, VmsFacts *facts)
{
    g_autofree char *type = vms_xml_string(doc, NULL, "/domain/os/nvram/@type");
    facts->nvram = vms_xml_string(doc, NULL,
                                  "/domain/os/nvram/source/@file | /domain/os/nvram/source/@dev | "
                                  "/domain/os/nvram[not(source)]/text()");
    if (facts->nvram && !*g_strstrip(facts->nvram))
        g_clear_pointer(&facts->nvram, g_free);
    facts->nvram_remote = type && !g_str_equal(type, "file") && !g_str_equal(type, "block");
}

/* libvirt always writes KiB. */
static uint64_t read_kib(xmlDocPtr doc, const char *xpath)
{
    g_autofree char *text = vms_xml_string(doc, NULL, xpath);
    return text ? g_ascii_strtoull(text, NULL, 10) * 1024 : 0;
}

bool vms_facts_parse(VmsFacts *facts, GError **error)
{
    g_autoptr(xmlDoc) doc = vms_xml_parse(facts->xml, error);
    if (!doc)
        return false;
    g_autofree char *vcpus = vms_xml_string(doc, NULL, "/domain/vcpu");
    g_autofree char *type = vms_xml_string(doc, NULL, "/domain/@type");
    g_autofree char *agent = vms_xml_string(doc, NULL, AGENT_CHANNEL "/target/@state");
    facts->name = vms_xml_string(doc, NULL, "/domain/name");
    facts->uuid = vms_xml_string(doc, NULL, "/domain/uuid");
    if (!facts->name || !facts->uuid)
        return vms_fail(error, VMS_ERROR_INVALID, "a domain without name or UUID");
    facts->memory = read_kib(doc, "/domain/memory");
    facts->vcpus = vcpus ? (unsigned)g_ascii_strtoull(vcpus, NULL, 10) : 1;
    facts->emulated = g_strcmp0(type, "qemu") == 0;
    facts->has_agent = vms_xml_node(doc, NULL, AGENT_CHANNEL) != NULL;
    facts->agent_connected = g_strcmp0(agent, "connected") == 0;
    read_nvram(doc, facts);
    facts->heartbeat_socket = vms_xml_string(doc, NULL, HEARTBEAT_SOCKET);
    facts->has_tpm = vms_xml_node(doc, NULL, "/domain/devices/tpm") != NULL;
    read_blockers(doc, facts);
    return vms_tpm_state_path(facts->xml, &facts->tpm_state, &facts->tpm_state_is_file, error) &&
           read_disks(doc, facts, error);
}
