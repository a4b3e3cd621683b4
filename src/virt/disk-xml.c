/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Libvirt writes
 *
 *     <disk type='file'> <driver type='qcow2'/> <source file='OVERLAY'/>
 *       <backingStore type='block'> <format type='raw'/> <source dev='BASE'/> … </backingStore>
 *
 * when it takes an external snapshot of a persistent domain; the same is written here for one that
 * is off. */
#include "virt/disk-xml.h"

#include <string.h>
#include <sys/stat.h>

#define X(text) ((const xmlChar *)(text))

static xmlNodePtr child(xmlNodePtr parent, const char *name)
{
    for (xmlNodePtr node = parent->children; node; node = node->next)
        if (node->type == XML_ELEMENT_NODE && strcmp((const char *)node->name, name) == 0)
            return node;
    return NULL;
}

static char *attribute(xmlNodePtr node, const char *name)
{
    xmlChar *value = node ? xmlGetNoNsProp(node, X(name)) : NULL;
    char *text = g_strdup((const char *)value);
    xmlFree(value);
    return text;
}

xmlNodePtr vms_disk_xml_find(xmlDocPtr doc, const char *target)
{
    g_autoptr(GPtrArray) disks = vms_xml_nodes(doc, NULL, "/domain/devices/disk");
    for (guint i = 0; i < disks->len; i++) {
        g_autofree char *name = attribute(child(disks->pdata[i], "target"), "dev");
        if (g_strcmp0(name, target) == 0)
            return disks->pdata[i];
    }
    return NULL;
}

char *vms_disk_xml_source(xmlNodePtr disk)
{
    xmlNodePtr source = child(disk, "source");
    char *path = attribute(source, "file");
    return path ? path : attribute(source, "dev");
}

xmlNodePtr vms_disk_xml_backing(xmlNodePtr disk)
{
    xmlNodePtr backing = child(disk, "backingStore");
    return backing && child(backing, "source") ? backing : NULL;
}

static void drop(xmlNodePtr node)
{
    if (!node)
        return;
    xmlUnlinkNode(node);
    xmlFreeNode(node);
}

/* Libvirt writes one; of several it would take the first. */
static void drop_sources(xmlNodePtr disk)
{
    for (xmlNodePtr source; (source = child(disk, "source"));)
        drop(source);
}

static xmlNodePtr move(xmlNodePtr node, xmlNodePtr parent)
{
    if (node) {
        xmlUnlinkNode(node);
        xmlAddChild(parent, node);
    }
    return node;
}

static void set_source(xmlNodePtr disk, const char *type, const char *path)
{
    xmlSetProp(disk, X("type"), X(type));
    xmlNodePtr source = xmlNewChild(disk, NULL, X("source"), NULL);
    xmlSetProp(source, X(strcmp(type, "block") == 0 ? "dev" : "file"), X(path));
}

static void set_format(xmlNodePtr disk, const char *format)
{
    xmlNodePtr driver = child(disk, "driver");
    if (!driver) {
        driver = xmlNewChild(disk, NULL, X("driver"), NULL);
        xmlSetProp(driver, X("name"), X("qemu"));
    }
    xmlSetProp(driver, X("type"), X(format));
}

void vms_disk_xml_push(xmlNodePtr disk, const VmsOverlay *overlay)
{
    xmlNodePtr below = child(disk, "backingStore");
    xmlNodePtr backing = xmlNewNode(NULL, X("backingStore"));
    g_autofree char *type = attribute(disk, "type");
    xmlSetProp(backing, X("type"), X(type ? type : "file"));
    xmlNodePtr format = xmlNewChild(backing, NULL, X("format"), NULL);
    xmlSetProp(format, X("type"), X(overlay->base_format));
    move(child(disk, "source"), backing);
    drop_sources(disk);
    move(below, backing);
    xmlAddChild(disk, backing);
    set_source(disk, "file", overlay->overlay);
    set_format(disk, "qcow2");
}

void vms_disk_xml_pop(xmlNodePtr disk, const VmsOverlay *overlay)
{
    struct stat st;
    xmlNodePtr backing = child(disk, "backingStore");
    g_autofree char *below = backing ? vms_disk_xml_source(backing) : NULL;
    drop_sources(disk);
    if (g_strcmp0(below, overlay->base) == 0) {
        g_autofree char *type = attribute(backing, "type");
        xmlSetProp(disk, X("type"), X(type ? type : "file"));
        move(child(backing, "source"), disk);
        move(child(backing, "backingStore"), disk);
    } else {
        bool is_block = stat(overlay->base, &st) == 0 && S_ISBLK(st.st_mode);
        set_source(disk, is_block ? "block" : "file", overlay->base);
    }
    drop(backing);
    set_format(disk, overlay->base_format);
}
