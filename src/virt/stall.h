/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A guest that QEMU has paused because an image could not grow: the write that failed is kept, and
 * done again when the guest is resumed. */
#pragma once

#include "virt/conn.h"

/* Is the guest paused by that, and because of one of images (NULL-terminated paths of active
 * layers)? A pause that somebody asked for, or for another error, is not meant. */
bool vms_stall_is(virDomainPtr domain, const char *const *images);

/* Resumes it. Only after vms_stall_is(). */
bool vms_stall_end(virDomainPtr domain, GError **error);
