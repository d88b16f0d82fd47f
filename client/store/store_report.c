/* Sealed reports and residuals: the transaction before the first byte leaves, and the one that ends
 * a report. */
#include "store/store_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- Residuals
 * ------------------------------------------------------------------------------------------------------------
 */

struct residual_row {
    struct wire_hash layout;
    uint32_t round, count;
    char file[STORE_FILE_NAME];
};

static enum sotto_status residual_row(struct devstore *s, const uint8_t *task_id,
                                      struct residual_row *out, struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    enum sotto_status status;
    TRY(db_first(s, err, &stmt, "residual",
                 "SELECT layout, round, count, file FROM residual WHERE task_id = ?", "b", task_id,
                 (size_t)WIRE_TASK_ID));
    TRY(db_blob(s, stmt, 0, out->layout.b, WIRE_HASH, err));
    out->round = (uint32_t)sqlite3_column_int64(stmt, 1);
    out->count = (uint32_t)sqlite3_column_int64(stmt, 2);
    snprintf(out->file, sizeof out->file, "%s", (const char *)sqlite3_column_text(stmt, 3));
out:
    sqlite3_finalize(stmt);
    return status;
}

enum sotto_status devstore_residual_get(struct devstore *s, const struct devstore_residual *which,
                                        uint32_t rounds_max, float *out, uint32_t count,
                                        struct sotto_error *err) {
    struct residual_row row;
    const enum sotto_status status = residual_row(s, which->task_id, &row, err);
    if (status != SOTTO_OK)
        return status;
    const bool old =
        rounds_max > 0 && which->round > row.round && which->round - row.round > rounds_max;
    if (!wire_hash_equal(&row.layout, &which->layout) || row.count != count || old)
        return SOTTO_FAIL(err, SOTTO_NOT_FOUND, "device store: the residual is of %s",
                          old ? "an old round" : "another layout");
    return store_vector_read(s, row.file, false, out, count, err);
}

/* Inside a transaction. */
static enum sotto_status residual_put(struct devstore *s, const struct devstore_residual *which,
                                      const float *values, uint32_t count,
                                      struct sotto_error *err) {
    struct residual_row old;
    char file[STORE_FILE_NAME];
    if (residual_row(s, which->task_id, &old, NULL) == SOTTO_OK)
        store_file_drop(s, old.file);
    const enum sotto_status status = store_vector_write(s, "residual", values, count, file, err);
    if (status != SOTTO_OK)
        return status;
    return db_exec(s, err, "INSERT OR REPLACE INTO residual VALUES(?, ?, ?, ?, ?, ?)", "bbiiti",
                   which->task_id, (size_t)WIRE_TASK_ID, which->layout.b, (size_t)WIRE_HASH,
                   (int64_t)which->round, (int64_t)count, file, clock_wall_ms());
}

/* ---- Reports
 * --------------------------------------------------------------------------------------------------------------
 */

enum sotto_status devstore_seal(struct devstore *s, const struct devstore_seal *seal,
                                int64_t now_ms, struct sotto_error *err) {
    char report[STORE_FILE_NAME], decoded[STORE_FILE_NAME] = "";
    sqlite3_stmt *stmt = NULL;
    enum sotto_status status = devstore_begin(s, err);
    if (status != SOTTO_OK)
        return status;
    TRY(store_file_new(s, "report", seal->report, report, err));
    if (seal->decoded != NULL)
        TRY(store_vector_write(s, "decoded", seal->decoded, seal->count, decoded, err));
    if (seal->residual_values != NULL)
        TRY(residual_put(s, &seal->residual, seal->residual_values, seal->count, err));
    if (db_first(s, NULL, &stmt, "checkpoint",
                 "SELECT checkpoint FROM terms WHERE checkpoint IS NOT NULL", "") == SOTTO_OK)
        store_file_drop(s, (const char *)sqlite3_column_text(stmt, 0));
    sqlite3_finalize(stmt);
    TRY(db_exec(s, err,
                "UPDATE terms SET sealed = 1, checkpoint = NULL WHERE hash = ? AND sealed = 0", "b",
                seal->terms.b, (size_t)WIRE_HASH));
    if (sqlite3_changes(s->db) != 1)
        TRY_FAIL(err, SOTTO_STATE, "device store: a report under these terms was sealed already");
    TRY(db_exec(s, err, "UPDATE task SET sealed = 1 WHERE terms_hash = ?", "b", seal->terms.b,
                (size_t)WIRE_HASH));
    TRY(db_exec(s, err,
                "INSERT INTO report(terms_hash, task, task_id, round, acked, bytes, hash, file,"
                " decoded, layout, made_ms) VALUES(?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?)",
                "btbiibttbi", seal->terms.b, (size_t)WIRE_HASH, seal->t->task,
                seal->t->task_id.bytes, (size_t)WIRE_TASK_ID, (int64_t)seal->t->round,
                (int64_t)seal->report.n, seal->report_hash.b, (size_t)WIRE_HASH, report,
                decoded[0] != '\0' ? decoded : NULL, seal->residual.layout.b, (size_t)WIRE_HASH,
                now_ms));
    TRY(devstore_commit(s, err));
out:
    if (status != SOTTO_OK)
        devstore_rollback(s);
    return status;
}

