/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* HTTP requests of many threads, run by one thread with one curl multi handle. */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct VmsHttp VmsHttp;

typedef struct {
    unsigned max_requests; /* in flight at once; further ones wait */
    unsigned connect_timeout_s;
    unsigned stall_timeout_s; /* nearly nothing moving; curl notices up to 15 s later */
    const char *ca_file;      /* nullable */
} VmsHttpOptions;

/* Options are copied. Starts the thread. */
VmsHttp *vms_http_new(const VmsHttpOptions *options);
/* No request may be running. */
void vms_http_free(VmsHttp *http);

/* Signature Version 4, made by curl. Its rules: the path has unreserved characters and slashes
 * only, the query is sorted, always k=v, strictly percent-encoded and without "+"; among the
 * headers is x-amz-content-sha256. */
typedef struct {
    const char *scope; /* "aws:amz:REGION:s3" */
    const char *access_key_id;
    const char *secret_access_key;
} VmsHttpSign;

typedef struct {
    const char *method; /* GET, HEAD, PUT, POST, DELETE */
    const char *url;
    const char *const *headers; /* "Name: value", NULL-terminated; nullable */
    GBytes *body;               /* PUT and POST, nullable: empty */
    const char *range;          /* "0-99" or "100-"; nullable */
    const VmsHttpSign *sign;    /* nullable */
    size_t max_body;            /* of a 2xx reply: a longer one is FAILED */
    bool local;                 /* metadata services: no proxy, whole request within 5 s */
} VmsHttpRequest;

/* Strings are nullable. */
typedef struct {
    long status;
    int64_t length;  /* Content-Length; -1 where it is missing */
    bool end_marked; /* by Content-Length or chunks: else a connection that broke off looks whole */
    bool resent;     /* a kept-alive connection broke off without a reply, and curl sent the body
                        once more: the server may have got both */
    GByteArray *body; /* at most max_body, of errors 64 KiB */
    char *etag, *content_range, *retry_after, *bucket_region, *checksum_sha256, *encryption, *date;
} VmsHttpReply;

/* Blocks until the reply is whole; any status is a reply. Errors name the server: TRANSIENT for
 * what may work in a moment, AUTH for its certificate, USAGE for the CA file, CANCELLED at once
 * when cancelled, FAILED where it does not speak HTTP or TLS; once it has, that is TRANSIENT too.
 */
bool vms_http_run(VmsHttp *http, const VmsHttpRequest *request, VmsHttpReply *ret_reply,
                  GCancellable *cancellable, GError **error);

/* Wipes the body too: it may hold keys. */
void vms_http_reply_clear(VmsHttpReply *reply);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsHttp, vms_http_free)
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VmsHttpReply, vms_http_reply_clear)
