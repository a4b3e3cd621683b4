/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/location-url.h"

#include "base/error.h"

#include <string.h>

static const struct {
    const char *name;
    size_t offset;
} options[] = {
    {"endpoint", offsetof(VmsLocationUrl, endpoint)},
    {"region", offsetof(VmsLocationUrl, region)},
    {"path-style", offsetof(VmsLocationUrl, path_style)},
    {"ca-file", offsetof(VmsLocationUrl, ca_file)},
    {"profile", offsetof(VmsLocationUrl, profile)},
};

static char **member(const VmsLocationUrl *url, size_t at)
{
    return (char **)(void *)((char *)url + options[at].offset);
}

static bool read_option(VmsLocationUrl *url, const char *text, GError **error)
{
    const char *equals = strchr(text, '=');
    g_autofree char *name = g_strndup(text, equals ? (gsize)(equals - text) : strlen(text));
    g_autofree char *value = equals ? g_uri_unescape_string(equals + 1, NULL) : NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(options); i++) {
        if (!g_str_equal(options[i].name, name))
            continue;
        if (!value || *value == '\0')
            return vms_fail(error, VMS_ERROR_USAGE, "option \"%s\" has no value", name);
        if (*member(url, i))
            return vms_fail(error, VMS_ERROR_USAGE, "\"%s\" is said twice", name);
        *member(url, i) = g_steal_pointer(&value);
        return true;
    }
    return vms_fail(error, VMS_ERROR_USAGE,
                    "unknown option \"%s\"; known: endpoint, region, path-style, ca-file, profile",
                    name);
}

static bool check_options(const VmsLocationUrl *url, GError **error)
{
    static const char *const styles[] = {"auto", "yes", "no", NULL};
    if (url->path_style && !g_strv_contains(styles, url->path_style))
        return vms_fail(error, VMS_ERROR_USAGE, "path-style \"%s\" is not one of auto, yes, no",
                        url->path_style);
    if (url->ca_file && *url->ca_file != '/')
        return vms_fail(error, VMS_ERROR_USAGE, "ca-file \"%s\" is not an absolute path",
                        url->ca_file);
    return true;
}

/* "BUCKET/PREFIX" */
static bool read_bucket(VmsLocationUrl *url, const char *text, GError **error)
{
    g_autofree char *copy = g_strdup(text);
    char *slash = strchr(copy, '/');
    if (slash)
        *slash = '\0';
    if (*copy == '\0')
        return vms_fail(error, VMS_ERROR_USAGE, "there is no bucket in it");
    url->bucket = g_strdup(copy);
    char *prefix = slash ? slash + 1 : copy + strlen(copy);
    while (*prefix == '/')
        prefix++;
    url->prefix = g_strdup(prefix);
    for (size_t len = strlen(url->prefix); len > 0 && url->prefix[len - 1] == '/'; len--)
        url->prefix[len - 1] = '\0';
    return true;
}

/* In any case, as an endpoint's own. */
static bool has_scheme(const char *text, const char *scheme)
{
    return g_ascii_strncasecmp(text, scheme, strlen(scheme)) == 0;
}

/* text: what follows "s3:" */
static bool read_s3(VmsLocationUrl *url, const char *text, GError **error)
{
    g_autofree char *copy = g_strdup(text);
    char *query = strchr(copy, '?');
    if (query)
        *query++ = '\0';
    const char *bucket;
    if (g_str_has_prefix(copy, "//")) {
        bucket = copy + 2;
    } else if (has_scheme(copy, "https://") || has_scheme(copy, "http://")) {
        char *host = strstr(copy, "://") + 3, *slash = strchr(host, '/');
        if (slash == host || *host == '\0')
            return vms_fail(error, VMS_ERROR_USAGE, "there is no host in it");
        url->endpoint = g_strndup(copy, slash ? (gsize)(slash - copy) : strlen(copy));
        bucket = slash ? slash + 1 : "";
    } else {
        return vms_fail(error, VMS_ERROR_USAGE,
                        "write s3://BUCKET/PREFIX or s3:https://HOST/BUCKET/PREFIX");
    }
    if (strchr(copy, '@'))
        return vms_fail(error, VMS_ERROR_USAGE,
                        "keys do not belong into the URL; use the configuration, a profile or the "
                        "environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)");
    g_auto(GStrv) pairs = g_strsplit(query ? query : "", "&", -1);
    for (size_t i = 0; pairs[i]; i++)
        if (!read_option(url, pairs[i], error))
            return false;
    return check_options(url, error) && read_bucket(url, bucket, error);
}

