/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Read whole into memory in the pause, because reading half a megabyte is quicker than anything
 * that makes files. swtpm replaces its files by renaming, so each is whole whenever it is read;
 * UEFI variables are written in place, but QEMU has nothing in flight while the guest is stopped.
 *
 * The copies have the snapshot's random id in their names, in directories of ours that are 0700:
 * what has that name is ours (P3). */
#include "job/side-files.h"

#include "base/durable.h"
#include "base/error.h"
#include "base/failpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_BYTES (64u << 20) /* of UEFI variables: those of AArch64 are padded to that */

struct VmsSideFiles {
    const VmsFacts *facts;
    VmsRecord *record;
    int nvram;           /* -1: none */
    int tpm;             /* the directory, or the one file; -1: none */
    bool taken;          /* take was called */
    bool changed[2];     /* between the two times that take was called: nvram, tpm */
    GBytes *nvram_bytes; /* of the last take */
    GTree *tpm_files;    /* name → GBytes* */
};

static GTree *files_new(void)
{
    return g_tree_new_full((GCompareDataFunc)(void (*)(void))strcmp, NULL, g_free,
                           (GDestroyNotify)g_bytes_unref);
}

/* A domain that was never started has no file yet: *ret_fd stays -1. */
static bool open_source(const VmsFacts *facts, const char *path, const char *what, int *ret_fd,
                        GError **error)
{
    if (!path)
        return true;
    *ret_fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (*ret_fd >= 0 || (errno == ENOENT && !facts->active))
        return true;
    vms_fail_errno(error, errno, "%s", path);
    return vms_prefix(error, "%s", what);
}

/* state_dir/FOLDER/ID…, its directory made. */
static char *destination(const VmsConfig *config, const VmsRecord *record, const char *folder,
                         const char *suffix, GError **error)
{
    g_autofree char *dir = g_build_filename(config->state_dir, folder, NULL);
    if (!vms_durable_mkdir(dir, 0700, error))
        return NULL;
    return g_strdup_printf("%s/%s%s", dir, record->id, suffix);
}

VmsSideFiles *vms_side_files_prepare(const VmsConfig *config, const VmsFacts *facts,
                                     VmsRecord *record, GError **error)
{
    g_autoptr(VmsSideFiles) side = g_new0(VmsSideFiles, 1);
    side->facts = facts;
    side->record = record;
    side->nvram = side->tpm = -1;
    if (!open_source(facts, facts->nvram, "UEFI variables", &side->nvram, error) ||
        !open_source(facts, facts->tpm_state, "TPM state", &side->tpm, error))
        return NULL;
    if (side->nvram >= 0 && !(record->nvram = destination(config, record, "nvram", ".fd", error)))
        return NULL;
    if (side->tpm >= 0 && !(record->tpm = destination(config, record, "tpm", "", error)))
        return NULL;
    return g_steal_pointer(&side);
}

bool vms_side_files_any(const VmsSideFiles *side)
{
    return side->nvram >= 0 || side->tpm >= 0;
}

static GBytes *read_all(int fd, GError **error)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        vms_fail_errno(error, errno, "read");
        return NULL;
    }
    /* A block device says no size there. */
    off_t size = S_ISBLK(st.st_mode) ? lseek(fd, 0, SEEK_END) : st.st_size;
    if (size < 0 || size > (off_t)MOST_BYTES)
        return vms_fail_null(error, VMS_ERROR_INVALID, "%lld bytes are too many to be that",
                             (long long)size);
    g_autofree char *data = g_malloc((gsize)size + 1);
    off_t done = 0;
    while (done < size) {
        ssize_t n = pread(fd, data + done, (size_t)(size - done), done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            vms_fail_errno(error, errno, "read");
            return NULL;
        }
        if (n == 0)
            break;
        done += n;
    }
    return g_bytes_new_take(g_steal_pointer(&data), (gsize)done);
}

static bool take_entry(int dir, const char *name, GTree *files, GError **error)
{
    struct stat st;
    if (name[0] == '.') /* a lock, or what is being written */
        return true;
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) /* a temporary one, renamed meanwhile */
        return errno == ENOENT || vms_fail_errno(error, errno, "%s", name);
    GBytes *bytes = NULL;
    bool ok = fstat(fd, &st) == 0 && !S_ISREG(st.st_mode);
    if (!ok)
        bytes = read_all(fd, error);
    close(fd);
    if (bytes)
        g_tree_insert(files, g_strdup(name), bytes);
    return ok || bytes || vms_prefix(error, "%s", name);
}

static bool take_directory(int fd, GTree *files, GError **error)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    g_autoptr(GError) cause = NULL;
    g_autoptr(GDir) dir = g_dir_open(path, 0, &cause);
    if (!dir)
        return vms_fail(error, VMS_ERROR_FAILED, "%s", cause->message);
    for (const char *name; (name = g_dir_read_name(dir));)
        if (!take_entry(fd, name, files, error))
            return false;
    return true;
}

static bool take_tpm(VmsSideFiles *side, GTree *files, GError **error)
{
    if (!side->facts->tpm_state_is_file)
        return take_directory(side->tpm, files, error);
    GBytes *bytes = read_all(side->tpm, error);
    if (bytes)
        g_tree_insert(files, g_path_get_basename(side->facts->tpm_state), bytes);
    return bytes != NULL;
}

