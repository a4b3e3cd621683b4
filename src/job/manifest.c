/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/manifest.h"

#include "base/error.h"
#include "base/json-writer.h"
#include "base/json.h"
#include "base/text.h"
#include "job/manifest-files.h"

#include <string.h>

#define SCHEMA "vmsnap.manifest.v1"

static void disk_free(void *data)
{
    VmsManifestDisk *disk = data;
    g_free(disk->target);
    g_free(disk->bus);
    g_free(disk->format);
    g_free(disk->source);
    vms_disk_tracking_clear(&disk->tracking);
    vms_manifest_file_free(disk->image);
    g_free(disk);
}

const char *vms_memory_layout_name(VmsMemoryLayout layout)
{
    return layout == VMS_MEMORY_PAGES ? "pages" : "stream";
}

VmsManifest *vms_manifest_new(void)
{
    VmsManifest *manifest = g_new0(VmsManifest, 1);
    manifest->disks = g_ptr_array_new_with_free_func(disk_free);
    manifest->files =
        g_ptr_array_new_with_free_func((GDestroyNotify)(void (*)(void))vms_manifest_file_free);
    manifest->notes = vms_notes_new();
    return manifest;
}

void vms_manifest_free(VmsManifest *manifest)
{
    if (!manifest)
        return;
    g_free(manifest->id);
    g_free(manifest->domain);
    g_free(manifest->uuid);
    g_free(manifest->host);
    g_free(manifest->full_reason);
    g_free(manifest->version_vmsnap);
    g_free(manifest->version_libvirt);
    g_free(manifest->version_qemu);
    g_ptr_array_unref(manifest->disks);
    g_ptr_array_unref(manifest->files);
    g_ptr_array_unref(manifest->notes);
    g_free(manifest);
}

VmsManifestDisk *vms_manifest_add_disk(VmsManifest *manifest, const char *target, const char *bus,
                                       const char *format, const char *source, uint64_t size)
{
    VmsManifestDisk *disk = g_new0(VmsManifestDisk, 1);
    disk->target = g_strdup(target);
    disk->bus = g_strdup(bus);
    disk->format = g_strdup(format);
    disk->source = g_strdup(source);
    disk->size = size;
    g_ptr_array_add(manifest->disks, disk);
    return disk;
}

VmsManifestDisk *vms_manifest_disk(const VmsManifest *manifest, const char *target)
{
    for (guint i = 0; i < manifest->disks->len; i++) {
        VmsManifestDisk *disk = manifest->disks->pdata[i];
        if (g_str_equal(disk->target, target))
            return disk;
    }
    return NULL;
}

void vms_notes_write(VmsJsonWriter *out, const GPtrArray *notes)
{
    vms_json_writer_key(out, "notes");
    vms_json_writer_begin_array(out);
    for (guint i = 0; i < notes->len; i++) {
        const VmsNote *note = notes->pdata[i];
        vms_json_writer_begin_object(out);
        vms_json_writer_member_string(out, "code", note->code);
        vms_json_writer_member_string(out, "text", note->text);
        vms_json_writer_end_object(out);
    }
    vms_json_writer_end_array(out);
}

void vms_disk_tracking_write(VmsJsonWriter *out, const VmsDiskTracking *tracking)
{
    vms_json_writer_key(out, "tracking");
    if (tracking->method == VMS_TRACKING_UNKNOWN) {
        vms_json_writer_null(out);
        return;
    }
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "method", vms_tracking_name(tracking->method));
    vms_json_writer_member_string(out, "parent", tracking->parent);
    vms_json_writer_key(out, "bytes_changed");
    if (tracking->method == VMS_TRACKING_NONE)
        vms_json_writer_null(out);
    else
        vms_json_writer_uint64(out, tracking->bytes_changed);
    vms_json_writer_member_string(out, "full_reason", tracking->full_reason);
    vms_json_writer_end_object(out);
}

