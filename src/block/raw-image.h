/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The short way to the bytes of a raw image: what qemu-nbd would read, without the copies between
 * two processes. */
#pragma once

#include <stdint.h>

/* A descriptor to read path from (close it), where its bytes are those of the disk: a regular file
 * of a disk of size bytes, on a file system of this host. Else -1: read it through VmsSource. Not
 * on a network file system, because a read that hangs there would hang us. */
int vms_raw_image_open(const char *path, uint64_t size);
