/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* GKeyFile reads the values; it merges repeated sections, lets the last of two equal keys win and
 * knows no line numbers. So the file is first walked line by line: that finds every unknown,
 * repeated or malformed thing with its line, and the lines where the values stand, for what is
 * wrong with those. */
#include "job/config.h"

#include "base/error.h"
#include "job/growth.h"
#include "job/location-url.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_FILE "/etc/vmsnap/vmsnap.conf"
#define MAX_SECONDS 600
#define REPOSITORY "repository "

typedef enum {
    KIND_TEXT,
    KIND_URL,
    KIND_PATH,
    KIND_STYLE,
    KIND_SECONDS,
    KIND_GROWTH,
    KIND_TRANSFER
} Kind;

typedef struct {
    const char *name;
    Kind kind;
    size_t offset; /* of the member in VmsConfig or VmsConfigRepository */
} Key;

static const Key paths_keys[] = {
    {"state", KIND_PATH, offsetof(VmsConfig, state_dir)},
    {"cache", KIND_PATH, offsetof(VmsConfig, cache_dir)},
    {"run", KIND_PATH, offsetof(VmsConfig, run_dir)},
    {NULL, KIND_TEXT, 0},
};

static const Key create_keys[] = {
    {"freeze-deadline", KIND_SECONDS, offsetof(VmsConfig, freeze_deadline_s)},
    {NULL, KIND_TEXT, 0},
};

static const Key merge_keys[] = {
    {"patience", KIND_SECONDS, offsetof(VmsConfig, merge_patience_s)},
    {NULL, KIND_TEXT, 0},
};

static const Key overlays_keys[] = {
    {"growth", KIND_GROWTH, offsetof(VmsConfig, growth)},
    {NULL, KIND_TEXT, 0},
};

static const Key export_keys[] = {
    {"limit-upload", KIND_TRANSFER, offsetof(VmsConfig, transfer)},
    {"limit-read", KIND_TRANSFER, offsetof(VmsConfig, transfer)},
    {"compression", KIND_TRANSFER, offsetof(VmsConfig, transfer)},
    {"threads", KIND_TRANSFER, offsetof(VmsConfig, transfer)},
    {"chunk-size", KIND_TRANSFER, offsetof(VmsConfig, transfer)},
    {NULL, KIND_TEXT, 0},
};

static const Key repository_keys[] = {
    {"url", KIND_URL, offsetof(VmsConfigRepository, url)},
    {"endpoint", KIND_TEXT, offsetof(VmsConfigRepository, endpoint)},
    {"region", KIND_TEXT, offsetof(VmsConfigRepository, region)},
    {"path-style", KIND_STYLE, offsetof(VmsConfigRepository, path_style)},
    {"ca-file", KIND_PATH, offsetof(VmsConfigRepository, ca_file)},
    {"profile", KIND_TEXT, offsetof(VmsConfigRepository, profile)},
    {"access-key-id", KIND_TEXT, offsetof(VmsConfigRepository, access_key_id)},
    {"secret-access-key-file", KIND_PATH, offsetof(VmsConfigRepository, secret_access_key_file)},
    {"password-file", KIND_PATH, offsetof(VmsConfigRepository, password_file)},
    {NULL, KIND_TEXT, 0},
};

typedef struct {
    char *name;
    const Key *keys;
    unsigned line;
    GHashTable *lines; /* key → line number */
} Section;

typedef struct {
    const char *file;
    GPtrArray *sections; /* of Section*, file order */
} Scan;

static void section_free(void *data)
{
    Section *section = data;
    g_free(section->name);
    g_hash_table_unref(section->lines);
    g_free(section);
}

static const Key *keys_of(const char *section)
{
    if (g_str_equal(section, "paths"))
        return paths_keys;
    if (g_str_equal(section, "create"))
        return create_keys;
    if (g_str_equal(section, "overlays"))
        return overlays_keys;
    if (g_str_equal(section, "export"))
        return export_keys;
    if (g_str_equal(section, "merge"))
        return merge_keys;
    return g_str_has_prefix(section, REPOSITORY) ? repository_keys : NULL;
}