static void write_identity(VmsJsonWriter *out, const VmsManifest *manifest)
{
    vms_json_writer_member_string(out, "schema", SCHEMA);
    if (manifest->format != VMS_FORMAT_RESTIC)
        vms_json_writer_member_string(out, "format", vms_format_name(manifest->format));
    vms_json_writer_member_string(out, "id", manifest->id);
    vms_json_writer_key(out, "domain");
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "name", manifest->domain);
    vms_json_writer_member_string(out, "uuid", manifest->uuid);
    vms_json_writer_end_object(out);
    vms_json_writer_member_string(out, "host", manifest->host);
    g_autofree char *time = vms_text_time(manifest->time_us);
    vms_json_writer_member_string(out, "time", time);
    vms_json_writer_member_string(out, "engine", vms_engine_name(manifest->engine));
    vms_json_writer_member_string(out, "consistency", vms_consistency_name(manifest->consistency));
    vms_json_writer_member_uint64(out, "frozen_filesystems", manifest->frozen_filesystems);
    vms_json_writer_key(out, "memory");
    if (manifest->memory_size > 0) {
        vms_json_writer_begin_object(out);
        vms_json_writer_member_uint64(out, "size", manifest->memory_size);
        vms_json_writer_member_string(out, "layout",
                                      vms_memory_layout_name(manifest->memory_layout));
        vms_json_writer_end_object(out);
    } else {
        vms_json_writer_null(out);
    }
    vms_json_writer_member_bool(out, "nvram", manifest->nvram);
    vms_json_writer_member_bool(out, "tpm", manifest->tpm);
    vms_json_writer_member_string(out, "full_reason", manifest->full_reason);
    vms_json_writer_key(out, "versions");
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "vmsnap", manifest->version_vmsnap);
    vms_json_writer_member_string(out, "libvirt", manifest->version_libvirt);
    vms_json_writer_member_string(out, "qemu", manifest->version_qemu);
    vms_json_writer_end_object(out);
}

char *vms_manifest_to_json(const VmsManifest *manifest)
{
    g_autoptr(VmsJsonWriter) out = vms_json_writer_new(true);
    vms_json_writer_begin_object(out);
    write_identity(out, manifest);
    vms_json_writer_key(out, "disks");
    vms_json_writer_begin_array(out);
    for (guint i = 0; i < manifest->disks->len; i++) {
        const VmsManifestDisk *disk = manifest->disks->pdata[i];
        vms_json_writer_begin_object(out);
        vms_json_writer_member_string(out, "target", disk->target);
        vms_json_writer_member_string(out, "bus", disk->bus);
        vms_json_writer_member_string(out, "format", disk->format);
        vms_json_writer_member_string(out, "source", disk->source);
        vms_json_writer_member_uint64(out, "virtual_size", disk->size);
        vms_json_writer_member_uint64(out, "chunk_size", disk->chunk_size);
        vms_disk_tracking_write(out, &disk->tracking);
        vms_manifest_image_write(out, disk);
        vms_json_writer_end_object(out);
    }
    vms_json_writer_end_array(out);
    vms_manifest_files_write(out, manifest);
    vms_notes_write(out, manifest->notes);
    vms_json_writer_end_object(out);
    return vms_json_writer_finish(out);
}

/* Copies a required string. */
static bool take(VmsJson *object, const char *member, char **target, GError **error)
{
    const char *text;
    if (!vms_json_string(object, member, &text, error))
        return false;
    *target = g_strdup(text);
    return true;
}

/* Null or missing leaves NULL. */
static bool take_optional(VmsJson *object, const char *member, char **target, GError **error)
{
    return !vms_json_has(object, member) || take(object, member, target, error);
}

static bool check_schema(VmsJson *root, GError **error)
{
    const char *schema;
    if (!vms_json_string(root, "schema", &schema, error))
        return false;
    if (g_str_equal(schema, SCHEMA))
        return true;
    if (g_str_has_prefix(schema, "vmsnap.manifest."))
        return vms_fail(error, VMS_ERROR_UNSUPPORTED,
                        "the manifest is of version %s, this program reads " SCHEMA
                        ": use the newer vmsnap that wrote it",
                        schema);
    return vms_fail(error, VMS_ERROR_INVALID, "schema: \"%.60s\" is not a vmsnap manifest", schema);
}

