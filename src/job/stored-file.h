/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Random access to one file of a stored snapshot, straight from the repository: for whoever serves
 * it on (a FUSE file, a network block device). Private to job/.
 *
 * Blobs are fetched in windows of some megabytes, several requests at once, verified, and kept a
 * little while; ahead of a reader that goes forward several windows are on their way at any time.
 * Memory is bounded whatever the size of the file (40 MiB, and what is being fetched). */
#pragma once

#include "repo/tree.h"

typedef struct VmsStoredFile VmsStoredFile;

/* Of the data that came from the store, for progress. */
typedef struct {
    uint64_t bytes_fetched; /* verified plaintext; a window that is fetched twice counts twice */
    uint64_t bytes_read;    /* given to callers */
} VmsStoredFileStats;

/* A file of any layout: blobs of one size or of many. repo and node stay the caller's and must
 * outlive it, as must cancellable (nullable), which also stops waiting readers. The index must be
 * in sync. NOT_FOUND, CORRUPT (the blobs do not add up to the file's size). */
VmsStoredFile *vms_stored_file_open(VmsRepo *repo, const VmsNode *node, GCancellable *cancellable,
                                    GError **error);
/* Waits for a fetch that is under way. */
void vms_stored_file_free(VmsStoredFile *file);

uint64_t vms_stored_file_size(const VmsStoredFile *file); /* bytes */

/* The bytes [offset, offset + length), cut at the end of the file: *ret_read is what was copied, 0
 * at or beyond the end. All of it is authenticated and re-hashed. Safe from any number of threads.
 * An error is not kept: the next call tries again. */
bool vms_stored_file_read(VmsStoredFile *file, uint64_t offset, void *buffer, size_t length,
                          size_t *ret_read, GError **error);

void vms_stored_file_stats(VmsStoredFile *file, VmsStoredFileStats *ret_stats);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsStoredFile, vms_stored_file_free)
