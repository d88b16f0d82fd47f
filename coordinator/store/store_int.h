/* Inside the store: the database handle and the small statement helper. */
#ifndef SOTTO_COORDINATOR_STORE_INT_H
#define SOTTO_COORDINATOR_STORE_INT_H

#include <sqlite3.h>

#include "store/store.h"

#define STORE_STATEMENTS_MAX 128

struct store {
    sqlite3 *db;
    bool in_transaction;
    bool failed; /* a statement failed for a reason of the database */
    size_t statement_count;
    struct {
        const char *sql; /* static string: the key is its address */
        sqlite3_stmt *stmt;
    } statements[STORE_STATEMENTS_MAX];
};

/* A prepared statement, reset and bound. fmt: i int64_t, d double (NAN binds NULL), t const char *,
 * b struct view, h const struct wire_hash *. Not to be finalized. */
enum sotto_status db_bind(struct store *s, sqlite3_stmt **out, struct sotto_error *err,
                          const char *sql, const char *fmt, ...);
/* Steps once: *row tells whether there is one. Resets the statement at the end of the rows. */
enum sotto_status db_step(struct store *s, sqlite3_stmt *stmt, bool *row, struct sotto_error *err);
/* Binds and runs a statement without rows. */
enum sotto_status db_run(struct store *s, struct sotto_error *err, const char *sql, const char *fmt,
                         ...);
/* Binds, expects one row: OK with *stmt on it (the caller calls db_done), NOT_FOUND with `what`
 * otherwise. */
enum sotto_status db_one(struct store *s, sqlite3_stmt **out, const char *what,
                         struct sotto_error *err, const char *sql, const char *fmt, ...);
void db_done(sqlite3_stmt *stmt);
enum sotto_status db_fail(struct store *s, const char *doing, struct sotto_error *err);
/* Columns. blob copies exactly n bytes: CORRUPT in *status otherwise. text copies what fits. */
void db_blob(sqlite3_stmt *stmt, int column, void *out, size_t n, enum sotto_status *status);
void db_text(sqlite3_stmt *stmt, int column, char *out, size_t cap);
double db_double(sqlite3_stmt *stmt, int column); /* NULL -> NAN */

extern const char *const store_migrations[];
extern const size_t store_migration_count;

#endif
