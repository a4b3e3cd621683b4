/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a restore that ended without undoing has left in the catalog, and what is removed by that.
 */
#include "base/error.h"
#include "job/catalog-restores.h"
#include "job/record.h"
#include "job/restore-journal.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

static char *top;

typedef struct {
    char *folder;
    VmsConfig config;
    VmsContext context;
    GPtrArray *notes;
} Fixture;

static char *in(const Fixture *f, const char *name)
{
    return g_build_filename(f->folder, name, NULL);
}

static void set_up(Fixture *f, const void *unused)
{
    f->folder = g_build_filename(top, "XXXXXX", NULL);
    g_assert_nonnull(g_mkdtemp(f->folder));
    f->config.state_dir = in(f, "state");
    f->config.run_dir = in(f, "run");
    f->context.config = &f->config;
    f->notes = vms_notes_new();
}

static void tear_down(Fixture *f, const void *unused)
{
    g_free(f->config.state_dir);
    g_free(f->config.run_dir);
    g_free(f->folder);
    g_ptr_array_unref(f->notes);
}

static VmsRestoreJournal *begin(Fixture *f, const char *domain)
{
    VmsRestoreRecord *record = vms_restore_record_new();
    record->snapshot = g_strnfill(64, 'a');
    record->repository = g_strdup("/srv/backup");
    record->domain = g_strdup(domain);
    record->uuid = domain ? g_strdup("11111111-2222-3333-4444-555555555555") : NULL;
    record->memory = true;
    record->frozen_filesystems = 2;
    return vms_restore_journal_open(&f->context, record, f->notes);
}

static GPtrArray *list(Fixture *f, const char *domain)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsCatalog) catalog = vms_catalog_open(&f->config, &error);
    g_assert_no_error(error);
    GPtrArray *records = vms_catalog_list_restores(catalog, domain, &error);
    g_assert_no_error(error);
    return records;
}

static bool exists(const char *path)
{
    return g_file_test(path, G_FILE_TEST_EXISTS);
}

/* A disk, a file, a temporary directory and a directory, all made. */
static void make_all(Fixture *f, VmsRestoreJournal *journal)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *temp = in(f, "temp"), *below = in(f, "temp/id"), *image = in(f, "temp/id/i");
    g_autofree char *dir = in(f, "dir"), *disk = in(f, "disk.raw"), *file = in(f, "dir/file");
    g_autoptr(GBytes) bytes = g_bytes_new_static("vars", 4);
    struct stat st;
    g_autoptr(VmsSink) sink =
        vms_restore_journal_sink(journal, VMS_MADE_DISK, disk, "raw", 4096, &error);
    g_assert_no_error(error);
    vms_restore_journal_intend(journal, VMS_MADE_TEMPORARY, temp, &error);
    g_assert_no_error(error);
    g_assert_cmpint(g_mkdir(temp, 0700), ==, 0);
    g_assert_cmpint(g_mkdir(below, 0700), ==, 0);
    g_assert_true(g_file_set_contents(image, "image", -1, NULL));
    vms_restore_journal_finish(journal, disk, sink, &error);
    g_assert_no_error(error);
    vms_restore_journal_intend(journal, VMS_MADE_DIRECTORY, dir, &error);
    g_assert_no_error(error);
    g_assert_cmpint(g_mkdir(dir, 0700), ==, 0);
    g_assert_cmpint(stat(dir, &st), ==, 0);
    vms_restore_journal_made(journal, dir, &st, &error);
    vms_restore_journal_write(journal, file, bytes, &error);
    g_assert_no_error(error);
}

static void test_killed(Fixture *f, const void *unused)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *temp = in(f, "temp"), *dir = in(f, "dir"), *disk = in(f, "disk.raw");
    bool changed = true;
    VmsRestoreJournal *journal = begin(f, "web01");
    make_all(f, journal);
    vms_restore_journal_close(journal, false);
    g_autoptr(GPtrArray) none = list(f, "web02");
    g_autoptr(GPtrArray) left = list(f, "web01");
    g_assert_cmpuint(none->len, ==, 0);
    g_assert_cmpuint(left->len, ==, 1);
    const VmsRestoreRecord *record = left->pdata[0];
    g_assert_cmpstr(record->repository, ==, "/srv/backup");
    g_assert_true(record->memory && !record->defining && record->frozen_filesystems == 2);
    g_assert_cmpuint(record->made->len, ==, 4);
    g_assert_true(vms_restore_is_whole(vms_restore_record_find(record, disk), &changed));
    g_assert_false(changed);
    g_assert_true(vms_restore_remove_temporary(record, &error));
    g_assert_true(!exists(temp) && exists(disk));
    g_assert_true(vms_restore_unmake(record, true, &error));
    g_assert_no_error(error);
    g_assert_true(!exists(disk) && !exists(dir));
    g_assert_true(vms_restore_unmake(record, true, &error)); /* again does no harm */
}

