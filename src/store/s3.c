/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The store's calls as requests. Every call blocks its thread in vms_http_run; what the store
 * learns about the server is three flags, set and read atomically: that the bucket is there,
 * whether conditional writes are done (many servers ignore what they do not know, so a first 200
 * proves nothing), and whether ETags are MD5 sums. */
#include "store/s3.h"

#include "base/error.h"
#include "store/s3-list.h"
#include "store/s3-private.h"
#include "store/s3-range.h"

#include <string.h>

#define MAX_PUT (UINT64_C(5) << 30)
#define MAX_GET (1u << 30)
#define MAX_PROBE 65536
#define MAX_ANSWER 65536

enum { UNKNOWN, YES, NO };

static bool fail_with(VmsS3 *s3, const VmsHttpReply *reply, GError **error)
{
    return vms_s3_request_fail(&s3->bucket, reply, error);
}

/* 404 to HEAD does not say whether it is the object or the bucket that is missing. */
static bool check_bucket(VmsS3 *s3, GCancellable *cancellable, GError **error)
{
    if (g_atomic_int_get(&s3->bucket_seen))
        return true;
    g_autofree char *url = vms_s3_url_list(&s3->bucket.url, "", NULL, 1);
    VmsS3Request request = {.method = "GET", .url = url, .max_body = MAX_ANSWER};
    g_auto(VmsHttpReply) reply = {0};
    if (!vms_s3_request_run(&s3->bucket, &request, &reply, cancellable, error))
        return false;
    if (vms_s3_error_is_no_bucket(&reply))
        return fail_with(s3, &reply, error);
    g_atomic_int_set(&s3->bucket_seen, 1);
    return true;
}

/* HEAD was refused, without a word why, or confirmed without what an object has: the same for one
 * byte, whose refusal has a body. */
static bool look_with_get(VmsS3 *s3, const char *url, bool *ret_exists, uint64_t *ret_size,
                          GCancellable *cancellable, GError **error)
{
    VmsS3Request request = {.method = "GET", .url = url, .range = "0-0", .max_body = MAX_ANSWER};
    g_auto(VmsHttpReply) reply = {0};
    if (!vms_s3_request_run(&s3->bucket, &request, &reply, cancellable, error))
        return false;
    uint64_t first, size = 0;
    bool whole = reply.status == 200 || reply.status == 416;
    if (reply.status == 206 && !vms_s3_range_parse(reply.content_range, &first, &size))
        return vms_fail(error, reply.end_marked ? VMS_ERROR_FAILED : VMS_ERROR_TRANSIENT,
                        "the server's Content-Range is wrong");
    if (vms_s3_error_in_body(&reply) ||
        (!whole && reply.status != 206 &&
         (reply.status != 404 || vms_s3_error_is_no_bucket(&reply))))
        return fail_with(s3, &reply, error);
    if (reply.status == 200 && !reply.end_marked)
        return vms_fail(error, VMS_ERROR_TRANSIENT, "the reply broke off");
    *ret_exists = reply.status != 404;
    *ret_size = reply.status == 200 ? reply.body->len : size;
    return true;
}

static bool s3_has(VmsStore *store, const char *name, bool *ret_exists, uint64_t *ret_size,
                   GCancellable *cancellable, GError **error)
{
    VmsS3 *s3 = (VmsS3 *)store;
    g_autofree char *url = vms_s3_url_object(&s3->bucket.url, name);
    VmsS3Request request = {.method = "HEAD", .url = url};
    g_auto(VmsHttpReply) reply = {0};
    if (!vms_s3_request_run(&s3->bucket, &request, &reply, cancellable, error))
        return false;
    if (reply.status == 404) {
        *ret_exists = false;
        return check_bucket(s3, cancellable, error);
    }
    if (reply.status >= 500 || reply.status == 429)
        return fail_with(s3, &reply, error);
    if (!vms_s3_success(&reply) || reply.length < 0 || !reply.etag)
        return look_with_get(s3, url, ret_exists, ret_size, cancellable, error);
    g_atomic_int_set(&s3->bucket_seen, 1);
    *ret_exists = true;
    *ret_size = (uint64_t)reply.length;
    return true;
}

static GBytes *take_body(VmsHttpReply *reply)
{
    GByteArray *body = g_steal_pointer(&reply->body);
    return g_byte_array_free_to_bytes(body);
}

