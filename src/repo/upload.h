/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Uploading packs with several threads, and listing them in index files once they are durable. */
#pragma once

#include "repo/lock.h"
#include "repo/pack-buffer.h"
#include "repo/pack.h"

typedef struct VmsUpload VmsUpload;

/* A pack on its way: either bytes, to which the trailer is added, or whole, which has it already.
 */
typedef struct {
    VmsPackBuffer *bytes;
    GArray *blobs; /* of VmsPackBlob */
    GBytes *whole; /* nullable */
    VmsId id;      /* set by the upload unless whole */
} VmsUploadPack;

void vms_upload_pack_free(VmsUploadPack *pack);

/* Called without locks held, after the blobs of an index file are in the index cache. */
typedef void (*VmsUploadIndexedFunc)(void *user, const VmsPackBlob *blobs, size_t count);

/* lock: nullable; settled before anything is put. */
VmsUpload *vms_upload_new(VmsRepo *repo, VmsRepoLock *lock, unsigned threads,
                          VmsUploadIndexedFunc indexed, void *user, GCancellable *cancellable);

/* Stops the threads; what waits is dropped, what is stored gets an index if the store answers. */
void vms_upload_free(VmsUpload *upload);

/* To be filled: room for size bytes, of which all callers want as many. 0 (and upload NULL): it
 * will be whole. */
VmsUploadPack *vms_upload_pack_new(VmsUpload *upload, size_t size);

/* Takes pack. Waits while the threads are behind. Fails with the error of an earlier pack. */
bool vms_upload_push(VmsUpload *upload, VmsUploadPack *pack, GError **error);

/* False with the error that stopped the uploads. */
bool vms_upload_check(VmsUpload *upload, GError **error);

/* True while a pack waits because every thread is busy: the store is what holds things up. */
bool vms_upload_behind(VmsUpload *upload);

/* Waits for all packs and writes the index. */
bool vms_upload_flush(VmsUpload *upload, GError **error);

typedef struct {
    uint64_t packs, bytes; /* bytes: of packs and index files */
    uint64_t upload_us, wait_us;
} VmsUploadStats;

void vms_upload_stats(VmsUpload *upload, VmsUploadStats *ret_stats);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsUploadPack, vms_upload_pack_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsUpload, vms_upload_free)
