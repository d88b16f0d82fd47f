/* The statement helper of the store: prepared statements by address, typed binding, errors that say
 * what to do. */
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "store/store_int.h"

enum sotto_status db_fail(struct store *s, const char *doing, struct sotto_error *err) {
    int code = sqlite3_errcode(s->db);
    const char *text = sqlite3_errmsg(s->db);
    s->failed |= (code & 0xff) != SQLITE_CONSTRAINT;
    switch (code & 0xff) {
    case SQLITE_FULL:
        return SOTTO_FAIL(err, SOTTO_FULL,
                          "store: %s: the disk is full; free space and start again", doing);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return SOTTO_FAIL(err, SOTTO_BUSY, "store: %s: the database is locked by another process",
                          doing);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return SOTTO_FAIL(
            err, SOTTO_CORRUPT,
            "store: %s: the database is damaged (%s); restore a backup with sottoctl restore",
            doing, text);
    case SQLITE_NOMEM:
        return SOTTO_FAIL(err, SOTTO_NOMEM, "store: %s: out of memory", doing);
    case SQLITE_CONSTRAINT:
        return SOTTO_FAIL(err, SOTTO_EXISTS, "store: %s: %s", doing, text);
    default:
        return SOTTO_FAIL(err, SOTTO_IO, "store: %s: %s", doing, text);
    }
}

static sqlite3_stmt *statement(struct store *s, const char *sql) {
    for (size_t i = 0; i < s->statement_count; i++)
        if (s->statements[i].sql == sql)
            return s->statements[i].stmt;
    if (s->statement_count == STORE_STATEMENTS_MAX)
        return NULL;
    sqlite3_stmt *stmt = NULL;
    if (sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL) != SQLITE_OK)
        return NULL;
    s->statements[s->statement_count].sql = sql;
    s->statements[s->statement_count].stmt = stmt;
    s->statement_count++;
    return stmt;
}

static enum sotto_status bind_all(struct store *s, sqlite3_stmt **out, struct sotto_error *err,
                                  const char *sql, const char *fmt, va_list ap) {
    sqlite3_stmt *stmt = statement(s, sql);
    if (!stmt)
        return db_fail(s, "preparing a statement", err);
    sqlite3_reset(stmt);
    int rc = SQLITE_OK;
    for (int i = 1; *fmt && rc == SQLITE_OK; fmt++, i++) {
        switch (*fmt) {
        case 'i':
            rc = sqlite3_bind_int64(stmt, i, va_arg(ap, int64_t));
            break;
        case 'd': {
            double d = va_arg(ap, double);
            rc = isnan(d) ? sqlite3_bind_null(stmt, i) : sqlite3_bind_double(stmt, i, d);
            break;
        }
        case 't':
            rc = sqlite3_bind_text(stmt, i, va_arg(ap, const char *), -1, SQLITE_TRANSIENT);
            break;
        case 'b': {
            struct view v = va_arg(ap, struct view);
            rc = sqlite3_bind_blob64(stmt, i, v.n ? (const void *)v.p : "", v.n, SQLITE_TRANSIENT);
            break;
        }
        case 'h': {
            const struct wire_hash *h = va_arg(ap, const struct wire_hash *);
            rc = sqlite3_bind_blob(stmt, i, h->b, WIRE_HASH, SQLITE_TRANSIENT);
            break;
        }
        default:
            return SOTTO_FAIL(err, SOTTO_INTERNAL, "store: unknown binding '%c'", *fmt);
        }
    }
    if (rc != SQLITE_OK)
        return db_fail(s, "binding values", err);
    *out = stmt;
    return SOTTO_OK;
}

enum sotto_status db_bind(struct store *s, sqlite3_stmt **out, struct sotto_error *err,
                          const char *sql, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    enum sotto_status status = bind_all(s, out, err, sql, fmt, ap);
    va_end(ap);
    return status;
}

enum sotto_status db_step(struct store *s, sqlite3_stmt *stmt, bool *row, struct sotto_error *err) {
    int rc = sqlite3_step(stmt);
    *row = rc == SQLITE_ROW;
    if (rc == SQLITE_ROW)
        return SOTTO_OK;
    if (rc == SQLITE_DONE) {
        db_done(stmt);
        return SOTTO_OK;
    }
    enum sotto_status status = db_fail(s, sqlite3_stmt_readonly(stmt) ? "reading" : "writing", err);
    db_done(stmt);
    return status;
}

enum sotto_status db_run(struct store *s, struct sotto_error *err, const char *sql, const char *fmt,
                         ...) {
    sqlite3_stmt *stmt;
    va_list ap;
    va_start(ap, fmt);
    enum sotto_status status = bind_all(s, &stmt, err, sql, fmt, ap);
    va_end(ap);
    bool row = false;
    if (status == SOTTO_OK)
        status = db_step(s, stmt, &row, err);
    if (row)
        db_done(stmt);
    return status;
}

enum sotto_status db_one(struct store *s, sqlite3_stmt **out, const char *what,
                         struct sotto_error *err, const char *sql, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    enum sotto_status status = bind_all(s, out, err, sql, fmt, ap);
    va_end(ap);
    bool row = false;
    if (status == SOTTO_OK)
        status = db_step(s, *out, &row, err);
    if (status == SOTTO_OK && !row)
        status = SOTTO_FAIL(err, SOTTO_NOT_FOUND, "no such %s", what);
    return status;
}

void db_done(sqlite3_stmt *stmt) {
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
}

void db_blob(sqlite3_stmt *stmt, int column, void *out, size_t n, enum sotto_status *status) {
    const void *p = sqlite3_column_blob(stmt, column);
    if (!p || (size_t)sqlite3_column_bytes(stmt, column) != n) {
        memset(out, 0, n);
        *status = SOTTO_CORRUPT;
        return;
    }
    memcpy(out, p, n);
}

void db_text(sqlite3_stmt *stmt, int column, char *out, size_t cap) {
    const char *p = (const char *)sqlite3_column_text(stmt, column);
    size_t n = p ? strlen(p) : 0;
    if (n >= cap)
        n = cap - 1;
    if (n)
        memcpy(out, p, n);
    out[n] = '\0';
}

double db_double(sqlite3_stmt *stmt, int column) {
    return sqlite3_column_type(stmt, column) == SQLITE_NULL ? NAN
                                                            : sqlite3_column_double(stmt, column);
}
