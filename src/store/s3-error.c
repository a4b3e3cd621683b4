/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/s3-error.h"

#include "base/error.h"
#include "store/retry.h"
#include "store/s3-xml.h"

#include <string.h>

/* S3 error codes. The hint is put after the server's own words; what is not here goes by status. */
static const struct {
    const char *name;
    VmsErrorCode code;
    const char *hint;
} codes[] = {
    {"AccessDenied", VMS_ERROR_AUTH, "these keys may not do this here: see the bucket's policy"},
    {"AccountProblem", VMS_ERROR_AUTH, NULL},
    {"AllAccessDisabled", VMS_ERROR_AUTH, NULL},
    {"BadDigest", VMS_ERROR_TRANSIENT, "it was damaged on the way"},
    {"BandwidthLimitExceeded", VMS_ERROR_TRANSIENT, NULL},
    {"BucketNotFound", VMS_ERROR_NOT_FOUND, NULL},
    {"ConditionalRequestConflict", VMS_ERROR_TRANSIENT, NULL},
    {"EntityTooLarge", VMS_ERROR_UNSUPPORTED, NULL},
    {"ExpiredToken", VMS_ERROR_AUTH, "the session token has expired: get a new one"},
    {"IncompleteBody", VMS_ERROR_TRANSIENT, NULL},
    {"InternalError", VMS_ERROR_TRANSIENT, NULL},
    {"InvalidAccessKeyId", VMS_ERROR_AUTH, "the server does not know this access key"},
    {"InvalidObjectState", VMS_ERROR_REFUSED, "the object is in an archive: restore it first"},
    {"InvalidToken", VMS_ERROR_AUTH, "the session token does not belong to these keys"},
    {"NoSuchBucket", VMS_ERROR_NOT_FOUND, NULL},
    {"NoSuchKey", VMS_ERROR_NOT_FOUND, NULL},
    {"OperationAborted", VMS_ERROR_TRANSIENT, NULL},
    {"PreconditionFailed", VMS_ERROR_EXISTS, NULL},
    {"QuotaExceeded", VMS_ERROR_NO_SPACE, "the quota is used up"},
    {"RequestTimeTooSkewed", VMS_ERROR_AUTH, NULL},
    {"RequestTimeout", VMS_ERROR_TRANSIENT, NULL},
    {"ServiceUnavailable", VMS_ERROR_TRANSIENT, NULL},
    {"SignatureDoesNotMatch", VMS_ERROR_AUTH,
     "the secret key does not belong to this access key, or the region is wrong"},
    {"SlowDown", VMS_ERROR_TRANSIENT, NULL},
    {"TokenRefreshRequired", VMS_ERROR_AUTH, "the session token has expired: get a new one"},
    {"TooManyRequests", VMS_ERROR_TRANSIENT, NULL},
    {"XAmzContentSHA256Mismatch", VMS_ERROR_TRANSIENT, "it was damaged on the way"},
    {"XMinioStorageFull", VMS_ERROR_NO_SPACE, "the server is full"},
};

static VmsErrorCode code_of_status(long status)
{
    switch (status) {
    case 401:
    case 403:
        return VMS_ERROR_AUTH;
    case 404:
        return VMS_ERROR_NOT_FOUND;
    case 407:
        return VMS_ERROR_AUTH;
    case 412:
        return VMS_ERROR_EXISTS;
    case 408:
    case 425:
    case 429:
        return VMS_ERROR_TRANSIENT;
    case 501:
    case 505:
        return VMS_ERROR_UNSUPPORTED;
    case 507:
        return VMS_ERROR_NO_SPACE;
    default:
        return status >= 500 ? VMS_ERROR_TRANSIENT : VMS_ERROR_FAILED;
    }
}

static void read_fault(const VmsHttpReply *reply, VmsS3Fault *ret_fault)
{
    vms_s3_xml_fault((const char *)reply->body->data, reply->body->len, ret_fault);
}

/* Retry-After as a number of seconds; a date is rare and not read. Who speaks S3 is no proxy in
 * front of nothing. */
static void take_hint(const VmsHttpReply *reply, const VmsS3Fault *fault)
{
    guint64 seconds;
    if (*fault->code || reply->status == 429)
        vms_retry_heard();
    if (reply->retry_after &&
        g_ascii_string_to_unsigned(reply->retry_after, 10, 0, 3600, &seconds, NULL))
        vms_retry_hint((unsigned)seconds * 1000);
}

