/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Blobs that are too long for memory (the trees of large disks): written and read in pieces through
 * temporary files. */
#pragma once

#include "repo/writer.h"

typedef struct VmsBlobStream VmsBlobStream;

VmsBlobStream *vms_blob_stream_new(VmsRepoWriter *writer, VmsBlobType type, GError **error);
bool vms_blob_stream_feed(VmsBlobStream *stream, const void *data, size_t len, GError **error);
/* Hands the blob to the writer, in a pack of its own, unless it is known. */
bool vms_blob_stream_finish(VmsBlobStream *stream, VmsId *ret_id, GError **error);
void vms_blob_stream_free(VmsBlobStream *stream);

/* Receives a piece. Return false with *error to stop. */
typedef bool (*VmsBlobStreamFunc)(void *user, uint8_t *data, size_t len, GError **error);

/* Reads a blob of any size. Every byte given to func is authenticated; that the whole has the right
 * SHA-256 is known only when this returns true. NOT_FOUND, CORRUPT. */
bool vms_blob_stream_read(VmsRepo *repo, VmsBlobType type, const VmsId *id, VmsBlobStreamFunc func,
                          void *user, GCancellable *cancellable, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsBlobStream, vms_blob_stream_free)
