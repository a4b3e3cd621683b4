/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SQLite behind a small face. One handle per thread, or the caller locks. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct VmsDb VmsDb;
typedef struct VmsDbStmt VmsDbStmt;

/* Opens or makes path (mode 0600) with WAL; full: synchronous=FULL, else NORMAL. migrations[i]
 * brings version i to i+1 (user_version), each in a transaction; NULL-terminated. UNSUPPORTED where
 * the file is of a newer version, CORRUPT, NO_SPACE, AUTH, LOCKED (busy for 10 s). */
VmsDb *vms_db_open(const char *path, bool full, const char *const *migrations, GError **error);
void vms_db_free(VmsDb *db);

/* For files that others may remove and make anew: free leaves -wal and -shm. SQLite would remove
 * them by name, after a look at whether the database is still the same; what comes in between would
 * lose its own. */
void vms_db_keep_journal(VmsDb *db);

/* For files that must be written to where nothing is left on their file system: while there is
 * plenty, 1 MiB is allocated to -wal and 256 KiB beyond the last page. Also keeps the journal. */
void vms_db_keep_room(VmsDb *db);

/* Runs SQL without parameters or rows. */
bool vms_db_exec(VmsDb *db, const char *sql, GError **error);

bool vms_db_begin(VmsDb *db, GError **error); /* IMMEDIATE */
bool vms_db_commit(VmsDb *db, GError **error);
void vms_db_rollback(VmsDb *db);
int64_t vms_db_last_rowid(VmsDb *db);

/* Statement for repeated use; parameters are numbered from 1, columns from 0. */
VmsDbStmt *vms_db_prepare(VmsDb *db, const char *sql, GError **error);
void vms_db_stmt_free(VmsDbStmt *stmt);
void vms_db_stmt_reset(VmsDbStmt *stmt); /* also clears the bindings */
void vms_db_bind_int64(VmsDbStmt *stmt, int at, int64_t value);
void vms_db_bind_text(VmsDbStmt *stmt, int at, const char *text); /* copied; NULL binds NULL */
void vms_db_bind_blob(VmsDbStmt *stmt, int at, const void *data, size_t len); /* copied */

/* One row: *ret_row is false at the end. */
bool vms_db_step(VmsDbStmt *stmt, bool *ret_row, GError **error);
/* For statements without rows: step, then reset. */
bool vms_db_run(VmsDbStmt *stmt, GError **error);

/* Columns of the current row; pointers live until the next step or reset. */
int64_t vms_db_column_int64(VmsDbStmt *stmt, int at);
const char *vms_db_column_text(VmsDbStmt *stmt, int at); /* NULL for NULL */
const void *vms_db_column_blob(VmsDbStmt *stmt, int at, size_t *ret_len);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsDb, vms_db_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsDbStmt, vms_db_stmt_free)