static const Key *find_key(const Key *keys, const char *name)
{
    for (; keys->name; keys++)
        if (g_str_equal(keys->name, name))
            return keys;
    return NULL;
}

static char *known_keys(const Key *keys)
{
    GString *text = g_string_new(NULL);
    for (; keys->name; keys++)
        g_string_append_printf(text, "%s%s", text->len ? ", " : "", keys->name);
    return g_string_free(text, FALSE);
}

/* Begins with a letter or digit: never taken for a path, a URL or an option. */
static bool valid_name(const char *name)
{
    if (!g_ascii_isalnum(*name))
        return false;
    for (; *name; name++)
        if (!g_ascii_isalnum(*name) && !strchr("._-", *name))
            return false;
    return true;
}

static const Section *find_section(const Scan *scan, const char *name)
{
    for (guint i = 0; i < scan->sections->len; i++) {
        const Section *section = scan->sections->pdata[i];
        if (g_str_equal(section->name, name))
            return section;
    }
    return NULL;
}

static bool scan_section(Scan *scan, unsigned line, const char *text, GError **error)
{
    const char *end = strchr(text, ']');
    if (!end || end[1] != '\0')
        return vms_fail(error, VMS_ERROR_USAGE,
                        "%s:%u: a section is written [NAME], alone on its line", scan->file, line);
    g_autofree char *name = g_strndup(text + 1, (gsize)(end - text - 1));
    const Key *keys = keys_of(name);
    if (!keys)
        return vms_fail(error, VMS_ERROR_USAGE,
                        "%s:%u: unknown section [%s]; known: [paths], [create], [export], [merge], "
                        "[repository NAME]",
                        scan->file, line, name);
    if (keys == repository_keys && !valid_name(name + strlen(REPOSITORY)))
        return vms_fail(
            error, VMS_ERROR_USAGE,
            "%s:%u: repository name \"%s\": only letters, digits, \".\", \"_\" and \"-\", "
            "the first a letter or digit",
            scan->file, line, name + strlen(REPOSITORY));
    const Section *other = find_section(scan, name);
    if (other)
        return vms_fail(error, VMS_ERROR_USAGE, "%s:%u: section [%s] is there already in line %u",
                        scan->file, line, name, other->line);
    Section *section = g_new0(Section, 1);
    section->name = g_steal_pointer(&name);
    section->keys = keys;
    section->line = line;
    section->lines = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_ptr_array_add(scan->sections, section);
    return true;
}

static bool scan_key(Scan *scan, unsigned line, const char *text, GError **error)
{
    const char *equals = strchr(text, '=');
    if (!equals)
        return vms_fail(error, VMS_ERROR_USAGE,
                        "%s:%u: neither a comment (#), nor [section], nor key = value", scan->file,
                        line);
    if (scan->sections->len == 0)
        return vms_fail(error, VMS_ERROR_USAGE, "%s:%u: a key before the first [section]",
                        scan->file, line);
    Section *section = scan->sections->pdata[scan->sections->len - 1];
    g_autofree char *key = g_strchomp(g_strndup(text, (gsize)(equals - text)));
    if (!find_key(section->keys, key)) {
        g_autofree char *known = known_keys(section->keys);
        return vms_fail(error, VMS_ERROR_USAGE, "%s:%u: unknown key \"%s\" in [%s]; known: %s",
                        scan->file, line, key, section->name, known);
    }
    unsigned before = GPOINTER_TO_UINT(g_hash_table_lookup(section->lines, key));
    if (before)
        return vms_fail(error, VMS_ERROR_USAGE, "%s:%u: key \"%s\" is there already in line %u",
                        scan->file, line, key, before);
    g_hash_table_insert(section->lines, g_steal_pointer(&key), GUINT_TO_POINTER(line));
    return true;
}

