/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/s3-url.h"

#include "base/error.h"

#include <gio/gio.h>
#include <string.h>

/* Characters that are the same encoded and not: others would be signed differently by different
 * versions of curl. */
#define PREFIX_CHARS "._~-"

static bool only_chars(const char *text, const char *others)
{
    for (; *text; text++)
        if (!g_ascii_isalnum(*text) && !strchr(others, *text))
            return false;
    return true;
}

static bool check_bucket(const char *bucket, GError **error)
{
    if (!bucket || !*bucket)
        return vms_fail(error, VMS_ERROR_USAGE, "bucket: is missing");
    size_t len = strlen(bucket);
    if (len < 3 || len > 255 || !only_chars(bucket, "._-") || bucket[0] == '.')
        return vms_fail(error, VMS_ERROR_USAGE, "bucket: \"%.80s\" is not a name of a bucket",
                        bucket);
    return true;
}

/* "a/b/" of "/a/b", "" of "/". */
static char *normal_prefix(const char *prefix, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(prefix ? prefix : "", "/", -1);
    unsigned n = g_strv_length(parts);
    g_autoptr(GString) normal = g_string_new(NULL);
    for (unsigned i = 0; i < n; i++) {
        const char *part = parts[i];
        if (!*part && (normal->len == 0 || i + 1 == n))
            continue;
        if (!*part || g_str_equal(part, ".") || g_str_equal(part, "..") ||
            !only_chars(part, PREFIX_CHARS))
            return vms_fail_null(error, VMS_ERROR_USAGE,
                                 "prefix: \"%.80s\" may have only A-Z a-z 0-9 . _ ~ - between "
                                 "single slashes",
                                 prefix);
        g_string_append_printf(normal, "%s/", part);
    }
    if (normal->len > 400)
        return vms_fail_null(error, VMS_ERROR_USAGE, "prefix: is too long");
    return g_string_free(g_steal_pointer(&normal), FALSE);
}

static bool is_amazon(const char *host)
{
    return g_str_has_suffix(host, ".amazonaws.com") || g_str_has_suffix(host, ".amazonaws.com.cn");
}

/* A certificate for *.host does not match a bucket with a dot; nor does a name with capitals. */
static bool works_as_host(const char *bucket, const char *scheme)
{
    for (const char *at = bucket; *at; at++)
        if (g_ascii_isupper(*at) || *at == '_' || (*at == '.' && g_str_equal(scheme, "https")))
            return false;
    return strlen(bucket) <= 63;
}

static char *base_of(GUri *uri, const VmsS3Options *options, GError **error)
{
    const char *host = g_uri_get_host(uri), *scheme = g_uri_get_scheme(uri);
    bool is_address = g_hostname_is_ip_address(host);
    bool virtual_hosted = options->style == VMS_S3_STYLE_VIRTUAL;
    if (options->style == VMS_S3_STYLE_AUTO)
        virtual_hosted = is_amazon(host) && works_as_host(options->bucket, scheme);
    if (virtual_hosted && is_address)
        return vms_fail_null(error, VMS_ERROR_USAGE,
                             "path-style: a bucket cannot be part of the address %s: use path "
                             "style",
                             host);
    g_autofree char *port =
        g_uri_get_port(uri) > 0 ? g_strdup_printf(":%d", g_uri_get_port(uri)) : g_strdup("");
    bool v6 = strchr(host, ':');
    if (virtual_hosted)
        return g_strdup_printf("%s://%s.%s%s", scheme, options->bucket, host, port);
    return g_strdup_printf("%s://%s%s%s%s/%s", scheme, v6 ? "[" : "", host, v6 ? "]" : "", port,
                           options->bucket);
}

