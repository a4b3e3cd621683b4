/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/db.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define JOURNAL_ROOM (1 << 20)
#define PAGES_ROOM (256 << 10)
#define MOST_BEYOND (16 << 20) /* that the journal may have brought: headers can lie */
#define PLENTY (UINT64_C(16) << 20)

struct VmsDb {
    sqlite3 *handle;
    char *path;
};

struct VmsDbStmt {
    sqlite3_stmt *handle;
    VmsDb *db; /* borrowed */
};

static bool is_full(int number)
{
    return number == ENOSPC || number == EDQUOT;
}

/* The only place where SQLite's errors are converted. */
static bool db_fail(GError **error, VmsDb *db, int rc)
{
    VmsErrorCode code = VMS_ERROR_FAILED;
    int primary = rc & 0xff;
    if (primary == SQLITE_FULL)
        code = VMS_ERROR_NO_SPACE;
    else if (primary == SQLITE_BUSY || primary == SQLITE_LOCKED)
        code = VMS_ERROR_LOCKED;
    else if (primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB)
        code = VMS_ERROR_CORRUPT;
    else if ((primary == SQLITE_IOERR || primary == SQLITE_CANTOPEN) && db->handle &&
             is_full(sqlite3_system_errno(db->handle)))
        code = VMS_ERROR_NO_SPACE;
    else if (primary == SQLITE_CANTOPEN || primary == SQLITE_PERM || primary == SQLITE_READONLY ||
             primary == SQLITE_AUTH)
        code = VMS_ERROR_AUTH;
    const char *text = db->handle ? sqlite3_errmsg(db->handle) : sqlite3_errstr(rc);
    if (code == VMS_ERROR_NO_SPACE)
        return vms_fail(error, code, "database %s: no space left on its file system (%s)", db->path,
                        text);
    return vms_fail(error, code, "database %s: %s", db->path, text);
}

bool vms_db_exec(VmsDb *db, const char *sql, GError **error)
{
    int rc = sqlite3_exec(db->handle, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK || db_fail(error, db, rc);
}

bool vms_db_begin(VmsDb *db, GError **error)
{
    return vms_db_exec(db, "BEGIN IMMEDIATE", error);
}

bool vms_db_commit(VmsDb *db, GError **error)
{
    if (vms_db_exec(db, "COMMIT", error))
        return true;
    vms_db_rollback(db);
    return false;
}

void vms_db_rollback(VmsDb *db)
{
    if (!sqlite3_get_autocommit(db->handle))
        sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
}

int64_t vms_db_last_rowid(VmsDb *db)
{
    return sqlite3_last_insert_rowid(db->handle);
}

static bool read_version(VmsDb *db, int64_t *ret_version, GError **error)
{
    g_autoptr(VmsDbStmt) stmt = vms_db_prepare(db, "PRAGMA user_version", error);
    bool row = false;
    if (!stmt || !vms_db_step(stmt, &row, error))
        return false;
    *ret_version = row ? vms_db_column_int64(stmt, 0) : 0;
    return true;
}

static bool migrate(VmsDb *db, const char *const *migrations, GError **error)
{
    int64_t latest = 0, version = 0;
    while (migrations[latest])
        latest++;
    /* Nobody who writes for long keeps others from opening. */
    if (!read_version(db, &version, error))
        return false;
    if (version == latest)
        return true;
    /* Once more under the write lock: two programs may open a new file at once. */
    if (!vms_db_begin(db, error))
        return false;
    bool ok = read_version(db, &version, error);
    if (ok && version < 0)
        ok = vms_fail(error, VMS_ERROR_CORRUPT, "database %s is damaged: it is of version %d",
                      db->path, (int)version);
    if (ok && version > latest)
        ok = vms_fail(error, VMS_ERROR_UNSUPPORTED,
                      "database %s is of version %d, this program knows up to %d: "
                      "use the newer vmsnap that wrote it",
                      db->path, (int)version, (int)latest);
    for (int64_t i = version; ok && i < latest; i++) {
        g_autofree char *bump = g_strdup_printf("PRAGMA user_version = %d", (int)i + 1);
        ok = vms_db_exec(db, migrations[i], error) && vms_db_exec(db, bump, error);
    }
    if (!ok) {
        vms_db_rollback(db);
        return false;
    }
    return vms_db_commit(db, error);
}

VmsDb *vms_db_open(const char *path, bool full, const char *const *migrations, GError **error)
{
    /* SQLite would make it 0644 less umask; its journal files take the mode of the main file. */
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        vms_fail_errno(error, errno, "database %s", path);
        return NULL;
    }
    close(fd);
    g_autoptr(VmsDb) db = g_new0(VmsDb, 1);
    db->path = g_strdup(path);
    int rc =
        sqlite3_open_v2(path, &db->handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX, NULL);
    if (rc != SQLITE_OK) {
        db_fail(error, db, rc);
        return NULL;
    }
    sqlite3_busy_timeout(db->handle, 10000);
    if (!vms_db_exec(db, "PRAGMA journal_mode=WAL; PRAGMA foreign_keys=ON", error) ||
        !vms_db_exec(db, full ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL", error) ||
        !migrate(db, migrations, error))
        return NULL;
    return g_steal_pointer(&db);
}

void vms_db_keep_journal(VmsDb *db)
{
    int keep = 1;

    sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_PERSIST_WAL, &keep);
}

