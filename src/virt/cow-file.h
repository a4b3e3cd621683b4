/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside of virt/: the file that QEMU writes a background snapshot into, a libvirt save image. */
#pragma once

#include "virt/facts.h"

#include <sys/types.h>

typedef struct VmsCowFile VmsCowFile;

/* See vms_cow_prepare(). The descriptor stands behind the header: QEMU appends there, for the
 * offset is shared with whoever is given the descriptor. */
VmsCowFile *vms_cow_file_create(virDomainPtr domain, const VmsFacts *facts, const char *path,
                                GError **error);
int vms_cow_file_fd(const VmsCowFile *file);

/* QEMU is done: gives back the space that was reserved too much and waits for the disk. */
bool vms_cow_file_finish(VmsCowFile *file, GError **error);

/* Removes the file unless it is finished. */
void vms_cow_file_free(VmsCowFile *file);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsCowFile, vms_cow_file_free)
