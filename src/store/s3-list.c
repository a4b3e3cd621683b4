/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pages are asked for by the last key of the page before (start-after) and not by the server's
 * token, which may hold characters that versions of curl sign differently. This relies on ascending
 * order, which S3 promises; it is checked, since names that come too late would otherwise be lost.
 */
#include "store/s3-list.h"

#include "base/error.h"
#include "store/s3-xml.h"

#include <string.h>

#define PAGE_KEYS 1000
#define MAX_PAGE (16u << 20)

typedef struct {
    VmsS3Bucket *bucket;
    const char *prefix; /* below the bucket's own */
    char *last;         /* key of the last object seen, nullable */
    bool repeats;       /* the page was asked for from a key below last */
    VmsStoreListFunc func;
    void *user;
    GCancellable *cancellable;
} Listing;

static bool get_page(Listing *listing, VmsS3Page *ret_page, GError **error)
{
    VmsS3Bucket *bucket = listing->bucket;
    g_autofree char *after = g_strdup(listing->last);
    char *plus = after ? strchr(after, '+') : NULL;
    listing->repeats = plus != NULL;
    if (plus)
        *plus = '\0';
    g_autofree char *url =
        vms_s3_url_list(&bucket->url, listing->prefix, after && *after ? after : NULL, PAGE_KEYS);
    VmsS3Request request = {.method = "GET", .url = url, .max_body = MAX_PAGE};
    g_auto(VmsHttpReply) reply = {0};
    if (!vms_s3_request_run(bucket, &request, &reply, listing->cancellable, error))
        return false;
    if (reply.status != 200)
        return vms_s3_request_fail(bucket, &reply, error);
    if (vms_s3_xml_page((const char *)reply.body->data, reply.body->len, ret_page, error))
        return true;
    if (vms_s3_error_in_body(&reply)) {
        g_clear_error(error);
        return vms_s3_request_fail(bucket, &reply, error);
    }
    return vms_prefix(error, "the server's listing cannot be read");
}

static bool tell_object(Listing *listing, const VmsS3Object *object, GError **error)
{
    const char *own_prefix = listing->bucket->url.prefix;
    size_t own_len = strlen(own_prefix);
    int order = listing->last ? strcmp(object->key, listing->last) : 1;
    if (order == 0 || (order < 0 && listing->repeats)) /* some servers take after as from, too */
        return true;
    if (order < 0)
        return vms_fail(error, VMS_ERROR_UNSUPPORTED, "the server does not list in order");
    if (strncmp(object->key, own_prefix, own_len) != 0 ||
        !g_str_has_prefix(object->key + own_len, listing->prefix))
        return vms_fail(error, VMS_ERROR_UNSUPPORTED,
                        "the server lists what does not begin with the prefix");
    g_free(listing->last);
    listing->last = g_strdup(object->key);
    const char *name = object->key + own_len;
    return !vms_store_valid_name(name) || listing->func(listing->user, name, object->size, error);
}

static bool tell_page(Listing *listing, const VmsS3Page *page, GError **error)
{
    g_autofree char *before = g_strdup(listing->last);
    for (unsigned i = 0; i < page->objects->len; i++)
        if (!vms_check_cancelled(listing->cancellable, error) ||
            !tell_object(listing, &g_array_index(page->objects, VmsS3Object, i), error))
            return false;
    if (page->truncated && g_strcmp0(before, listing->last) == 0)
        return vms_fail(error, VMS_ERROR_UNSUPPORTED, "the server's listing does not get on");
    return true;
}

bool vms_s3_list_run(VmsS3Bucket *bucket, const char *prefix, const char *after,
                     VmsStoreListFunc func, void *user, GCancellable *cancellable, GError **error)
{
    Listing listing = {
        .bucket = bucket, .prefix = prefix, .func = func, .user = user, .cancellable = cancellable};
    if (after)
        listing.last = g_strconcat(bucket->url.prefix, after, NULL);
    bool ok, more;
    do {
        g_auto(VmsS3Page) page = {0};
        ok = get_page(&listing, &page, error) && tell_page(&listing, &page, error);
        more = page.truncated;
    } while (ok && more);
    g_free(listing.last);
    return ok;
}
