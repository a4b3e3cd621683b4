/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From the options of a bucket to the addresses of its objects. Pure. */
#pragma once

#include "store/s3.h"

typedef struct {
    char *base;   /* "https://host/bucket" or "https://bucket.host", without a slash at its end */
    char *prefix; /* "" or "a/b/": before every key */
    char *bucket;
} VmsS3Url;

/* USAGE names the option that is wrong. */
bool vms_s3_url_init(VmsS3Url *ret_url, const VmsS3Options *options, const char *region,
                     GError **error);
void vms_s3_url_clear(VmsS3Url *url);

/* Of the object called name, below the prefix (transfer full). */
char *vms_s3_url_object(const VmsS3Url *url, const char *name);
/* Of a page of a listing: keys that begin with prefix and below, above the whole key after
 * (nullable). */
char *vms_s3_url_list(const VmsS3Url *url, const char *below, const char *after, unsigned max_keys);

/* Of a page of the unfinished multipart uploads below the prefix, after the upload after_id of
 * after_key (both nullable). */
char *vms_s3_url_uploads(const VmsS3Url *url, const char *after_key, const char *after_id);

/* A region is [a-z0-9-]: it goes into the signature's scope. */
bool vms_s3_url_valid_region(const char *region);
