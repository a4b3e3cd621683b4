/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading pieces of a file that mostly follow each other. Private to block/. One thread. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct VmsRamReader VmsRamReader;

VmsRamReader *vms_ram_reader_new(int fd); /* stays the caller's */
void vms_ram_reader_free(VmsRamReader *reader);

/* All length bytes. CORRUPT where the file is shorter by now. */
bool vms_ram_reader_read(VmsRamReader *reader, uint64_t offset, void *buffer, size_t length,
                         GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsRamReader, vms_ram_reader_free)
