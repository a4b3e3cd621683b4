/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An object in parts is a multipart upload. Every part carries its SHA-256 and MD5, which servers
 * check, and what the server says about it is checked here: so is the object when it is made, by
 * its size, and by its ETag where that is the usual sum of the parts' sums.
 *
 * The last request may be answered 200 and still have failed, or work without the answer getting
 * here. Then the next one finds no upload any more, and only the object tells.
 *
 * Lock: guards etags. */
#include "base/error.h"
#include "base/failpoint.h"
#include "base/text.h"
#include "store/s3-private.h"
#include "store/s3-xml-uploads.h"

#include <string.h>

#define MAX_ANSWER 65536
#define MD5_BYTES 16

typedef struct {
    VmsStoreParts parts;
    char *url; /* of the object */
    char *id, *id_escaped;
    unsigned count;
    GMutex lock;
    char **etags;  /* by index, as the server gave them, XML-escaped */
    uint8_t *sums; /* MD5 by index */
    bool asked;    /* the server was asked to make the object */
    bool finished;
} S3Parts;

/* Of a body, as they go into a request. */
typedef struct {
    GChecksum *sha256;
    uint8_t md5[MD5_BYTES];
    char *md5_base64;
} Sums;

static void sums_clear(Sums *sums)
{
    g_checksum_free(sums->sha256);
    g_free(sums->md5_base64);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Sums, sums_clear)

static Sums sums_of(GBytes *data)
{
    gsize len, md5_len = MD5_BYTES;
    const void *bytes = g_bytes_get_data(data, &len);
    Sums sums = {.sha256 = g_checksum_new(G_CHECKSUM_SHA256)};
    g_checksum_update(sums.sha256, bytes, (gssize)len);
    g_autoptr(GChecksum) md5 = g_checksum_new(G_CHECKSUM_MD5);
    g_checksum_update(md5, bytes, (gssize)len);
    g_checksum_get_digest(md5, sums.md5, &md5_len);
    sums.md5_base64 = g_base64_encode(sums.md5, md5_len);
    return sums;
}

/* True where an answer came, whatever it says. */
static bool send_body(VmsS3 *s3, const char *method, const char *url, GBytes *body,
                      const Sums *sums, VmsHttpReply *ret_reply, GCancellable *cancellable,
                      GError **error)
{
    VmsS3Request request = {.method = method,
                            .url = url,
                            .body = body,
                            .checksum = sums->sha256,
                            .md5 = sums->md5_base64,
                            .max_body = MAX_ANSWER};
    return vms_s3_request_run(&s3->bucket, &request, ret_reply, cancellable, error);
}

static bool fail_with(VmsS3 *s3, const VmsHttpReply *reply, GError **error)
{
    return vms_s3_request_fail(&s3->bucket, reply, error);
}

VmsStoreParts *vms_s3_begin_parts(VmsStore *store, const char *name, uint64_t size,
                                  uint64_t part_size, GCancellable *cancellable, GError **error)
{
    VmsS3 *s3 = (VmsS3 *)store;
    g_autofree char *url = vms_s3_url_object(&s3->bucket.url, name);
    g_autofree char *begin = g_strconcat(url, "?uploads=", NULL);
    VmsS3Request request = {.method = "POST", .url = begin, .max_body = MAX_ANSWER};
    g_auto(VmsHttpReply) reply = {0};
    if (!vms_s3_request_run(&s3->bucket, &request, &reply, cancellable, error))
        return NULL;
    if (!vms_s3_success(&reply)) {
        fail_with(s3, &reply, error);
        return NULL;
    }
    char *id = vms_s3_xml_upload_id((const char *)reply.body->data, reply.body->len, error);
    if (!id) {
        vms_prefix(error, "the server's answer cannot be read");
        return NULL;
    }
    S3Parts *parts = g_new0(S3Parts, 1);
    parts->parts = (VmsStoreParts){g_strdup(name), size, part_size};
    parts->url = g_steal_pointer(&url);
    parts->id = id;
    parts->id_escaped = g_uri_escape_string(id, NULL, FALSE);
    parts->count = (unsigned)((size + part_size - 1) / part_size);
    parts->etags = g_new0(char *, parts->count);
    parts->sums = g_new0(uint8_t, (size_t)parts->count * MD5_BYTES);
    g_mutex_init(&parts->lock);
    vms_failpoint("multipart.begun");
    return &parts->parts;
}

