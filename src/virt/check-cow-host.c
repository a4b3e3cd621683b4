/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* QEMU opens /dev/userfaultfd, else it makes the system call, which an unprivileged process may
 * only with vm.unprivileged_userfaultfd=1. libvirt gives a domain a /dev of its own and, where it
 * knows of the node, puts it there for QEMU's user. QEMU says the same whatever is missing; here is
 * found out which it is. */
#include "virt/check-cow.h"

#include "virt/qemu-process.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NODE "/dev/userfaultfd"
#define AND_RESTART "then shut the domain down and start it again"

bool vms_check_cow_memory(const VmsFacts *facts, uint64_t *ret_resident, uint64_t *ret_available)
{
    int pid = vms_qemu_pid(facts);
    g_autofree char *status = vms_qemu_proc(pid, "status");
    g_autofree char *host = NULL;
    if (!status || !g_file_get_contents("/proc/meminfo", &host, NULL, NULL) ||
        !vms_qemu_proc_number(status, "VmRSS", ret_resident) ||
        !vms_qemu_proc_number(host, "MemAvailable", ret_available))
        return false;
    *ret_resident *= 1024;
    *ret_available *= 1024;
    return true;
}

static uid_t owner_of(int pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d", pid);
    struct stat st;
    return stat(path, &st) == 0 ? st.st_uid : 0;
}

bool vms_check_cow_is_confined(const char *label)
{
    return label && strstr(label, "(enforce)");
}

void vms_check_cow_look(const VmsFacts *facts, VmsUserfaultfd *ret_found)
{
    struct stat st;
    int pid = vms_qemu_pid(facts);
    g_autofree char *node = g_strdup_printf("/proc/%d/root" NODE, pid);
    g_autofree char *label = vms_qemu_proc(pid, "attr/current");
    bool seen = pid && stat(node, &st) == 0;
    ret_found->node = seen || !pid || errno != ENOENT;
    ret_found->kernel =
        access(NODE, F_OK) == 0 || access("/proc/sys/vm/unprivileged_userfaultfd", F_OK) == 0;
    ret_found->may_open =
        !seen || st.st_uid == owner_of(pid) || owner_of(pid) == 0 || (st.st_mode & 0006) == 0006;
    ret_found->confined = pid && vms_check_cow_is_confined(label);
}

char *vms_check_cow_userfaultfd(const VmsUserfaultfd *found, char **ret_remedy)
{
    if (!found->kernel) {
        *ret_remedy = g_strdup("use a kernel with CONFIG_USERFAULTFD, 5.11 or later");
        return g_strdup("the host's kernel does not have it");
    }
    if (!found->node) {
        *ret_remedy =
            g_strdup("add \"" NODE "\" to cgroup_device_acl in qemu.conf, where that is set, "
                     "restart libvirtd, " AND_RESTART "; a libvirt that does not know of it "
                     "(9.0) needs sysctl vm.unprivileged_userfaultfd=1");
        return g_strdup("the domain's /dev has no " NODE);
    }
    if (!found->may_open) {
        *ret_remedy = g_strdup("with namespaces = [] in qemu.conf, let QEMU's group have the node "
                               "by a udev rule: KERNEL==\"userfaultfd\", GROUP=\"kvm\", "
                               "MODE=\"0660\"; otherwise " AND_RESTART);
        return g_strdup(NODE " may not be opened by QEMU's user");
    }
    if (found->confined) {
        *ret_remedy = g_strdup("add the line \"" NODE " rw,\" to "
                               "/etc/apparmor.d/local/abstractions/libvirt-qemu, " AND_RESTART);
        return g_strdup("QEMU is confined by AppArmor, which may forbid " NODE);
    }
    *ret_remedy = g_strdup("let QEMU open " NODE " (docs/operations.md), " AND_RESTART);
    return g_strdup("the host's kernel does not give it to QEMU");
}
