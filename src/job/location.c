/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A URL that is also the place of a configured repository means that repository, with its password
 * and keys: so what the catalog remembers, and what another vmsnap printed, can be given back to
 * us. */
#include "job/location.h"

#include "base/error.h"
#include "job/location-url.h"
#include "job/plain.h"
#include "job/secret-file.h"
#include "store/dir.h"
#include "store/rate.h"
#include "store/retry.h"
#include "store/s3.h"

typedef struct {
    const VmsConfigRepository *configured; /* NULL for a URL that is not configured */
    VmsLocationUrl *url;
} Target;

static void target_clear(Target *target)
{
    vms_location_url_free(target->url);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Target, target_clear)

/* Stores name their place themselves; the operator knows it by its name. */
static bool prefix(GError **error, const Target *target)
{
    return target->configured && vms_prefix(error, "repository %s", target->configured->name);
}

static bool take(char **member, const char *value, const char *key, GError **error)
{
    if (value && *member)
        return vms_fail(error, VMS_ERROR_USAGE, "%s is in the url and a key of its own", key);
    if (value)
        *member = g_strdup(value);
    return true;
}

/* The URL of a configured repository with its keys in it. */
static VmsLocationUrl *configured_url(const VmsConfigRepository *repository, GError **error)
{
    g_autoptr(VmsLocationUrl) url = vms_location_url_parse(repository->url, error);
    if (!url)
        return NULL;
    if (!take(&url->endpoint, repository->endpoint, "endpoint", error) ||
        !take(&url->region, repository->region, "region", error) ||
        !take(&url->path_style, repository->path_style, "path-style", error) ||
        !take(&url->ca_file, repository->ca_file, "ca-file", error) ||
        !take(&url->profile, repository->profile, "profile", error))
        return NULL;
    return g_steal_pointer(&url);
}

static bool use_configured(Target *target, const VmsConfig *config,
                           const VmsConfigRepository *repository, GError **error)
{
    target->configured = repository;
    target->url = configured_url(repository, error);
    return target->url || vms_prefix(error, "%s: [repository %s]", config->file, repository->name);
}

static bool no_such_name(const VmsConfig *config, const char *name, GError **error)
{
    g_autoptr(GString) names = g_string_new(NULL);
    for (guint i = 0; i < config->repositories->len; i++) {
        const VmsConfigRepository *repository = config->repositories->pdata[i];
        g_string_append_printf(names, "%s%s", i ? ", " : "", repository->name);
    }
    const char *file = config->file ? config->file : "the configuration (there is none)";
    if (!names->len)
        return vms_fail(error, VMS_ERROR_NOT_FOUND,
                        "no repository \"%s\" in %s; give a URL or a path beginning with / or ./",
                        name, file);
    return vms_fail(error, VMS_ERROR_NOT_FOUND, "no repository \"%s\" in %s; configured: %s", name,
                    file, names->str);
}

static bool only_configured(Target *target, const VmsConfig *config, GError **error)
{
    if (config->repositories->len == 1)
        return use_configured(target, config, config->repositories->pdata[0], error);
    if (config->repositories->len == 0)
        return vms_fail(error, VMS_ERROR_USAGE,
                        "no repository is configured%s%s: say which (name, URL or path)",
                        config->file ? " in " : "", config->file ? config->file : "");
    return vms_fail(error, VMS_ERROR_USAGE, "%u repositories are configured in %s: say which",
                    config->repositories->len, config->file);
}

/* The same place as it is written in the configuration, or as its keys make it. */
static bool same_place(const VmsConfigRepository *repository, const char *text)
{
    g_autoptr(VmsLocationUrl) full = configured_url(repository, NULL);
    g_autoptr(VmsLocationUrl) written = vms_location_url_parse(repository->url, NULL);
    const VmsLocationUrl *const urls[] = {full, written};
    for (size_t i = 0; i < G_N_ELEMENTS(urls); i++) {
        g_autofree char *whole = urls[i] ? vms_location_url_text(urls[i], true) : NULL;
        g_autofree char *place = urls[i] ? vms_location_url_text(urls[i], false) : NULL;
        if (g_strcmp0(whole, text) == 0 || g_strcmp0(place, text) == 0)
            return true;
    }
    return false;
}

