/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The header of a qcow2 image that nobody vouches for, before QEMU sees the image. Private to job/.
 */
#pragma once

#include <glib.h>
#include <stdint.h>

/* What the image in fd says that it stands on, "" for nothing, and its size in bytes (transfer
 * full). NULL: no header, or one that asks for more than plain clusters (an external data file,
 * encryption, another version). */
char *vms_plain_header_read(int fd, uint64_t *ret_size);
