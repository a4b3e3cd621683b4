/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One bucket and single requests to it. */
#pragma once

#include "store/http.h"
#include "store/s3-credentials.h"
#include "store/s3-error.h"
#include "store/s3-url.h"

typedef struct {
    VmsHttp *http;
    VmsS3Credentials *credentials;
    VmsS3Url url;
    char *region, *scope;
} VmsS3Bucket;

/* USAGE names the wrong option. */
bool vms_s3_request_init(VmsS3Bucket *ret_bucket, const VmsS3Options *options, GError **error);
void vms_s3_request_clear(VmsS3Bucket *bucket);

typedef struct {
    const char *method;
    const char *url;
    GBytes *body;        /* PUT, POST */
    GChecksum *checksum; /* of body, SHA-256; is read, so it cannot be updated any more */
    const char *md5;     /* of body, base64, nullable: sent instead of x-amz-checksum-sha256, which
                            means something else where the body is not the object */
    bool only_new;       /* PUT: If-None-Match: * */
    const char *range;   /* nullable */
    size_t max_body;
} VmsS3Request;

/* Signs, sends, waits. Any status is a reply. Keys that are refused as expired are looked for once
 * more, and the request is sent again with others where there are any. */
bool vms_s3_request_run(VmsS3Bucket *bucket, const VmsS3Request *request, VmsHttpReply *ret_reply,
                        GCancellable *cancellable, GError **error);

/* vms_s3_error_set for a reply from this bucket. */
bool vms_s3_request_fail(VmsS3Bucket *bucket, const VmsHttpReply *reply, GError **error);

/* True for a 2xx that is meant so: its body is no S3 error. */
bool vms_s3_success(const VmsHttpReply *reply);

/* False where the reply's ETag looks like an MD5 sum and is another one than md5, in hex. */
bool vms_s3_etag_may_be(const VmsHttpReply *reply, const char *md5);
