/* The database connection: opening, statements, transactions, and the errors of SQLite in our
 * words. */
#include "store/store_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define NFS_MAGIC 0x6969

void (*devstore_crash_point)(const char *name);

void crash_point(const char *name) {
    if (devstore_crash_point != NULL)
        devstore_crash_point(name);
}

enum sotto_status db_fail(struct devstore *s, int rc, const char *doing, struct sotto_error *err) {
    const char *text = s->db != NULL ? sqlite3_errmsg(s->db) : sqlite3_errstr(rc);
    s->failed = true;
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return SOTTO_FAIL(err, SOTTO_BUSY, "device store %.100s is locked by another program: %s",
                          s->dir, text);
    case SQLITE_FULL:
        return SOTTO_FAIL(err, SOTTO_FULL, "device store %.100s: the disk is full (%s)", s->dir,
                          doing);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return SOTTO_FAIL(
            err, SOTTO_CORRUPT,
            "device store %.100s is damaged (%s); move the folder away and enrol anew", s->dir,
            text);
    case SQLITE_NOMEM:
        return SOTTO_FAIL(err, SOTTO_NOMEM, "device store: out of memory (%s)", doing);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_CANTOPEN:
        return SOTTO_FAIL(err, SOTTO_DENIED, "device store %.100s cannot be written: %s", s->dir,
                          text);
    default:
        return SOTTO_FAIL(err, SOTTO_IO, "device store %.100s: %s: %s", s->dir, doing, text);
    }
}

static enum sotto_status bind_all(struct devstore *s, sqlite3_stmt *stmt, const char *types,
                                  va_list args, struct sotto_error *err) {
    for (int i = 0; types[i] != '\0'; i++) {
        int rc = SQLITE_MISUSE;
        if (types[i] == 'i') {
            rc = sqlite3_bind_int64(stmt, i + 1, va_arg(args, int64_t));
        } else if (types[i] == 'f') {
            rc = sqlite3_bind_double(stmt, i + 1, va_arg(args, double));
        } else if (types[i] == 't') {
            const char *text = va_arg(args, const char *);
            rc = text == NULL ? sqlite3_bind_null(stmt, i + 1)
                              : sqlite3_bind_text(stmt, i + 1, text, -1, SQLITE_TRANSIENT);
        } else if (types[i] == 'b') {
            const void *p = va_arg(args, const void *);
            const size_t n = va_arg(args, size_t);
            rc = p == NULL ? sqlite3_bind_zeroblob(stmt, i + 1, 0)
                           : sqlite3_bind_blob64(stmt, i + 1, p, n, SQLITE_STATIC);
        }
        if (rc != SQLITE_OK)
            return db_fail(s, rc, "binding a value", err);
    }
    return SOTTO_OK;
}

static enum sotto_status prepare(struct devstore *s, const char *sql, sqlite3_stmt **out,
                                 struct sotto_error *err) {
    const int rc = sqlite3_prepare_v2(s->db, sql, -1, out, NULL);
    return rc == SQLITE_OK ? SOTTO_OK : db_fail(s, rc, "preparing", err);
}

enum sotto_status db_exec(struct devstore *s, struct sotto_error *err, const char *sql,
                          const char *types, ...) {
    enum sotto_status status;
    sqlite3_stmt *stmt = NULL;
    va_list args;
    va_start(args, types);
    TRY(prepare(s, sql, &stmt, err));
    TRY(bind_all(s, stmt, types, args, err));
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
        continue;
    if (rc != SQLITE_DONE)
        status = db_fail(s, rc, sql, err);
out:
    va_end(args);
    sqlite3_finalize(stmt);
    return status;
}

enum sotto_status db_next(struct devstore *s, sqlite3_stmt *stmt, struct sotto_error *err) {
    const int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        return SOTTO_OK;
    return rc == SQLITE_DONE ? SOTTO_NOT_FOUND : db_fail(s, rc, "reading", err);
}

