/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the host says about copy-on-write memory; only for check-cow.c. */
#pragma once

#include "virt/check-private.h"

/* Bytes of memory that QEMU has resident, and that the host could give. False where unknown. */
bool vms_check_cow_memory(const VmsFacts *facts, uint64_t *ret_resident, uint64_t *ret_available);

/* What decides whether QEMU has userfaultfd with write protection, as far as it can be seen. */
typedef struct {
    bool kernel;   /* the host's kernel has it */
    bool node;     /* the domain's /dev has the node, or that is not known */
    bool may_open; /* QEMU's user may open it, or that is not known */
    bool confined; /* by AppArmor's profile of the domain, enforced */
} VmsUserfaultfd;

void vms_check_cow_look(const VmsFacts *facts, VmsUserfaultfd *ret_found);

/* Why QEMU has none, and what to do about it (both transfer full). */
char *vms_check_cow_userfaultfd(const VmsUserfaultfd *found, char **ret_remedy);

/* label: of /proc/PID/attr/current, nullable: "libvirt-UUID (enforce)", "unconfined" … */
bool vms_check_cow_is_confined(const char *label);
