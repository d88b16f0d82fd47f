/* Model versions with their lineage in the store. */
#include <math.h>
#include <string.h>

#include "store/store_int.h"

enum sotto_status store_version_add(struct store *s, const struct store_version *v,
                                    bool make_current, struct sotto_error *err) {
    enum sotto_status status;
    TRY(db_run(s, err,
               "INSERT INTO versions (task, number, parent, round, origin, published, created_ms, "
               "package_hash, digest,"
               " package_bytes, test_loss, test_accuracy, validation_loss, validation_accuracy, "
               "distill_gain, released,"
               " kernel_set, reason) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
               "iiiitiihhidddddit"
               "t",
               v->task, (int64_t)v->number, (int64_t)v->parent, (int64_t)v->round, v->origin,
               (int64_t)v->published, v->created_ms, &v->package_hash, &v->digest,
               (int64_t)v->package_bytes, v->test_loss, v->test_accuracy, v->validation_loss,
               v->validation_accuracy, v->distill_gain, (int64_t)v->released, v->kernel_set,
               v->reason));
    if (make_current)
        TRY(db_run(s, err, "UPDATE tasks SET version = ? WHERE id = ?", "ii", (int64_t)v->number,
                   v->task));
out:
    return status;
}

#define VERSION_COLUMNS                                                                            \
    "task, number, parent, round, origin, published, created_ms, package_hash, digest, "           \
    "package_bytes, test_loss,"                                                                    \
    " test_accuracy, validation_loss, validation_accuracy, distill_gain, released, kernel_set, "   \
    "reason"

static enum sotto_status version_row(sqlite3_stmt *stmt, struct store_version *v,
                                     struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    memset(v, 0, sizeof *v);
    v->task = sqlite3_column_int64(stmt, 0);
    v->number = (uint32_t)sqlite3_column_int64(stmt, 1);
    v->parent = (uint32_t)sqlite3_column_int64(stmt, 2);
    v->round = (uint32_t)sqlite3_column_int64(stmt, 3);
    db_text(stmt, 4, v->origin, sizeof v->origin);
    v->published = sqlite3_column_int(stmt, 5) != 0;
    v->created_ms = sqlite3_column_int64(stmt, 6);
    db_blob(stmt, 7, v->package_hash.b, WIRE_HASH, &status);
    db_blob(stmt, 8, v->digest.b, WIRE_HASH, &status);
    v->package_bytes = (uint64_t)sqlite3_column_int64(stmt, 9);
    v->test_loss = db_double(stmt, 10);
    v->test_accuracy = db_double(stmt, 11);
    v->validation_loss = db_double(stmt, 12);
    v->validation_accuracy = db_double(stmt, 13);
    v->distill_gain = db_double(stmt, 14);
    v->released = sqlite3_column_int(stmt, 15) != 0;
    db_text(stmt, 16, v->kernel_set, sizeof v->kernel_set);
    db_text(stmt, 17, v->reason, sizeof v->reason);
    if (status != SOTTO_OK)
        return SOTTO_FAIL(err, status, "store: version %u is damaged", v->number);
    return SOTTO_OK;
}

enum sotto_status store_version_get(struct store *s, int64_t task, uint32_t number,
                                    struct store_version *out, struct sotto_error *err) {
    sqlite3_stmt *stmt;
    enum sotto_status status =
        db_one(s, &stmt, "model version", err,
               "SELECT " VERSION_COLUMNS " FROM versions WHERE task = ? AND number = ?", "ii", task,
               (int64_t)number);
    if (status != SOTTO_OK)
        return status;
    status = version_row(stmt, out, err);
    db_done(stmt);
    return status;
}

enum sotto_status store_version_each(struct store *s, int64_t task, uint32_t limit,
                                     enum sotto_status (*visit)(void *ctx,
                                                                const struct store_version *v),
                                     void *ctx, struct sotto_error *err) {
    sqlite3_stmt *stmt;
    bool row = false;
    enum sotto_status status = db_bind(s, &stmt, err,
                                       "SELECT " VERSION_COLUMNS
                                       " FROM versions WHERE task = ? ORDER BY number DESC LIMIT ?",
                                       "ii", task, limit ? (int64_t)limit : (int64_t)-1);
    while (status == SOTTO_OK && (status = db_step(s, stmt, &row, err)) == SOTTO_OK && row) {
        struct store_version v;
        status = version_row(stmt, &v, err);
        if (status == SOTTO_OK)
            status = visit(ctx, &v);
    }
    if (row)
        db_done(stmt);
    return status;
}

enum sotto_status store_version_last(struct store *s, int64_t task, uint32_t *number,
                                     struct sotto_error *err) {
    sqlite3_stmt *stmt;
    enum sotto_status status =
        db_one(s, &stmt, "version", err,
               "SELECT coalesce(max(number), 0) FROM versions WHERE task = ?", "i", task);
    if (status != SOTTO_OK)
        return status;
    *number = (uint32_t)sqlite3_column_int64(stmt, 0);
    db_done(stmt);
    return SOTTO_OK;
}

enum sotto_status store_version_release(struct store *s, int64_t task, uint32_t number,
                                        struct sotto_error *err) {
    return db_run(s, err, "UPDATE versions SET released = 1 WHERE task = ? AND number = ?", "ii",
                  task, (int64_t)number);
}

enum sotto_status store_version_best(struct store *s, int64_t task, double *loss, double *accuracy,
                                     struct sotto_error *err) {
    sqlite3_stmt *stmt;
    enum sotto_status status = db_one(s, &stmt, "version", err,
                                      "SELECT min(validation_loss), max(validation_accuracy) FROM "
                                      "versions WHERE task = ? AND published = 1",
                                      "i", task);
    if (status != SOTTO_OK)
        return status;
    *loss = db_double(stmt, 0);
    *accuracy = db_double(stmt, 1);
    db_done(stmt);
    return SOTTO_OK;
}

enum sotto_status store_blob_used(struct store *s, const struct wire_hash *hash, bool *used,
                                  struct sotto_error *err) {
    sqlite3_stmt *stmt;
    enum sotto_status status = db_one(s, &stmt, "count", err,
                                      "SELECT exists (SELECT 1 FROM versions WHERE package_hash = "
                                      "?) OR exists (SELECT 1 FROM versions WHERE"
                                      " digest = ?)",
                                      "hh", hash, hash);
    if (status != SOTTO_OK)
        return status;
    *used = sqlite3_column_int(stmt, 0) != 0;
    db_done(stmt);
    return SOTTO_OK;
}
