/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Objects in a bucket of an S3 service (REST API, Signature Version 4). */
#pragma once

#include "base/secret.h"
#include "store/store.h"

typedef enum {
    VMS_S3_STYLE_AUTO, /* virtual for amazonaws.com where the bucket's name allows it, else path */
    VMS_S3_STYLE_PATH, /* https://endpoint/bucket/key */
    VMS_S3_STYLE_VIRTUAL /* https://bucket.endpoint/key */
} VmsS3Style;

/* Everything is copied. NULL or zero takes the default, so a struct of zeroes with a bucket works
 * wherever AWS's own tools would. */
typedef struct {
    const char *endpoint; /* "https://s3.example.org[:port]", also http; NULL: AWS in the region.
                             Without a scheme it is https */
    const char *bucket;
    const char *prefix; /* "" or a path of [A-Za-z0-9._~-] parts, slashes at its ends are dropped */
    const char *region; /* NULL: AWS_REGION, AWS_DEFAULT_REGION, the profile's, us-east-1 */
    VmsS3Style style;
    const char *ca_file; /* PEM, instead of the system's list of authorities */

    /* Credentials. access_key_id with its secret wins; else profile; else, as AWS does: AWS_* of
     * the environment, shared credentials file, container endpoint, instance metadata. */
    const char *access_key_id;
    const VmsSecret *secret_access_key;
    const VmsSecret *session_token;
    const char *profile; /* of the shared credentials file */

    unsigned max_requests;      /* in flight at once (8); further calls wait */
    unsigned connect_timeout_s; /* (10) */
    unsigned stall_timeout_s;   /* with nearly nothing moving in either direction (60) */
} VmsS3Options;

/* Checks the options (USAGE names the wrong one) and starts one thread; the server is not asked
 * anything yet. Errors of the calls: AUTH (keys, permissions, certificate, clock), NOT_FOUND
 * (bucket), NO_SPACE (quota), TRANSIENT (put vms_retry_new around it), USAGE (wrong region),
 * FAILED (not TLS, not S3). */
VmsStore *vms_s3_open(const VmsS3Options *options, GError **error);