enum sotto_status db_first(struct devstore *s, struct sotto_error *err, sqlite3_stmt **out,
                           const char *what, const char *sql, const char *types, ...) {
    enum sotto_status status;
    va_list args;
    *out = NULL;
    va_start(args, types);
    TRY(prepare(s, sql, out, err));
    TRY(bind_all(s, *out, types, args, err));
    TRY(db_next(s, *out, err));
out:
    va_end(args);
    if (status != SOTTO_OK) {
        sqlite3_finalize(*out);
        *out = NULL;
    }
    if (status == SOTTO_NOT_FOUND)
        return SOTTO_FAIL(err, SOTTO_NOT_FOUND, "device store: there is no %s", what);
    return status;
}

enum sotto_status db_blob(struct devstore *s, sqlite3_stmt *stmt, int column, void *out, size_t n,
                          struct sotto_error *err) {
    const void *p = sqlite3_column_blob(stmt, column);
    if (p == NULL || sqlite3_column_bytes(stmt, column) != (int)n)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "device store %.100s: column %s has a wrong size",
                          s->dir, sqlite3_column_name(stmt, column));
    memcpy(out, p, n);
    return SOTTO_OK;
}

/* ---- Transactions
 * ----------------------------------------------------------------------------------------------------------
 */

enum sotto_status devstore_begin(struct devstore *s, struct sotto_error *err) {
    if (s->depth > 0) {
        s->depth++;
        return SOTTO_OK;
    }
    s->failed = false;
    s->garbage_count = s->fresh_count = 0;
    const enum sotto_status status = db_exec(s, err, "BEGIN IMMEDIATE", "");
    if (status == SOTTO_OK)
        s->depth = 1;
    return status;
}

static void remove_files(struct devstore *s, char (*names)[STORE_FILE_NAME], uint32_t count) {
    char path[IO_PATH_MAX];
    for (uint32_t i = 0; i < count; i++)
        if (store_file_path(s, names[i], path, sizeof path, NULL) == SOTTO_OK)
            (void)io_remove(path, NULL); /* else the sweep at the next start does it */
}

enum sotto_status devstore_commit(struct devstore *s, struct sotto_error *err) {
    if (s->depth == 0)
        return SOTTO_FAIL(err, SOTTO_STATE, "device store: no transaction is open");
    if (s->depth > 1) {
        s->depth--;
        return SOTTO_OK;
    }
    if (s->failed) {
        devstore_rollback(s);
        return SOTTO_FAIL(err, SOTTO_STATE, "device store: a part of the transaction failed");
    }
    crash_point("commit.before");
    const enum sotto_status status = db_exec(s, err, "COMMIT", "");
    if (status != SOTTO_OK) {
        devstore_rollback(s);
        return status;
    }
    crash_point("commit.after");
    s->depth = 0;
    remove_files(s, s->garbage, s->garbage_count);
    s->garbage_count = s->fresh_count = 0;
    return SOTTO_OK;
}

void devstore_rollback(struct devstore *s) {
    if (s->depth == 0)
        return;
    s->depth = 0;
    (void)db_exec(s, NULL, "ROLLBACK", ""); /* SQLite may have rolled back itself */
    s->failed = false;
    remove_files(s, s->fresh, s->fresh_count);
    s->garbage_count = s->fresh_count = 0;
}

/* ---- Opening
 * --------------------------------------------------------------------------------------------------------------
 */

static enum sotto_status pragmas(struct devstore *s, struct sotto_error *err) {
    static const char *const all[] = {
        "PRAGMA busy_timeout=5000",  "PRAGMA journal_mode=WAL",
        "PRAGMA synchronous=FULL",   "PRAGMA foreign_keys=ON",
        "PRAGMA trusted_schema=OFF", "PRAGMA cell_size_check=ON",
        "PRAGMA mmap_size=0",        "PRAGMA secure_delete=ON",
        "PRAGMA cache_size=-512",    "PRAGMA journal_size_limit=4194304",
    };
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        const enum sotto_status status = db_exec(s, err, all[i], "");
        if (status != SOTTO_OK)
            return status;
    }
    return SOTTO_OK;
}

