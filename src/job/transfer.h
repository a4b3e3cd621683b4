/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How an export goes about it: as configured in [export], as its options say. */
#pragma once

#include "repo/writer.h"

typedef struct {
    uint64_t limit_upload, limit_read; /* bytes per second; 0: no limit */
    VmsCompression compression;
    unsigned threads;    /* that hash, compress and seal; 0: one per processor */
    uint64_t chunk_size; /* bytes; of disks */
} VmsTransfer;

void vms_transfer_init(VmsTransfer *transfer);

/* name: "limit-upload", "limit-read", "compression", "threads" or "chunk-size". USAGE. */
bool vms_transfer_set(VmsTransfer *transfer, const char *name, const char *value, GError **error);
