/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A short pause of the guest that always ends (P1): also where libvirtd is restarted or we are
 * killed in it. */
#pragma once

#include "virt/conn.h"

typedef struct VmsPause VmsPause;

/* A guest that is paused already stays so in the end. On error it runs. */
VmsPause *vms_pause_new(virDomainPtr domain, GError **error);

/* Did we pause it? And when, in monotonic µs, right before the guest was stopped. */
bool vms_pause_is_ours(const VmsPause *pause);
int64_t vms_pause_begun_us(const VmsPause *pause);

/* Ends it and frees pause, NULL is fine. An error: the guest is still paused. */
bool vms_pause_end(VmsPause *pause, GError **error);

/* Of one that was killed in it, and its helper too. Is the guest paused by whatever command (and
 * not by QEMU, for an error)? Then undo resumes it. */
bool vms_pause_is_left(virDomainPtr domain);
bool vms_pause_undo(virDomainPtr domain, GError **error);