static void test_ended(Fixture *f, const void *unused)
{
    VmsRestoreJournal *journal = begin(f, NULL);
    g_autofree char *lock = g_strdup_printf("%s/restore-%s.lock", f->config.run_dir,
                                            vms_restore_journal_record(journal)->id);
    make_all(f, journal);
    g_assert_true(exists(lock));
    vms_restore_journal_close(journal, true);
    g_autoptr(GPtrArray) left = list(f, NULL);
    g_assert_cmpuint(left->len, ==, 0);
    g_assert_false(exists(lock));
    g_assert_cmpuint(f->notes->len, ==, 0);
}

/* Before it has its name, and before its inode is known. */
static void test_partial(Fixture *f, const void *unused)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *disk = in(f, "disk.raw"), *other = in(f, "other.raw");
    g_autofree char *partial = in(f, "disk.raw.vmsnap-partial");
    g_autofree char *early = in(f, "other.raw.vmsnap-partial");
    VmsRestoreJournal *journal = begin(f, "web01");
    VmsRestoreRecord *record = vms_restore_journal_record(journal);
    VmsSink *sink = vms_restore_journal_sink(journal, VMS_MADE_DISK, disk, "raw", 4096, &error);
    g_assert_no_error(error);
    g_assert_false(vms_restore_unmake(record, true, &error)); /* somebody is at it */
    g_assert_true(vms_error_is(error, VMS_ERROR_LOCKED));
    g_clear_error(&error);
    g_assert_cmpint(link(partial, early), ==, 0); /* so that it outlives the sink */
    vms_sink_free(sink);
    g_assert_true(!exists(partial) && exists(early));
    g_assert_true(vms_restore_journal_intend(journal, VMS_MADE_DISK, other, &error));
    g_assert_true(vms_restore_unmake(record, true, &error));
    g_assert_no_error(error);
    g_assert_false(exists(early));
    vms_restore_journal_close(journal, true);
}

static void test_not_ours(Fixture *f, const void *unused)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *disk = in(f, "disk.raw"), *file = in(f, "dir/file");
    bool changed = false;
    VmsRestoreJournal *journal = begin(f, "web01");
    VmsRestoreRecord *record = vms_restore_journal_record(journal);
    make_all(f, journal);
    int fd = open(disk, O_WRONLY);
    g_assert_cmpint(futimens(fd, (struct timespec[]){{1, 0}, {1, 0}}), ==, 0);
    close(fd);
    g_assert_true(g_file_set_contents(file, "another inode", -1, NULL));
    g_assert_true(vms_restore_is_whole(vms_restore_record_find(record, disk), &changed));
    g_assert_true(changed);
    g_assert_false(vms_restore_unmake(record, true, &error));
    g_assert_true(vms_error_is(error, VMS_ERROR_EXISTS) && strstr(error->message, disk));
    g_assert_true(exists(disk) && exists(file));
    g_clear_error(&error);
    g_assert_true(vms_restore_unmake(record, false, &error)); /* its own undoing knows better */
    g_assert_true(!exists(disk) && exists(file));
    vms_restore_journal_close(journal, true);
}

/* What somebody else has put there is not taken for ours. */
static void test_in_the_way(Fixture *f, const void *unused)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *disk = in(f, "disk.raw");
    VmsRestoreJournal *journal = begin(f, "web01");
    g_assert_true(g_file_set_contents(disk, "mine", -1, NULL));
    g_assert_null(vms_restore_journal_sink(journal, VMS_MADE_DISK, disk, "raw", 4096, &error));
    g_assert_true(vms_error_is(error, VMS_ERROR_EXISTS));
    g_assert_true(vms_restore_unmake(vms_restore_journal_record(journal), true, NULL));
    g_assert_true(exists(disk));
    vms_restore_journal_close(journal, true);
}

static void test_no_journal(Fixture *f, const void *unused)
{
    g_assert_true(g_file_set_contents(f->config.state_dir, "no directory", -1, NULL));
    VmsRestoreJournal *journal = begin(f, "web01");
    make_all(f, journal);
    g_assert_cmpuint(f->notes->len, ==, 1);
    g_assert_cmpstr(((const VmsNote *)f->notes->pdata[0])->code, ==, "not-journalled");
    vms_restore_journal_close(journal, true);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    top = g_dir_make_tmp("restore-journal-XXXXXX", NULL);
    g_assert_nonnull(top);
#define ADD(name, function)                                                                        \
    g_test_add("/restore-journal/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("killed", test_killed);
    ADD("ended", test_ended);
    ADD("partial", test_partial);
    ADD("not-ours", test_not_ours);
    ADD("in-the-way", test_in_the_way);
    ADD("no-journal", test_no_journal);
    int status = g_test_run();
    const char *remove[] = {"rm", "-rf", top, NULL};
    g_spawn_sync(NULL, (char **)remove, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL,
                 NULL);
    g_free(top);
    return status;
}