static GUri *parse_endpoint(const char *endpoint, const char *region, GError **error)
{
    g_autofree char *text = NULL;
    if (!endpoint || !*endpoint)
        text = g_strdup_printf("https://s3.%s.amazonaws.com%s", region,
                               g_str_has_prefix(region, "cn-") ? ".cn" : "");
    else
        text = g_strconcat(strstr(endpoint, "://") ? "" : "https://", endpoint, NULL);
    g_autoptr(GUri) uri = g_uri_parse(text, G_URI_FLAGS_NONE, NULL);
    const char *host = uri ? g_uri_get_host(uri) : NULL;
    if (!host || !*host || !only_chars(host, ".-_:") ||
        (!g_str_equal(g_uri_get_scheme(uri), "http") &&
         !g_str_equal(g_uri_get_scheme(uri), "https")))
        return vms_fail_null(error, VMS_ERROR_USAGE,
                             "endpoint: \"%.80s\" is not like https://s3.example.org:9000", text);
    if (g_uri_get_userinfo(uri))
        return vms_fail_null(error, VMS_ERROR_USAGE,
                             "endpoint: keys do not belong into the address");
    /* As it was written: to GLib "/.." is the same as "/". */
    const char *path = strchr(strstr(text, "://") + 3, '/');
    if ((path && path[1]) || g_uri_get_query(uri) || g_uri_get_fragment(uri))
        return vms_fail_null(error, VMS_ERROR_USAGE,
                             "endpoint: \"%.80s\" has a path: give scheme, host and port only",
                             text);
    return g_steal_pointer(&uri);
}

bool vms_s3_url_valid_region(const char *region)
{
    return *region && strlen(region) <= 64 && only_chars(region, "-_");
}

bool vms_s3_url_init(VmsS3Url *ret_url, const VmsS3Options *options, const char *region,
                     GError **error)
{
    if (!check_bucket(options->bucket, error))
        return false;
    if (!vms_s3_url_valid_region(region))
        return vms_fail(error, VMS_ERROR_USAGE, "region: \"%.80s\" is not a name of a region",
                        region);
    g_autofree char *prefix = normal_prefix(options->prefix, error);
    if (!prefix)
        return false;
    g_autoptr(GUri) uri = parse_endpoint(options->endpoint, region, error);
    char *base = uri ? base_of(uri, options, error) : NULL;
    if (!base)
        return false;
    *ret_url = (VmsS3Url){base, g_steal_pointer(&prefix), g_strdup(options->bucket)};
    return true;
}

void vms_s3_url_clear(VmsS3Url *url)
{
    g_free(url->base);
    g_free(url->prefix);
    g_free(url->bucket);
}

char *vms_s3_url_object(const VmsS3Url *url, const char *name)
{
    return g_strdup_printf("%s/%s%s", url->base, url->prefix, name);
}

char *vms_s3_url_list(const VmsS3Url *url, const char *below, const char *after, unsigned max_keys)
{
    /* the order of parameters is that of the signature */
    g_autofree char *prefix = g_strconcat(url->prefix, below, NULL);
    g_autofree char *prefix_escaped = g_uri_escape_string(prefix, NULL, FALSE);
    GString *text = g_string_new(NULL);
    g_string_printf(text, "%s/?encoding-type=url&list-type=2&max-keys=%u&prefix=%s", url->base,
                    max_keys, prefix_escaped);
    if (after) {
        g_autofree char *after_escaped = g_uri_escape_string(after, NULL, FALSE);
        g_string_append_printf(text, "&start-after=%s", after_escaped);
    }
    return g_string_free(text, FALSE);
}

char *vms_s3_url_uploads(const VmsS3Url *url, const char *after_key, const char *after_id)
{
    /* the order of parameters is that of the signature */
    g_autofree char *prefix = g_uri_escape_string(url->prefix, NULL, FALSE);
    g_autofree char *key = g_uri_escape_string(after_key ? after_key : "", NULL, FALSE);
    g_autofree char *id = g_uri_escape_string(after_id ? after_id : "", NULL, FALSE);
    if (!after_key)
        return g_strdup_printf("%s/?max-uploads=1000&prefix=%s&uploads=", url->base, prefix);
    return g_strdup_printf("%s/?key-marker=%s&max-uploads=1000&prefix=%s&upload-id-marker=%s&"
                           "uploads=",
                           url->base, key, prefix, id);
}