static bool scan_text(Scan *scan, const char *text, GError **error)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (unsigned i = 0; lines[i]; i++) {
        const char *line = g_strstrip(lines[i]);
        if (!g_utf8_validate(line, -1, NULL))
            return vms_fail(error, VMS_ERROR_USAGE, "%s:%u: not UTF-8", scan->file, i + 1);
        if (*line == '\0' || *line == '#')
            continue;
        bool ok = *line == '[' ? scan_section(scan, i + 1, line, error)
                               : scan_key(scan, i + 1, line, error);
        if (!ok)
            return false;
    }
    return true;
}

static bool check_value(const Key *key, const char *value, int *ret_number, GError **error)
{
    char *end = NULL;
    errno = 0;
    long number = key->kind == KIND_SECONDS ? strtol(value, &end, 10) : 0;
    if (*value == '\0')
        return vms_fail(error, VMS_ERROR_USAGE, "is empty; leave the line out instead");
    if (key->kind == KIND_PATH && *value != '/')
        return vms_fail(error, VMS_ERROR_USAGE, "\"%s\" is not an absolute path", value);
    if (key->kind == KIND_STYLE && !g_str_equal(value, "auto") && !g_str_equal(value, "yes") &&
        !g_str_equal(value, "no"))
        return vms_fail(error, VMS_ERROR_USAGE, "\"%s\" is not one of auto, yes, no", value);
    if (key->kind == KIND_SECONDS &&
        (!g_ascii_isdigit(*value) || *end || errno || number < 1 || number > MAX_SECONDS))
        return vms_fail(error, VMS_ERROR_USAGE, "\"%s\" is not a number of seconds from 1 to %d",
                        value, MAX_SECONDS);
    if (key->kind == KIND_URL && *value == '.')
        return vms_fail(error, VMS_ERROR_USAGE, "\"%s\" is not an absolute path", value);
    g_autoptr(VmsLocationUrl) url =
        key->kind == KIND_URL ? vms_location_url_parse(value, error) : NULL;
    *ret_number = (int)number;
    return url || key->kind != KIND_URL;
}

/* Sets the members of *target, which is a VmsConfig or a VmsConfigRepository. */
static bool read_section(const Scan *scan, const Section *section, GKeyFile *file, void *target,
                         GError **error)
{
    for (const Key *key = section->keys; key->name; key++) {
        unsigned line = GPOINTER_TO_UINT(g_hash_table_lookup(section->lines, key->name));
        if (!line)
            continue;
        g_autoptr(GError) cause = NULL;
        g_autofree char *value = g_key_file_get_string(file, section->name, key->name, &cause);
        int number = 0;
        if (!value)
            return vms_fail(error, VMS_ERROR_USAGE, "%s:%u: %s: %s", scan->file, line, key->name,
                            cause->message);
        g_strchomp(value);
        if (!check_value(key, value, &number, error))
            return vms_prefix(error, "%s:%u: %s", scan->file, line, key->name);
        char *member = (char *)target + key->offset;
        if (key->kind == KIND_TRANSFER) {
            if (!vms_transfer_set((VmsTransfer *)(void *)member, key->name, value, error))
                return vms_prefix(error, "%s:%u: %s", scan->file, line, key->name);
            continue;
        }
        if (key->kind == KIND_GROWTH) {
            if (!vms_growth_parse(value, (uint64_t *)(void *)member, error))
                return vms_prefix(error, "%s:%u: %s", scan->file, line, key->name);
            continue;
        }
        if (key->kind == KIND_SECONDS) {
            *(int *)(void *)member = number;
            continue;
        }
        char **text = (char **)(void *)member;
        g_free(*text);
        *text = g_steal_pointer(&value);
    }
    return true;
}

static void repository_free(void *data)
{
    VmsConfigRepository *repository = data;
    g_free(repository->name);
    g_free(repository->url);
    g_free(repository->endpoint);
    g_free(repository->region);
    g_free(repository->path_style);
    g_free(repository->ca_file);
    g_free(repository->profile);
    g_free(repository->access_key_id);
    g_free(repository->secret_access_key_file);
    g_free(repository->password_file);
    g_free(repository);
}

