/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/restore-plan.h"

#include "base/error.h"
#include "base/text.h"
#include "job/fetch.h"
#include "job/plain-memory.h"
#include "job/plain-name.h"
#include "job/restore-place.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

static void disk_free(void *data)
{
    VmsPlannedDisk *disk = data;
    g_free(disk->path);
    vms_tree_free(disk->tree);
    vms_plain_chain_free(disk->chain);
    g_free(disk);
}

void vms_restore_plan_free(VmsRestorePlan *plan)
{
    if (!plan)
        return;
    g_free(plan->xml);
    g_ptr_array_unref(plan->disks);
    g_free(plan->domain);
    g_free(plan->nvram_path);
    g_free(plan->memory_path);
    vms_tree_free(plan->memory_tree);
    g_free(plan);
}

static bool is_wanted(const VmsRestoreOptions *options, const char *target)
{
    return !options->disks || g_strv_contains(options->disks, target);
}

static bool check_targets(const VmsManifest *manifest, const VmsRestoreOptions *options,
                          GError **error)
{
    for (const char *const *want = options->disks; want && *want; want++) {
        g_autoptr(GString) names = g_string_new(NULL);
        bool found = false;
        for (guint i = 0; i < manifest->disks->len; i++) {
            const VmsManifestDisk *disk = manifest->disks->pdata[i];
            found = found || g_str_equal(disk->target, *want);
            g_string_append_printf(names, "%s%s", i ? ", " : "", disk->target);
        }
        if (!found)
            return vms_fail(error, VMS_ERROR_NOT_FOUND, "the snapshot has no disk %s; it has %s",
                            *want, names->str);
    }
    return true;
}

static const char *format_of(const VmsManifestDisk *disk, const VmsRestoreOptions *options)
{
    if (options->format)
        return g_str_equal(options->format, "raw") ? "raw" : "qcow2";
    return g_str_equal(disk->format, "raw") ? "raw" : "qcow2";
}

/* A restored disk keeps its file name where nothing else changes; a block device has none. */
static char *file_name(const VmsRestorePlan *plan, const VmsManifestDisk *disk, const char *format,
                       const VmsRestoreOptions *options)
{
    bool device = g_str_has_prefix(disk->source, "/dev/");
    bool ours = strstr(disk->source, ".vmsnap-") != NULL;
    if (options->as || device || ours || !g_str_equal(format, disk->format))
        return g_strdup_printf("%s-%s.%s", plan->domain, disk->target, format);
    return g_path_get_basename(disk->source);
}

static bool choose_path(const VmsRestorePlan *plan, VmsPlannedDisk *disk,
                        const VmsRestoreOptions *options, GError **error)
{
    g_autofree char *where = g_path_get_dirname(disk->disk->source);
    if (!options->disks_to && g_str_has_prefix(disk->disk->source, "/dev/"))
        return vms_fail(
            error, VMS_ERROR_USAGE,
            "it was on the block device %s: say with --disks-to DIR where its image goes",
            disk->disk->source);
    if (!options->disks_to && !vms_restore_place_check(where, error))
        return vms_prefix(error, "say with --disks-to DIR where its image goes");
    const char *dir = options->disks_to ? options->disks_to : where;
    g_autofree char *absolute = g_canonicalize_filename(dir, NULL);
    if (!g_file_test(absolute, G_FILE_TEST_IS_DIR))
        return vms_fail(error, VMS_ERROR_NOT_FOUND,
                        "directory %s does not exist; make it or choose another with --disks-to",
                        absolute);
    g_autofree char *name = file_name(plan, disk->disk, disk->format, options);
    disk->path = g_build_filename(absolute, name, NULL);
    struct stat st;
    if (lstat(disk->path, &st) == 0)
        return vms_fail(
            error, VMS_ERROR_EXISTS,
            "%s exists and is left alone; restore elsewhere with --disks-to DIR, or under "
            "another name with --as NAME",
            disk->path);
    return true;
}