/* For what cannot be asked as a range: nothing, or what begins or ends beyond the end. */
static GBytes *get_at_end(VmsS3 *s3, const char *name, uint64_t offset, uint64_t length,
                          GCancellable *cancellable, GError **error)
{
    bool exists = false;
    uint64_t size = 0;
    if (!s3_has(&s3->store, name, &exists, &size, cancellable, error))
        return NULL;
    if (!exists)
        return vms_fail_null(error, VMS_ERROR_NOT_FOUND, "does not exist");
    if (offset <= size && (length == 0 || (offset == size && length == UINT64_MAX)))
        return g_bytes_new(NULL, 0);
    return vms_fail_null(error, VMS_ERROR_CORRUPT, "ends at byte %" G_GUINT64_FORMAT, size);
}

/* length is what was asked for, UINT64_MAX for all from offset. */
static GBytes *check_part(VmsHttpReply *reply, uint64_t offset, uint64_t length, GError **error)
{
    uint64_t first, size;
    if (!reply->end_marked)
        return vms_fail_null(error, VMS_ERROR_TRANSIENT, "the reply broke off");
    if (!vms_s3_range_parse(reply->content_range, &first, &size) || first != offset)
        return vms_fail_null(error, VMS_ERROR_FAILED,
                             "the server sent another range than asked for (\"%.60s\")",
                             reply->content_range ? reply->content_range : "");
    uint64_t rest = size > offset ? size - offset : 0;
    if (length != UINT64_MAX && length > rest)
        return vms_fail_null(error, VMS_ERROR_CORRUPT, "ends at byte %" G_GUINT64_FORMAT, size);
    if (reply->body->len < MIN(length, rest))
        return vms_fail_null(error, VMS_ERROR_TRANSIENT, "the reply is too short");
    if (reply->body->len > MIN(length, rest))
        return vms_fail_null(error, VMS_ERROR_FAILED, "the server sent more than was asked for");
    return take_body(reply);
}

static GBytes *check_whole(VmsHttpReply *reply, uint64_t offset, uint64_t length, GError **error)
{
    if (!reply->end_marked)
        return vms_fail_null(error, VMS_ERROR_TRANSIENT, "the reply broke off");
    if (reply->length >= 0 && (uint64_t)reply->length != reply->body->len)
        return vms_fail_null(error, VMS_ERROR_TRANSIENT, "the reply is too short");
    bool asked_part = offset > 0 || length != UINT64_MAX;
    if (asked_part && (offset > 0 || length != reply->body->len))
        return vms_fail_null(error, VMS_ERROR_UNSUPPORTED, "the server does not send ranges");
    return take_body(reply);
}

static GBytes *s3_get(VmsStore *store, const char *name, uint64_t offset, uint64_t length,
                      GCancellable *cancellable, GError **error)
{
    VmsS3 *s3 = (VmsS3 *)store;
    bool to_end = length == UINT64_MAX;
    if (offset > INT64_MAX || length == 0 || (!to_end && length > INT64_MAX - offset))
        return get_at_end(s3, name, offset, length, cancellable, error);
    if (!to_end && length > MAX_GET)
        return vms_fail_null(error, VMS_ERROR_UNSUPPORTED, "more than 1 GiB in one piece");
    g_autofree char *range = NULL;
    if (!to_end)
        range = g_strdup_printf("%" G_GUINT64_FORMAT "-%" G_GUINT64_FORMAT, offset,
                                offset + length - 1);
    else if (offset > 0)
        range = g_strdup_printf("%" G_GUINT64_FORMAT "-", offset);
    g_autofree char *url = vms_s3_url_object(&s3->bucket.url, name);
    VmsS3Request request = {.method = "GET",
                            .url = url,
                            .range = range,
                            .max_body = to_end ? MAX_GET : MAX(length, MAX_ANSWER)};
    g_auto(VmsHttpReply) reply = {0};
    if (!vms_s3_request_run(&s3->bucket, &request, &reply, cancellable, error))
        return NULL;
    /* objects have an ETag, and what has none may be an error that came after the 200 */
    bool is_object = reply.etag || reply.body->len > MAX_ANSWER || !vms_s3_error_in_body(&reply);
    if (reply.status == 206 && is_object)
        return check_part(&reply, offset, length, error);
    if (reply.status == 200 && is_object)
        return check_whole(&reply, offset, length, error);
    if (reply.status == 416)
        return get_at_end(s3, name, offset, length, cancellable, error);
    if (reply.status == 404 && !vms_s3_error_is_no_bucket(&reply))
        return vms_fail_null(error, VMS_ERROR_NOT_FOUND, "does not exist");
    fail_with(s3, &reply, error);
    return NULL;
}