/* A part cannot be read back to see whether the ETag or the part is wrong. A small object can: put
 * finds out. */
static bool check_sum(VmsS3 *s3, const S3Parts *parts, unsigned index, const VmsHttpReply *reply,
                      const Sums *sums, GCancellable *cancellable, GError **error)
{
    g_autofree char *md5 = vms_text_hex(sums->md5, MD5_BYTES);
    if (g_atomic_int_get(&s3->etag_is_other) || vms_s3_etag_may_be(reply, md5))
        return true;
    g_autofree char *name = g_strdup_printf("%s.probe-%u", parts->parts.name, index);
    g_autoptr(GBytes) data = g_bytes_new(md5, strlen(md5));
    VmsStore *store = &s3->store;
    if (!store->ops->put(store, name, data, false, cancellable, error) ||
        !store->ops->remove(store, name, cancellable, error))
        return false;
    return g_atomic_int_get(&s3->etag_is_other) ||
           vms_fail(error, VMS_ERROR_TRANSIENT, OTHER_BYTES);
}

static void take_part(S3Parts *parts, unsigned index, const char *etag, const uint8_t *sum)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&parts->lock);
    g_free(parts->etags[index]);
    parts->etags[index] = g_markup_escape_text(etag, -1);
    memcpy(parts->sums + (size_t)index * MD5_BYTES, sum, MD5_BYTES);
}

bool vms_s3_put_part(VmsStore *store, VmsStoreParts *base, unsigned index, GBytes *data,
                     GCancellable *cancellable, GError **error)
{
    VmsS3 *s3 = (VmsS3 *)store;
    S3Parts *parts = (S3Parts *)base;
    g_auto(Sums) sums = sums_of(data);
    g_autofree char *url =
        g_strdup_printf("%s?partNumber=%u&uploadId=%s", parts->url, index + 1, parts->id_escaped);
    g_auto(VmsHttpReply) reply = {0};
    if (!send_body(s3, "PUT", url, data, &sums, &reply, cancellable, error))
        return false;
    if (!vms_s3_success(&reply))
        return fail_with(s3, &reply, error);
    if (!reply.etag || !*reply.etag)
        return vms_fail(error, reply.end_marked ? VMS_ERROR_FAILED : VMS_ERROR_TRANSIENT,
                        "the server gives no ETag for a part");
    if (!check_sum(s3, parts, index, &reply, &sums, cancellable, error))
        return false;
    take_part(parts, index, reply.etag, sums.md5);
    vms_failpoint("multipart.part-sent");
    return true;
}