static bool read_repository(VmsConfig *config, const Scan *scan, const Section *section,
                            GKeyFile *file, GError **error)
{
    VmsConfigRepository *repository = g_new0(VmsConfigRepository, 1);
    g_ptr_array_add(config->repositories, repository);
    repository->name = g_strdup(section->name + strlen(REPOSITORY));
    if (!read_section(scan, section, file, repository, error))
        return false;
    if (!repository->url)
        return vms_fail(error, VMS_ERROR_USAGE, "%s:%u: [%s] has no url", scan->file, section->line,
                        section->name);
    g_autoptr(VmsLocationUrl) url = vms_location_url_parse(repository->url, NULL);
    if (url->path && (repository->endpoint || repository->region || repository->path_style ||
                      repository->ca_file || repository->profile || repository->access_key_id))
        return vms_fail(
            error, VMS_ERROR_USAGE,
            "%s:%u: [%s] is a directory; endpoint, region, path-style, ca-file, profile "
            "and access-key-id are for s3 urls",
            scan->file, section->line, section->name);
    if (!repository->access_key_id != !repository->secret_access_key_file)
        return vms_fail(error, VMS_ERROR_USAGE,
                        "%s:%u: [%s] needs access-key-id and secret-access-key-file together, or "
                        "neither",
                        scan->file, section->line, section->name);
    return true;
}

static bool read_all(VmsConfig *config, const Scan *scan, const char *text, GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(GError) cause = NULL;
    if (!g_key_file_load_from_data(file, text, strlen(text), G_KEY_FILE_NONE, &cause))
        return scan->sections->len == 0 || /* GKeyFile refuses a file of comments only */
               vms_fail(error, VMS_ERROR_USAGE, "%s: %s", scan->file, cause->message);
    for (guint i = 0; i < scan->sections->len; i++) {
        const Section *section = scan->sections->pdata[i];
        bool ok = section->keys == repository_keys
                      ? read_repository(config, scan, section, file, error)
                      : read_section(scan, section, file, config, error);
        if (!ok)
            return false;
    }
    return true;
}

static VmsConfig *defaults(void)
{
    VmsConfig *config = g_new0(VmsConfig, 1);
    config->state_dir = g_strdup("/var/lib/vmsnap");
    config->cache_dir = g_strdup("/var/cache/vmsnap");
    config->run_dir = g_strdup("/run/vmsnap");
    config->freeze_deadline_s = 10;
    config->merge_patience_s = 60;
    vms_transfer_init(&config->transfer);
    config->repositories = g_ptr_array_new_with_free_func(repository_free);
    return config;
}

VmsConfig *vms_config_load(const char *path, GError **error)
{
    g_autoptr(VmsConfig) config = defaults();
    g_autoptr(GPtrArray) sections = g_ptr_array_new_with_free_func(section_free);
    g_autoptr(GError) cause = NULL;
    g_autofree char *text = NULL;
    gsize len = 0;
    const char *file = path ? path : g_getenv("VMSNAP_CONFIG");
    bool optional = !file || *file == '\0';
    Scan scan = {optional ? DEFAULT_FILE : file, sections};
    if (!g_file_get_contents(scan.file, &text, &len, &cause)) {
        if (optional && g_error_matches(cause, G_FILE_ERROR, G_FILE_ERROR_NOENT))
            return g_steal_pointer(&config);
        return vms_fail_null(error, VMS_ERROR_USAGE, "configuration: %s", cause->message);
    }
    if (strlen(text) != len)
        return vms_fail_null(error, VMS_ERROR_USAGE, "%s: not a text file", scan.file);
    config->file = g_strdup(scan.file);
    if (!scan_text(&scan, text, error) || !read_all(config, &scan, text, error))
        return NULL;
    return g_steal_pointer(&config);
}

void vms_config_free(VmsConfig *config)
{
    if (!config)
        return;
    g_free(config->file);
    g_free(config->state_dir);
    g_free(config->cache_dir);
    g_free(config->run_dir);
    g_ptr_array_unref(config->repositories);
    g_free(config);
}
