/* Sealed reports, residuals and control variates: the transaction before the first byte leaves, and
 * the one that ends a report. */
#include "store/store_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- Residuals and control variates: one array a task each, of one form
 * ------------------------------------------------------------------------------------------------------------
 */

enum kept { KEPT_RESIDUAL, KEPT_CONTROL };
static const struct {
    const char *name, *select, *insert;
} kepts[] = {
    [KEPT_RESIDUAL] = {"residual",
                       "SELECT layout, round, count, file FROM residual WHERE task_id = ?",
                       "INSERT OR REPLACE INTO residual VALUES(?, ?, ?, ?, ?, ?)"},
    [KEPT_CONTROL] = {"control", "SELECT layout, round, count, file FROM control WHERE task_id = ?",
                      "INSERT OR REPLACE INTO control VALUES(?, ?, ?, ?, ?, ?)"},
};

struct kept_row {
    struct wire_hash layout;
    uint32_t round, count;
    char file[STORE_FILE_NAME];
};

static enum sotto_status kept_row(struct devstore *s, enum kept kind, const uint8_t *task_id,
                                  struct kept_row *out, struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    enum sotto_status status;
    TRY(db_first(s, err, &stmt, kepts[kind].name, kepts[kind].select, "b", task_id,
                 (size_t)WIRE_TASK_ID));
    TRY(db_blob(s, stmt, 0, out->layout.b, WIRE_HASH, err));
    out->round = (uint32_t)sqlite3_column_int64(stmt, 1);
    out->count = (uint32_t)sqlite3_column_int64(stmt, 2);
    snprintf(out->file, sizeof out->file, "%s", (const char *)sqlite3_column_text(stmt, 3));
out:
    sqlite3_finalize(stmt);
    return status;
}

static enum sotto_status kept_get(struct devstore *s, enum kept kind,
                                  const struct devstore_residual *which, uint32_t rounds_max,
                                  float *out, uint32_t count, struct sotto_error *err) {
    struct kept_row row;
    const enum sotto_status status = kept_row(s, kind, which->task_id, &row, err);
    if (status != SOTTO_OK)
        return status;
    const bool old =
        rounds_max > 0 && which->round > row.round && which->round - row.round > rounds_max;
    if (!wire_hash_equal(&row.layout, &which->layout) || row.count != count || old)
        return SOTTO_FAIL(err, SOTTO_NOT_FOUND, "device store: the %s is of %s", kepts[kind].name,
                          old ? "an old round" : "another layout");
    return store_vector_read(s, row.file, false, out, count, err);
}

enum sotto_status devstore_residual_get(struct devstore *s, const struct devstore_residual *which,
                                        uint32_t rounds_max, float *out, uint32_t count,
                                        struct sotto_error *err) {
    return kept_get(s, KEPT_RESIDUAL, which, rounds_max, out, count, err);
}

enum sotto_status devstore_control_get(struct devstore *s, const struct devstore_residual *which,
                                       float *out, uint32_t count, struct sotto_error *err) {
    return kept_get(s, KEPT_CONTROL, which, 0, out, count, err);
}

/* Inside a transaction. */
static enum sotto_status kept_put(struct devstore *s, enum kept kind,
                                  const struct devstore_residual *which, const float *values,
                                  uint32_t count, struct sotto_error *err) {
    struct kept_row old;
    char file[STORE_FILE_NAME];
    if (kept_row(s, kind, which->task_id, &old, NULL) == SOTTO_OK)
        store_file_drop(s, old.file);
    const enum sotto_status status =
        store_vector_write(s, kepts[kind].name, values, count, file, err);
    if (status != SOTTO_OK)
        return status;
    return db_exec(s, err, kepts[kind].insert, "bbiiti", which->task_id, (size_t)WIRE_TASK_ID,
                   which->layout.b, (size_t)WIRE_HASH, (int64_t)which->round, (int64_t)count, file,
                   clock_wall_ms());
}

/* ---- Reports
 * --------------------------------------------------------------------------------------------------------------
 */

enum sotto_status store_seal(struct devstore *s, const struct devstore_seal *seal,
                             const struct store_report *report, struct sotto_error *err) {
    char decoded[STORE_FILE_NAME] = "", change[STORE_FILE_NAME] = "";
    enum sotto_status status = SOTTO_OK;
    if (seal->decoded != NULL)
        TRY(store_vector_write(s, "decoded", seal->decoded, seal->count, decoded, err));
    if (seal->residual_values != NULL)
        TRY(kept_put(s, KEPT_RESIDUAL, &seal->residual, seal->residual_values, seal->count, err));
    if (seal->control_change != NULL)
        TRY(store_vector_write(s, "change", seal->control_change, seal->count, change, err));
    if (seal->control != NULL)
        TRY(kept_put(s, KEPT_CONTROL, &seal->residual, seal->control, seal->count, err));
    store_checkpoint_drop(s);
    TRY(db_exec(s, err,
                "UPDATE terms SET sealed = 1, checkpoint = NULL WHERE hash = ? AND sealed = 0", "b",
                seal->terms.b, (size_t)WIRE_HASH));
    if (sqlite3_changes(s->db) != 1)
        TRY_FAIL(err, SOTTO_STATE, "device store: a report under these terms was sealed already");
    TRY(db_exec(s, err, "UPDATE task SET sealed = 1, part_round = last_round WHERE terms_hash = ?",
                "b", seal->terms.b, (size_t)WIRE_HASH));
    TRY(db_exec(s, err,
                "INSERT INTO report(terms_hash, task, task_id, round, acked, bytes, hash, file,"
                " decoded, change, layout, made_ms, masks)"
                " VALUES(?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?)",
                "btbiibtttbii", seal->terms.b, (size_t)WIRE_HASH, seal->t->task,
                seal->t->task_id.bytes, (size_t)WIRE_TASK_ID, (int64_t)seal->t->round,
                (int64_t)report->bytes, report->hash.b, (size_t)WIRE_HASH, report->file,
                decoded[0] != '\0' ? decoded : NULL, change[0] != '\0' ? change : NULL,
                seal->residual.layout.b, (size_t)WIRE_HASH, report->now_ms,
                (int64_t)report->masks));
out:
    return status;
}

