/* Events and retention in the store. */
#include "store/store_int.h"

#define STORE_ROUNDS_KEPT 1000 /* of each task, however old */

enum sotto_status store_event_add(struct store *s, int64_t now_ms, const char *kind,
                                  const char *task, uint32_t round, const char *text,
                                  struct sotto_error *err) {
    return db_run(s, err, "INSERT INTO events (at_ms, kind, task, round, text) VALUES (?,?,?,?,?)",
                  "ittit", now_ms, kind, task, (int64_t)round, text);
}

enum sotto_status store_event_each(struct store *s, uint64_t after_id, uint32_t limit,
                                   enum sotto_status (*visit)(void *ctx, uint64_t id, int64_t at_ms,
                                                              const char *kind, const char *task,
                                                              uint32_t round, const char *text),
                                   void *ctx, struct sotto_error *err) {
    sqlite3_stmt *stmt;
    bool row = false;
    enum sotto_status status =
        db_bind(s, &stmt, err,
                "SELECT * FROM (SELECT id, at_ms, kind, task, round, text FROM events WHERE id >"
                " ? ORDER BY id DESC LIMIT ?) ORDER BY id",
                "ii", (int64_t)after_id, limit ? (int64_t)limit : (int64_t)-1);
    while (status == SOTTO_OK && (status = db_step(s, stmt, &row, err)) == SOTTO_OK && row) {
        char kind[48], task[64], text[512];
        db_text(stmt, 2, kind, sizeof kind);
        db_text(stmt, 3, task, sizeof task);
        db_text(stmt, 5, text, sizeof text);
        status = visit(ctx, (uint64_t)sqlite3_column_int64(stmt, 0), sqlite3_column_int64(stmt, 1),
                       kind, task, (uint32_t)sqlite3_column_int64(stmt, 4), text);
    }
    if (row)
        db_done(stmt);
    return status;
}

enum sotto_status store_retain(struct store *s, const struct store_keep *keep,
                               struct sotto_error *err) {
    enum sotto_status status;
    TRY(db_run(s, err, "DELETE FROM events WHERE at_ms < ?", "i", keep->events_before_ms));
    TRY(db_run(s, err, "DELETE FROM outcomes WHERE at_ms < ?", "i", keep->outcomes_before_ms));
    TRY(db_run(s, err, "DELETE FROM tickets WHERE expiry_ms < ?", "i", keep->outcomes_before_ms));
    TRY(db_run(s, err,
               "DELETE FROM members WHERE (task, round) IN (SELECT task, round FROM rounds WHERE "
               "state >= 2 AND"
               " closed_ms < ?)",
               "i", keep->outcomes_before_ms));
    TRY(db_run(s, err,
               "DELETE FROM groups WHERE (task, round) IN (SELECT task, round FROM rounds WHERE "
               "state >= 2 AND closed_ms < ?)",
               "i", keep->outcomes_before_ms));
    TRY(db_run(s, err,
               "DELETE FROM secure_groups WHERE (task, round) IN (SELECT task, round FROM rounds "
               "WHERE state >= 2 AND closed_ms < ?)",
               "i", keep->outcomes_before_ms));
    TRY(db_run(s, err,
               "DELETE FROM rounds WHERE state >= 2 AND closed_ms < ? AND round < (SELECT "
               "t.next_round FROM tasks t WHERE t.id = rounds.task) - ?",
               "ii",
               keep->events_before_ms < keep->outcomes_before_ms ? keep->events_before_ms
                                                                 : keep->outcomes_before_ms,
               (int64_t)STORE_ROUNDS_KEPT));
    TRY(db_run(
        s, err,
        "DELETE FROM versions WHERE released = 0"
        " AND number <= (SELECT max(v.number) FROM versions v WHERE v.task = versions.task) - ?"
        " AND number <> (SELECT t.version FROM tasks t WHERE t.id = versions.task)"
        " AND number <> coalesce((SELECT p.parent FROM tasks t JOIN versions p ON p.task = t.id"
        "   AND p.number = t.version WHERE t.id = versions.task), 0)"
        " AND NOT EXISTS (SELECT 1 FROM rounds r WHERE r.task = versions.task AND r.state < 2"
        "   AND r.base_version = versions.number)",
        "i", (int64_t)keep->versions));
out:
    return status;
}
