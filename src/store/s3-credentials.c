/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Keys are kept until five minutes before they expire, or until the server refuses them. Where they
 * cannot be had anew, the old ones are used to their end. Lock: VmsS3Credentials.lock, held while a
 * service is asked, so that one thread asks and the others get its answer. */
#include "store/s3-credentials.h"

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "store/s3-profile.h"

#include <string.h>

#define REFRESH_US (INT64_C(300) * 1000000)
#define ASK_AGAIN_US (INT64_C(30) * 1000000)
#define MAX_REPLY 65536
#define CONTAINER_HOST "http://169.254.170.2"
#define METADATA_HOST "http://169.254.169.254"
#define ROLE_PATH "/latest/meta-data/iam/security-credentials/"

struct VmsS3Credentials {
    VmsHttp *http;
    VmsS3Keys *given; /* nullable */
    char *profile;    /* nullable: of the options */
    GMutex lock;      /* guards what follows */
    VmsS3Keys *kept;  /* nullable */
    int64_t asked_us; /* when they were last asked for */
};

static VmsS3Keys *keys_new(const char *id, const VmsSecret *secret, const VmsSecret *token,
                           int64_t expires_us)
{
    VmsS3Keys *keys = g_new0(VmsS3Keys, 1);
    keys->access_key_id = g_strdup(id);
    keys->secret_access_key = vms_secret_copy(secret);
    keys->session_token = token && token->len > 0 ? vms_secret_copy(token) : NULL;
    keys->expires_us = expires_us;
    return keys;
}

static VmsS3Keys *keys_from_text(const char *id, const char *secret, const char *token,
                                 int64_t expires_us)
{
    g_autoptr(VmsSecret) secret_bytes = vms_secret_new_string(secret);
    g_autoptr(VmsSecret) token_bytes = vms_secret_new_string(token ? token : "");
    return keys_new(id, secret_bytes, token_bytes, expires_us);
}

void vms_s3_keys_free(VmsS3Keys *keys)
{
    if (!keys)
        return;
    g_free(keys->access_key_id);
    vms_secret_free(keys->secret_access_key);
    vms_secret_free(keys->session_token);
    g_free(keys);
}

static const char *variable(const char *name)
{
    const char *value = g_getenv(name);
    return value && *value ? value : NULL;
}

/* The sources. Each gives *ret_keys NULL where it is not configured. */

