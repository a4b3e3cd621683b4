/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* AWS's shared files, Content-Range, and places as an operator or another vmsnap writes them. */
#include "base/text.h"
#include "fuzz.h"
#include "job/location-url.h"
#include "store/s3-profile.h"
#include "store/s3-range.h"
#include "store/s3-url.h"

static bool can_be_opened(const VmsLocationUrl *url)
{
    const VmsS3Options options = {
        .endpoint = url->endpoint, .bucket = url->bucket, .prefix = url->prefix};
    g_autoptr(GError) error = NULL;
    VmsS3Url parsed = {0};
    bool ok = fuzz_settled(vms_s3_url_init(&parsed, &options, "eu-1", &error), &error);
    if (ok)
        vms_s3_url_clear(&parsed);
    return ok;
}

/* What the catalog keeps of a place finds the way back. */
static void place(const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsLocationUrl) url = vms_location_url_parse(text, &error);
    if (!fuzz_settled(url != NULL, &error) || (!url->path && !can_be_opened(url)))
        return;
    g_autofree char *whole = vms_location_url_text(url, true);
    g_autoptr(VmsLocationUrl) same = vms_location_url_parse(whole, &error);
    g_assert_no_error(error);
    g_autofree char *again = vms_location_url_text(same, true);
    g_assert_cmpstr(whole, ==, again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    g_autofree char *text = fuzz_text(data, len);
    g_autoptr(GError) error = NULL;
    g_auto(VmsS3Profile) profile = {0};
    uint64_t first, size;
    int64_t time;
    fuzz_settled(vms_s3_profile_parse((const char *)data, len, "default", &profile, &error),
                 &error);
    vms_s3_range_parse(text, &first, &size);
    fuzz_settled(vms_text_parse_size(text, &size, &error), &error);
    if (fuzz_settled(vms_text_parse_time(text, &time, &error), &error)) {
        g_autofree char *again = vms_text_time(time);
        g_assert_nonnull(again);
    }
    place(text);
    return 0;
}
