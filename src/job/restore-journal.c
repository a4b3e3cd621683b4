/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/restore-journal.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "job/catalog-restores.h"
#include "job/domain-lock.h"
#include "job/record.h"

#include <errno.h>
#include <unistd.h>

#define MOST_DEPTH 4 /* of a temporary directory: images lie in it one folder below */

struct VmsRestoreJournal {
    VmsContext *context;
    VmsRestoreRecord *record;
    VmsCatalog *catalog; /* NULL: there is no journal */
    VmsDomainLock *lock; /* held by a living restore; nullable likewise */
};

char *vms_restore_lock_key(const char *id)
{
    return g_strconcat(VMS_RESTORE_LOCK_PREFIX, id, NULL);
}

static bool begin(VmsRestoreJournal *journal, GError **error)
{
    const VmsConfig *config = journal->context->config;
    const VmsRestoreRecord *record = journal->record;
    g_autofree char *key = vms_restore_lock_key(record->id);
    journal->lock = vms_domain_lock(config, key, "this restore", error);
    if (!journal->lock)
        return false;
    vms_failpoint("restore.locked");
    journal->catalog = vms_catalog_open(config, error);
    return journal->catalog && vms_restore_journal_save(journal, error);
}

VmsRestoreJournal *vms_restore_journal_open(VmsContext *context, VmsRestoreRecord *record,
                                            GPtrArray *notes)
{
    VmsRestoreJournal *journal = g_new0(VmsRestoreJournal, 1);
    g_autoptr(GError) cause = NULL;
    journal->context = context;
    journal->record = record;
    if (begin(journal, &cause))
        return journal;
    g_autofree char *text = g_strdup_printf(
        "should this restore be killed, \"vmsnap recover\" cannot remove what it made: %s",
        cause->message);
    vms_notes_add(notes, "not-journalled", text);
    vms_progress_message(context->progress, "%s", text);
    g_clear_pointer(&journal->catalog, vms_catalog_free);
    return journal;
}

VmsRestoreRecord *vms_restore_journal_record(const VmsRestoreJournal *journal)
{
    return journal->record;
}

bool vms_restore_journal_save(VmsRestoreJournal *journal, GError **error)
{
    return !journal->catalog || vms_catalog_save_restore(journal->catalog, journal->record, error);
}

bool vms_restore_journal_intend(VmsRestoreJournal *journal, VmsMadeKind kind, const char *path,
                                GError **error)
{
    vms_restore_record_add(journal->record, kind, path);
    return vms_restore_journal_save(journal, error);
}

bool vms_restore_journal_made(VmsRestoreJournal *journal, const char *path, const struct stat *st,
                              GError **error)
{
    VmsMade *made = vms_restore_record_find(journal->record, path);
    made->device = st->st_dev;
    made->inode = st->st_ino;
    return vms_restore_journal_save(journal, error);
}