struct report_row {
    uint64_t bytes;
    uint32_t round;
    uint8_t task_id[WIRE_TASK_ID];
    struct wire_hash layout;
    char file[STORE_FILE_NAME], decoded[STORE_FILE_NAME];
};

static enum sotto_status report_row(struct devstore *s, const struct wire_hash *terms,
                                    struct report_row *out, struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    enum sotto_status status;
    memset(out, 0, sizeof *out);
    TRY(db_first(
        s, err, &stmt, "report under these terms",
        "SELECT bytes, round, task_id, layout, file, decoded FROM report WHERE terms_hash = ?", "b",
        terms->b, (size_t)WIRE_HASH));
    out->bytes = (uint64_t)sqlite3_column_int64(stmt, 0);
    out->round = (uint32_t)sqlite3_column_int64(stmt, 1);
    TRY(db_blob(s, stmt, 2, out->task_id, WIRE_TASK_ID, err));
    TRY(db_blob(s, stmt, 3, out->layout.b, WIRE_HASH, err));
    snprintf(out->file, sizeof out->file, "%s", (const char *)sqlite3_column_text(stmt, 4));
    if (sqlite3_column_type(stmt, 5) == SQLITE_TEXT)
        snprintf(out->decoded, sizeof out->decoded, "%s",
                 (const char *)sqlite3_column_text(stmt, 5));
out:
    sqlite3_finalize(stmt);
    return status;
}

enum sotto_status devstore_report_chunk(struct devstore *s, const struct wire_hash *terms,
                                        uint32_t index, struct buf *out, struct sotto_error *err) {
    struct report_row row;
    char path[IO_PATH_MAX];
    enum sotto_status status;
    int fd = -1;
    TRY(report_row(s, terms, &row, err));
    const uint32_t size = chunk_size(row.bytes, index);
    if (size == 0)
        TRY_FAIL(err, SOTTO_INVALID, "a report of %llu bytes has no chunk %u",
                 (unsigned long long)row.bytes, index);
    TRY(store_file_path(s, row.file, path, sizeof path, err));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        TRY_FAIL(err, errno == ENOENT ? SOTTO_CORRUPT : SOTTO_IO,
                 "the sealed report %.100s is missing", row.file);
    buf_reset(out);
    uint8_t *p = buf_grow(out, size);
    if (p == NULL)
        TRY_FAIL(err, out->status, "no memory for a chunk");
    ssize_t n;
    do
        n = pread(fd, p, size, (off_t)((uint64_t)index * CHUNK_BYTES));
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)size)
        TRY_FAIL(err, SOTTO_CORRUPT, "the sealed report %.100s is cut short", row.file);
out:
    if (fd >= 0)
        close(fd);
    return status;
}

