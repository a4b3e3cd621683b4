/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/s3-request.h"

#include "base/error.h"
#include "store/s3-profile.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SHA256_BYTES 32
#define MAX_KEYS 3 /* that one request is tried with */

static bool find_region(const VmsS3Options *options, char **ret_region, GError **error)
{
    static const char *const variables[] = {"AWS_REGION", "AWS_DEFAULT_REGION"};
    const char *region = options->region;
    for (unsigned i = 0; i < G_N_ELEMENTS(variables) && (!region || !*region); i++)
        region = g_getenv(variables[i]);
    g_auto(VmsS3Profile) profile = {0};
    if ((!region || !*region) && !options->access_key_id) {
        if (!vms_s3_profile_load(options->profile, &profile, error))
            return false;
        region = profile.region;
    }
    *ret_region = g_strdup(region && *region ? region : "us-east-1");
    return true;
}

static bool check_options(const VmsS3Options *options, GError **error)
{
    bool has_secret = options->secret_access_key && options->secret_access_key->len > 0;
    if (options->access_key_id && !has_secret)
        return vms_fail(error, VMS_ERROR_USAGE, "secret access key: is missing");
    if (!options->access_key_id && has_secret)
        return vms_fail(error, VMS_ERROR_USAGE, "access-key-id: is missing");
    if (options->ca_file && *options->ca_file && access(options->ca_file, R_OK) < 0)
        return vms_fail(error, VMS_ERROR_USAGE, "ca-file %s: %s", options->ca_file,
                        g_strerror(errno));
    return true;
}

bool vms_s3_request_init(VmsS3Bucket *ret_bucket, const VmsS3Options *options, GError **error)
{
    g_autofree char *region = NULL;
    if (!check_options(options, error) || !find_region(options, &region, error) ||
        !vms_s3_url_init(&ret_bucket->url, options, region, error))
        return false;
    VmsHttpOptions http = {
        .max_requests = options->max_requests ? options->max_requests : 8,
        .connect_timeout_s = options->connect_timeout_s ? options->connect_timeout_s : 10,
        .stall_timeout_s = options->stall_timeout_s ? options->stall_timeout_s : 60,
        .ca_file = options->ca_file && *options->ca_file ? options->ca_file : NULL,
    };
    ret_bucket->http = vms_http_new(&http);
    ret_bucket->credentials = vms_s3_credentials_new(options, ret_bucket->http);
    ret_bucket->scope = g_strdup_printf("aws:amz:%s:s3", region);
    ret_bucket->region = g_steal_pointer(&region);
    return true;
}

void vms_s3_request_clear(VmsS3Bucket *bucket)
{
    vms_s3_credentials_free(bucket->credentials);
    vms_http_free(bucket->http);
    vms_s3_url_clear(&bucket->url);
    g_free(bucket->region);
    g_free(bucket->scope);
}

static void free_header(void *header)
{
    if (header)
        vms_secret_wipe(header, strlen(header)); /* one of them is the session token */
    g_free(header);
}

static char *checksum_base64(GChecksum *checksum)
{
    guint8 digest[SHA256_BYTES];
    gsize len = sizeof digest;
    g_checksum_get_digest(checksum, digest, &len);
    return g_base64_encode(digest, len);
}

static GPtrArray *headers_of(const VmsS3Request *request, const VmsS3Keys *keys)
{
    GPtrArray *headers = g_ptr_array_new_with_free_func(free_header);
    const char *hash = request->checksum ? g_checksum_get_string(request->checksum) : EMPTY_SHA256;
    g_ptr_array_add(headers, g_strconcat("x-amz-content-sha256: ", hash, NULL));
    if (request->md5) {
        g_ptr_array_add(headers, g_strconcat("Content-MD5: ", request->md5, NULL));
    } else if (request->checksum) {
        /* kept and sent back by AWS, and asked for by its buckets with Object Lock */
        g_autofree char *base64 = checksum_base64(request->checksum);
        g_ptr_array_add(headers, g_strconcat("x-amz-checksum-sha256: ", base64, NULL));
    }
    if (request->only_new)
        g_ptr_array_add(headers, g_strdup("If-None-Match: *"));
    if (keys->session_token)
        g_ptr_array_add(headers, g_strconcat("x-amz-security-token: ",
                                             (const char *)keys->session_token->data, NULL));
    g_ptr_array_add(headers, NULL);
    return headers;
}

