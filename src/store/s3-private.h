/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The S3 store, for the files that implement its calls. */
#pragma once

#include "store/s3-request.h"
#include "store/store.h"

#define OTHER_BYTES "the server stored other bytes than were sent"

typedef struct {
    VmsStore store;
    VmsS3Bucket bucket;
    int bucket_seen;   /* atomic bool */
    int conditional;   /* atomic: If-None-Match is UNKNOWN, YES, NO (s3.c) */
    int etag_is_other; /* atomic bool: an ETag was not the MD5 of what is nevertheless right */
} VmsS3;

/* s3-parts.c: multipart uploads. */
VmsStoreParts *vms_s3_begin_parts(VmsStore *store, const char *name, uint64_t size,
                                  uint64_t part_size, GCancellable *cancellable, GError **error);
bool vms_s3_put_part(VmsStore *store, VmsStoreParts *parts, unsigned index, GBytes *data,
                     GCancellable *cancellable, GError **error);
bool vms_s3_finish_parts(VmsStore *store, VmsStoreParts *parts, GCancellable *cancellable,
                         GError **error);
void vms_s3_free_parts(VmsStore *store, VmsStoreParts *parts);

/* s3-uploads.c: those that never ended. */
bool vms_s3_abort_parts(VmsStore *store, uint64_t older_than_s, unsigned *ret_count,
                        GCancellable *cancellable, GError **error);
