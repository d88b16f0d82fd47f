/* Tasks in the store. */
#include <string.h>

#include "round/round_int.h"
#include "store/store_int.h"

void store_task_deinit(struct store_task *t) {
    mem_free(t->yaml);
    t->yaml = NULL;
}

const char *store_task_state_name(enum store_task_state state) {
    static const char *const names[] = {"running", "paused", "stopped", "finished"};
    return (unsigned)state < ARRAY_LEN(names) ? names[state] : "unknown";
}

enum sotto_status store_task_add(struct store *s, struct store_task *t, struct sotto_error *err) {
    enum sotto_status status =
        db_run(s, err,
               "INSERT INTO tasks (task_id, name, state, created_ms, next_round, "
               "train_rounds_done, version, yaml)"
               " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
               "btiiiiib", view_of(t->task_id, 16), t->name, (int64_t)t->state, t->created_ms,
               (int64_t)t->next_round, (int64_t)t->train_rounds_done, (int64_t)t->version,
               view_of(t->yaml, t->yaml_bytes));
    if (status == SOTTO_EXISTS)
        return SOTTO_FAIL(err, SOTTO_EXISTS, "task '%s' exists already; choose another task.name",
                          t->name);
    t->id = sqlite3_last_insert_rowid(s->db);
    return status;
}

#define TASK_COLUMNS                                                                               \
    "id, task_id, name, state, created_ms, next_round, train_rounds_done, version, yaml"

static enum sotto_status task_row(sqlite3_stmt *stmt, struct store_task *t,
                                  struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    memset(t, 0, sizeof *t);
    t->id = sqlite3_column_int64(stmt, 0);
    db_blob(stmt, 1, t->task_id, 16, &status);
    db_text(stmt, 2, t->name, sizeof t->name);
    t->state = (enum store_task_state)sqlite3_column_int(stmt, 3);
    t->created_ms = sqlite3_column_int64(stmt, 4);
    t->next_round = (uint32_t)sqlite3_column_int64(stmt, 5);
    t->train_rounds_done = (uint64_t)sqlite3_column_int64(stmt, 6);
    t->version = (uint32_t)sqlite3_column_int64(stmt, 7);
    if (status != SOTTO_OK)
        return SOTTO_FAIL(err, status, "store: task '%s' is damaged", t->name);
    t->yaml_bytes = (size_t)sqlite3_column_bytes(stmt, 8);
    t->yaml = mem_alloc(t->yaml_bytes + 1);
    if (!t->yaml)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "store: out of memory");
    if (t->yaml_bytes)
        memcpy(t->yaml, sqlite3_column_blob(stmt, 8), t->yaml_bytes);
    t->yaml[t->yaml_bytes] = '\0';
    return SOTTO_OK;
}

enum sotto_status store_task_get(struct store *s, const char *name, struct store_task *out,
                                 struct sotto_error *err) {
    sqlite3_stmt *stmt;
    enum sotto_status status = db_one(
        s, &stmt, "task", NULL, "SELECT " TASK_COLUMNS " FROM tasks WHERE name = ?", "t", name);
    if (status == SOTTO_NOT_FOUND) {
        char shown[96];
        return SOTTO_FAIL(err, status, "no task '%s'; sottoctl task list shows them all",
                          sotto_escape(shown, sizeof shown, name, strlen(name)));
    }
    if (status != SOTTO_OK)
        return db_fail(s, "reading a task", err);
    status = task_row(stmt, out, err);
    db_done(stmt);
    return status;
}

enum sotto_status store_task_state_set(struct store *s, int64_t id, enum store_task_state state,
                                       struct sotto_error *err) {
    return db_run(s, err, "UPDATE tasks SET state = ? WHERE id = ?", "ii", (int64_t)state, id);
}

enum sotto_status store_task_progress(struct store *s, int64_t id, uint32_t next_round,
                                      uint64_t train_rounds_done, struct sotto_error *err) {
    return db_run(s, err, "UPDATE tasks SET next_round = ?, train_rounds_done = ? WHERE id = ?",
                  "iii", (int64_t)next_round, (int64_t)train_rounds_done, id);
}