/* The mass of a report that was not used goes back, unless the model has changed its form since. */
static enum sotto_status give_back(struct devstore *s, const struct report_row *row,
                                   struct sotto_error *err) {
    struct residual_row residual;
    struct devstore_residual which;
    float *values = NULL;
    enum sotto_status status = residual_row(s, row->task_id, &residual, NULL);
    if (status == SOTTO_NOT_FOUND || row->decoded[0] == '\0')
        return SOTTO_OK; /* no error feedback in this task */
    if (status != SOTTO_OK)
        return status;
    if (!wire_hash_equal(&residual.layout, &row->layout))
        return SOTTO_OK;
    values = mem_array(residual.count, sizeof *values);
    if (values == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for a residual of %u coordinates", residual.count);
    TRY(store_vector_read(s, residual.file, false, values, residual.count, err));
    TRY(store_vector_read(s, row->decoded, true, values, residual.count, err));
    memcpy(which.task_id, row->task_id, WIRE_TASK_ID);
    which.layout = residual.layout;
    which.round = residual.round;
    TRY(residual_put(s, &which, values, residual.count, err));
out:
    mem_free(values);
    return status;
}

enum sotto_status devstore_outcome(struct devstore *s, const struct wire_hash *terms,
                                   sotto_Outcome outcome, struct sotto_error *err) {
    struct report_row row;
    enum sotto_status status = devstore_begin(s, err);
    if (status != SOTTO_OK)
        return status;
    const enum sotto_status known = report_row(s, terms, &row, err);
    if (known != SOTTO_OK && known != SOTTO_NOT_FOUND) {
        status = known;
        goto out;
    }
    if (known == SOTTO_OK && outcome == sotto_Outcome_OUTCOME_OPEN) {
        TRY(db_exec(s, err,
                    "UPDATE counters SET rounds_done = rounds_done + 1 WHERE 0 = (SELECT"
                    " acked FROM report WHERE terms_hash = ?)",
                    "b", terms->b, (size_t)WIRE_HASH));
        TRY(db_exec(s, err, "UPDATE report SET acked = 1 WHERE terms_hash = ?", "b", terms->b,
                    (size_t)WIRE_HASH));
    } else if (known == SOTTO_OK) {
        if (outcome == sotto_Outcome_OUTCOME_RETURNED) {
            status = give_back(s, &row, err);
            if (status == SOTTO_CORRUPT || status == SOTTO_NOT_FOUND)
                status = SOTTO_OK; /* a damaged file costs its mass, not the device */
            if (status != SOTTO_OK)
                goto out;
        }
        TRY(db_exec(s, err,
                    "UPDATE counters SET rounds_done = rounds_done + ? WHERE 0 = (SELECT"
                    " acked FROM report WHERE terms_hash = ?)",
                    "ib", (int64_t)(outcome == sotto_Outcome_OUTCOME_KEPT), terms->b,
                    (size_t)WIRE_HASH));
        TRY(db_exec(s, err, "DELETE FROM report WHERE terms_hash = ?", "b", terms->b,
                    (size_t)WIRE_HASH));
        store_file_drop(s, row.file);
        store_file_drop(s, row.decoded);
    }
    TRY(db_exec(s, err, "DELETE FROM terms WHERE hash = ?", "b", terms->b, (size_t)WIRE_HASH));
    TRY(devstore_commit(s, err));
out:
    if (status != SOTTO_OK)
        devstore_rollback(s);
    return status;
}

static enum sotto_status close_old_reports(struct devstore *s, int64_t before_ms,
                                           struct sotto_error *err) {
    for (;;) {
        sqlite3_stmt *stmt = NULL;
        struct wire_hash hash;
        enum sotto_status status = db_first(
            s, NULL, &stmt, "report",
            "SELECT terms_hash FROM report WHERE acked = 1 AND made_ms < ?", "i", before_ms);
        if (status == SOTTO_OK)
            status = db_blob(s, stmt, 0, hash.b, WIRE_HASH, err);
        sqlite3_finalize(stmt);
        if (status == SOTTO_NOT_FOUND)
            return SOTTO_OK;
        if (status == SOTTO_OK)
            status = devstore_outcome(s, &hash, sotto_Outcome_OUTCOME_KEPT, err);
        if (status != SOTTO_OK)
            return status;
    }
}

enum sotto_status devstore_expire(struct devstore *s, int64_t before_ms, struct sotto_error *err) {
    enum sotto_status status = devstore_begin(s, err);
    if (status != SOTTO_OK)
        return status;
    TRY(close_old_reports(s, before_ms, err));
    /* Their files are swept at the next start. */
    TRY(db_exec(s, err, "DELETE FROM residual WHERE made_ms < ?", "i", before_ms));
    TRY(db_exec(s, err, "DELETE FROM package WHERE made_ms < ?", "i", before_ms));
    TRY(devstore_commit(s, err));
out:
    if (status != SOTTO_OK)
        devstore_rollback(s);
    return status;
}