static int64_t changed_ns(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

VmsSink *vms_restore_journal_sink(VmsRestoreJournal *journal, VmsMadeKind kind, const char *path,
                                  const char *format, uint64_t size, GError **error)
{
    struct stat st;
    if (!vms_restore_journal_intend(journal, kind, path, error))
        return NULL;
    g_autoptr(VmsSink) sink =
        vms_sink_create(path, format, size, false, journal->context->cancellable, error);
    if (!sink) { /* what is there is somebody else's */
        g_ptr_array_set_size(journal->record->made, (int)journal->record->made->len - 1);
        return NULL;
    }
    if (!vms_sink_stat(sink, &st, error) || !vms_restore_journal_made(journal, path, &st, error))
        return NULL;
    return g_steal_pointer(&sink);
}

bool vms_restore_journal_finish(VmsRestoreJournal *journal, const char *path, VmsSink *sink,
                                GError **error)
{
    struct stat st;
    if (!vms_sink_finish(sink, error) || !vms_sink_stat(sink, &st, error))
        return false;
    vms_restore_record_find(journal->record, path)->written_ns = changed_ns(&st);
    return vms_restore_journal_save(journal, error);
}

bool vms_restore_journal_write(VmsRestoreJournal *journal, const char *path, GBytes *bytes,
                               GError **error)
{
    size_t len;
    const void *data = g_bytes_get_data(bytes, &len);
    g_autoptr(VmsSink) sink =
        vms_restore_journal_sink(journal, VMS_MADE_FILE, path, "raw", len, error);
    return sink && vms_sink_write(sink, 0, data, len, error) &&
           vms_restore_journal_finish(journal, path, sink, error);
}

static bool is_made(const VmsMade *made, const struct stat *st)
{
    return made->inode != 0 && st->st_dev == made->device && st->st_ino == made->inode;
}

bool vms_restore_is_whole(const VmsMade *made, bool *ret_changed)
{
    struct stat st;
    bool there = made->written_ns != 0 && lstat(made->path, &st) == 0 && is_made(made, &st);
    *ret_changed = there && made->written_ns != changed_ns(&st);
    return there;
}

static bool remove_file(const VmsMade *made, bool unchanged, GError **error)
{
    struct stat st;
    bool changed = false;
    vms_restore_is_whole(made, &changed);
    if (lstat(made->path, &st) == 0 && is_made(made, &st)) {
        if (unchanged && changed && made->kind == VMS_MADE_DISK)
            return vms_fail(error, VMS_ERROR_EXISTS,
                            "%s was written to since it was restored and is left alone; keep it "
                            "under another name, or remove it",
                            made->path);
        if (unlink(made->path) < 0 && errno != ENOENT)
            return vms_fail_errno(error, errno, "%s", made->path);
    }
    return vms_sink_discard(made->path, error);
}

static bool remove_directory(const VmsMade *made, GError **error)
{
    struct stat st;
    if (lstat(made->path, &st) < 0)
        return errno == ENOENT || vms_fail_errno(error, errno, "%s", made->path);
    if (made->inode != 0 && !is_made(made, &st))
        return true;
    return rmdir(made->path) == 0 || errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR ||
           vms_fail_errno(error, errno, "%s", made->path);
}

static bool remove_tree(const char *path, unsigned depth, GError **error)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return errno == ENOENT || vms_fail_errno(error, errno, "%s", path);
    if (!S_ISDIR(st.st_mode))
        return unlink(path) == 0 || vms_fail_errno(error, errno, "%s", path);
    g_autoptr(GDir) dir = depth < MOST_DEPTH ? g_dir_open(path, 0, NULL) : NULL;
    for (const char *name; dir && (name = g_dir_read_name(dir));) {
        g_autofree char *below = g_build_filename(path, name, NULL);
        if (!remove_tree(below, depth + 1, error))
            return false;
    }
    return rmdir(path) == 0 || vms_fail_errno(error, errno, "%s", path);
}

static bool remove_one(const VmsMade *made, bool unchanged, GError **error)
{
    switch (made->kind) {
    case VMS_MADE_DIRECTORY:
        return remove_directory(made, error);
    case VMS_MADE_TEMPORARY:
        return remove_tree(made->path, 0, error) && vms_sink_discard(made->path, error);
    default:
        return remove_file(made, unchanged, error);
    }
}

bool vms_restore_unmake(const VmsRestoreRecord *record, bool unchanged, GError **error)
{
    g_autoptr(GError) first = NULL;
    for (guint i = record->made->len; i-- > 0;) {
        bool ok = remove_one(record->made->pdata[i], unchanged, first ? NULL : &first);
        if (ok)
            vms_failpoint("restore.removed");
    }
    if (!first)
        return true;
    g_propagate_error(error, g_steal_pointer(&first));
    return false;
}

bool vms_restore_remove_temporary(const VmsRestoreRecord *record, GError **error)
{
    for (guint i = 0; i < record->made->len; i++) {
        const VmsMade *made = record->made->pdata[i];
        if (made->kind == VMS_MADE_TEMPORARY && !remove_one(made, true, error))
            return false;
    }
    return true;
}

void vms_restore_journal_close(VmsRestoreJournal *journal, bool ended)
{
    g_autoptr(GError) cause = NULL;
    if (!journal)
        return;
    if (ended && journal->catalog &&
        !vms_catalog_remove_restore(journal->catalog, journal->record->id, &cause))
        g_info("the restore stays in the journal, recover will find it whole: %s", cause->message);
    vms_failpoint("restore.forgotten");
    vms_catalog_free(journal->catalog);
    if (ended)
        vms_domain_lock_remove(journal->lock);
    else
        vms_domain_lock_free(journal->lock);
    vms_restore_record_free(journal->record);
    g_free(journal);
}
