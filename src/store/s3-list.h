/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Listing a bucket page by page. */
#pragma once

#include "store/s3-request.h"

/* As list_after of store.h. Objects with names that no store would take are passed over: the bucket
 * may be shared. */
bool vms_s3_list_run(VmsS3Bucket *bucket, const char *prefix, const char *after,
                     VmsStoreListFunc func, void *user, GCancellable *cancellable, GError **error);
