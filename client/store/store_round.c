/* The round at work: terms, last rounds, training checkpoint; and what a session is restored from.
 */
#include "store/store_int.h"

#include <string.h>

#define CHECKPOINT_MAX ((size_t)1 << 30)

void store_checkpoint_drop(struct devstore *s) {
    sqlite3_stmt *stmt = NULL;
    if (db_first(s, NULL, &stmt, "checkpoint",
                 "SELECT checkpoint FROM terms WHERE checkpoint IS NOT NULL", "") == SOTTO_OK)
        store_file_drop(s, (const char *)sqlite3_column_text(stmt, 0));
    sqlite3_finalize(stmt);
}

enum sotto_status devstore_terms_accept(struct devstore *s, const struct wire_hash *hash,
                                        struct view terms, const sotto_Terms *t,
                                        struct sotto_error *err) {
    enum sotto_status status = devstore_begin(s, err);
    if (status != SOTTO_OK)
        return status;
    store_checkpoint_drop(s);
    TRY(db_exec(s, err, "INSERT OR REPLACE INTO terms(id, hash, bytes, sealed) VALUES(1, ?, ?, 0)",
                "bb", hash->b, (size_t)WIRE_HASH, terms.p, terms.n));
    TRY(db_exec(s, err,
                "INSERT INTO task(task_id, name, last_round, terms_hash, sealed)"
                " VALUES(?, ?, ?, ?, 0) ON CONFLICT(task_id) DO UPDATE SET name = excluded.name,"
                " last_round = excluded.last_round, terms_hash = excluded.terms_hash, sealed = 0",
                "btib", t->task_id.bytes, (size_t)WIRE_TASK_ID, t->task, (int64_t)t->round, hash->b,
                (size_t)WIRE_HASH));
    TRY(devstore_commit(s, err));
out:
    if (status != SOTTO_OK)
        devstore_rollback(s);
    return status;
}

enum sotto_status devstore_terms_drop(struct devstore *s, struct sotto_error *err) {
    enum sotto_status status = devstore_begin(s, err);
    if (status != SOTTO_OK)
        return status;
    store_checkpoint_drop(s);
    TRY(db_exec(s, err, "DELETE FROM terms", ""));
    TRY(devstore_commit(s, err));
out:
    if (status != SOTTO_OK)
        devstore_rollback(s);
    return status;
}

enum sotto_status devstore_checkpoint_put(struct devstore *s, const struct wire_hash *terms,
                                          struct view bytes, struct sotto_error *err) {
    char name[STORE_FILE_NAME];
    struct buf whole;
    enum sotto_status status = devstore_begin(s, err);
    if (status != SOTTO_OK)
        return status;
    const struct wire_hash sum = wire_hash_of("sotto checkpoint v1", bytes);
    buf_init(&whole, CHECKPOINT_MAX);
    buf_put(&whole, sum.b, WIRE_HASH);
    buf_put(&whole, bytes.p, bytes.n);
    if (whole.status != SOTTO_OK)
        TRY_FAIL(err, whole.status, "no memory for a checkpoint of %zu bytes", bytes.n);
    store_checkpoint_drop(s);
    TRY(store_file_new(s, "checkpoint", buf_view(&whole), name, err));
    TRY(db_exec(s, err, "UPDATE terms SET checkpoint = ? WHERE hash = ? AND sealed = 0", "tb", name,
                terms->b, (size_t)WIRE_HASH));
    if (sqlite3_changes(s->db) == 0)
        TRY_FAIL(err, SOTTO_STATE, "device store: no training under these terms");
    TRY(devstore_commit(s, err));
out:
    if (status != SOTTO_OK)
        devstore_rollback(s);
    buf_deinit(&whole);
    return status;
}

enum sotto_status devstore_checkpoint_get(struct devstore *s, const struct wire_hash *terms,
                                          struct buf *out, struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    enum sotto_status status;
    TRY(db_first(s, err, &stmt, "checkpoint",
                 "SELECT checkpoint FROM terms WHERE checkpoint IS NOT NULL AND hash = ?"
                 " AND sealed = 0",
                 "b", terms->b, (size_t)WIRE_HASH));
    TRY(store_file_read(s, (const char *)sqlite3_column_text(stmt, 0), CHECKPOINT_MAX, out, err));
    if (out->len < WIRE_HASH)
        TRY_FAIL(err, SOTTO_CORRUPT, "the checkpoint is cut short");
    const struct wire_hash sum =
        wire_hash_of("sotto checkpoint v1", view_of(out->data + WIRE_HASH, out->len - WIRE_HASH));
    if (memcmp(sum.b, out->data, WIRE_HASH) != 0)
        TRY_FAIL(err, SOTTO_CORRUPT, "the checkpoint is damaged");
    memmove(out->data, out->data + WIRE_HASH, out->len - WIRE_HASH);
    out->len -= WIRE_HASH;
out:
    sqlite3_finalize(stmt);
    return status;
}

