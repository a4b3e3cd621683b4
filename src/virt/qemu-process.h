/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside of virt/: a domain's QEMU as a process of this host. */
#pragma once

#include "virt/facts.h"

/* 0: not known. By the file that libvirt keeps; it may be of a QEMU that has just ended. */
int vms_qemu_pid(const VmsFacts *facts);

/* Text of /proc/PID/NAME, NULL where it cannot be read (transfer full). */
char *vms_qemu_proc(int pid, const char *name);

/* The value in "NAME: 1234" of such a text, as a number (of KiB, where that is the unit). */
bool vms_qemu_proc_number(const char *text, const char *name, uint64_t *ret_value);
