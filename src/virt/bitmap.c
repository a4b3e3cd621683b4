/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "virt/bitmap.h"

#include "base/error.h"
#include "base/process.h"
#include "virt/image.h"
#include "virt/qmp.h"

#include <string.h>

static bool has_name(VmsJson *bitmap, const char *name)
{
    const char *text;
    return vms_json_has(bitmap, "name") && vms_json_string(bitmap, "name", &text, NULL) &&
           strcmp(text, name) == 0;
}

static bool has_bitmap(VmsJson *node, const char *name)
{
    VmsJson *list, *bitmap;
    if (!vms_json_has(node, "dirty-bitmaps") || !vms_json_array(node, "dirty-bitmaps", &list, NULL))
        return false;
    for (size_t i = 0; i < vms_json_length(list); i++)
        if (vms_json_element_object(list, i, &bitmap, NULL) && has_name(bitmap, name))
            return true;
    return false;
}

static bool ask_nodes(virDomainPtr domain, VmsJson **ret_reply, VmsJson **ret_nodes, GError **error)
{
    return vms_qmp_run(domain,
                       "{\"execute\":\"query-named-block-nodes\",\"arguments\":{\"flat\":true}}",
                       -1, ret_reply, error) &&
           vms_json_array(*ret_reply, "return", ret_nodes, error);
}

/* The qcow2 node of that file: its file below has the same name, but another driver. */
static const char *node_of(VmsJson *nodes, const char *path)
{
    VmsJson *node;
    const char *file, *driver, *name;
    for (size_t i = 0; i < vms_json_length(nodes); i++)
        if (vms_json_element_object(nodes, i, &node, NULL) &&
            vms_json_string(node, "file", &file, NULL) &&
            vms_json_string(node, "drv", &driver, NULL) &&
            vms_json_string(node, "node-name", &name, NULL) && strcmp(driver, "qcow2") == 0 &&
            strcmp(file, path) == 0)
            return name;
    return NULL;
}

static bool run(virDomainPtr domain, const char *command, const char *node, const char *name,
                const char *more, GError **error)
{
    g_autofree char *text =
        g_strdup_printf("{\"execute\":\"%s\",\"arguments\":{\"node\":\"%s\",\"name\":\"%s\"%s}}",
                        command, node, name, more);
    return vms_qmp_run(domain, text, -1, NULL, error);
}

static bool begin_live(virDomainPtr domain, const char *path, const char *name, GError **error)
{
    g_autoptr(VmsJson) reply = NULL;
    VmsJson *nodes;
    if (!ask_nodes(domain, &reply, &nodes, error))
        return false;
    const char *node = node_of(nodes, path);
    if (!node)
        return vms_fail(error, VMS_ERROR_NOT_FOUND, "QEMU names no node for %s", path);
    return run(domain, "block-dirty-bitmap-add", node, name, ",\"persistent\":true", error);
}

bool vms_bitmap_begin(virDomainPtr domain, const char *path, const char *name,
                      GCancellable *cancellable, GError **error)
{
    const char *const argv[] = {"qemu-img", "bitmap", "--add", "-f", "qcow2",
                                "--",       path,     name,    NULL};
    if (virDomainIsActive(domain) == 1)
        return begin_live(domain, path, name, error);
    return vms_process_run(argv, cancellable, NULL, error);
}

/* Where it lies in an image that is only read, it stays everywhere: half of it would be wrong. */
static bool remove_live(virDomainPtr domain, const char *name, bool *ret_gone, GError **error)
{
    g_autoptr(VmsJson) reply = NULL;
    VmsJson *nodes, *node;
    const char *node_name;
    bool frozen = false;
    if (!ask_nodes(domain, &reply, &nodes, error))
        return false;
    for (size_t i = 0; i < vms_json_length(nodes); i++)
        if (vms_json_element_object(nodes, i, &node, NULL) && has_bitmap(node, name) &&
            (!vms_json_bool(node, "ro", &frozen, error) || frozen))
            return frozen;
    for (size_t i = 0; i < vms_json_length(nodes); i++)
        if (vms_json_element_object(nodes, i, &node, NULL) && has_bitmap(node, name) &&
            (!vms_json_string(node, "node-name", &node_name, error) ||
             !run(domain, "block-dirty-bitmap-remove", node_name, name, "", error)))
            return false;
    *ret_gone = true;
    return true;
}

bool vms_bitmap_remove(virDomainPtr domain, const char *path, const char *name, bool *ret_gone,
                       GError **error)
{
    const char *const argv[] = {"qemu-img", "bitmap", "--remove", "-f", "qcow2",
                                "--",       path,     name,       NULL};
    *ret_gone = false;
    if (virDomainIsActive(domain) == 1)
        return remove_live(domain, name, ret_gone, error);
    g_autoptr(VmsImageInfo) info = vms_image_info_read(path, "qcow2", NULL, error);
    if (!info)
        return false;
    *ret_gone = vms_image_info_bitmap(info, name) == VMS_BITMAP_MISSING ||
                vms_process_run(argv, NULL, NULL, error);
    return *ret_gone;
}