/* One file of the snapshot, its size as the manifest says. */
static bool find_file(VmsContext *context, const VmsRestorePlan *plan, const char *path,
                      uint64_t size, VmsTree **ret_tree, const VmsNode **ret_node, GError **error)
{
    VmsRepo *repo = plan->stored->location->repo;
    g_autofree char *full = g_strdup_printf("/%s/%s", plan->manifest->domain, path);
    VmsNode *node = NULL;
    if (!vms_tree_lookup(repo, &plan->stored->tree, full, ret_tree, &node, context->cancellable,
                         error))
        return false;
    if (node->type != VMS_NODE_FILE || node->size != size)
        return vms_fail(error, VMS_ERROR_CORRUPT,
                        "%s has %" G_GUINT64_FORMAT " bytes, the manifest says %" G_GUINT64_FORMAT,
                        full, node->size, size);
    *ret_node = node;
    return true;
}

/* All its images are there once, beside the disk that they become. */
static bool plan_chain(VmsContext *context, VmsRestorePlan *plan, VmsPlannedDisk *disk,
                       GError **error)
{
    const VmsStored *stored = plan->stored;
    disk->chain = vms_plain_chain_open(stored->location->store, stored->images, plan->manifest,
                                       disk->disk, context->cancellable, error);
    if (!disk->chain)
        return false;
    disk->temporary_size = vms_plain_chain_bytes(disk->chain);
    disk->data_size = MIN(disk->temporary_size, disk->disk->size);
    plan->bytes_total += disk->temporary_size;
    return true;
}

static bool plan_disk(VmsContext *context, VmsRestorePlan *plan, const VmsManifestDisk *source,
                      const VmsRestoreOptions *options, GError **error)
{
    VmsPlannedDisk *disk = g_new0(VmsPlannedDisk, 1);
    g_ptr_array_add(plan->disks, disk);
    disk->disk = source;
    disk->format = format_of(source, options);
    if (!choose_path(plan, disk, options, error))
        return false;
    if (plan->stored->images)
        return plan_chain(context, plan, disk, error);
    g_autofree char *path = g_strdup_printf("%s/disk.raw", source->target);
    plan->bytes_total += source->size;
    return find_file(context, plan, path, source->size, &disk->tree, &disk->node, error) &&
           vms_fetch_data_size(disk->node, source->chunk_size, &disk->data_size, error);
}

static bool check_space(const char *path, uint64_t need, GError **error)
{
    g_autofree char *dir = g_path_get_dirname(path);
    struct statvfs fs;
    if (statvfs(dir, &fs) < 0)
        return vms_fail_errno(error, errno, "%s", dir);
    uint64_t have = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (have >= need)
        return true;
    g_autofree char *have_text = vms_text_size(have), *need_text = vms_text_size(need);
    return vms_fail(error, VMS_ERROR_NO_SPACE,
                    "%s: %s are free, %s are needed; free some space or choose another directory "
                    "with --disks-to",
                    dir, have_text, need_text);
}

/* Each directory is asked for what all disks on the same file system need, and the most that any
 * of them needs beside. */
static bool check_spaces(const VmsRestorePlan *plan, GError **error)
{
    for (guint i = 0; i < plan->disks->len; i++) {
        const VmsPlannedDisk *disk = plan->disks->pdata[i];
        g_autofree char *dir = g_path_get_dirname(disk->path);
        uint64_t need = 0, beside = 0;
        struct stat mine, theirs;
        if (stat(dir, &mine) < 0)
            return vms_fail_errno(error, errno, "%s", dir);
        for (guint j = 0; j < plan->disks->len; j++) {
            const VmsPlannedDisk *other = plan->disks->pdata[j];
            g_autofree char *other_dir = g_path_get_dirname(other->path);
            if (stat(other_dir, &theirs) == 0 && theirs.st_dev == mine.st_dev) {
                need += other->data_size;
                beside = MAX(beside, other->temporary_size);
            }
        }
        if (!check_space(disk->path, need + beside, error))
            return false;
    }
    return true;
}

static bool check_domain(VmsContext *context, const VmsRestorePlan *plan,
                         const VmsRestoreOptions *options, GError **error)
{
    VmsConn *conn = vms_context_conn(context, error);
    if (!conn)
        return false;
    const char *names[] = {plan->domain, options->as ? NULL : plan->manifest->uuid};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(GError) cause = NULL;
        g_autoptr(virDomain) domain = names[i] ? vms_conn_lookup(conn, names[i], &cause) : NULL;
        if (domain)
            return vms_fail(error, VMS_ERROR_EXISTS,
                            "domain %s exists%s and is left alone; restore under another name with "
                            "--as NAME",
                            virDomainGetName(domain), i ? " with the same UUID" : "");
        if (cause && !vms_error_is(cause, VMS_ERROR_NOT_FOUND)) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return false;
        }
    }
    return true;
}

