/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every document that an S3 service answers with, read as each of them. */
#include "store/s3-xml.h"
#include "fuzz.h"
#include "store/s3-error.h"
#include "store/s3-xml-uploads.h"

static void faults(const uint8_t *data, size_t len)
{
    static const VmsS3ErrorContext context = {"bucket", "region", "key"};
    static const long statuses[] = {301, 400, 403, 404, 409, 412, 500, 503};
    g_auto(VmsS3Fault) fault = {0};
    vms_s3_xml_fault((const char *)data, len, &fault);
    g_assert_true(fault.code && fault.message && fault.region);
    for (size_t i = 0; i < G_N_ELEMENTS(statuses); i++) {
        g_auto(VmsHttpReply) reply = {.status = statuses[i], .body = g_byte_array_new()};
        g_autoptr(GError) error = NULL;
        g_byte_array_append(reply.body, data, (guint)len);
        fuzz_settled(vms_s3_error_set(&error, &reply, &context), &error);
        vms_s3_error_is_unsupported(&reply);
        vms_s3_error_is_no_bucket(&reply);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const char *text = (const char *)data;
    g_autoptr(GError) error = NULL;
    g_auto(VmsS3Page) page = {0};
    g_auto(VmsS3Uploads) uploads = {0};
    VmsS3PartsPage parts;
    fuzz_settled(vms_s3_xml_page(text, len, &page, &error), &error);
    fuzz_settled(vms_s3_xml_uploads(text, len, &uploads, &error), &error);
    fuzz_settled(vms_s3_xml_parts(text, len, &parts, &error), &error);
    g_autofree char *id = vms_s3_xml_upload_id(text, len, &error);
    fuzz_settled(id != NULL, &error);
    vms_s3_xml_is_completed(text, len);
    faults(data, len);
    return 0;
}