static bool from_environment(VmsS3Keys **ret_keys, GError **error)
{
    const char *id = variable("AWS_ACCESS_KEY_ID");
    const char *secret = variable("AWS_SECRET_ACCESS_KEY");
    if (!id && !secret)
        return true;
    if (!id || !secret)
        return vms_fail(error, VMS_ERROR_AUTH, "%s is set, but %s is not",
                        id ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY",
                        id ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID");
    *ret_keys = keys_from_text(id, secret, variable("AWS_SESSION_TOKEN"), 0);
    return true;
}

/* asked: the operator named this profile, so it must have keys. */
static bool from_profile(const char *name, bool asked, VmsS3Keys **ret_keys, GError **error)
{
    g_auto(VmsS3Profile) profile = {0};
    if (!vms_s3_profile_load(name, &profile, error))
        return false;
    name = vms_s3_profile_name(name);
    if (profile.access_key_id && profile.secret_access_key) {
        *ret_keys =
            keys_new(profile.access_key_id, profile.secret_access_key, profile.session_token, 0);
        return true;
    }
    if (!asked && !profile.access_key_id && !profile.secret_access_key)
        return true;
    return vms_fail(error, VMS_ERROR_AUTH,
                    profile.found ? "profile \"%s\" does not have both aws_access_key_id and "
                                    "aws_secret_access_key (roles, sso and credential_process "
                                    "are not supported)"
                                  : "there is no profile \"%s\" in the shared credentials file",
                    name);
}

/* One request to a metadata service. */
static bool ask(VmsHttp *http, const char *method, const char *url, const char *header,
                char **ret_text, GCancellable *cancellable, GError **error)
{
    const char *const headers[] = {header, NULL};
    VmsHttpRequest request = {
        .method = method, .url = url, .headers = headers, .max_body = MAX_REPLY, .local = true};
    g_auto(VmsHttpReply) reply = {0};
    if (!vms_http_run(http, &request, &reply, cancellable, error))
        return vms_prefix(error, "credentials");
    if (reply.status != 200)
        return vms_fail(error, reply.status >= 500 ? VMS_ERROR_TRANSIENT : VMS_ERROR_AUTH,
                        "credentials: %s: HTTP %ld", url, reply.status);
    *ret_text = reply.body->len > 0 ? g_strndup((const char *)reply.body->data, reply.body->len)
                                    : g_strdup("");
    return true;
}

static void wipe_text(char *text)
{
    if (text)
        vms_secret_wipe(text, strlen(text));
    g_free(text);
}

/* {"AccessKeyId": …, "SecretAccessKey": …, "Token": …, "Expiration": …} */
static bool read_keys(const char *text, VmsS3Keys **ret_keys, GError **error)
{
    g_autoptr(VmsJson) json = vms_json_parse(text, strlen(text), error);
    const char *id, *secret, *token = NULL, *expiration = NULL;
    int64_t expires_us = 0;
    if (!json || !vms_json_string(json, "AccessKeyId", &id, error) ||
        !vms_json_string(json, "SecretAccessKey", &secret, error) ||
        (vms_json_has(json, "Token") && !vms_json_string(json, "Token", &token, error)) ||
        (vms_json_has(json, "Expiration") &&
         (!vms_json_string(json, "Expiration", &expiration, error) ||
          !vms_text_parse_time(expiration, &expires_us, error))))
        return vms_prefix(error, "credentials");
    *ret_keys = keys_from_text(id, secret, token, expires_us);
    return true;
}

/* The token may go over plain HTTP only where it does not leave the machine. */
static bool is_local_address(const char *url)
{
    g_autoptr(GUri) uri = g_uri_parse(url, G_URI_FLAGS_NONE, NULL);
    const char *host = uri ? g_uri_get_host(uri) : NULL;
    if (!host)
        return false;
    if (g_str_equal(g_uri_get_scheme(uri), "https"))
        return true;
    g_autoptr(GInetAddress) address = g_inet_address_new_from_string(host);
    return g_str_equal(host, "localhost") || g_str_equal(host, "169.254.170.2") ||
           g_str_equal(host, "169.254.170.23") || g_str_equal(host, "fd00:ec2::23") ||
           (address && g_inet_address_get_is_loopback(address));
}

/* "Authorization: TOKEN" (transfer full), NULL in *ret_header where none is configured. */
static bool authorization(char **ret_header, GError **error)
{
    const char *file = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    const char *token = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    char *text = NULL;
    if (file && !g_file_get_contents(file, &text, NULL, error))
        return vms_convert(error);
    if (!text)
        text = g_strdup(token ? token : "");
    g_strstrip(text);
    bool ok = !strpbrk(text, "\r\n") ||
              vms_fail(error, VMS_ERROR_AUTH, "the container's authorization token has two lines");
    if (ok && *text)
        *ret_header = g_strconcat("Authorization: ", text, NULL);
    wipe_text(text);
    return ok;
}

static bool from_container(VmsHttp *http, VmsS3Keys **ret_keys, GCancellable *cancellable,
                           GError **error)
{
    const char *relative = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    if (!relative && !full)
        return true;
    g_autofree char *url = relative ? g_strconcat(CONTAINER_HOST, relative, NULL) : g_strdup(full);
    if (!is_local_address(url))
        return vms_fail(error, VMS_ERROR_USAGE,
                        "AWS_CONTAINER_CREDENTIALS_FULL_URI: %s is neither https nor local", url);
    char *header = NULL, *text = NULL;
    bool ok = authorization(&header, error) &&
              ask(http, "GET", url, header, &text, cancellable, error) &&
              read_keys(text, ret_keys, error);
    wipe_text(header);
    wipe_text(text);
    return ok;
}

/* IMDSv2: a token first, then the name of the role, then its keys. */
static bool from_role(VmsHttp *http, const char *base, const char *header, VmsS3Keys **ret_keys,
                      GCancellable *cancellable, GError **error)
{
    g_autofree char *roles_url = g_strconcat(base, ROLE_PATH, NULL);
    g_autofree char *role = NULL;
    if (!ask(http, "GET", roles_url, header, &role, cancellable, error))
        return false;
    role[strcspn(role, "\r\n")] = '\0';
    g_autofree char *escaped = g_uri_escape_string(role, NULL, FALSE);
    g_autofree char *url = g_strconcat(roles_url, escaped, NULL);
    char *text = NULL;
    bool ok = ask(http, "GET", url, header, &text, cancellable, error) &&
              read_keys(text, ret_keys, error);
    wipe_text(text);
    return ok;
}

static bool from_machine(VmsHttp *http, VmsS3Keys **ret_keys, GCancellable *cancellable,
                         GError **error)
{
    const char *disabled = variable("AWS_EC2_METADATA_DISABLED");
    if (disabled && g_ascii_strcasecmp(disabled, "true") == 0)
        return true;
    const char *endpoint = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    g_autofree char *base = g_strdup(endpoint ? endpoint : METADATA_HOST);
    for (size_t len = strlen(base); len > 0 && base[len - 1] == '/'; len--)
        base[len - 1] = '\0';
    g_autofree char *token_url = g_strconcat(base, "/latest/api/token", NULL);
    char *token = NULL;
    g_autoptr(GError) unheard = NULL;
    if (!ask(http, "PUT", token_url, "X-aws-ec2-metadata-token-ttl-seconds: 21600", &token,
             cancellable, &unheard)) {
        /* most machines have no such service: then it is one place less to have looked */
        if (endpoint || vms_error_is(unheard, VMS_ERROR_CANCELLED)) {
            g_propagate_error(error, g_steal_pointer(&unheard));
            return false;
        }
        return true;
    }
    g_strstrip(token);
    char *header = g_strconcat("X-aws-ec2-metadata-token: ", token, NULL);
    bool ok = from_role(http, base, header, ret_keys, cancellable, error);
    wipe_text(token);
    wipe_text(header);
    return ok;
}

static VmsS3Keys *find(VmsS3Credentials *credentials, GCancellable *cancellable, GError **error)
{
    VmsS3Keys *keys = NULL;
    if (credentials->given)
        return keys_new(credentials->given->access_key_id, credentials->given->secret_access_key,
                        credentials->given->session_token, 0);
    if (credentials->profile)
        return from_profile(credentials->profile, true, &keys, error) ? keys : NULL;
    if (!from_environment(&keys, error))
        return NULL;
    if (!keys && !from_profile(NULL, variable("AWS_PROFILE") != NULL, &keys, error))
        return NULL;
    if (!keys && !from_container(credentials->http, &keys, cancellable, error))
        return NULL;
    if (!keys && !from_machine(credentials->http, &keys, cancellable, error))
        return NULL;
    if (!keys)
        vms_fail(error, VMS_ERROR_AUTH,
                 "no S3 credentials: set access-key-id and its secret, or AWS_ACCESS_KEY_ID and "
                 "AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws/credentials; containers and "
                 "instance metadata gave none");
    return keys;
}

VmsS3Credentials *vms_s3_credentials_new(const VmsS3Options *options, VmsHttp *http)
{
    VmsS3Credentials *credentials = g_new0(VmsS3Credentials, 1);
    credentials->http = http;
    if (options->access_key_id)
        credentials->given =
            keys_new(options->access_key_id, options->secret_access_key, options->session_token, 0);
    credentials->profile = g_strdup(options->profile);
    g_mutex_init(&credentials->lock);
    return credentials;
}

void vms_s3_credentials_free(VmsS3Credentials *credentials)
{
    if (!credentials)
        return;
    vms_s3_keys_free(credentials->given);
    vms_s3_keys_free(credentials->kept);
    g_free(credentials->profile);
    g_mutex_clear(&credentials->lock);
    g_free(credentials);
}

VmsS3Keys *vms_s3_credentials_get(VmsS3Credentials *credentials, GCancellable *cancellable,
                                  GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&credentials->lock);
    VmsS3Keys *kept = credentials->kept;
    int64_t now = g_get_real_time();
    bool expired = kept && kept->expires_us && kept->expires_us < now;
    bool due = kept && kept->expires_us && kept->expires_us - REFRESH_US < now &&
               now - credentials->asked_us > ASK_AGAIN_US;
    if (!kept || expired || due) {
        credentials->asked_us = now;
        g_autoptr(GError) failure = NULL;
        VmsS3Keys *fresh = find(credentials, cancellable, &failure);
        if (!fresh && (!kept || expired)) {
            g_propagate_error(error, g_steal_pointer(&failure));
            return NULL;
        }
        if (fresh) {
            vms_s3_keys_free(kept);
            credentials->kept = kept = fresh;
        }
    }
    return keys_new(kept->access_key_id, kept->secret_access_key, kept->session_token,
                    kept->expires_us);
}

