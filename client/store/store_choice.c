/* Which backend trains a model here: what was measured, on which machine, so that it is measured
 * once. */
#include "store/store_int.h"

#include <string.h>

#define COLUMNS "model, batch, machine, backend, kernels, samples_per_s, detail"

static void copy_text(char *out, size_t cap, sqlite3_stmt *stmt, int column) {
    const char *text = (const char *)sqlite3_column_text(stmt, column);
    wire_set_text(out, cap, text != NULL ? text : "");
}

static enum sotto_status read_row(struct devstore *s, sqlite3_stmt *stmt,
                                  struct devstore_choice *out, struct sotto_error *err) {
    enum sotto_status status;
    memset(out, 0, sizeof *out);
    TRY(db_blob(s, stmt, 0, out->model.b, WIRE_HASH, err));
    out->batch = (uint32_t)sqlite3_column_int64(stmt, 1);
    TRY(db_blob(s, stmt, 2, out->machine.b, WIRE_HASH, err));
    copy_text(out->backend, sizeof out->backend, stmt, 3);
    copy_text(out->kernels, sizeof out->kernels, stmt, 4);
    out->samples_per_s = sqlite3_column_double(stmt, 5);
    copy_text(out->detail, sizeof out->detail, stmt, 6);
out:
    return status;
}

enum sotto_status devstore_choice_put(struct devstore *s, const struct devstore_choice *c,
                                      struct sotto_error *err) {
    enum sotto_status status = devstore_begin(s, err);
    if (status != SOTTO_OK)
        return status;
    TRY(db_exec(s, err, "DELETE FROM choice WHERE model = ? AND batch = ?", "bi", c->model.b,
                (size_t)WIRE_HASH, (int64_t)c->batch));
    TRY(db_exec(s, err, "INSERT INTO choice(" COLUMNS ") VALUES(?, ?, ?, ?, ?, ?, ?)", "bibttft",
                c->model.b, (size_t)WIRE_HASH, (int64_t)c->batch, c->machine.b, (size_t)WIRE_HASH,
                c->backend, c->kernels, c->samples_per_s, c->detail));
    TRY(db_exec(s, err, "DELETE FROM choice WHERE id <= (SELECT max(id) FROM choice) - ?", "i",
                (int64_t)DEVSTORE_CHOICES));
    TRY(devstore_commit(s, err));
out:
    if (status != SOTTO_OK)
        devstore_rollback(s);
    return status;
}

enum sotto_status devstore_choice_get(struct devstore *s, const struct wire_hash *machine,
                                      const struct wire_hash *model, uint32_t batch,
                                      struct devstore_choice *out, struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    enum sotto_status status =
        db_first(s, err, &stmt, "choice of a backend",
                 "SELECT " COLUMNS " FROM choice WHERE (length(?1) = 0 OR machine = ?1)"
                 " AND (length(?2) = 0 OR model = ?2) AND (?3 = 0 OR batch = ?3) ORDER BY id DESC",
                 "bbi", machine != NULL ? machine->b : NULL, (size_t)WIRE_HASH,
                 model != NULL ? model->b : NULL, (size_t)WIRE_HASH, (int64_t)batch);
    if (status == SOTTO_OK)
        status = read_row(s, stmt, out, err);
    sqlite3_finalize(stmt);
    return status;
}

enum sotto_status devstore_choice_drop(struct devstore *s, const struct wire_hash *model,
                                       struct sotto_error *err) {
    return db_exec(s, err, "DELETE FROM choice WHERE model = ?", "b", model->b, (size_t)WIRE_HASH);
}

enum sotto_status devstore_choice_each(struct devstore *s,
                                       void (*visit)(void *ctx, const struct devstore_choice *c),
                                       void *ctx, struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    struct devstore_choice choice;
    enum sotto_status status =
        db_first(s, NULL, &stmt, "choice", "SELECT " COLUMNS " FROM choice ORDER BY id DESC", "");
    while (status == SOTTO_OK) {
        status = read_row(s, stmt, &choice, err);
        if (status != SOTTO_OK)
            break;
        visit(ctx, &choice);
        status = db_next(s, stmt, err);
    }
    sqlite3_finalize(stmt);
    return status == SOTTO_NOT_FOUND ? SOTTO_OK : status;
}