static gboolean differs(void *name, void *bytes, void *other)
{
    void **pair = other;
    GBytes *there = g_tree_lookup(pair[0], name);
    pair[1] = there && g_bytes_equal(there, bytes) ? NULL : name;
    return pair[1] != NULL;
}

static bool same_files(GTree *a, GTree *b)
{
    void *pair[] = {b, NULL};
    if (g_tree_nnodes(a) != g_tree_nnodes(b))
        return false;
    g_tree_foreach(a, differs, pair);
    return pair[1] == NULL;
}

bool vms_side_files_take(void *user, GError **error)
{
    VmsSideFiles *side = user;
    if (side->nvram >= 0) {
        GBytes *bytes = read_all(side->nvram, error);
        if (!bytes)
            return vms_prefix(error, "UEFI variables");
        side->changed[0] = side->taken && !g_bytes_equal(bytes, side->nvram_bytes);
        g_clear_pointer(&side->nvram_bytes, g_bytes_unref);
        side->nvram_bytes = bytes;
    }
    if (side->tpm >= 0) {
        GTree *files = files_new();
        if (!take_tpm(side, files, error)) {
            g_tree_unref(files);
            return vms_prefix(error, "TPM state");
        }
        side->changed[1] = side->taken && !same_files(side->tpm_files, files);
        g_clear_pointer(&side->tpm_files, g_tree_unref);
        side->tpm_files = files;
    }
    side->taken = true;
    return true;
}

typedef struct {
    const char *dir;
    GError *error;
} Storing;

static gboolean store_file(void *name, void *bytes, void *user)
{
    Storing *storing = user;
    size_t len;
    const void *data = g_bytes_get_data(bytes, &len);
    g_autofree char *path = g_build_filename(storing->dir, name, NULL);
    vms_failpoint("create.tpm-file-next");
    return !vms_durable_write(path, data, len, 0600, &storing->error); /* true ends it */
}

static bool store_tpm(VmsSideFiles *side, GError **error)
{
    Storing storing = {side->record->tpm, NULL};
    if (!vms_durable_mkdir(storing.dir, 0700, error))
        return false;
    g_tree_foreach(side->tpm_files, store_file, &storing);
    if (!storing.error)
        return true;
    g_propagate_error(error, storing.error);
    return false;
}

bool vms_side_files_store(VmsSideFiles *side, GError **error)
{
    VmsRecord *record = side->record;
    if (side->changed[0])
        vms_record_add_note(record, "nvram-changed",
                            "the UEFI variables changed while memory was saved; those stored for a "
                            "restore without memory are of just after the cut");
    if (side->changed[1])
        vms_record_add_note(record, "tpm-changed",
                            "the TPM's state changed while memory was saved; the one stored for a "
                            "restore without memory is of just after the cut");
    if (side->nvram_bytes) {
        size_t len;
        const void *data = g_bytes_get_data(side->nvram_bytes, &len);
        if (!vms_durable_write(record->nvram, data, len, 0600, error))
            return vms_prefix(error, "UEFI variables");
        vms_failpoint("create.nvram-stored");
    }
    return !side->tpm_files || store_tpm(side, error) || vms_prefix(error, "TPM state");
}

void vms_side_files_free(VmsSideFiles *side)
{
    if (!side)
        return;
    if (side->nvram >= 0)
        close(side->nvram);
    if (side->tpm >= 0)
        close(side->tpm);
    g_clear_pointer(&side->nvram_bytes, g_bytes_unref);
    g_clear_pointer(&side->tpm_files, g_tree_unref);
    g_free(side);
}

static bool remove_file(const char *path, GError **error)
{
    return unlink(path) == 0 || errno == ENOENT || vms_fail_errno(error, errno, "%s", path);
}

/* What base/durable had begun to write when we were killed: PATH.tmp-XXXXXX. */
static bool remove_unfinished(const char *path, GError **error)
{
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *name = g_path_get_basename(path);
    g_autofree char *prefix = g_strconcat(name, ".tmp-", NULL);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    for (const char *other; dir && (other = g_dir_read_name(dir));) {
        g_autofree char *full = g_build_filename(folder, other, NULL);
        if (g_str_has_prefix(other, prefix) && !remove_file(full, error))
            return false;
    }
    return true;
}

bool vms_side_files_remove(VmsRecord *record, GError **error)
{
    if (record->nvram &&
        (!remove_file(record->nvram, error) || !remove_unfinished(record->nvram, error)))
        return false;
    vms_failpoint("merge.nvram-removed");
    g_autoptr(GDir) dir = record->tpm ? g_dir_open(record->tpm, 0, NULL) : NULL;
    if (!dir)
        return true;
    for (const char *name; (name = g_dir_read_name(dir));) {
        g_autofree char *path = g_build_filename(record->tpm, name, NULL);
        if (!remove_file(path, error))
            return false;
    }
    return rmdir(record->tpm) == 0 || vms_fail_errno(error, errno, "%s", record->tpm);
}