static bool use_url(Target *target, const VmsConfig *config, const char *text, GError **error)
{
    g_autoptr(VmsLocationUrl) url = vms_location_url_parse(text, error);
    if (!url)
        return false;
    g_autofree char *canonical = vms_location_url_text(url, true);
    for (guint i = 0; i < config->repositories->len; i++) {
        const VmsConfigRepository *repository = config->repositories->pdata[i];
        if (same_place(repository, canonical))
            return use_configured(target, config, repository, error);
    }
    target->url = g_steal_pointer(&url);
    return true;
}

static bool resolve(Target *target, const VmsConfig *config, const char *name, GError **error)
{
    if (!name)
        return only_configured(target, config, error);
    for (guint i = 0; i < config->repositories->len; i++) {
        const VmsConfigRepository *repository = config->repositories->pdata[i];
        if (g_str_equal(repository->name, name))
            return use_configured(target, config, repository, error);
    }
    if (vms_location_url_looks(name))
        return use_url(target, config, name, error);
    return no_such_name(config, name, error);
}

static VmsStore *open_s3(const Target *target, GError **error)
{
    const VmsLocationUrl *url = target->url;
    const VmsConfigRepository *configured = target->configured;
    g_autoptr(VmsSecret) secret = NULL;
    VmsS3Options options = {
        .endpoint = url->endpoint,
        .bucket = url->bucket,
        .prefix = url->prefix,
        .region = url->region,
        .ca_file = url->ca_file,
        .profile = url->profile,
    };
    if (g_strcmp0(url->path_style, "yes") == 0)
        options.style = VMS_S3_STYLE_PATH;
    else if (g_strcmp0(url->path_style, "no") == 0)
        options.style = VMS_S3_STYLE_VIRTUAL;
    if (configured && configured->access_key_id) {
        secret = vms_secret_file_read(configured->secret_access_key_file, "secret-access-key-file",
                                      error);
        if (!secret)
            return NULL;
        options.access_key_id = configured->access_key_id;
        options.secret_access_key = secret;
    }
    return vms_s3_open(&options, error);
}

static void *no_store(const Target *target, GError **error)
{
    bool init_helps = target->url->path && error && vms_error_is(*error, VMS_ERROR_NOT_FOUND);
    if (init_helps) {
        g_clear_error(error);
        vms_fail(error, VMS_ERROR_NOT_FOUND,
                 "there is no directory %s; \"vmsnap init %s\" makes a repository",
                 target->url->path,
                 target->configured ? target->configured->name : target->url->path);
    }
    prefix(error, target);
    return NULL;
}

static VmsLocation *open_target(VmsContext *context, const Target *target, bool create,
                                GError **error)
{
    VmsStore *inner =
        target->url->path ? vms_dir_open(target->url->path, create, error) : open_s3(target, error);
    if (!inner)
        return no_store(target, error);
    VmsRetryOptions retry = {.progress = context->progress};
    VmsLocation *location = g_new0(VmsLocation, 1);
    location->store = vms_retry_new(inner, &retry);
    if (context->limit_upload > 0)
        location->store = vms_rate_store_new(location->store, context->limit_upload);
    /* One that finds the way back, endpoint included: the catalog keeps it. */
    g_free(location->store->location);
    location->store->location = vms_location_url_text(target->url, !target->configured);
    return location;
}

VmsLocation *vms_location_open_store(VmsContext *context, const char *name, bool create,
                                     GError **error)
{
    g_auto(Target) target = {0};
    if (!resolve(&target, context->config, name, error))
        return NULL;
    return open_target(context, &target, create, error);
}

static VmsSecret *credential(const char *name, GError **error)
{
    const char *dir = g_getenv("CREDENTIALS_DIRECTORY");
    g_autofree char *own = name ? g_strdup_printf("vmsnap-%s", name) : NULL;
    const char *const files[] = {own ? own : "vmsnap", "vmsnap"};
    for (size_t i = 0; dir && *dir && i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = g_build_filename(dir, files[i], NULL);
        if (g_file_test(path, G_FILE_TEST_EXISTS))
            return vms_secret_file_read(path, "credential", error);
    }
    return NULL;
}

/* Where a password may be, the nearest to the repository first. */
static VmsSecret *password(const Target *target, GError **error)
{
    const char *name = target->configured ? target->configured->name : NULL;
    const char *file = g_getenv("VMSNAP_PASSWORD_FILE"), *text = g_getenv("VMSNAP_PASSWORD");
    g_autoptr(GError) cause = NULL;
    VmsSecret *secret = NULL;
    if (target->configured && target->configured->password_file)
        secret = vms_secret_file_read(target->configured->password_file, "password-file", &cause);
    else if (file && *file)
        secret = vms_secret_file_read(file, "VMSNAP_PASSWORD_FILE", &cause);
    else
        secret = credential(name, &cause);
    if (!secret && !cause && text && *text)
        secret = vms_secret_new_string(text);
    if (secret)
        return secret;
    if (cause)
        g_propagate_error(error, g_steal_pointer(&cause));
    else
        vms_fail(error, VMS_ERROR_AUTH,
                 "no password: set password-file in the configuration, VMSNAP_PASSWORD_FILE or "
                 "VMSNAP_PASSWORD");
    prefix(error, target);
    return NULL;
}