static bool read_any(VmsLocationUrl *url, const char *text, GError **error)
{
    if (g_str_has_prefix(text, "s3:"))
        return read_s3(url, text + 3, error);
    const char *path = g_str_has_prefix(text, "file:") ? text + 5 : text;
    if (g_str_has_prefix(path, "///"))
        path += 2;
    if (*path == '/' ||
        ((g_str_has_prefix(path, "./") || g_str_has_prefix(path, "../")) && path == text)) {
        url->path = g_canonicalize_filename(path, NULL);
        return true;
    }
    if (path != text)
        return vms_fail(error, VMS_ERROR_USAGE, "write file:/PATH with an absolute path");
    if (strchr(text, ':'))
        return vms_fail(error, VMS_ERROR_USAGE,
                        "unknown kind of repository; known: /PATH, file:/PATH, s3://BUCKET/PREFIX, "
                        "s3:https://HOST/BUCKET/PREFIX");
    return vms_fail(error, VMS_ERROR_USAGE, "a path begins with / or ./");
}

VmsLocationUrl *vms_location_url_parse(const char *text, GError **error)
{
    g_autoptr(VmsLocationUrl) url = g_new0(VmsLocationUrl, 1);
    if (!g_utf8_validate(text, -1, NULL))
        return vms_fail_null(error, VMS_ERROR_USAGE, "the repository's location is not UTF-8");
    if (read_any(url, text, error))
        return g_steal_pointer(&url);
    vms_prefix(error, "repository \"%s\"", text);
    return NULL;
}

void vms_location_url_free(VmsLocationUrl *url)
{
    if (!url)
        return;
    g_free(url->path);
    g_free(url->bucket);
    g_free(url->prefix);
    for (size_t i = 0; i < G_N_ELEMENTS(options); i++)
        g_free(*member(url, i));
    g_free(url);
}

bool vms_location_url_looks(const char *text)
{
    return strpbrk(text, "/:") != NULL;
}

/* "https://host" in front of "host", without slashes behind. */
static char *full_endpoint(const char *endpoint)
{
    bool scheme = strstr(endpoint, "://") != NULL;
    char *text = g_strconcat(scheme ? "" : "https://", endpoint, NULL);
    for (size_t len = strlen(text); len > 0 && text[len - 1] == '/'; len--)
        text[len - 1] = '\0';
    return text;
}

char *vms_location_url_text(const VmsLocationUrl *url, bool with_options)
{
    if (url->path)
        return g_strdup(url->path);
    g_autofree char *endpoint = url->endpoint ? full_endpoint(url->endpoint) : NULL;
    GString *text = g_string_new(endpoint ? "s3:" : "s3://");
    if (endpoint)
        g_string_append_printf(text, "%s/", endpoint);
    g_string_append(text, url->bucket);
    if (*url->prefix)
        g_string_append_printf(text, "/%s", url->prefix);
    char separator = '?';
    for (size_t i = 0; with_options && i < G_N_ELEMENTS(options); i++) {
        const char *value = *member(url, i);
        if (!value || options[i].offset == offsetof(VmsLocationUrl, endpoint))
            continue;
        g_autofree char *escaped = g_uri_escape_string(value, "/:", TRUE);
        g_string_append_printf(text, "%c%s=%s", separator, options[i].name, escaped);
        separator = '&';
    }
    return g_string_free(text, FALSE);
}
