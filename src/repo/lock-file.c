/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/lock-file.h"

#include "base/json-writer.h"
#include "base/json.h"
#include "base/text.h"

#include <unistd.h>

VmsLockFile *vms_lock_file_new(bool exclusive)
{
    VmsLockFile *file = g_new0(VmsLockFile, 1);

    file->time_us = g_get_real_time();
    file->exclusive = exclusive;
    file->hostname = g_strdup(g_get_host_name());
    file->username = g_strdup(g_get_user_name());
    file->pid = (uint64_t)getpid();
    return file;
}

void vms_lock_file_free(VmsLockFile *file)
{
    if (file != NULL) {
        g_free(file->hostname);
        g_free(file->username);
        g_free(file);
    }
}

char *vms_lock_file_build(const VmsLockFile *file)
{
    g_autoptr(VmsJsonWriter) writer = vms_json_writer_new(false);
    g_autofree char *time = vms_text_time(file->time_us);

    vms_json_writer_begin_object(writer);
    vms_json_writer_member_string(writer, "time", time);
    vms_json_writer_member_bool(writer, "exclusive", file->exclusive);
    vms_json_writer_member_string(writer, "hostname", file->hostname);
    vms_json_writer_member_string(writer, "username", file->username);
    vms_json_writer_member_uint64(writer, "pid", file->pid);
    if (getuid() != 0) /* as restic: zero is left out */
        vms_json_writer_member_uint64(writer, "uid", getuid());
    if (getgid() != 0)
        vms_json_writer_member_uint64(writer, "gid", getgid());
    vms_json_writer_end_object(writer);
    return vms_json_writer_finish(writer);
}

VmsLockFile *vms_lock_file_parse(const char *text, size_t len, GError **error)
{
    g_autoptr(VmsLockFile) file = g_new0(VmsLockFile, 1);
    g_autoptr(VmsJson) root = vms_json_parse(text, len, error);
    const char *time = NULL, *hostname = NULL, *username = NULL;

    if (root == NULL || !vms_json_string(root, "time", &time, error) ||
        !vms_text_parse_time(time, &file->time_us, error) ||
        !vms_json_bool(root, "exclusive", &file->exclusive, error) ||
        !vms_json_string(root, "hostname", &hostname, error) ||
        !vms_json_string(root, "username", &username, error) ||
        !vms_json_uint64(root, "pid", &file->pid, error))
        return NULL;
    file->hostname = g_strdup(hostname);
    file->username = g_strdup(username);
    return g_steal_pointer(&file);
}
