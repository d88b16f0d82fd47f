/* The tables of the device's store, by version. Only appended to: an old store is brought forward
 * step by step. */
#include "store/store_int.h"

#include <stdio.h>

#define APPLICATION_ID 0x736f7474 /* "sott" */

static const char *const migrations[] = {
    /* 1 */
    "CREATE TABLE identity(id INTEGER PRIMARY KEY CHECK(id=1), serial INTEGER NOT NULL,"
    " authority BLOB NOT NULL, sign_public BLOB NOT NULL, sign_secret BLOB NOT NULL,"
    " curve_public BLOB NOT NULL, curve_secret BLOB NOT NULL, enrolled INTEGER NOT NULL,"
    " token TEXT) STRICT;"
    "CREATE TABLE document(id INTEGER PRIMARY KEY CHECK(id=1), version INTEGER NOT NULL,"
    " bytes BLOB NOT NULL) STRICT;"
    "CREATE TABLE collection(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
    " dtype INTEGER NOT NULL, rank INTEGER NOT NULL, dim0 INTEGER NOT NULL, dim1 INTEGER NOT NULL,"
    " dim2 INTEGER NOT NULL, classes INTEGER NOT NULL, scale REAL NOT NULL, shift REAL NOT NULL,"
    " count INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE TABLE example(id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " collection INTEGER NOT NULL REFERENCES collection(id), label INTEGER NOT NULL,"
    " added_ms INTEGER NOT NULL, value BLOB NOT NULL) STRICT;"
    "CREATE INDEX example_collection ON example(collection, id);"
    "CREATE TABLE package(hash BLOB PRIMARY KEY, task TEXT NOT NULL, file TEXT NOT NULL,"
    " stored INTEGER NOT NULL, made_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE part(id INTEGER PRIMARY KEY CHECK(id=1), hash BLOB NOT NULL,"
    " bytes INTEGER NOT NULL, delta INTEGER NOT NULL, chunks INTEGER NOT NULL,"
    " file TEXT NOT NULL) STRICT;"
    "CREATE TABLE task(task_id BLOB PRIMARY KEY, name TEXT NOT NULL, last_round INTEGER NOT NULL,"
    " terms_hash BLOB NOT NULL, sealed INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE terms(id INTEGER PRIMARY KEY CHECK(id=1), hash BLOB NOT NULL,"
    " bytes BLOB NOT NULL, sealed INTEGER NOT NULL, checkpoint TEXT) STRICT;"
    "CREATE TABLE report(id INTEGER PRIMARY KEY AUTOINCREMENT, terms_hash BLOB NOT NULL UNIQUE,"
    " task TEXT NOT NULL, task_id BLOB NOT NULL, round INTEGER NOT NULL, acked INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL, hash BLOB NOT NULL, file TEXT NOT NULL, decoded TEXT,"
    " layout BLOB, made_ms INTEGER NOT NULL) STRICT;"
    "CREATE TABLE residual(task_id BLOB PRIMARY KEY, layout BLOB NOT NULL, round INTEGER NOT NULL,"
    " count INTEGER NOT NULL, file TEXT NOT NULL, made_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE counters(id INTEGER PRIMARY KEY CHECK(id=1), bytes_left REAL NOT NULL,"
    " rounds_left REAL NOT NULL, rounds_done INTEGER NOT NULL, bytes_up INTEGER NOT NULL,"
    " bytes_down INTEGER NOT NULL) STRICT;"
    "INSERT INTO counters VALUES(1, -1, -1, 0, 0, 0);"
    "CREATE TABLE history(id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL,"
    " task TEXT NOT NULL, round INTEGER NOT NULL, text TEXT NOT NULL) STRICT;",
    /* 2: when the buckets were what they are, on the monotonic clock of one boot */
    "ALTER TABLE counters ADD COLUMN boot TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE counters ADD COLUMN bucket_ms INTEGER NOT NULL DEFAULT 0;",
    /* 3: which backend trains a model fastest here */
    "CREATE TABLE choice(id INTEGER PRIMARY KEY AUTOINCREMENT, model BLOB NOT NULL,"
    " batch INTEGER NOT NULL, machine BLOB NOT NULL, backend TEXT NOT NULL, kernels TEXT NOT NULL,"
    " samples_per_s REAL NOT NULL, detail TEXT NOT NULL, UNIQUE(model, batch)) STRICT;",
    /* 4: secure aggregation. report.masks: 1 the file is the coded vector, 2 the masked message;
       task.masked: terms under which a masked input has left */
    "ALTER TABLE identity ADD COLUMN cert BLOB;"
    "ALTER TABLE task ADD COLUMN part_round INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE task ADD COLUMN masked BLOB;"
    "ALTER TABLE terms ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE report ADD COLUMN masks INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE secure(id INTEGER PRIMARY KEY AUTOINCREMENT, terms_hash BLOB NOT NULL,"
    " attempt INTEGER NOT NULL, at_ms INTEGER NOT NULL, task TEXT NOT NULL, round INTEGER NOT NULL,"
    " session BLOB NOT NULL, stage INTEGER NOT NULL, members INTEGER NOT NULL,"
    " sharers INTEGER NOT NULL, survivors INTEGER NOT NULL, signatures INTEGER NOT NULL,"
    " degree INTEGER NOT NULL, threshold INTEGER NOT NULL, minimum INTEGER NOT NULL,"
    " beside INTEGER NOT NULL, outcome INTEGER NOT NULL DEFAULT 0,"
    " UNIQUE(terms_hash, attempt)) STRICT;",
    /* 5: control variates, and by how much an open report has changed them */
    "CREATE TABLE control(task_id BLOB PRIMARY KEY, layout BLOB NOT NULL, round INTEGER NOT NULL,"
    " count INTEGER NOT NULL, file TEXT NOT NULL, made_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "ALTER TABLE report ADD COLUMN change TEXT;",
};

static enum sotto_status user_version(struct devstore *s, int64_t *out, struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    const enum sotto_status status = db_first(s, err, &stmt, "version", "PRAGMA user_version", "");
    if (status == SOTTO_OK)
        *out = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return status;
}

static enum sotto_status run_script(struct devstore *s, const char *sql, struct sotto_error *err) {
    const int rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? SOTTO_OK : db_fail(s, rc, "migrating", err);
}

enum sotto_status store_migrate(struct devstore *s, struct sotto_error *err) {
    enum sotto_status status;
    int64_t version = 0;
    char mark[96];
    TRY(user_version(s, &version, err));
    if (version < 0 || version > (int64_t)ARRAY_LEN(migrations))
        TRY_FAIL(
            err, SOTTO_VERSION,
            "device store %.100s has version %lld, this program knows up to %zu: use a newer one",
            s->dir, (long long)version, ARRAY_LEN(migrations));
    while (version < (int64_t)ARRAY_LEN(migrations)) {
        TRY(devstore_begin(s, err));
        status = user_version(s, &version, err); /* another process may have been faster */
        if (status == SOTTO_OK && version < (int64_t)ARRAY_LEN(migrations)) {
            version++;
            snprintf(mark, sizeof mark, "PRAGMA user_version=%lld; PRAGMA application_id=%d",
                     (long long)version, APPLICATION_ID);
            status = run_script(s, migrations[version - 1], err);
            if (status == SOTTO_OK)
                status = run_script(s, mark, err);
            crash_point("migrate");
        }
        if (status != SOTTO_OK) {
            devstore_rollback(s);
            goto out;
        }
        TRY(devstore_commit(s, err));
    }
out:
    return status;
}