enum sotto_status store_task_each(struct store *s,
                                  enum sotto_status (*visit)(void *ctx, const struct store_task *t),
                                  void *ctx, struct sotto_error *err) {
    sqlite3_stmt *stmt;
    bool row = false;
    enum sotto_status status =
        db_bind(s, &stmt, err, "SELECT " TASK_COLUMNS " FROM tasks ORDER BY id", "");
    while (status == SOTTO_OK && (status = db_step(s, stmt, &row, err)) == SOTTO_OK && row) {
        struct store_task t;
        status = task_row(stmt, &t, err);
        if (status == SOTTO_OK)
            status = visit(ctx, &t);
        store_task_deinit(&t);
    }
    if (row)
        db_done(stmt);
    return status;
}

/* Serials and document versions that were given after the backup must not be given again. */
static enum sotto_status move_on(struct store *s, struct sotto_error *err) {
    enum sotto_status status;
    struct buf bytes;
    uint64_t first, floor = ROUND_RESTORE_GAP;
    struct id_document d;
    memset(&d, 0, sizeof d);
    buf_init(&bytes, (size_t)16 << 20);
    TRY(store_serial_reserve(s, ROUND_RESTORE_GAP, &first, err));
    status = store_meta_get(s, "document", &bytes, err);
    if (status == SOTTO_OK)
        status = id_document_read(buf_view(&bytes), NULL, &d, err);
    if (status != SOTTO_OK && status != SOTTO_NOT_FOUND)
        goto out;
    floor += d.version;
    TRY(store_meta_set(s, STORE_DOCUMENT_FLOOR, view_of(&floor, sizeof floor), err));
out:
    id_document_deinit(&d);
    buf_deinit(&bytes);
    return status;
}

enum sotto_status store_after_restore(struct store *s, int64_t now_ms, struct sotto_error *err) {
    enum sotto_status status;
    /* Who was asked for a masked input may have sent it: that mass is gone. */
    TRY(db_run(s, err,
               "INSERT INTO outcomes (serial, terms_hash, outcome, at_ms) SELECT m.serial, "
               "r.terms_hash, ?, ? FROM members m JOIN rounds r USING (task, round) JOIN "
               "secure_closes c ON c.task = m.task AND c.round = m.round AND c.grp = m.grp AND "
               "c.attempt = m.attempt AND c.exchange = 3 JOIN secure_messages g ON g.task = m.task "
               "AND g.round = m.round AND g.grp = m.grp AND g.attempt = m.attempt AND g.exchange = "
               "3 AND g.serial = m.serial WHERE r.state < 2 ON CONFLICT (serial, terms_hash) DO "
               "NOTHING",
               "ii", (int64_t)sotto_Outcome_OUTCOME_KEPT, now_ms));
    TRY(db_run(
        s, err,
        "INSERT INTO outcomes (serial, terms_hash, outcome, at_ms) SELECT m.serial, "
        "r.terms_hash, ?, ? FROM members m JOIN rounds r USING (task, round) WHERE r.state < "
        "2 ON CONFLICT (serial, terms_hash) DO NOTHING",
        "ii", (int64_t)sotto_Outcome_OUTCOME_RETURNED, now_ms));
    TRY(db_run(s, err,
               "UPDATE tasks SET train_rounds_done = train_rounds_done + 1 WHERE id IN (SELECT "
               "task FROM rounds WHERE state < 2 AND kind = 1)",
               ""));
    TRY(db_run(
        s, err,
        "UPDATE rounds SET state = 3, closed_ms = ?, reason = 'closed by a restore from a backup'"
        " WHERE state < 2",
        "i", now_ms));
    TRY(db_run(s, err, "UPDATE tasks SET next_round = next_round + ?", "i",
               (int64_t)ROUND_RESTORE_GAP));
    TRY(db_run(s, err, "DELETE FROM uploads", ""));
    TRY(db_run(s, err, "DELETE FROM secure_messages", ""));
    TRY(db_run(s, err, "DELETE FROM secure_closes", ""));
    TRY(move_on(s, err));
out:
    return status;
}
