/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Multipart uploads that nobody will finish: found by the time of their last part, and not of their
 * first, since a large disk over a thin line takes days. */
#include "base/error.h"
#include "store/s3-private.h"
#include "store/s3-xml-uploads.h"

#include <string.h>

#define MAX_PAGE (16u << 20)

typedef struct {
    VmsS3Bucket *bucket;
    int64_t before_s;
    unsigned count;
    GCancellable *cancellable;
} Sweep;

static bool run(Sweep *sweep, const char *method, const char *url, VmsHttpReply *ret_reply,
                GError **error)
{
    VmsS3Request request = {.method = method, .url = url, .max_body = MAX_PAGE};
    return vms_s3_request_run(sweep->bucket, &request, ret_reply, sweep->cancellable, error);
}

/* A reply that is not the document it should be: *error says so. */
static bool fail_unread(Sweep *sweep, const VmsHttpReply *reply, const char *what, GError **error)
{
    if (!vms_s3_error_in_body(reply))
        return vms_prefix(error, "the server's list of %s cannot be read", what);
    g_clear_error(error);
    return vms_s3_request_fail(sweep->bucket, reply, error);
}

/* *ret_idle: no part since before_s. An upload that is gone is not idle. */
static bool is_idle(Sweep *sweep, const char *object, const char *id, bool *ret_idle,
                    GError **error)
{
    VmsS3PartsPage page = {.truncated = true};
    while (page.truncated) {
        unsigned after = page.next;
        g_autofree char *url = g_strdup_printf(
            "%s?max-parts=1000&part-number-marker=%u&uploadId=%s", object, after, id);
        g_auto(VmsHttpReply) reply = {0};
        if (!run(sweep, "GET", url, &reply, error))
            return false;
        *ret_idle = false;
        if (reply.status == 404)
            return true;
        if (reply.status != 200)
            return vms_s3_request_fail(sweep->bucket, &reply, error);
        if (!vms_s3_xml_parts((const char *)reply.body->data, reply.body->len, &page, error))
            return fail_unread(sweep, &reply, "parts", error);
        if (page.latest_s > sweep->before_s)
            return true;
        if (page.truncated && page.next <= after)
            return vms_fail(error, VMS_ERROR_UNSUPPORTED,
                            "the server's list of parts does not get on");
    }
    *ret_idle = true;
    return true;
}

static bool drop_if_stale(Sweep *sweep, const VmsS3Pending *pending, GError **error)
{
    const VmsS3Url *where = &sweep->bucket->url;
    if (!g_str_has_prefix(pending->key, where->prefix))
        return true;
    const char *name = pending->key + strlen(where->prefix);
    if (!vms_store_valid_name(name) || pending->begun_s > sweep->before_s)
        return true;
    g_autofree char *object = vms_s3_url_object(where, name);
    g_autofree char *id = g_uri_escape_string(pending->id, NULL, FALSE);
    bool idle = false;
    if (!is_idle(sweep, object, id, &idle, error))
        return false;
    if (!idle)
        return true;
    g_autofree char *url = g_strconcat(object, "?uploadId=", id, NULL);
    g_auto(VmsHttpReply) reply = {0};
    if (!run(sweep, "DELETE", url, &reply, error))
        return false;
    if (!vms_s3_success(&reply) && reply.status != 404)
        return vms_s3_request_fail(sweep->bucket, &reply, error);
    sweep->count++;
    return true;
}

static bool get_page(Sweep *sweep, const VmsS3Uploads *before, VmsS3Uploads *ret_page,
                     GError **error)
{
    g_autofree char *url =
        vms_s3_url_uploads(&sweep->bucket->url, before->next_key, before->next_id);
    g_auto(VmsHttpReply) reply = {0};
    if (!run(sweep, "GET", url, &reply, error))
        return false;
    if (reply.status != 200)
        return vms_s3_request_fail(sweep->bucket, &reply, error);
    if (!vms_s3_xml_uploads((const char *)reply.body->data, reply.body->len, ret_page, error))
        return fail_unread(sweep, &reply, "uploads", error);
    if (ret_page->truncated &&
        (!ret_page->next_key || (g_strcmp0(ret_page->next_key, before->next_key) == 0 &&
                                 g_strcmp0(ret_page->next_id, before->next_id) == 0)))
        return vms_fail(error, VMS_ERROR_UNSUPPORTED,
                        "the server's list of uploads does not get on");
    return true;
}

static bool sweep_pages(Sweep *sweep, GError **error)
{
    g_auto(VmsS3Uploads) before = {0};
    for (;;) {
        g_auto(VmsS3Uploads) page = {0};
        if (!get_page(sweep, &before, &page, error))
            return false;
        for (unsigned i = 0; i < page.uploads->len; i++)
            if (!drop_if_stale(sweep, &g_array_index(page.uploads, VmsS3Pending, i), error))
                return false;
        if (!page.truncated)
            return true;
        vms_s3_xml_uploads_clear(&before);
        before = page;
        memset(&page, 0, sizeof page);
    }
}

bool vms_s3_abort_parts(VmsStore *store, uint64_t older_than_s, unsigned *ret_count,
                        GCancellable *cancellable, GError **error)
{
    Sweep sweep = {.bucket = &((VmsS3 *)store)->bucket,
                   .before_s = g_get_real_time() / G_USEC_PER_SEC -
                               (int64_t)MIN(older_than_s, (uint64_t)G_MAXINT32),
                   .cancellable = cancellable};
    bool ok = sweep_pages(&sweep, error);
    *ret_count += sweep.count;
    return ok;
}
