/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/http-reply.h"

#include "base/secret.h"

#include <string.h>

static char *header_of(CURL *easy, const char *name)
{
    struct curl_header *header;
    if (curl_easy_header(easy, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
        return NULL;
    return g_strdup(header->value);
}

void vms_http_reply_collect(VmsHttpReply *reply, CURL *easy)
{
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &reply->status);
    curl_off_t length = -1;
    curl_easy_getinfo(easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    reply->length = length;
    g_autofree char *encoding = header_of(easy, "transfer-encoding");
    reply->end_marked = length >= 0 || encoding;
    reply->etag = header_of(easy, "etag");
    reply->content_range = header_of(easy, "content-range");
    reply->retry_after = header_of(easy, "retry-after");
    reply->bucket_region = header_of(easy, "x-amz-bucket-region");
    reply->checksum_sha256 = header_of(easy, "x-amz-checksum-sha256");
    reply->encryption = header_of(easy, "x-amz-server-side-encryption");
    reply->date = header_of(easy, "date");
}

void vms_http_reply_clear(VmsHttpReply *reply)
{
    if (reply->body && reply->body->len > 0)
        vms_secret_wipe(reply->body->data, reply->body->len);
    g_clear_pointer(&reply->body, g_byte_array_unref);
    g_free(reply->etag);
    g_free(reply->content_range);
    g_free(reply->retry_after);
    g_free(reply->bucket_region);
    g_free(reply->checksum_sha256);
    g_free(reply->encryption);
    g_free(reply->date);
    memset(reply, 0, sizeof *reply);
}
