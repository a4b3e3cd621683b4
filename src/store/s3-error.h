/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What an S3 service's refusal means to the caller. */
#pragma once

#include "store/http.h"

typedef struct {
    const char *bucket, *region, *access_key_id; /* for the message */
} VmsS3ErrorContext;

/* reply is no success (vms_s3_success). Sets *error by the S3 error code, or the status where there
 * is none; gives vms_retry_hint a Retry-After. Returns false. */
bool vms_s3_error_set(GError **error, const VmsHttpReply *reply, const VmsS3ErrorContext *context);

/* True where the body of a 2xx is an S3 error: some come after the status was sent. */
bool vms_s3_error_in_body(const VmsHttpReply *reply);

/* True where the keys are not good any more: others may be. */
bool vms_s3_error_is_expired(const VmsHttpReply *reply);

/* True where the reply says that the server does not do conditional writes. */
bool vms_s3_error_is_unsupported(const VmsHttpReply *reply);

/* True where the reply is about the bucket, not the object. */
bool vms_s3_error_is_no_bucket(const VmsHttpReply *reply);
