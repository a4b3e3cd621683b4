/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/snapshot-file.h"

#include "base/error.h"
#include "base/json-writer.h"
#include "base/json.h"
#include "base/text.h"

#include <unistd.h>

static void write_list(VmsJsonWriter *writer, const char *key, char **texts)
{
    vms_json_writer_key(writer, key);
    vms_json_writer_begin_array(writer);
    for (; texts != NULL && *texts != NULL; texts++)
        vms_json_writer_string(writer, *texts);
    vms_json_writer_end_array(writer);
}

static void write_optional(VmsJsonWriter *writer, const char *key, const char *text)
{
    if (text != NULL)
        vms_json_writer_member_string(writer, key, text);
}

char *vms_snapshot_file_build(const VmsRepoSnapshot *snapshot)
{
    g_autoptr(VmsJsonWriter) writer = vms_json_writer_new(false);
    g_autofree char *time = vms_text_time(snapshot->time_us);
    char hex[VMS_ID_HEX_LEN + 1];

    vms_json_writer_begin_object(writer);
    vms_json_writer_member_string(writer, "time", time);
    if (snapshot->has_parent) {
        vms_id_hex(&snapshot->parent, hex);
        vms_json_writer_member_string(writer, "parent", hex);
    }
    vms_id_hex(&snapshot->tree, hex);
    vms_json_writer_member_string(writer, "tree", hex);
    write_list(writer, "paths", snapshot->paths);
    write_optional(writer, "hostname", snapshot->hostname);
    write_optional(writer, "username", snapshot->username);
    if (getuid() != 0) /* as restic: zero is left out */
        vms_json_writer_member_uint64(writer, "uid", getuid());
    if (getgid() != 0)
        vms_json_writer_member_uint64(writer, "gid", getgid());
    if (snapshot->tags != NULL && snapshot->tags[0] != NULL)
        write_list(writer, "tags", snapshot->tags);
    write_optional(writer, "program_version", snapshot->program_version);
    vms_json_writer_end_object(writer);
    return vms_json_writer_finish(writer);
}

static bool read_id(VmsJson *root, const char *member, VmsId *ret_id, GError **error)
{
    const char *hex = NULL;

    return vms_json_string(root, member, &hex, error) && vms_id_parse(hex, ret_id, error);
}

static bool read_optional(VmsJson *root, const char *member, char **ret_text, GError **error)
{
    const char *text = NULL;

    if (!vms_json_has(root, member))
        return true;
    if (!vms_json_string(root, member, &text, error))
        return false;
    *ret_text = g_strdup(text);
    return true;
}

static bool read_list(VmsJson *root, const char *member, char ***ret_texts, GError **error)
{
    VmsJson *array = NULL;

    *ret_texts = g_new0(char *, 1);
    if (!vms_json_has(root, member))
        return true;
    if (!vms_json_array(root, member, &array, error))
        return false;
    size_t count = vms_json_length(array);
    g_free(*ret_texts);
    *ret_texts = g_new0(char *, count + 1);
    for (size_t i = 0; i < count; i++) {
        const char *text = NULL;

        if (!vms_json_element_string(array, i, &text, error))
            return false;
        (*ret_texts)[i] = g_strdup(text);
    }
    return true;
}

VmsRepoSnapshot *vms_snapshot_file_parse(const char *text, size_t len, GError **error)
{
    g_autoptr(VmsRepoSnapshot) snapshot = g_new0(VmsRepoSnapshot, 1);
    g_autoptr(VmsJson) root = vms_json_parse(text, len, error);
    const char *time = NULL;

    if (root == NULL || !vms_json_string(root, "time", &time, error) ||
        !vms_text_parse_time(time, &snapshot->time_us, error) ||
        !read_id(root, "tree", &snapshot->tree, error) ||
        !read_list(root, "paths", &snapshot->paths, error) ||
        !read_list(root, "tags", &snapshot->tags, error) ||
        !read_optional(root, "hostname", &snapshot->hostname, error) ||
        !read_optional(root, "username", &snapshot->username, error) ||
        !read_optional(root, "program_version", &snapshot->program_version, error))
        return NULL;
    snapshot->has_parent = vms_json_has(root, "parent");
    if (snapshot->has_parent && !read_id(root, "parent", &snapshot->parent, error))
        return NULL;
    return g_steal_pointer(&snapshot);
}
