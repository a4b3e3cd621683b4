/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A stored save image into a running guest: libvirt reads it through FUSE straight from the
 * repository, or, where that cannot be, from a temporary file. Private to job/. */
#pragma once

#include "job/context.h"
#include "job/memory-image.h"
#include "job/restore.h"

typedef struct {
    VmsContext *context;
    VmsFetchOptions fetch;
    const VmsNode *node;   /* memory.save */
    const char *file_path; /* of the temporary file, should one be needed */
    bool spool;            /* one is wanted */
    bool paused;           /* leave the guest so */
    VmsMemoryXmlFunc xml;  /* for the header */
    void *user;
    GPtrArray *notes; /* memory-spooled: it had to be a file, and why */
} VmsMemoryRestore;

/* Before anything is made: is there FUSE here? If not it sets spool and says so, and there has to
 * be the space. NO_SPACE. */
bool vms_memory_restore_prepare(VmsMemoryRestore *restore, GError **error);

/* Restores. An error while the image is read (a damaged object, Ctrl-C) is given as it is, not as
 * what libvirt makes of it. Nothing is left mounted, and no file. */
bool vms_memory_restore_run(VmsMemoryRestore *restore, VmsMemorySource *ret_source,
                            uint64_t *ret_fetched, GError **error);