static bool find_memory(VmsContext *context, VmsRestorePlan *plan, GError **error)
{
    const VmsStored *stored = plan->stored;
    if (!stored->images)
        return find_file(context, plan, "memory/memory.save", plan->manifest->memory_size,
                         &plan->memory_tree, &plan->memory_node, error);
    plan->memory_file = vms_stored_find_file(stored, VMS_PLAIN_MEMORY, error);
    if (!plan->memory_file)
        return false;
    g_autofree char *object =
        vms_plain_object(stored->images, plan->manifest->id, VMS_PLAIN_MEMORY);
    return vms_plain_check_size(stored->location->store, object, plan->memory_file,
                                context->cancellable, error);
}

static bool plan_memory(VmsContext *context, VmsRestorePlan *plan, const VmsRestoreOptions *options,
                        GError **error)
{
    const VmsManifest *manifest = plan->manifest;
    plan->memory =
        plan->define && options->memory != VMS_RESTORE_MEMORY_NO && manifest->memory_size > 0;
    if (options->memory == VMS_RESTORE_MEMORY_YES && !plan->memory)
        return vms_fail(error, VMS_ERROR_REFUSED,
                        plan->define ? "the snapshot has no memory: it was taken with "
                                       "--memory=none, or of a guest that was shut off"
                                     : "memory can only be restored together with all disks");
    if (!plan->memory)
        return true;
    plan->bytes_total += manifest->memory_size;
    plan->memory_path = g_strdup_printf("%s/restore/%s-%08x.save", context->config->state_dir,
                                        plan->domain, g_random_int());
    return find_memory(context, plan, error);
}

static bool plan_nvram(VmsRestorePlan *plan, GError **error)
{
    struct stat st;
    if (!plan->define || !plan->manifest->nvram || plan->disks->len == 0)
        return true;
    g_autofree char *dir = g_path_get_dirname(((VmsPlannedDisk *)plan->disks->pdata[0])->path);
    plan->nvram_path = g_strdup_printf("%s/%s_VARS.fd", dir, plan->domain);
    if (lstat(plan->nvram_path, &st) == 0)
        return vms_fail(error, VMS_ERROR_EXISTS, "%s exists and is left alone", plan->nvram_path);
    return true;
}

static bool read_xml(VmsContext *context, VmsRestorePlan *plan, GError **error)
{
    g_autoptr(GBytes) bytes = vms_stored_read_file(context, plan->stored, "domain.xml", error);
    if (!bytes)
        return false;
    size_t len;
    const char *data = g_bytes_get_data(bytes, &len);
    plan->xml = g_strndup(data, len);
    return true;
}

VmsRestorePlan *vms_restore_plan(VmsContext *context, const VmsStored *stored,
                                 const VmsRestoreOptions *options, GError **error)
{
    const VmsManifest *manifest = stored->manifest;
    g_autoptr(VmsRestorePlan) plan = g_new0(VmsRestorePlan, 1);
    plan->stored = stored;
    plan->manifest = manifest;
    plan->disks = g_ptr_array_new_with_free_func(disk_free);
    plan->define = options->disks == NULL;
    plan->domain = g_strdup(options->as ? options->as : manifest->domain);
    if (!check_targets(manifest, options, error) ||
        (plan->define && !check_domain(context, plan, options, error)))
        return NULL;
    for (guint i = 0; i < manifest->disks->len; i++) {
        const VmsManifestDisk *disk = manifest->disks->pdata[i];
        if (is_wanted(options, disk->target) && !plan_disk(context, plan, disk, options, error)) {
            vms_prefix(error, "disk %s", disk->target);
            return NULL;
        }
    }
    if (!check_spaces(plan, error) || !plan_memory(context, plan, options, error) ||
        !plan_nvram(plan, error) || !read_xml(context, plan, error))
        return NULL;
    return g_steal_pointer(&plan);
}