static bool parse_format(VmsJson *root, VmsManifest *manifest, GError **error)
{
    const char *name;
    if (!vms_json_has(root, "format"))
        return true;
    if (!vms_json_string(root, "format", &name, error))
        return false;
    return vms_format_parse(name, &manifest->format) ||
           vms_fail(error, VMS_ERROR_UNSUPPORTED,
                    "format: \"%.40s\" is not known to this version of vmsnap", name);
}

/* Version 0.1 knew the plain stream only and did not say so. */
static bool parse_layout(VmsJson *memory, VmsMemoryLayout *ret_layout, GError **error)
{
    g_autofree char *name = NULL;
    if (!take_optional(memory, "layout", &name, error))
        return false;
    *ret_layout = VMS_MEMORY_STREAM;
    if (!name || g_str_equal(name, vms_memory_layout_name(VMS_MEMORY_STREAM)))
        return true;
    *ret_layout = VMS_MEMORY_PAGES;
    return g_str_equal(name, vms_memory_layout_name(VMS_MEMORY_PAGES)) ||
           vms_fail(error, VMS_ERROR_UNSUPPORTED,
                    "memory.layout: \"%.40s\" is not known to this version of vmsnap", name);
}

/* It names folders and files of a restore: libvirt allows no slash in it. */
static bool check_domain(const char *name, GError **error)
{
    return (*name && !strchr(name, '/')) ||
           vms_fail(error, VMS_ERROR_INVALID, "domain name \"%.60s\" is not one", name);
}

static bool parse_identity(VmsJson *root, VmsManifest *manifest, GError **error)
{
    VmsJson *domain, *memory, *versions;
    g_autofree char *time = NULL, *engine = NULL, *consistency = NULL;
    uint64_t frozen = 0;
    if (!take(root, "id", &manifest->id, error) ||
        !vms_json_object(root, "domain", &domain, error) ||
        !take(domain, "name", &manifest->domain, error) || !check_domain(manifest->domain, error) ||
        !take(domain, "uuid", &manifest->uuid, error) ||
        !take(root, "host", &manifest->host, error) || !take(root, "time", &time, error) ||
        !vms_text_parse_time(time, &manifest->time_us, error) ||
        !take(root, "engine", &engine, error) || !take(root, "consistency", &consistency, error) ||
        !vms_json_uint64(root, "frozen_filesystems", &frozen, error) ||
        !vms_json_bool(root, "nvram", &manifest->nvram, error) ||
        !take_optional(root, "full_reason", &manifest->full_reason, error) ||
        !vms_json_object(root, "versions", &versions, error) ||
        !take(versions, "vmsnap", &manifest->version_vmsnap, error) ||
        !take_optional(versions, "libvirt", &manifest->version_libvirt, error) ||
        !take_optional(versions, "qemu", &manifest->version_qemu, error))
        return false;
    manifest->frozen_filesystems = (unsigned)frozen;
    if (strlen(manifest->id) != 16 || strspn(manifest->id, "0123456789abcdef") != 16)
        return vms_fail(error, VMS_ERROR_INVALID, "id: \"%.40s\" is not one", manifest->id);
    if (!vms_engine_parse(engine, &manifest->engine))
        return vms_fail(error, VMS_ERROR_UNSUPPORTED,
                        "engine: \"%.40s\" is not known to this version of vmsnap", engine);
    if (!vms_consistency_parse(consistency, &manifest->consistency))
        return vms_fail(error, VMS_ERROR_INVALID, "consistency: \"%.40s\"", consistency);
    /* Snapshots that were stored before TPM state was kept do not have it. */
    if (vms_json_has(root, "tpm") && !vms_json_bool(root, "tpm", &manifest->tpm, error))
        return false;
    if (!vms_json_has(root, "memory"))
        return true;
    return vms_json_object(root, "memory", &memory, error) &&
           vms_json_uint64(memory, "size", &manifest->memory_size, error) &&
           parse_layout(memory, &manifest->memory_layout, error);
}