/* ---- What a session starts from
 * ------------------------------------------------------------------------------------------- */

static enum sotto_status load_terms(struct devstore *s, struct session_saved *out, struct buf *hold,
                                    struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    enum sotto_status status =
        db_first(s, NULL, &stmt, "terms",
                 "SELECT t.bytes, t.sealed, r.bytes, r.hash, r.masks, t.attempt FROM terms t"
                 " LEFT JOIN report r ON r.terms_hash = t.hash",
                 "");
    if (status != SOTTO_OK)
        return status == SOTTO_NOT_FOUND ? SOTTO_OK : status;
    const int masks = sqlite3_column_int(stmt, 4);
    out->stage = sqlite3_column_int(stmt, 1) == 0 ? SESSION_ACCEPTED
                 : masks == STORE_UNMASKED        ? SESSION_SEALED
                                                  : SESSION_READY;
    out->masked = masks == STORE_MASKED;
    out->secure_attempt = (uint32_t)sqlite3_column_int64(stmt, 5);
    out->terms.n = (size_t)sqlite3_column_bytes(stmt, 0);
    buf_put(hold, sqlite3_column_blob(stmt, 0), out->terms.n);
    if (out->stage == SESSION_SEALED || out->masked) {
        out->report_bytes = (uint64_t)sqlite3_column_int64(stmt, 2);
        status = db_blob(s, stmt, 3, out->report_hash.b, WIRE_HASH, err);
    }
    sqlite3_finalize(stmt);
    return status;
}

static enum sotto_status load_open(struct devstore *s, struct session_saved *out,
                                   struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    enum sotto_status status = db_first(
        s, NULL, &stmt, "report", "SELECT terms_hash FROM report WHERE acked = 1 ORDER BY id", "");
    while (status == SOTTO_OK && out->open_report_count < SESSION_OPEN_REPORTS_MAX) {
        status = db_blob(s, stmt, 0, out->open_reports[out->open_report_count++].b, WIRE_HASH, err);
        if (status == SOTTO_OK)
            status = db_next(s, stmt, err);
    }
    sqlite3_finalize(stmt);
    return status == SOTTO_NOT_FOUND ? SOTTO_OK : status;
}

static enum sotto_status load_tasks(struct devstore *s, struct session_saved *out, struct buf *hold,
                                    struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    struct session_task task;
    enum sotto_status status =
        db_first(s, NULL, &stmt, "task",
                 "SELECT task_id, last_round, terms_hash, sealed, (SELECT hash FROM package"
                 " WHERE package.task = task.name ORDER BY stored DESC), part_round FROM task",
                 "");
    while (status == SOTTO_OK && out->task_count < SESSION_TASKS_MAX) {
        memset(&task, 0, sizeof task);
        TRY(db_blob(s, stmt, 0, task.task_id, WIRE_TASK_ID, err));
        task.last_round = (uint32_t)sqlite3_column_int64(stmt, 1);
        TRY(db_blob(s, stmt, 2, task.terms_hash.b, WIRE_HASH, err));
        task.sealed = sqlite3_column_int(stmt, 3) != 0;
        if (sqlite3_column_type(stmt, 4) != SQLITE_NULL)
            TRY(db_blob(s, stmt, 4, task.package.b, WIRE_HASH, err));
        task.part_round = (uint32_t)sqlite3_column_int64(stmt, 5);
        buf_put(hold, &task, sizeof task);
        out->task_count++;
        status = db_next(s, stmt, err);
    }
out:
    sqlite3_finalize(stmt);
    return status == SOTTO_NOT_FOUND ? SOTTO_OK : status;
}

enum sotto_status devstore_session(struct devstore *s, struct session_saved *out, struct buf *hold,
                                   struct sotto_error *err) {
    struct devstore_counters counters;
    struct devstore_part part;
    enum sotto_status status;
    memset(out, 0, sizeof *out);
    buf_init(hold, (size_t)1 << 20);
    TRY(load_tasks(s, out, hold, err)); /* first: it wants to be aligned */
    TRY(load_terms(s, out, hold, err));
    TRY(load_open(s, out, err));
    if (hold->status != SOTTO_OK)
        TRY_FAIL(err, hold->status, "no memory for the session's state");
    out->tasks = (const struct session_task *)(const void *)hold->data;
    if (out->stage != SESSION_NONE)
        out->terms.p = hold->data + hold->len - out->terms.n;
    (void)devstore_package_newest(s, &out->package_held, NULL);
    if (devstore_part_get(s, &part, NULL) == SOTTO_OK) {
        out->part = part.package;
        out->part_bytes = part.bytes;
        out->part_delta = part.delta;
        out->part_chunks = part.chunks;
    }
    TRY(devstore_counters_get(s, &counters, err));
    out->bytes_left = counters.bytes_left;
    out->rounds_left = counters.rounds_left;
    out->bucket_ms = counters.bucket_ms;
out:
    return status;
}