/* *error says why there is no repository to work with: if it is that there are plain images, it
 * says that instead. */
static void explain_images(VmsContext *context, const VmsLocation *location, GError **error)
{
    g_autofree char *id = NULL;
    if (!error || !vms_plain_find(location->store, &id, context->cancellable, NULL) || !id)
        return;
    g_clear_error(error);
    vms_fail(error, VMS_ERROR_REFUSED,
             "%s holds plain images and is no repository: \"vmsnap export\" and \"backup\" need "
             "--format=qcow2 there; list, show, restore and verify read it; to remove a snapshot, "
             "remove its folder DOMAIN/ID yourself, the newest first, for newer images stand on "
             "older ones",
             location->store->location);
}

static bool open_repository(VmsContext *context, const Target *target, VmsLocation *location,
                            GError **error)
{
    g_autoptr(VmsSecret) secret = password(target, error);
    if (!secret) {
        if (error && vms_error_is(*error, VMS_ERROR_AUTH))
            explain_images(context, location, error);
        return false;
    }
    location->repo = vms_repo_open(location->store, secret, context->config->cache_dir,
                                   context->cancellable, error);
    if (!location->repo && error && vms_error_is(*error, VMS_ERROR_NOT_FOUND))
        explain_images(context, location, error);
    if (location->repo)
        vms_repo_set_progress(location->repo, context->progress);
    return (location->repo && vms_repo_sync_index(location->repo, context->cancellable, error)) ||
           prefix(error, target);
}

VmsLocation *vms_location_open(VmsContext *context, const char *name, GError **error)
{
    g_auto(Target) target = {0};
    if (!resolve(&target, context->config, name, error))
        return NULL;
    g_autoptr(VmsLocation) location = open_target(context, &target, false, error);
    if (!location || !open_repository(context, &target, location, error))
        return NULL;
    return g_steal_pointer(&location);
}

VmsLocation *vms_location_open_any(VmsContext *context, const char *name, GError **error)
{
    g_auto(Target) target = {0};
    if (!resolve(&target, context->config, name, error))
        return NULL;
    g_autoptr(VmsLocation) location = open_target(context, &target, false, error);
    if (!location)
        return NULL;
    if (!vms_plain_find(location->store, &location->images, context->cancellable, error)) {
        prefix(error, &target);
        return NULL;
    }
    if (!location->images && !open_repository(context, &target, location, error))
        return NULL;
    return g_steal_pointer(&location);
}

char *vms_location_init(VmsContext *context, const char *name, char **ret_location, GError **error)
{
    g_auto(Target) target = {0};
    if (!resolve(&target, context->config, name, error))
        return NULL;
    g_autoptr(VmsSecret) secret = password(&target, error);
    g_autoptr(VmsLocation) location = secret ? open_target(context, &target, true, error) : NULL;
    if (!location)
        return NULL;
    VmsId id;
    g_autoptr(GError) cause = NULL;
    g_autofree char *images = NULL;
    if (!vms_plain_find(location->store, &images, context->cancellable, error))
        return NULL;
    if (images)
        return vms_fail_null(error, VMS_ERROR_REFUSED,
                             "%s holds plain images and is left as it is; make the repository "
                             "elsewhere",
                             location->store->location);
    if (!vms_repo_init(location->store, secret, &id, context->cancellable, &cause)) {
        bool exists = vms_error_is(cause, VMS_ERROR_EXISTS);
        g_propagate_error(error, g_steal_pointer(&cause));
        if (!exists)
            prefix(error, &target);
        return NULL;
    }
    char hex[VMS_ID_HEX_LEN + 1];
    vms_id_hex(&id, hex);
    *ret_location = g_strdup(location->store->location);
    return g_strdup(hex);
}

void vms_location_free(VmsLocation *location)
{
    if (!location)
        return;
    g_free(location->images);
    vms_repo_free(location->repo);
    vms_store_free(location->store);
    g_free(location);
}