static bool read_back(VmsS3 *s3, const char *name, GBytes *data, GCancellable *cancellable,
                      GError **error)
{
    g_autoptr(GError) failure = NULL;
    g_autoptr(GBytes) back = s3_get(&s3->store, name, 0, UINT64_MAX, cancellable, &failure);
    if (back && g_bytes_equal(back, data))
        return true;
    if (back)
        return vms_fail(error, VMS_ERROR_TRANSIENT, OTHER_BYTES);
    if (vms_error_is(failure, VMS_ERROR_NOT_FOUND))
        return vms_fail(error, VMS_ERROR_TRANSIENT,
                        "the server said that it is stored, and has "
                        "stored nothing");
    g_propagate_error(error, g_steal_pointer(&failure));
    return false;
}

/* The server has checked x-amz-content-sha256 if it checks anything; this is for the others. An
 * ETag that differs proves nothing by itself, so then the object is read back; so it is where there
 * is none, since then it may not have been an S3 server that said 200. */
static bool check_stored(VmsS3 *s3, const char *name, GBytes *data, GChecksum *checksum,
                         const VmsHttpReply *reply, GCancellable *cancellable, GError **error)
{
    if (reply->checksum_sha256) {
        guint8 digest[32];
        gsize len = sizeof digest;
        g_checksum_get_digest(checksum, digest, &len);
        g_autofree char *want = g_base64_encode(digest, len);
        return g_str_equal(want, reply->checksum_sha256) ||
               vms_fail(error, VMS_ERROR_TRANSIENT, OTHER_BYTES);
    }
    if (!reply->etag)
        return read_back(s3, name, data, cancellable, error);
    if (g_atomic_int_get(&s3->etag_is_other))
        return true;
    g_autofree char *md5 = g_compute_checksum_for_bytes(G_CHECKSUM_MD5, data);
    if (vms_s3_etag_may_be(reply, md5))
        return true;
    if (!read_back(s3, name, data, cancellable, error))
        return false;
    g_atomic_int_set(&s3->etag_is_other, 1);
    return true;
}

static bool send_object(VmsS3 *s3, const char *name, GBytes *data, GChecksum *checksum,
                        bool only_new, VmsHttpReply *ret_reply, GCancellable *cancellable,
                        GError **error)
{
    g_autofree char *url = vms_s3_url_object(&s3->bucket.url, name);
    VmsS3Request request = {.method = "PUT",
                            .url = url,
                            .body = data,
                            .checksum = checksum,
                            .only_new = only_new,
                            .max_body = MAX_ANSWER};
    return vms_s3_request_run(&s3->bucket, &request, ret_reply, cancellable, error);
}

static bool put_plain(VmsS3 *s3, const char *name, GBytes *data, GChecksum *checksum,
                      GCancellable *cancellable, GError **error)
{
    g_auto(VmsHttpReply) reply = {0};
    if (!send_object(s3, name, data, checksum, false, &reply, cancellable, error))
        return false;
    if (!vms_s3_success(&reply))
        return fail_with(s3, &reply, error);
    g_atomic_int_set(&s3->bucket_seen, 1);
    return check_stored(s3, name, data, checksum, &reply, cancellable, error);
}

/* Whether the condition was understood: once more the same bytes, which must now be refused. */
static void probe_condition(VmsS3 *s3, const char *name, GBytes *data, GChecksum *checksum,
                            GCancellable *cancellable)
{
    g_auto(VmsHttpReply) reply = {0};
    if (g_bytes_get_size(data) > MAX_PROBE ||
        !send_object(s3, name, data, checksum, true, &reply, cancellable, NULL))
        return;
    if (reply.status == 412)
        g_atomic_int_set(&s3->conditional, YES);
    else if (vms_s3_success(&reply))
        g_atomic_int_set(&s3->conditional, NO);
}