static bool same_secret(const VmsSecret *a, const VmsSecret *b)
{
    return (!a && !b) || (a && b && a->len == b->len && memcmp(a->data, b->data, a->len) == 0);
}

static bool same_keys(const VmsS3Keys *a, const VmsS3Keys *b)
{
    return g_str_equal(a->access_key_id, b->access_key_id) &&
           same_secret(a->secret_access_key, b->secret_access_key) &&
           same_secret(a->session_token, b->session_token);
}

bool vms_s3_credentials_renew(VmsS3Credentials *credentials, const VmsS3Keys *refused,
                              bool *ret_others, GCancellable *cancellable, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&credentials->lock);
    *ret_others = credentials->kept && !same_keys(credentials->kept, refused);
    if (*ret_others) /* another thread was first */
        return true;
    g_autoptr(GError) failure = NULL;
    VmsS3Keys *fresh = find(credentials, cancellable, &failure);
    if (!fresh && (vms_error_is(failure, VMS_ERROR_TRANSIENT) ||
                   vms_error_is(failure, VMS_ERROR_CANCELLED))) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return false;
    }
    if (!fresh)
        return true;
    *ret_others = !same_keys(fresh, refused);
    credentials->asked_us = g_get_real_time();
    vms_s3_keys_free(credentials->kept);
    credentials->kept = fresh;
    return true;
}
