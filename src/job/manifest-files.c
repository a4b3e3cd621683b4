/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/manifest-files.h"

#include "base/error.h"
#include "job/plain-name.h"

#include <string.h>

#define HEX "0123456789abcdef"

VmsManifestFile *vms_manifest_file_new(const char *name, uint64_t bytes, const char *sha256)
{
    VmsManifestFile *file = g_new0(VmsManifestFile, 1);
    file->name = g_strdup(name);
    file->bytes = bytes;
    file->sha256 = g_strdup(sha256);
    return file;
}

void vms_manifest_file_free(VmsManifestFile *file)
{
    if (!file)
        return;
    g_free(file->name);
    g_free(file->sha256);
    g_free(file->backing);
    g_free(file);
}

static void write_file(VmsJsonWriter *out, const VmsManifestFile *file, bool image)
{
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "file", file->name);
    vms_json_writer_member_uint64(out, "bytes", file->bytes);
    vms_json_writer_member_string(out, "sha256", file->sha256);
    if (image)
        vms_json_writer_member_string(out, "backing", file->backing);
    vms_json_writer_end_object(out);
}

void vms_manifest_image_write(VmsJsonWriter *out, const VmsManifestDisk *disk)
{
    if (!disk->image)
        return;
    vms_json_writer_key(out, "image");
    write_file(out, disk->image, true);
}

void vms_manifest_files_write(VmsJsonWriter *out, const VmsManifest *manifest)
{
    if (manifest->format != VMS_FORMAT_QCOW2)
        return;
    vms_json_writer_key(out, "files");
    vms_json_writer_begin_array(out);
    for (guint i = 0; i < manifest->files->len; i++)
        write_file(out, manifest->files->pdata[i], false);
    vms_json_writer_end_array(out);
}

static bool is_hex(const char *text, size_t len)
{
    return strlen(text) == len && strspn(text, HEX) == len;
}

static VmsManifestFile *parse_file(VmsJson *object, GError **error)
{
    const char *name, *sha256, *backing = NULL;
    uint64_t bytes;
    if (!vms_json_string(object, "file", &name, error) ||
        !vms_json_uint64(object, "bytes", &bytes, error) ||
        !vms_json_string(object, "sha256", &sha256, error) ||
        (vms_json_has(object, "backing") && !vms_json_string(object, "backing", &backing, error)))
        return NULL;
    if (!vms_plain_is_file(name))
        return vms_fail_null(error, VMS_ERROR_INVALID,
                             "file: \"%.60s\" is not a file of a snapshot", name);
    if (!is_hex(sha256, 64))
        return vms_fail_null(error, VMS_ERROR_INVALID, "%s: sha256 is not one", name);
    if (backing && !is_hex(backing, 16))
        return vms_fail_null(error, VMS_ERROR_INVALID, "%s: backing is not a snapshot", name);
    VmsManifestFile *file = vms_manifest_file_new(name, bytes, sha256);
    file->backing = g_strdup(backing);
    return file;
}

bool vms_manifest_image_parse(VmsJson *disk, VmsManifestDisk *target, GError **error)
{
    VmsJson *object;
    return vms_json_object(disk, "image", &object, error) &&
           (target->image = parse_file(object, error));
}

bool vms_manifest_files_parse(VmsJson *root, VmsManifest *manifest, GError **error)
{
    VmsJson *files, *item;
    if (!vms_json_array(root, "files", &files, error))
        return false;
    for (size_t i = 0; i < vms_json_length(files); i++) {
        VmsManifestFile *file = NULL;
        if (!vms_json_element_object(files, i, &item, error) || !(file = parse_file(item, error)))
            return false;
        g_ptr_array_add(manifest->files, file);
    }
    return true;
}
