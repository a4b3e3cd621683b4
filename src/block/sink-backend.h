/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside of block/: how a sink stores bytes. sink.c owns names, locks and the finish. */
#pragma once

#include "block/sink.h"

typedef struct VmsSinkBackend VmsSinkBackend;

/* A piece of a write, cut at VMS_SINK_PIECE boundaries; zero says it is all zeroes. Thread-safe. */
typedef struct {
    bool (*write)(VmsSinkBackend *backend, uint64_t offset, const void *data, size_t length,
                  bool zero, GError **error);
    /* Everything written is in the file afterwards (not yet fsynced). Called once, last. */
    bool (*close)(VmsSinkBackend *backend, GError **error);
    void (*free)(VmsSinkBackend *backend);
} VmsSinkOps;

struct VmsSinkBackend {
    const VmsSinkOps *ops;
};

#define VMS_SINK_PIECE 65536 /* bytes: a qcow2 cluster; all-zero ones become holes */

/* fd: the empty partial file, open for writing, owned by the sink and valid until free. */
VmsSinkBackend *vms_sink_raw_new(int fd, uint64_t size, GError **error);

/* The same; the file is turned into a qcow2 image. path: its name, for messages: it is never opened
 * by that. */
VmsSinkBackend *vms_sink_qcow2_new(int fd, const char *path, uint64_t size,
                                   GCancellable *cancellable, GError **error);