enum sotto_status devstore_seal(struct devstore *s, const struct devstore_seal *seal,
                                int64_t now_ms, struct sotto_error *err) {
    struct store_report report = {
        .hash = seal->report_hash, .bytes = seal->report.n, .now_ms = now_ms};
    enum sotto_status status = devstore_begin(s, err);
    if (status != SOTTO_OK)
        return status;
    TRY(store_file_new(s, "report", seal->report, report.file, err));
    TRY(store_seal(s, seal, &report, err));
    TRY(devstore_commit(s, err));
out:
    if (status != SOTTO_OK)
        devstore_rollback(s);
    return status;
}

struct report_row {
    uint64_t bytes;
    uint32_t round;
    int masks;
    uint8_t task_id[WIRE_TASK_ID];
    struct wire_hash layout;
    char file[STORE_FILE_NAME], decoded[STORE_FILE_NAME], change[STORE_FILE_NAME];
};

static void file_of(sqlite3_stmt *stmt, int column, char out[STORE_FILE_NAME]) {
    if (sqlite3_column_type(stmt, column) == SQLITE_TEXT)
        snprintf(out, STORE_FILE_NAME, "%s", (const char *)sqlite3_column_text(stmt, column));
}

static enum sotto_status report_row(struct devstore *s, const struct wire_hash *terms,
                                    struct report_row *out, struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    enum sotto_status status;
    memset(out, 0, sizeof *out);
    TRY(db_first(s, err, &stmt, "report under these terms",
                 "SELECT bytes, round, task_id, layout, file, decoded, change, masks FROM report"
                 " WHERE terms_hash = ?",
                 "b", terms->b, (size_t)WIRE_HASH));
    out->bytes = (uint64_t)sqlite3_column_int64(stmt, 0);
    out->round = (uint32_t)sqlite3_column_int64(stmt, 1);
    TRY(db_blob(s, stmt, 2, out->task_id, WIRE_TASK_ID, err));
    TRY(db_blob(s, stmt, 3, out->layout.b, WIRE_HASH, err));
    file_of(stmt, 4, out->file);
    file_of(stmt, 5, out->decoded);
    file_of(stmt, 6, out->change);
    out->masks = sqlite3_column_int(stmt, 7);
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
    if (row.masks == STORE_CODES)
        TRY_FAIL(err, SOTTO_STATE, "an update without its masks never leaves the device");
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

static void negate(float *values, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        values[i] = -values[i];
}

/* A report was not used: the residual gets what the coordinator would have decoded, the control
 * variate is without its change again. Unless the model has changed its form since, or there is
 * none. */
static enum sotto_status give_back(struct devstore *s, const struct report_row *row, enum kept kind,
                                   struct sotto_error *err) {
    const char *file = kind == KEPT_RESIDUAL ? row->decoded : row->change;
    struct kept_row kept;
    struct devstore_residual which;
    float *values = NULL;
    enum sotto_status status = kept_row(s, kind, row->task_id, &kept, NULL);
    if (status == SOTTO_NOT_FOUND || file[0] == '\0')
        return SOTTO_OK;
    if (status != SOTTO_OK)
        return status;
    if (!wire_hash_equal(&kept.layout, &row->layout))
        return SOTTO_OK;
    values = mem_array(kept.count, sizeof *values);
    if (values == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for a %s of %u coordinates", kepts[kind].name,
                 kept.count);
    TRY(store_vector_read(s, kept.file, false, values, kept.count, err));
    if (kind == KEPT_CONTROL)
        negate(values, kept.count);
    TRY(store_vector_read(s, file, true, values, kept.count, err));
    if (kind == KEPT_CONTROL)
        negate(values, kept.count);
    memcpy(which.task_id, row->task_id, WIRE_TASK_ID);
    which.layout = kept.layout;
    which.round = kept.round;
    TRY(kept_put(s, kind, &which, values, kept.count, err));
out:
    mem_free(values);
    return status == SOTTO_CORRUPT || status == SOTTO_NOT_FOUND
               ? SOTTO_OK /* a damaged file costs its mass, not the device */
               : status;
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
        if (row.masks == STORE_MASKED) /* it has left: whatever is said, its mass is gone */
            outcome = sotto_Outcome_OUTCOME_KEPT;
        TRY(store_secure_outcome(s, terms, outcome, err));
        if (outcome == sotto_Outcome_OUTCOME_RETURNED) {
            TRY(give_back(s, &row, KEPT_RESIDUAL, err));
            TRY(give_back(s, &row, KEPT_CONTROL, err));
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
        store_file_drop(s, row.change);
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
        enum sotto_status status =
            db_first(s, NULL, &stmt, "report",
                     "SELECT terms_hash FROM report WHERE (acked = 1 OR masks > 0) AND made_ms < ?",
                     "i", before_ms);
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
    TRY(db_exec(s, err, "DELETE FROM control WHERE made_ms < ?", "i", before_ms));
    TRY(db_exec(s, err, "DELETE FROM package WHERE made_ms < ?", "i", before_ms));
    TRY(devstore_commit(s, err));
out:
    if (status != SOTTO_OK)
        devstore_rollback(s);
    return status;
}
