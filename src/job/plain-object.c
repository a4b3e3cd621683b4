/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/plain-object.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "base/text.h"
#include "codec/hash.h"
#include "store/upload.h"

struct VmsPlainObject {
    VmsStoreUpload *upload;
    VmsHash *hash;
    VmsPlainStats *stats;
    uint64_t bytes;
};

VmsPlainObject *vms_plain_object_new(VmsStore *store, const char *name, uint64_t size,
                                     VmsPlainStats *stats, GCancellable *cancellable,
                                     GError **error)
{
    VmsStoreUpload *upload = vms_store_upload_new(store, name, size, cancellable, error);
    if (!upload)
        return NULL;
    VmsPlainObject *object = g_new0(VmsPlainObject, 1);
    object->upload = upload;
    object->hash = vms_hash_new();
    object->stats = stats;
    return object;
}

void vms_plain_object_free(VmsPlainObject *object)
{
    if (!object)
        return;
    vms_store_upload_free(object->upload);
    vms_hash_free(object->hash);
    g_free(object);
}

bool vms_plain_object_write(void *user, const void *data, size_t len, GError **error)
{
    VmsPlainObject *object = user;
    int64_t begin = g_get_monotonic_time();
    vms_hash_update(object->hash, data, len);
    int64_t hashed = g_get_monotonic_time();
    bool ok = vms_store_upload_write(object->upload, data, len, error);
    object->bytes += len;
    object->stats->hash_us += (uint64_t)(hashed - begin);
    object->stats->upload_us += (uint64_t)(g_get_monotonic_time() - hashed);
    return ok;
}

VmsManifestFile *vms_plain_object_finish(VmsPlainObject *object, const char *file, GError **error)
{
    uint8_t hash[VMS_HASH_LEN];
    int64_t begin = g_get_monotonic_time();
    bool ok = vms_store_upload_finish(object->upload, error);
    object->stats->upload_us += (uint64_t)(g_get_monotonic_time() - begin);
    if (!ok)
        return NULL;
    vms_failpoint("export.object-stored");
    vms_hash_finish(object->hash, hash);
    object->stats->bytes_uploaded += object->bytes;
    object->stats->objects++;
    g_autofree char *hex = vms_text_hex(hash, sizeof hash);
    return vms_manifest_file_new(file, object->bytes, hex);
}

VmsManifestFile *vms_plain_object_put(VmsStore *store, const char *name, const char *file,
                                      const void *data, size_t len, VmsPlainStats *stats,
                                      GCancellable *cancellable, GError **error)
{
    g_autoptr(VmsPlainObject) object =
        vms_plain_object_new(store, name, len, stats, cancellable, error);
    if (!object || (len > 0 && !vms_plain_object_write(object, data, len, error)))
        return NULL;
    return vms_plain_object_finish(object, file, error);
}
