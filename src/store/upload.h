/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Storing one large object front to back, without ever holding it: in equal parts, several of them
 * on their way at once. */
#pragma once

#include "store/store.h"

typedef struct VmsStoreUpload VmsStoreUpload;

/* Begins an object of exactly size bytes (0 is fine) under name, which replaces what is there when
 * it is finished and is not seen before. Holds at most 128 MiB, or one part where that is more: a
 * part is 16 MiB, and of objects above 156 GiB a ten-thousandth. cancellable is kept until the end.
 * One upload is one thread's; several uploads of a store may run at once. INVALID (name), NO_SPACE
 * (known at once only in a directory), and what vms_store_put gives, here and below. */
VmsStoreUpload *vms_store_upload_new(VmsStore *store, const char *name, uint64_t size,
                                     GCancellable *cancellable, GError **error);

/* The next len bytes. Waits while the store is behind. INVALID beyond size. After an error every
 * call gives that error. */
bool vms_store_upload_write(VmsStoreUpload *upload, const void *data, size_t len, GError **error);

/* Waits for all parts. On return the object is whole, durable and visible. INVALID where fewer than
 * size bytes were written. */
bool vms_store_upload_finish(VmsStoreUpload *upload, GError **error);

/* Drops what is not finished, as far as the store answers; vms_store_abort_uploads does what is
 * left. Nullable. */
void vms_store_upload_free(VmsStoreUpload *upload);

/* Drops what uploads that never ended have left in the store, where nothing has come for
 * older_than_s seconds: parts in a bucket, temporary files in a directory. ret_count (nullable):
 * how many. */
bool vms_store_abort_uploads(VmsStore *store, uint64_t older_than_s, unsigned *ret_count,
                             GCancellable *cancellable, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsStoreUpload, vms_store_upload_free)