static bool put_only_new(VmsS3 *s3, const char *name, GBytes *data, GChecksum *checksum,
                         GCancellable *cancellable, GError **error)
{
    int conditional = g_atomic_int_get(&s3->conditional);
    bool exists = false;
    uint64_t size;
    if (conditional != YES && !s3_has(&s3->store, name, &exists, &size, cancellable, error))
        return false;
    if (exists)
        return vms_fail(error, VMS_ERROR_EXISTS, "exists already");
    if (conditional == NO)
        return put_plain(s3, name, data, checksum, cancellable, error);
    g_auto(VmsHttpReply) reply = {0};
    if (!send_object(s3, name, data, checksum, true, &reply, cancellable, error))
        return false;
    if (reply.status == 412) {
        g_atomic_int_set(&s3->conditional, YES);
        /* what is there may have come by the first of the two: who tries again finds out */
        return reply.resent ? vms_fail(error, VMS_ERROR_TRANSIENT, "was sent twice")
                            : vms_fail(error, VMS_ERROR_EXISTS, "exists already");
    }
    if (conditional == UNKNOWN && vms_s3_error_is_unsupported(&reply)) {
        g_atomic_int_set(&s3->conditional, NO);
        return put_plain(s3, name, data, checksum, cancellable, error);
    }
    if (!vms_s3_success(&reply))
        return fail_with(s3, &reply, error);
    g_atomic_int_set(&s3->bucket_seen, 1);
    if (conditional == UNKNOWN)
        probe_condition(s3, name, data, checksum, cancellable);
    return check_stored(s3, name, data, checksum, &reply, cancellable, error);
}

static bool s3_put(VmsStore *store, const char *name, GBytes *data, bool only_new,
                   GCancellable *cancellable, GError **error)
{
    VmsS3 *s3 = (VmsS3 *)store;
    size_t len;
    const void *bytes = g_bytes_get_data(data, &len);
    if (len > MAX_PUT)
        return vms_fail(error, VMS_ERROR_UNSUPPORTED,
                        "larger than the 5 GiB that S3 takes at once");
    g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA256);
    g_checksum_update(checksum, bytes, (gssize)len);
    if (only_new)
        return put_only_new(s3, name, data, checksum, cancellable, error);
    return put_plain(s3, name, data, checksum, cancellable, error);
}

static bool s3_remove(VmsStore *store, const char *name, GCancellable *cancellable, GError **error)
{
    VmsS3 *s3 = (VmsS3 *)store;
    g_autofree char *url = vms_s3_url_object(&s3->bucket.url, name);
    VmsS3Request request = {.method = "DELETE", .url = url, .max_body = MAX_ANSWER};
    g_auto(VmsHttpReply) reply = {0};
    if (!vms_s3_request_run(&s3->bucket, &request, &reply, cancellable, error))
        return false;
    bool gone = reply.status == 404 && !vms_s3_error_is_no_bucket(&reply);
    return gone || vms_s3_success(&reply) || fail_with(s3, &reply, error);
}

static bool s3_list_after(VmsStore *store, const char *prefix, const char *after,
                          VmsStoreListFunc func, void *user, GCancellable *cancellable,
                          GError **error)
{
    VmsS3 *s3 = (VmsS3 *)store;
    return vms_s3_list_run(&s3->bucket, prefix, after, func, user, cancellable, error);
}

static bool s3_list(VmsStore *store, const char *prefix, VmsStoreListFunc func, void *user,
                    GCancellable *cancellable, GError **error)
{
    return s3_list_after(store, prefix, NULL, func, user, cancellable, error);
}

static void s3_free(VmsStore *store)
{
    VmsS3 *s3 = (VmsS3 *)store;
    vms_s3_request_clear(&s3->bucket);
    g_free(store->location);
    g_free(s3);
}

static const VmsStoreOps s3_ops = {
    .put = s3_put,
    .get = s3_get,
    .has = s3_has,
    .list = s3_list,
    .remove = s3_remove,
    .free = s3_free,
    .list_after = s3_list_after,
    .begin_parts = vms_s3_begin_parts,
    .put_part = vms_s3_put_part,
    .finish_parts = vms_s3_finish_parts,
    .free_parts = vms_s3_free_parts,
    .abort_parts = vms_s3_abort_parts,
};

VmsStore *vms_s3_open(const VmsS3Options *options, GError **error)
{
    VmsS3Bucket bucket = {0};
    if (!vms_s3_request_init(&bucket, options, error))
        return NULL;
    VmsS3 *s3 = g_new0(VmsS3, 1);
    s3->store.ops = &s3_ops;
    s3->bucket = bucket;
    size_t prefix_len = strlen(bucket.url.prefix);
    s3->store.location = g_strdup_printf("s3://%s%s%.*s", bucket.url.bucket, prefix_len ? "/" : "",
                                         (int)(prefix_len ? prefix_len - 1 : 0), bucket.url.prefix);
    return &s3->store;
}
