/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a restore is about to make is in the catalog before it is made, so that "recover" can remove
 * it should the restore be killed. Private to job/.
 *
 * A file is made under another name (block/sink.h). Its device and inode are saved before it gets
 * its own, and the time of its last change after: whoever finds another inode there, or finds it
 * changed, does not take it for what the restore has made. */
#pragma once

#include "block/sink.h"
#include "job/context.h"
#include "job/restore-record.h"

typedef struct VmsRestoreJournal VmsRestoreJournal;

/* What job/domain-lock.h calls the lock that a living restore holds (transfer full). */
#define VMS_RESTORE_LOCK_PREFIX "restore-"
char *vms_restore_lock_key(const char *id);

/* Begins. record: transfer full. Where there can be no journal (a damaged catalog, no space) it
 * goes on without, and notes says so: "not-journalled". */
VmsRestoreJournal *vms_restore_journal_open(VmsContext *context, VmsRestoreRecord *record,
                                            GPtrArray *notes);

VmsRestoreRecord *vms_restore_journal_record(const VmsRestoreJournal *journal);

/* Saves the record as it is. */
bool vms_restore_journal_save(VmsRestoreJournal *journal, GError **error);

/* Something of that path is about to be made. */
bool vms_restore_journal_intend(VmsRestoreJournal *journal, VmsMadeKind kind, const char *path,
                                GError **error);

/* It is made; st: of it. */
bool vms_restore_journal_made(VmsRestoreJournal *journal, const char *path, const struct stat *st,
                              GError **error);

/* A file under construction: intended, made. NULL on error. */
VmsSink *vms_restore_journal_sink(VmsRestoreJournal *journal, VmsMadeKind kind, const char *path,
                                  const char *format, uint64_t size, GError **error);

/* It is whole and gets its name. */
bool vms_restore_journal_finish(VmsRestoreJournal *journal, const char *path, VmsSink *sink,
                                GError **error);

/* A small file in one go, 0600. EXISTS. */
bool vms_restore_journal_write(VmsRestoreJournal *journal, const char *path, GBytes *bytes,
                               GError **error);

/* Removes what the record says was made, the last first: only what is still the file that was made
 * (P3). A disk that was written to since it was whole is left alone where unchanged is asked for:
 * EXISTS. Goes on at errors and gives the first. */
bool vms_restore_unmake(const VmsRestoreRecord *record, bool unchanged, GError **error);

/* Is the disk, or the file, there as it was when it was whole? *ret_changed: it is that file, but
 * was written to since. */
bool vms_restore_is_whole(const VmsMade *made, bool *ret_changed);

/* The temporary ones alone. */
bool vms_restore_remove_temporary(const VmsRestoreRecord *record, GError **error);

/* ended: nothing is left that "recover" would have to know of. */
void vms_restore_journal_close(VmsRestoreJournal *journal, bool ended);
