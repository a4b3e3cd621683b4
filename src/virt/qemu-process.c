/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "virt/qemu-process.h"

#include <string.h>

int vms_qemu_pid(const VmsFacts *facts)
{
    g_autofree char *path = g_strdup_printf("/run/libvirt/qemu/%s.pid", facts->name);
    g_autofree char *text = NULL;
    if (!g_file_get_contents(path, &text, NULL, NULL))
        return 0;
    return (int)g_ascii_strtoull(text, NULL, 10);
}

char *vms_qemu_proc(int pid, const char *name)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/%s", pid, name);
    char *text = NULL;
    return g_file_get_contents(path, &text, NULL, NULL) ? text : NULL;
}

bool vms_qemu_proc_number(const char *text, const char *name, uint64_t *ret_value)
{
    size_t len = strlen(name);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, len) != 0 || line[len] != ':')
            continue;
        *ret_value = g_ascii_strtoull(line + len + 1, NULL, 10);
        return true;
    }
    return false;
}
