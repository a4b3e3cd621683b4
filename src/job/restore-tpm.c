/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirt keeps the state in a directory named by the domain's UUID, runs swtpm as a user of its
 * own and, where the directory has files, takes them as they are: they must be that user's. */
#include "job/restore-tpm.h"

#include "base/durable.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "job/restore-place.h"
#include "virt/tpm.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define QEMU_CONF "/etc/libvirt/qemu.conf"

static bool give_to_swtpm(const char *path, GError **error)
{
    g_autofree char *conf = NULL;
    uid_t user;
    gid_t group;
    g_file_get_contents(QEMU_CONF, &conf, NULL, NULL);
    vms_tpm_owner(conf, &user, &group);
    return chown(path, user, group) == 0 || vms_fail_errno(error, errno, "%s", path);
}

/* With all above it; 0711 as libvirt makes them. */
static bool make_directory(const VmsRestoreTpm *restore, const char *path, GError **error)
{
    struct stat st;
    if (g_file_test(path, G_FILE_TEST_IS_DIR))
        return true;
    g_autofree char *parent = g_path_get_dirname(path);
    if (!make_directory(restore, parent, error) ||
        !vms_restore_journal_intend(restore->journal, VMS_MADE_DIRECTORY, path, error) ||
        !vms_durable_mkdir(path, 0711, error))
        return false;
    vms_failpoint("restore.tpm-directory-made");
    if (stat(path, &st) < 0)
        return vms_fail_errno(error, errno, "%s", path);
    return vms_restore_journal_made(restore->journal, path, &st, error);
}

static bool is_empty(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    return !dir || !g_dir_read_name(dir);
}

static bool check_free(const char *path, bool is_file, GError **error)
{
    if (is_file ? !g_file_test(path, G_FILE_TEST_EXISTS) : is_empty(path))
        return true;
    return vms_fail(error, VMS_ERROR_EXISTS,
                    "%s exists and is left alone: move it away, or restore under another name with "
                    "--as NAME",
                    path);
}

static bool write_file(const VmsRestoreTpm *restore, const char *name, const char *to,
                       GError **error)
{
    g_autofree char *file = g_strdup_printf("tpm/%s", name);
    g_autoptr(GBytes) bytes = vms_stored_read_file(restore->context, restore->stored, file, error);
    return bytes && vms_restore_journal_write(restore->journal, to, bytes, error) &&
           give_to_swtpm(to, error);
}

static bool write_all(const VmsRestoreTpm *restore, char **names, const char *to, bool is_file,
                      GError **error)
{
    if (is_file && g_strv_length(names) != 1)
        return vms_fail(error, VMS_ERROR_CORRUPT,
                        "the definition keeps it in one file, the snapshot has %u",
                        g_strv_length(names));
    for (char **name = names; *name; name++) {
        g_autofree char *path = is_file ? g_strdup(to) : g_build_filename(to, *name, NULL);
        if (!write_file(restore, *name, path, error))
            return false;
    }
    return true;
}

bool vms_restore_tpm(const VmsRestoreTpm *restore, GError **error)
{
    g_autofree char *to = NULL;
    g_auto(GStrv) names = NULL;
    bool is_file = false;
    if (!vms_tpm_state_path(restore->xml, &to, &is_file, error))
        return false;
    if (!to)
        return true;
    names = vms_stored_tpm_files(restore->context, restore->stored, error);
    g_autofree char *dir = is_file ? g_path_get_dirname(to) : g_strdup(to);
    if (!names || !vms_restore_place_check(dir, error) || !check_free(to, is_file, error) ||
        !make_directory(restore, dir, error))
        return false;
    if (!is_file && chmod(to, 0700) < 0)
        return vms_fail_errno(error, errno, "%s", to);
    return (is_file || give_to_swtpm(to, error)) && write_all(restore, names, to, is_file, error);
}

bool vms_restore_tpm_exists(const char *xml)
{
    g_autofree char *path = NULL;
    bool is_file;
    return vms_tpm_state_path(xml, &path, &is_file, NULL) && path &&
           !check_free(path, is_file, NULL);
}
