/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The store that the command line of a conformance program names. */
#pragma once

#include "store/s3.h"
#include "store/store.h"

/* spec: "mem", "dir:PATH", "s3:path", "s3:virtual" or "s3:auto", with "retry+" before it for the
 * decorator. S3 reads S3_ENDPOINT, S3_VHOST_ENDPOINT, S3_BUCKET, S3_PREFIX, S3_REGION,
 * S3_ACCESS_KEY, S3_SECRET_KEY and S3_CA_FILE, which tests/lab/s3 prints. */
VmsStore *open_store(const char *spec, GError **error);

/* The options of an S3 spec, from the environment; secret is freed by the caller. */
void open_store_s3_options(const char *style, VmsS3Options *ret_options);
