/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "open-store.h"

#include "base/error.h"
#include "store/dir.h"
#include "store/fault.h"
#include "store/mem.h"
#include "store/rate.h"
#include "store/retry.h"

#include <string.h>

void open_store_s3_options(const char *style, VmsS3Options *ret_options)
{
    static VmsSecret *secret; /* one for the life of the program */
    const char *text = g_getenv("S3_SECRET_KEY");
    if (!secret)
        secret = vms_secret_new_string(text ? text : "");
    bool virtual_hosted = g_str_equal(style, "virtual");
    *ret_options = (VmsS3Options){
        .endpoint = g_getenv(virtual_hosted ? "S3_VHOST_ENDPOINT" : "S3_ENDPOINT"),
        .bucket = g_getenv("S3_BUCKET"),
        .prefix = g_getenv("S3_PREFIX"),
        .region = g_getenv("S3_REGION"),
        .ca_file = g_getenv("S3_CA_FILE"),
        .access_key_id = g_getenv("S3_ACCESS_KEY"),
        .secret_access_key = secret,
        .style = virtual_hosted               ? VMS_S3_STYLE_VIRTUAL
                 : g_str_equal(style, "path") ? VMS_S3_STYLE_PATH
                                              : VMS_S3_STYLE_AUTO,
    };
}

VmsStore *open_store(const char *spec, GError **error)
{
    if (g_str_has_prefix(spec, "retry+")) {
        VmsStore *inner = open_store(spec + strlen("retry+"), error);
        return inner ? vms_retry_new(inner, NULL) : NULL;
    }
    if (g_str_has_prefix(spec, "fault+")) {
        VmsStore *inner = open_store(spec + strlen("fault+"), error);
        return inner ? vms_fault_new(inner) : NULL;
    }
    if (g_str_has_prefix(spec, "rate+")) {
        VmsStore *inner = open_store(spec + strlen("rate+"), error);
        return inner ? vms_rate_store_new(inner, UINT64_C(1) << 40) : NULL;
    }
    if (g_str_equal(spec, "mem"))
        return vms_mem_new();
    if (g_str_has_prefix(spec, "dir:"))
        return vms_dir_open(spec + strlen("dir:"), true, error);
    if (g_str_has_prefix(spec, "s3:")) {
        VmsS3Options options;
        open_store_s3_options(spec + strlen("s3:"), &options);
        return vms_s3_open(&options, error);
    }
    return vms_fail_null(error, VMS_ERROR_USAGE, "unknown store \"%s\"", spec);
}