/* A server that is asked under another region's name says so in three ways. */
static bool set_region(GError **error, const VmsHttpReply *reply, const VmsS3Fault *fault,
                       const VmsS3ErrorContext *context)
{
    bool redirected = reply->status == 301 || reply->status == 302 || reply->status == 307 ||
                      reply->status == 308;
    bool named = g_str_equal(fault->code, "AuthorizationHeaderMalformed") && *fault->region;
    if (!redirected && !named)
        return false;
    const char *region = *fault->region ? fault->region : reply->bucket_region;
    if (region)
        vms_fail(error, VMS_ERROR_USAGE,
                 "bucket \"%s\" is in region %.60s, not in %s: set region (and endpoint, where one "
                 "is set)",
                 context->bucket, region, context->region);
    else
        vms_fail(error, VMS_ERROR_USAGE,
                 "HTTP %ld %s: bucket \"%s\" is to be reached under another endpoint",
                 reply->status, fault->code, context->bucket);
    return true;
}

static char *clock_hint(const VmsHttpReply *reply)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *here = g_date_time_format(now, "%Y-%m-%d %H:%M:%S UTC");
    return g_strdup_printf("the clocks differ too much: it is %s here, %.40s there; set the clock",
                           here, reply->date ? reply->date : "another time");
}

static char *hint_of(const VmsHttpReply *reply, const VmsS3Fault *fault, const char *hint,
                     const VmsS3ErrorContext *context)
{
    if (g_str_equal(fault->code, "RequestTimeTooSkewed"))
        return clock_hint(reply);
    if (g_str_equal(fault->code, "NoSuchBucket"))
        return g_strdup_printf("there is no bucket \"%s\": make it, or correct the name",
                               context->bucket);
    if (g_str_equal(fault->code, "InvalidAccessKeyId") ||
        g_str_equal(fault->code, "SignatureDoesNotMatch"))
        return g_strdup_printf("%s (%s)", hint, context->access_key_id);
    return g_strdup(hint);
}

bool vms_s3_error_set(GError **error, const VmsHttpReply *reply, const VmsS3ErrorContext *context)
{
    g_auto(VmsS3Fault) fault = {0};
    read_fault(reply, &fault);
    if (set_region(error, reply, &fault, context))
        return false;
    VmsErrorCode code = code_of_status(reply->status);
    const char *hint = NULL;
    for (unsigned i = 0; i < G_N_ELEMENTS(codes); i++) {
        if (!g_str_equal(fault.code, codes[i].name))
            continue;
        code = codes[i].code;
        hint = codes[i].hint;
    }
    if (code == VMS_ERROR_TRANSIENT)
        take_hint(reply, &fault);
    g_autofree char *advice = hint_of(reply, &fault, hint, context);
    return vms_fail(error, code, "HTTP %ld%s%s%s%s%s%s", reply->status, *fault.code ? " " : "",
                    fault.code, *fault.message ? ": " : "", fault.message, advice ? ": " : "",
                    advice ? advice : "");
}

bool vms_s3_error_in_body(const VmsHttpReply *reply)
{
    if (reply->status < 200 || reply->status > 299 || reply->body->len == 0)
        return false;
    g_auto(VmsS3Fault) fault = {0};
    read_fault(reply, &fault);
    return *fault.code != '\0';
}

bool vms_s3_error_is_expired(const VmsHttpReply *reply)
{
    static const char *const names[] = {"ExpiredToken", "TokenRefreshRequired", "InvalidToken",
                                        "InvalidAccessKeyId", NULL};
    if (reply->status != 400 && reply->status != 401 && reply->status != 403)
        return false;
    g_auto(VmsS3Fault) fault = {0};
    read_fault(reply, &fault);
    return g_strv_contains(names, fault.code);
}

bool vms_s3_error_is_unsupported(const VmsHttpReply *reply)
{
    if (reply->status == 501)
        return true;
    g_auto(VmsS3Fault) fault = {0};
    read_fault(reply, &fault);
    return reply->status == 400 && (g_str_equal(fault.code, "NotImplemented") ||
                                    g_str_equal(fault.code, "InvalidArgument") ||
                                    g_str_equal(fault.code, "InvalidRequest"));
}

bool vms_s3_error_is_no_bucket(const VmsHttpReply *reply)
{
    g_auto(VmsS3Fault) fault = {0};
    read_fault(reply, &fault);
    return reply->status == 404 && g_str_equal(fault.code, "NoSuchBucket");
}