static GBytes *list_of_parts(const S3Parts *parts)
{
    GString *text =
        g_string_new("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for (unsigned i = 0; i < parts->count; i++)
        g_string_append_printf(text, "<Part><PartNumber>%u</PartNumber><ETag>%s</ETag></Part>",
                               i + 1, parts->etags[i]);
    g_string_append(text, "</CompleteMultipartUpload>");
    return g_string_free_to_bytes(text);
}

/* "9bb5…-3" of 32 hex digits is the MD5 of the parts' MD5s; other shapes say nothing. */
static bool etag_may_be_of_parts(VmsS3 *s3, const S3Parts *parts, const char *etag)
{
    if (g_atomic_int_get(&s3->etag_is_other) || strlen(etag) < 36 || etag[33] != '-' ||
        strspn(etag + 1, "0123456789abcdefABCDEF") != 32)
        return true;
    g_autofree char *md5 =
        g_compute_checksum_for_data(G_CHECKSUM_MD5, parts->sums, (gsize)parts->count * MD5_BYTES);
    g_autofree char *want = g_strdup_printf("\"%s-%u\"", md5, parts->count);
    return g_ascii_strcasecmp(etag, want) == 0;
}

/* Whether the object is there and ours. */
static bool check_made(VmsS3 *s3, S3Parts *parts, GCancellable *cancellable, GError **error)
{
    VmsS3Request request = {.method = "HEAD", .url = parts->url};
    g_auto(VmsHttpReply) reply = {0};
    if (!vms_s3_request_run(&s3->bucket, &request, &reply, cancellable, error))
        return false;
    if (reply.status == 404)
        return vms_fail(error, VMS_ERROR_FAILED,
                        "the server has not made the object, and its parts are gone");
    if (!vms_s3_success(&reply))
        return fail_with(s3, &reply, error);
    if (!reply.etag) /* as s3_has: objects have one, a reply that broke off has not */
        return vms_fail(error, VMS_ERROR_TRANSIENT, "the server's answer cannot be read");
    if (reply.length >= 0 && (uint64_t)reply.length != parts->parts.size)
        return vms_fail(error, VMS_ERROR_FAILED,
                        "the server made an object of %" G_GINT64_FORMAT
                        " bytes of parts of %" G_GUINT64_FORMAT " bytes",
                        reply.length, parts->parts.size);
    if (!reply.encryption && !etag_may_be_of_parts(s3, parts, reply.etag))
        return vms_fail(error, VMS_ERROR_FAILED,
                        "the server made another object of the parts: its ETag is %.60s",
                        reply.etag);
    return true;
}

bool vms_s3_finish_parts(VmsStore *store, VmsStoreParts *base, GCancellable *cancellable,
                         GError **error)
{
    VmsS3 *s3 = (VmsS3 *)store;
    S3Parts *parts = (S3Parts *)base;
    g_autoptr(GBytes) body = list_of_parts(parts);
    g_auto(Sums) sums = sums_of(body);
    g_autofree char *url = g_strconcat(parts->url, "?uploadId=", parts->id_escaped, NULL);
    bool asked_before = parts->asked;
    parts->asked = true;
    g_auto(VmsHttpReply) reply = {0};
    if (!send_body(s3, "POST", url, body, &sums, &reply, cancellable, error))
        return false;
    vms_failpoint("multipart.completed");
    bool gone = reply.status == 404 && (asked_before || reply.resent);
    if (!gone && !vms_s3_success(&reply))
        return fail_with(s3, &reply, error);
    if (!gone && !vms_s3_xml_is_completed((const char *)reply.body->data, reply.body->len))
        return vms_fail(error, VMS_ERROR_TRANSIENT, "the server's answer cannot be read");
    return parts->finished = check_made(s3, parts, cancellable, error);
}

static void abort_upload(VmsS3 *s3, const S3Parts *parts)
{
    g_autofree char *url = g_strconcat(parts->url, "?uploadId=", parts->id_escaped, NULL);
    VmsS3Request request = {.method = "DELETE", .url = url, .max_body = MAX_ANSWER};
    g_auto(VmsHttpReply) reply = {0};
    vms_s3_request_run(&s3->bucket, &request, &reply, NULL, NULL);
}

void vms_s3_free_parts(VmsStore *store, VmsStoreParts *base)
{
    S3Parts *parts = (S3Parts *)base;
    if (!parts->finished)
        abort_upload((VmsS3 *)store, parts);
    for (unsigned i = 0; i < parts->count; i++)
        g_free(parts->etags[i]);
    g_free(parts->etags);
    g_free(parts->sums);
    g_free(parts->url);
    g_free(parts->id);
    g_free(parts->id_escaped);
    g_mutex_clear(&parts->lock);
    g_free(parts->parts.name);
    g_free(parts);
}
