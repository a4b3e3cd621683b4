/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Adding blobs to a repository: dedup, compress, seal, pack, upload, index. */
#pragma once

#include "repo/lock.h"

typedef struct VmsRepoWriter VmsRepoWriter;

typedef enum { VMS_COMPRESSION_AUTO, VMS_COMPRESSION_OFF, VMS_COMPRESSION_MAX } VmsCompression;

typedef struct {
    VmsCompression compression;
    unsigned uploads;   /* packs in flight at once; 0: 4 */
    uint64_t pack_size; /* bytes; 0: 16 MiB */
    VmsRepoLock *lock;  /* nullable: settled before anything is put; outlives the writer */
} VmsRepoWriterOptions;

typedef struct {
    uint64_t blobs_new, blobs_known;
    uint64_t bytes_read;     /* plaintext given to add */
    uint64_t bytes_new;      /* plaintext of new blobs */
    uint64_t bytes_uploaded; /* of packs, indexes and what else was put */
    uint64_t packs;
    uint64_t hash_us, pack_us; /* busy time, summed over threads: SHA-256; compress and seal */
    uint64_t upload_us;        /* in the store */
    uint64_t wait_us;          /* callers that waited for the uploads */
} VmsRepoWriterStats;

/* The repository's index must be in sync and a lock held (or begun, then in the options). options
 * nullable. */
VmsRepoWriter *vms_repo_writer_new(VmsRepo *repo, const VmsRepoWriterOptions *options,
                                   GCancellable *cancellable, GError **error);

/* Abandons what was not flushed: half-filled packs are dropped; packs that were stored already get
 * an index if the store still answers, so that the same run started again does not upload them
 * twice. */
void vms_repo_writer_free(VmsRepoWriter *writer);

/* Adds one blob unless the repository or this writer has it. Blocks while the uploads are behind.
 * Thread-safe. An error of an upload thread is returned from the next call. */
bool vms_repo_writer_add(VmsRepoWriter *writer, VmsBlobType type, const void *data, size_t len,
                         VmsId *ret_id, GError **error);

/* Same with an id that the caller knows already (SHA-256 of data); data may be NULL only if the
 * blob is known, else NOT_FOUND. */
bool vms_repo_writer_add_known(VmsRepoWriter *writer, VmsBlobType type, const VmsId *id,
                               const void *data, size_t len, GError **error);

/* Writes the last packs, waits for all uploads, then writes the index. Nothing is lost after it;
 * a snapshot may be saved only after it. */
bool vms_repo_writer_flush(VmsRepoWriter *writer, GError **error);

void vms_repo_writer_stats(VmsRepoWriter *writer, VmsRepoWriterStats *ret_stats);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsRepoWriter, vms_repo_writer_free)
