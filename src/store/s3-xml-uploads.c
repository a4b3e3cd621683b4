/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/s3-xml-uploads.h"

#include "base/error.h"
#include "store/s3-xml.h"

#include <string.h>

#define MAX_ID 1024

static void set_invalid(GError **error, const char *what)
{
    g_set_error(error, G_MARKUP_ERROR, G_MARKUP_ERROR_INVALID_CONTENT, "%s", what);
}

static void replace(char **field, const char *text)
{
    g_free(*field);
    *field = g_strdup(text);
}

static void take_upload_id(void *user, const char *path, const char *text, GError **error)
{
    if (g_str_equal(path, "/InitiateMultipartUploadResult/UploadId"))
        replace(user, text);
}

/* An id goes into a query (see VmsHttpSign). */
static bool is_usable_id(const char *id)
{
    for (const char *at = id; *at; at++)
        if (!g_ascii_isgraph(*at) || *at == '+')
            return false;
    return *id && strlen(id) <= MAX_ID;
}

char *vms_s3_xml_upload_id(const char *text, size_t len, GError **error)
{
    g_autofree char *id = NULL;
    if (!vms_s3_xml_read(text, len, take_upload_id, &id, error))
        return NULL;
    if (!id || !is_usable_id(id))
        return vms_fail_null(error, VMS_ERROR_INVALID, "it holds no usable UploadId");
    return g_steal_pointer(&id);
}

static void see_completed(void *user, const char *path, const char *text, GError **error)
{
    if (g_str_equal(path, "/CompleteMultipartUploadResult"))
        *(bool *)user = true;
}

bool vms_s3_xml_is_completed(const char *text, size_t len)
{
    bool completed = false;
    return vms_s3_xml_read(text, len, see_completed, &completed, NULL) && completed;
}

static bool parse_time(const char *text, int64_t *ret_s)
{
    g_autoptr(GTimeZone) utc = g_time_zone_new_utc();
    g_autoptr(GDateTime) time = g_date_time_new_from_iso8601(text, utc);
    if (time)
        *ret_s = g_date_time_to_unix(time);
    return time != NULL;
}

typedef struct {
    VmsS3Uploads uploads;
    VmsS3Pending pending;
    bool has_time, seen;
} UploadsReader;

static void clear_pending(void *pending)
{
    g_free(((VmsS3Pending *)pending)->key);
    g_free(((VmsS3Pending *)pending)->id);
}

static void uploads_ended(void *user, const char *path, const char *text, GError **error)
{
    UploadsReader *reader = user;
    VmsS3Pending *pending = &reader->pending;
    const char *root = "/ListMultipartUploadsResult";
    if (!g_str_has_prefix(path, root))
        return;
    path += strlen(root);
    if (g_str_equal(path, "/Upload/Key")) {
        replace(&pending->key, text);
    } else if (g_str_equal(path, "/Upload/UploadId")) {
        replace(&pending->id, text);
    } else if (g_str_equal(path, "/Upload/Initiated")) {
        reader->has_time = parse_time(text, &pending->begun_s);
    } else if (g_str_equal(path, "/Upload")) {
        if (!pending->key || !pending->id || !reader->has_time) {
            set_invalid(error, "an upload without key, id or time");
            return;
        }
        g_array_append_val(reader->uploads.uploads, *pending);
        *pending = (VmsS3Pending){0};
        reader->has_time = false;
    } else if (g_str_equal(path, "/IsTruncated")) {
        reader->uploads.truncated = g_str_equal(text, "true");
    } else if (g_str_equal(path, "/NextKeyMarker")) {
        replace(&reader->uploads.next_key, text);
    } else if (g_str_equal(path, "/NextUploadIdMarker")) {
        replace(&reader->uploads.next_id, text);
    } else if (!*path) {
        reader->seen = true;
    }
}

bool vms_s3_xml_uploads(const char *text, size_t len, VmsS3Uploads *ret_uploads, GError **error)
{
    UploadsReader reader = {.uploads.uploads = g_array_new(FALSE, FALSE, sizeof(VmsS3Pending))};
    g_array_set_clear_func(reader.uploads.uploads, clear_pending);
    bool ok = vms_s3_xml_read(text, len, uploads_ended, &reader, error);
    if (ok && !reader.seen)
        ok = vms_fail(error, VMS_ERROR_INVALID, "it is not a ListMultipartUploadsResult");
    clear_pending(&reader.pending);
    if (ok)
        *ret_uploads = reader.uploads;
    else
        vms_s3_xml_uploads_clear(&reader.uploads);
    return ok;
}

void vms_s3_xml_uploads_clear(VmsS3Uploads *uploads)
{
    g_clear_pointer(&uploads->uploads, g_array_unref);
    g_clear_pointer(&uploads->next_key, g_free);
    g_clear_pointer(&uploads->next_id, g_free);
}

typedef struct {
    VmsS3PartsPage page;
    bool seen;
} PartsReader;

static void parts_ended(void *user, const char *path, const char *text, GError **error)
{
    PartsReader *reader = user;
    int64_t time;
    guint64 number;
    if (g_str_equal(path, "/ListPartsResult/Part/LastModified")) {
        if (!parse_time(text, &time))
            set_invalid(error, "a part without a time");
        else
            reader->page.latest_s = MAX(reader->page.latest_s, time);
    } else if (g_str_equal(path, "/ListPartsResult/IsTruncated")) {
        reader->page.truncated = g_str_equal(text, "true");
    } else if (g_str_equal(path, "/ListPartsResult/NextPartNumberMarker")) {
        if (g_ascii_string_to_unsigned(text, 10, 0, G_MAXINT32, &number, NULL))
            reader->page.next = (unsigned)number;
    } else if (g_str_equal(path, "/ListPartsResult")) {
        reader->seen = true;
    }
}

bool vms_s3_xml_parts(const char *text, size_t len, VmsS3PartsPage *ret_page, GError **error)
{
    PartsReader reader = {.page.latest_s = INT64_MIN};
    if (!vms_s3_xml_read(text, len, parts_ended, &reader, error))
        return false;
    if (!reader.seen)
        return vms_fail(error, VMS_ERROR_INVALID, "it is not a ListPartsResult");
    *ret_page = reader.page;
    return true;
}
