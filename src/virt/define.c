/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runtime things are taken out rather than understood: libvirt makes them anew. What a guest can
 * see (its devices, their addresses, its MAC addresses with memory) stays. */
#include "virt/define.h"

#include "base/error.h"
#include "virt/xml.h"

#include <libvirt/libvirt.h>
#include <stdlib.h>

/* What belonged to one run of one domain. Channel and console sockets that libvirt placed itself
 * would collide with the original's. */
static const char *const runtime[] = {
    "/domain/@id",
    "/domain/seclabel[@type='dynamic']",
    /* libvirt 9.0 leaves these to a running domain whose firmware they have chosen, and then
     * refuses to define them. */
    "/domain/os[not(@firmware)]/firmware",
    "/domain/devices//seclabel",
    "/domain/devices/disk//backingStore",
    "/domain/devices/disk/mirror",
    "/domain/devices/disk/source/@index",
    "/domain/devices/channel/source[contains(@path, '/channel/target/')]",
    "/domain/devices/channel/source[contains(@path, '/libvirt/qemu/channel/')]",
    "/domain/devices/channel/target/@state",
    "/domain/devices/*/source[starts-with(@path, '/dev/pts/')]",
    "/domain/devices/console/@tty",
    "/domain/devices/interface/target[starts-with(@dev, 'vnet')]",
    "/domain/devices/graphics[@autoport='yes']/@port",
    "/domain/devices/graphics[@autoport='yes']/@tlsPort",
};

static void set_prop(xmlNodePtr node, const char *name, const char *value)
{
    xmlSetProp(node, (const xmlChar *)name, (const xmlChar *)value);
}

static xmlNodePtr child(xmlNodePtr parent, const char *name)
{
    xmlNodePtr node = vms_xml_node(parent->doc, parent, name);
    return node ? node : xmlNewChild(parent, NULL, (const xmlChar *)name, NULL);
}

/* A disk as a file, whatever it was. */
static void point_to(xmlNodePtr disk, const VmsNewDisk *to)
{
    vms_xml_remove(disk->doc, disk, "source");
    set_prop(disk, "type", "file");
    set_prop(child(disk, "source"), "file", to->path);
    xmlNodePtr driver = child(disk, "driver");
    if (!xmlHasProp(driver, (const xmlChar *)"name"))
        set_prop(driver, "name", "qemu");
    set_prop(driver, "type", to->format);
}

static const VmsNewDisk *find_disk(const char *target, const VmsNewDisk *disks, size_t n_disks)
{
    for (size_t i = 0; i < n_disks; i++)
        if (g_strcmp0(disks[i].target, target) == 0)
            return &disks[i];
    return NULL;
}

/* Disks that were not part of the snapshot: drives with a medium are emptied, others leave. */
static void rewrite_disks(xmlDocPtr doc, const VmsNewDisk *disks, size_t n_disks)
{
    g_autoptr(GPtrArray) nodes = vms_xml_nodes(doc, NULL, "/domain/devices/disk");
    for (guint i = 0; i < nodes->len; i++) {
        xmlNodePtr node = nodes->pdata[i];
        g_autofree char *target = vms_xml_string(doc, node, "target/@dev");
        g_autofree char *device = vms_xml_string(doc, node, "@device");
        const VmsNewDisk *to = find_disk(target, disks, n_disks);
        if (to) {
            point_to(node, to);
        } else if (g_strcmp0(device, "cdrom") == 0 || g_strcmp0(device, "floppy") == 0) {
            vms_xml_remove(doc, node, "source");
        } else {
            xmlUnlinkNode(node);
            xmlFreeNode(node);
        }
    }
}

static void set_domain_uuid(xmlDocPtr doc, const char *uuid)
{
    vms_xml_set_child(xmlDocGetRootElement(doc), "uuid", uuid);
    xmlNodePtr entry =
        vms_xml_node(doc, NULL, "/domain/sysinfo[@type='smbios']/system/entry[@name='uuid']");
    if (entry)
        xmlNodeSetContent(entry, (const xmlChar *)uuid);
}

/* Files and sockets that the original may have open: a console log, a channel's socket, a TPM's
 * state. The copy gets its own, the same path with the copy's name after it. */
static void part_from_original(xmlDocPtr doc, const char *name)
{
    static const char *const paths[] = {
        "/domain/devices/*[@type='file']/source/@path",
        "/domain/devices/*[@type='unix']/source[@mode='bind']/@path",
        "/domain/devices/*/log/@file",
        "/domain/devices/tpm/backend[@type='emulator']/source/@path",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(paths); i++) {
        g_autoptr(GPtrArray) nodes = vms_xml_nodes(doc, NULL, paths[i]);
        for (guint j = 0; j < nodes->len; j++) {
            xmlNodePtr attribute = nodes->pdata[j];
            g_autofree char *path = vms_xml_string(doc, attribute, ".");
            g_autofree char *own = g_strdup_printf("%s.%s", path, name);
            set_prop(attribute->parent, (const char *)attribute->name, own);
        }
    }
}

