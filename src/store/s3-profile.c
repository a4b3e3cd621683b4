/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Not GKeyFile: AWS's files have settings nested by indentation, keys without a value and comments
 * behind values, which it refuses. */
#include "store/s3-profile.h"

#include "base/error.h"

#include <gio/gio.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_FILE (1u << 20)

static void take_text(char **field, const char *value)
{
    if (!*field)
        *field = g_strdup(value);
}

static void take_secret(VmsSecret **field, const char *value)
{
    if (!*field)
        *field = vms_secret_new_string(value);
}

static void take_setting(VmsS3Profile *profile, const char *key, const char *value)
{
    if (!*value)
        return;
    if (g_ascii_strcasecmp(key, "aws_access_key_id") == 0)
        take_text(&profile->access_key_id, value);
    else if (g_ascii_strcasecmp(key, "aws_secret_access_key") == 0)
        take_secret(&profile->secret_access_key, value);
    else if (g_ascii_strcasecmp(key, "aws_session_token") == 0)
        take_secret(&profile->session_token, value);
    else if (g_ascii_strcasecmp(key, "region") == 0)
        take_text(&profile->region, value);
}

/* "[ profile  web ]" → whether it is section. line is changed. */
static bool is_section(char *line, const char *section, bool *ret_is)
{
    char *end = strchr(line, ']');
    if (!end)
        return false;
    *end = '\0';
    g_auto(GStrv) words = g_strsplit_set(line + 1, " \t", -1);
    g_autoptr(GString) name = g_string_new(NULL);
    for (char **word = words; *word; word++)
        if (**word)
            g_string_append_printf(name, "%s%s", name->len ? " " : "", *word);
    *ret_is = g_str_equal(name->str, section);
    return true;
}

/* False where line is neither comment, section nor setting. */
static bool read_line(char *line, const char *section, bool *inside, VmsS3Profile *profile)
{
    bool nested = *line == ' ' || *line == '\t';
    g_strstrip(line);
    if (!*line || *line == '#' || *line == ';')
        return true;
    if (*line == '[') {
        bool ok = is_section(line, section, inside);
        profile->found |= ok && *inside;
        return ok;
    }
    char *equals = strchr(line, '=');
    if (!equals)
        return nested; /* goes on with the value above */
    if (!*inside || nested)
        return true;
    *equals = '\0';
    g_strchomp(line);
    take_setting(profile, line, g_strchug(equals + 1));
    return true;
}

bool vms_s3_profile_parse(const char *text, size_t len, const char *section, VmsS3Profile *profile,
                          GError **error)
{
    bool inside = false;
    for (unsigned number = 1; len > 0; number++) {
        const char *end = memchr(text, '\n', len);
        size_t length = end ? (size_t)(end - text) : len;
        VmsSecret *line = vms_secret_new(text, length);
        bool ok =
            !memchr(text, '\0', length) && read_line((char *)line->data, section, &inside, profile);
        vms_secret_free(line);
        if (!ok) /* without the line itself: it may be a key in the wrong place */
            return vms_fail(error, VMS_ERROR_USAGE, "line %u is neither [section] nor key = value",
                            number);
        length += end ? 1 : 0;
        text += length;
        len -= length;
    }
    return true;
}

void vms_s3_profile_clear(VmsS3Profile *profile)
{
    g_free(profile->access_key_id);
    vms_secret_free(profile->secret_access_key);
    vms_secret_free(profile->session_token);
    g_free(profile->region);
    memset(profile, 0, sizeof *profile);
}

const char *vms_s3_profile_name(const char *name)
{
    if (!name || !*name)
        name = g_getenv("AWS_PROFILE");
    return name && *name ? name : "default";
}

/* A key that this file gave is to be no secret of ours alone. */
static bool check_mode(const char *path, const VmsS3Profile *profile, GError **error)
{
    struct stat st;
    if (!profile->secret_access_key || stat(path, &st) < 0 || !(st.st_mode & (S_IRWXO | S_IWGRP)))
        return true;
    return vms_fail(error, VMS_ERROR_AUTH,
                    "others can read or change it (mode %04o); run \"chmod 0600 %s\"",
                    st.st_mode & 07777, path);
}

static bool load_file(const char *variable, const char *file, const char *section,
                      VmsS3Profile *profile, GError **error)
{
    const char *given = g_getenv(variable);
    g_autofree char *path =
        given && *given ? g_strdup(given) : g_build_filename(g_get_home_dir(), ".aws", file, NULL);
    char *text = NULL;
    gsize len = 0;
    GError *unread = NULL;
    if (!g_file_get_contents(path, &text, &len, &unread)) {
        bool missing = g_error_matches(unread, G_FILE_ERROR, G_FILE_ERROR_NOENT) ||
                       g_error_matches(unread, G_FILE_ERROR, G_FILE_ERROR_NOTDIR);
        vms_convert(&unread);
        if (missing)
            g_clear_error(&unread);
        else
            g_propagate_error(error, unread);
        return missing;
    }
    bool ok = len <= MAX_FILE ? vms_s3_profile_parse(text, len, section, profile, error)
                              : vms_fail(error, VMS_ERROR_USAGE, "is too long");
    ok = ok && check_mode(path, profile, error);
    vms_secret_wipe(text, len);
    g_free(text);
    return ok || vms_prefix(error, "%s", path);
}

bool vms_s3_profile_load(const char *name, VmsS3Profile *ret_profile, GError **error)
{
    name = vms_s3_profile_name(name);
    g_auto(VmsS3Profile) profile = {0};
    g_autofree char *in_config =
        g_str_equal(name, "default") ? g_strdup(name) : g_strconcat("profile ", name, NULL);
    g_auto(VmsS3Profile) config = {0};
    if (!load_file("AWS_SHARED_CREDENTIALS_FILE", "credentials", name, &profile, error) ||
        !load_file("AWS_CONFIG_FILE", "config", in_config, &config, error))
        return false;
    bool has_keys = profile.access_key_id || profile.secret_access_key;
    if (!profile.region)
        profile.region = g_steal_pointer(&config.region);
    if (!has_keys) { /* all of them from one file */
        vms_secret_free(profile.session_token);
        profile.access_key_id = g_steal_pointer(&config.access_key_id);
        profile.secret_access_key = g_steal_pointer(&config.secret_access_key);
        profile.session_token = g_steal_pointer(&config.session_token);
    }
    profile.found |= config.found;
    *ret_profile = profile;
    memset(&profile, 0, sizeof profile);
    return true;
}
