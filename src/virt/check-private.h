/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parts of check.c; nothing else includes this. */
#pragma once

#include "virt/check.h"

typedef struct {
    virDomainPtr domain;
    const VmsFacts *facts;
    const VmsCheckOptions *options;
    VmsCheck *check;
} VmsChecking;

/* Adds a finding about the domain (target NULL) or a disk. remedy nullable for INFO. */
void vms_check_add(const VmsChecking *c, VmsFindingSeverity severity, const char *code,
                   const char *target, const char *remedy, const char *format, ...)
    G_GNUC_PRINTF(6, 7);

/* State, jobs, what libvirt keeps; then whether memory is possible, before the disks are looked at.
 */
void vms_check_state(const VmsChecking *c);
void vms_check_memory(const VmsChecking *c);

/* Fills check->disks. */
bool vms_check_disks(const VmsChecking *c, GError **error);

/* Whether QEMU's background snapshot is possible; one finding "cow-…" per reason why not. */
bool vms_check_cow(const VmsChecking *c, VmsFindingSeverity severity);

/* Needs check->engine. */
void vms_check_quiesce(const VmsChecking *c);

/* Needs check->disks and check->engine. */
void vms_check_space(const VmsChecking *c);