/* Keys come from files and services: a line break in one would become a header of its own. */
static bool check_keys(const VmsS3Keys *keys, GError **error)
{
    const char *const texts[] = {keys->access_key_id, (const char *)keys->secret_access_key->data,
                                 keys->session_token ? (const char *)keys->session_token->data
                                                     : "x"};
    for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++)
        for (const char *at = texts[i]; *at || at == texts[i]; at++)
            if (!g_ascii_isgraph(*at))
                return vms_fail(error, VMS_ERROR_AUTH,
                                "the S3 credentials hold a character that no key has, or nothing");
    return true;
}

static bool send_with(VmsS3Bucket *bucket, const VmsS3Request *request, const VmsS3Keys *keys,
                      VmsHttpReply *ret_reply, GCancellable *cancellable, GError **error)
{
    if (!check_keys(keys, error))
        return false;
    g_autoptr(GPtrArray) headers = headers_of(request, keys);
    VmsHttpSign sign = {
        .scope = bucket->scope,
        .access_key_id = keys->access_key_id,
        .secret_access_key = (const char *)keys->secret_access_key->data,
    };
    VmsHttpRequest http = {
        .method = request->method,
        .url = request->url,
        .headers = (const char *const *)headers->pdata,
        .body = request->body,
        .range = request->range,
        .sign = &sign,
        .max_body = request->max_body,
    };
    return vms_http_run(bucket->http, &http, ret_reply, cancellable, error);
}

bool vms_s3_request_run(VmsS3Bucket *bucket, const VmsS3Request *request, VmsHttpReply *ret_reply,
                        GCancellable *cancellable, GError **error)
{
    for (unsigned left = MAX_KEYS;; left--) {
        g_autoptr(VmsS3Keys) keys = vms_s3_credentials_get(bucket->credentials, cancellable, error);
        g_auto(VmsHttpReply) reply = {0};
        bool others = false;
        if (!keys || !send_with(bucket, request, keys, &reply, cancellable, error))
            return false;
        if (left > 1 && vms_s3_error_is_expired(&reply) &&
            !vms_s3_credentials_renew(bucket->credentials, keys, &others, cancellable, error))
            return false;
        if (!others) {
            *ret_reply = reply;
            memset(&reply, 0, sizeof reply);
            return true;
        }
    }
}

bool vms_s3_request_fail(VmsS3Bucket *bucket, const VmsHttpReply *reply, GError **error)
{
    g_autoptr(VmsS3Keys) keys = vms_s3_credentials_get(bucket->credentials, NULL, NULL);
    VmsS3ErrorContext context = {bucket->url.bucket, bucket->region,
                                 keys ? keys->access_key_id : "none"};
    return vms_s3_error_set(error, reply, &context);
}

bool vms_s3_success(const VmsHttpReply *reply)
{
    return reply->status >= 200 && reply->status <= 299 && !vms_s3_error_in_body(reply);
}

/* "5d41…" of 32 hex digits: an MD5 sum, unless the server encrypts with keys of its own. */
static bool etag_is_md5(const VmsHttpReply *reply)
{
    const char *etag = reply->etag;
    return etag && !reply->encryption && strlen(etag) == 34 && etag[0] == '"' && etag[33] == '"' &&
           strspn(etag + 1, "0123456789abcdefABCDEF") == 32;
}

bool vms_s3_etag_may_be(const VmsHttpReply *reply, const char *md5)
{
    return !etag_is_md5(reply) || g_ascii_strncasecmp(reply->etag + 1, md5, 32) == 0;
}