static enum sotto_status quick_check(struct devstore *s, struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    enum sotto_status status = db_first(s, err, &stmt, "result", "PRAGMA quick_check(1)", "");
    if (status != SOTTO_OK)
        return status;
    const char *text = (const char *)sqlite3_column_text(stmt, 0);
    if (text == NULL || strcmp(text, "ok") != 0)
        status =
            SOTTO_FAIL(err, SOTTO_CORRUPT,
                       "device store %.100s is damaged: %.60s; move the folder away and enrol anew",
                       s->dir, text != NULL ? text : "?");
    sqlite3_finalize(stmt);
    return status;
}

static enum sotto_status open_database(struct devstore *s, struct sotto_error *err) {
    char path[IO_PATH_MAX], wal[IO_PATH_MAX];
    enum sotto_status status;
    struct statfs fs;
    TRY(io_join(path, sizeof path, s->dir, "device.db", err));
    TRY(io_join(wal, sizeof wal, s->dir, "device.db-wal", err));
    if (statfs(s->dir, &fs) == 0 && fs.f_type == NFS_MAGIC)
        TRY_FAIL(err, SOTTO_UNSUPPORTED,
                 "%.150s lies on NFS, where SQLite's log does not work: use a local disk", s->dir);
    const bool unclean = io_file_size(wal) > 0;
    /* Made by us, so that nobody else can read it at any moment. */
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return SOTTO_FAIL_SYS(err, SOTTO_IO, "cannot open %.180s", path);
    close(fd);
    const int rc = sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc != SQLITE_OK)
        return db_fail(s, rc, "opening", err);
    sqlite3_extended_result_codes(s->db, 1);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    TRY(pragmas(s, err));
    if (unclean)
        TRY(quick_check(s, err));
    TRY(store_migrate(s, err));
out:
    return status;
}

enum sotto_status devstore_open(const char *dir, enum devstore_mode mode, struct devstore **out,
                                struct sotto_error *err) {
    enum sotto_status status;
    char path[IO_PATH_MAX];
    *out = NULL;
    struct devstore *s = mem_zalloc(sizeof *s);
    if (s == NULL)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for the device store");
    s->lock_fd = -1;
    TRY(io_mkdir_p(dir, 0700, err));
    if ((size_t)snprintf(s->dir, sizeof s->dir, "%s", dir) >= sizeof s->dir)
        TRY_FAIL(err, SOTTO_LIMIT, "the path of the state folder is too long");
    TRY(io_join(s->files, sizeof s->files, dir, "files", err));
    TRY(io_mkdir_p(s->files, 0700, err));
    if (mode == DEVSTORE_OWN) {
        TRY(io_join(path, sizeof path, dir, "lock", err));
        status = io_lock(path, &s->lock_fd, err);
        if (status == SOTTO_BUSY)
            TRY_FAIL(err, SOTTO_BUSY, "%.180s is in use by another sotto-client", dir);
        TRY(status);
    }
    TRY(open_database(s, err));
    if (mode == DEVSTORE_OWN)
        TRY(store_files_sweep(s, err));
    *out = s;
    s = NULL;
out:
    devstore_close(s);
    return status;
}

void devstore_close(struct devstore *s) {
    if (s == NULL)
        return;
    devstore_rollback(s);
    if (s->db != NULL)
        sqlite3_close(s->db);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    mem_free(s);
}

void devstore_limit_pages(struct devstore *s, int64_t pages) {
    char sql[64];
    snprintf(sql, sizeof sql, "PRAGMA max_page_count=%lld",
             (long long)(pages > 0 ? pages : 1073741823));
    (void)db_exec(s, NULL, sql, "");
}

const char *devstore_dir(const struct devstore *s) {
    return s->dir;
}