/* libvirt chooses a new address where there is none. */
static void drop_macs(xmlDocPtr doc)
{
    vms_xml_remove(doc, NULL, "/domain/devices/interface/mac");
}

/* path NULL: libvirt makes a fresh one from the template. */
static void set_nvram(xmlNodePtr nvram, const char *path)
{
    vms_xml_remove(nvram->doc, nvram, "@type | source");
    xmlChar *escaped = xmlEncodeSpecialChars(nvram->doc, (const xmlChar *)(path ? path : ""));
    xmlNodeSetContent(nvram, escaped);
    xmlFree(escaped);
}

char *vms_define_rewrite(const char *xml, const char *name, bool new_identity, bool keep_macs,
                         const VmsNewDisk *disks, size_t n_disks, const char *nvram, GError **error)
{
    g_autoptr(xmlDoc) doc = vms_xml_parse(xml, error);
    if (!doc)
        return NULL;
    xmlNodePtr root = xmlDocGetRootElement(doc);
    for (size_t i = 0; i < G_N_ELEMENTS(runtime); i++)
        vms_xml_remove(doc, NULL, runtime[i]);
    if (name)
        vms_xml_set_child(root, "name", name);
    if (new_identity) {
        g_autofree char *uuid = g_uuid_string_random();
        set_domain_uuid(doc, uuid);
        if (!keep_macs)
            drop_macs(doc);
        if (name)
            part_from_original(doc, name);
    }
    rewrite_disks(doc, disks, n_disks);
    xmlNodePtr os_nvram = vms_xml_node(doc, NULL, "/domain/os/nvram");
    if (os_nvram && (nvram || new_identity))
        set_nvram(os_nvram, nvram);
    return vms_xml_serialize(doc);
}

char *vms_define_uuid(const char *xml, GError **error)
{
    g_autoptr(xmlDoc) doc = vms_xml_parse(xml, error);
    char *uuid = doc ? vms_xml_string(doc, NULL, "/domain/uuid") : NULL;
    if (doc && !uuid)
        vms_fail(error, VMS_ERROR_INVALID, "a domain without UUID");
    return uuid;
}

char *vms_define_set_uuid(const char *xml, const char *uuid, GError **error)
{
    g_autoptr(xmlDoc) doc = vms_xml_parse(xml, error);
    if (!doc)
        return NULL;
    set_domain_uuid(doc, uuid);
    return vms_xml_serialize(doc);
}

static bool check_free(VmsConn *conn, const char *name, const char *uuid, bool replace,
                       GError **error)
{
    g_autoptr(virDomain) same = name ? virDomainLookupByName(vms_conn_get(conn), name) : NULL;
    if (!same && uuid)
        same = virDomainLookupByUUIDString(vms_conn_get(conn), uuid);
    if (!same)
        return true;
    if (!replace)
        return vms_fail(error, VMS_ERROR_EXISTS, "a domain %s exists already",
                        virDomainGetName(same));
    if (virDomainIsActive(same) == 1)
        return vms_fail(error, VMS_ERROR_REFUSED, "domain %s is running: shut it off first",
                        virDomainGetName(same));
    return true;
}

virDomainPtr vms_define_domain(VmsConn *conn, const char *xml, bool replace, GError **error)
{
    g_autoptr(xmlDoc) doc = vms_xml_parse(xml, error);
    if (!doc)
        return NULL;
    g_autofree char *name = vms_xml_string(doc, NULL, "/domain/name");
    g_autofree char *uuid = vms_xml_string(doc, NULL, "/domain/uuid");
    if (!check_free(conn, name, uuid, replace, error))
        return NULL;
    virDomainPtr domain = virDomainDefineXML(vms_conn_get(conn), xml);
    if (!domain)
        vms_virt_fail(error, "defining %s", name ? name : "the domain");
    return domain;
}

bool vms_define_can_read_memory(VmsConn *conn, const char *path, GError **error)
{
    char *xml = virDomainSaveImageGetXMLDesc(vms_conn_get(conn), path, 0);
    if (!xml)
        return vms_virt_fail(error, "libvirt reading %s", path);
    free(xml);
    return true;
}

bool vms_define_restore_memory(VmsConn *conn, const char *save_path, bool paused, GError **error)
{
    unsigned flags = paused ? VIR_DOMAIN_SAVE_PAUSED : VIR_DOMAIN_SAVE_RUNNING;
    return virDomainRestoreFlags(vms_conn_get(conn), save_path, NULL, flags) == 0 ||
           vms_virt_fail(error, "restoring from %s", save_path);
}