static int64_t pragma(VmsDb *db, const char *sql)
{
    bool row = false;
    g_autoptr(VmsDbStmt) stmt = vms_db_prepare(db, sql, NULL);
    return stmt && vms_db_step(stmt, &row, NULL) && row ? vms_db_column_int64(stmt, 0) : 0;
}

void vms_db_keep_room(VmsDb *db)
{
    int chunk = PAGES_ROOM; /* a file is not cut to less */
    struct statvfs space;
    struct stat st;

    vms_db_keep_journal(db);
    sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_CHUNK_SIZE, &chunk);
    if (statvfs(db->path, &space) < 0 || stat(db->path, &st) < 0 ||
        (uint64_t)space.f_bavail * space.f_frsize < PLENTY)
        return;
    sqlite3_int64 size =
        pragma(db, "PRAGMA page_count") * pragma(db, "PRAGMA page_size") + PAGES_ROOM;
    if (size <= st.st_size + MOST_BEYOND)
        sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_SIZE_HINT, &size);
    /* SQLite has no locks on this one that closing it would drop. */
    g_autofree char *journal = g_strconcat(db->path, "-wal", NULL);
    int fd = open(journal, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && st.st_blocks < JOURNAL_ROOM / 512 &&
        fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, JOURNAL_ROOM) < 0)
        g_info("%s: %s", journal, g_strerror(errno));
    close(fd);
}

void vms_db_free(VmsDb *db)
{
    if (!db)
        return;
    sqlite3_close_v2(db->handle);
    g_free(db->path);
    g_free(db);
}

VmsDbStmt *vms_db_prepare(VmsDb *db, const char *sql, GError **error)
{
    g_autoptr(VmsDbStmt) stmt = g_new0(VmsDbStmt, 1);
    stmt->db = db;
    int rc = sqlite3_prepare_v2(db->handle, sql, -1, &stmt->handle, NULL);
    if (rc != SQLITE_OK) {
        db_fail(error, db, rc);
        return NULL;
    }
    return g_steal_pointer(&stmt);
}

void vms_db_stmt_free(VmsDbStmt *stmt)
{
    if (!stmt)
        return;
    sqlite3_finalize(stmt->handle);
    g_free(stmt);
}

void vms_db_stmt_reset(VmsDbStmt *stmt)
{
    sqlite3_reset(stmt->handle);
    sqlite3_clear_bindings(stmt->handle);
}

void vms_db_bind_int64(VmsDbStmt *stmt, int at, int64_t value)
{
    sqlite3_bind_int64(stmt->handle, at, value);
}

void vms_db_bind_text(VmsDbStmt *stmt, int at, const char *text)
{
    sqlite3_bind_text(stmt->handle, at, text, -1, SQLITE_TRANSIENT);
}

void vms_db_bind_blob(VmsDbStmt *stmt, int at, const void *data, size_t len)
{
    sqlite3_bind_blob64(stmt->handle, at, data, len, SQLITE_TRANSIENT);
}

bool vms_db_step(VmsDbStmt *stmt, bool *ret_row, GError **error)
{
    int rc = sqlite3_step(stmt->handle);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return db_fail(error, stmt->db, rc);
    *ret_row = rc == SQLITE_ROW;
    return true;
}

bool vms_db_run(VmsDbStmt *stmt, GError **error)
{
    bool row;
    bool ok = vms_db_step(stmt, &row, error);
    vms_db_stmt_reset(stmt);
    return ok;
}

int64_t vms_db_column_int64(VmsDbStmt *stmt, int at)
{
    return sqlite3_column_int64(stmt->handle, at);
}

const char *vms_db_column_text(VmsDbStmt *stmt, int at)
{
    return (const char *)sqlite3_column_text(stmt->handle, at);
}

const void *vms_db_column_blob(VmsDbStmt *stmt, int at, size_t *ret_len)
{
    const void *data = sqlite3_column_blob(stmt->handle, at);
    *ret_len = (size_t)sqlite3_column_bytes(stmt->handle, at);
    return data;
}
