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
    GBytes *body;        /* PUT */
    GChecksum *checksum; /* PUT: SHA-256 of body; is read, so it cannot be updated any more */
    bool only_new;       /* PUT: If-None-Match: * */
    const char *range;   /* nullable */
    size_t max_body;
} VmsS3Request;

/* Signs, sends, waits. Any status is a reply. */
bool vms_s3_request_run(VmsS3Bucket *bucket, const VmsS3Request *request, VmsHttpReply *ret_reply,
                        GCancellable *cancellable, GError **error);

/* vms_s3_error_set for a reply from this bucket. */
bool vms_s3_request_fail(VmsS3Bucket *bucket, const VmsHttpReply *reply, GError **error);