/* A target names a folder of the tree and later a file: nothing but what libvirt itself uses. */
static bool check_target(const char *target, GError **error)
{
    bool good = *target != '\0';
    for (const char *p = target; *p; p++)
        good = good && (g_ascii_isalnum(*p) || *p == '-' || *p == '_');
    return good ||
           vms_fail(error, VMS_ERROR_INVALID, "disk target \"%.40s\" is not a name", target);
}

/* Snapshots that were stored before changes were tracked do not have it. */
static bool parse_tracking(VmsJson *disk, VmsDiskTracking *tracking, GError **error)
{
    VmsJson *object;
    g_autofree char *method = NULL;
    if (!vms_json_has(disk, "tracking"))
        return true;
    if (!vms_json_object(disk, "tracking", &object, error) ||
        !take(object, "method", &method, error) ||
        !take_optional(object, "parent", &tracking->parent, error) ||
        !take_optional(object, "full_reason", &tracking->full_reason, error))
        return false;
    if (!vms_tracking_parse(method, &tracking->method))
        return vms_fail(error, VMS_ERROR_UNSUPPORTED,
                        "tracking.method: \"%.40s\" is not known to this version of vmsnap",
                        method);
    return !vms_json_has(object, "bytes_changed") ||
           vms_json_uint64(object, "bytes_changed", &tracking->bytes_changed, error);
}

static bool parse_disk(VmsJson *object, VmsManifest *manifest, GError **error)
{
    g_autofree char *target = NULL, *bus = NULL, *format = NULL, *source = NULL;
    uint64_t size, chunk_size;
    if (!take(object, "target", &target, error) || !check_target(target, error) ||
        !take_optional(object, "bus", &bus, error) || !take(object, "format", &format, error) ||
        !take(object, "source", &source, error) ||
        !vms_json_uint64(object, "virtual_size", &size, error) ||
        !vms_json_uint64(object, "chunk_size", &chunk_size, error))
        return false;
    if (chunk_size < 4096 || chunk_size > (64u << 20) || (chunk_size & (chunk_size - 1)) != 0)
        return vms_fail(error, VMS_ERROR_INVALID,
                        "disk %s: chunk_size %" G_GUINT64_FORMAT
                        " is not a power of two from 4 KiB to 64 MiB",
                        target, chunk_size);
    VmsManifestDisk *disk = vms_manifest_add_disk(manifest, target, bus, format, source, size);
    disk->chunk_size = chunk_size;
    return parse_tracking(object, &disk->tracking, error) &&
           (manifest->format != VMS_FORMAT_QCOW2 || vms_manifest_image_parse(object, disk, error));
}

static bool parse_lists(VmsJson *root, VmsManifest *manifest, GError **error)
{
    VmsJson *disks, *notes, *item;
    if (!vms_json_array(root, "disks", &disks, error) ||
        !vms_json_array(root, "notes", &notes, error))
        return false;
    for (size_t i = 0; i < vms_json_length(disks); i++)
        if (!vms_json_element_object(disks, i, &item, error) || !parse_disk(item, manifest, error))
            return false;
    if (manifest->format == VMS_FORMAT_QCOW2 && !vms_manifest_files_parse(root, manifest, error))
        return false;
    for (size_t i = 0; i < vms_json_length(notes); i++) {
        const char *code, *text;
        if (!vms_json_element_object(notes, i, &item, error) ||
            !vms_json_string(item, "code", &code, error) ||
            !vms_json_string(item, "text", &text, error))
            return false;
        vms_notes_add(manifest->notes, code, text);
    }
    return true;
}

VmsManifest *vms_manifest_parse(const char *text, size_t len, GError **error)
{
    g_autoptr(VmsJson) root = vms_json_parse(text, len, error);
    g_autoptr(VmsManifest) manifest = vms_manifest_new();
    if (!root || !check_schema(root, error) || !parse_format(root, manifest, error) ||
        !parse_identity(root, manifest, error) || !parse_lists(root, manifest, error)) {
        vms_prefix(error, "vmsnap.json");
        return NULL;
    }
    return g_steal_pointer(&manifest);
}
