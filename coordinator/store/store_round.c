/* Rounds, members, groups, uploads and outcomes in the store. */
#include <string.h>

#include "store/store_int.h"

enum sotto_status store_round_add(struct store *s, const struct store_round *r,
                                  const struct round_member *members, uint32_t member_count,
                                  const struct round_group *groups, uint32_t group_count,
                                  struct sotto_error *err) {
    enum sotto_status status;
    TRY(db_run(s, err,
               "INSERT INTO rounds (task, round, kind, state, opened_ms, base_version, terms, "
               "signature, signing_key,"
               " round_public, terms_hash, members) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
               "iiiiiibbbbhi", r->task, (int64_t)r->round, (int64_t)r->kind, (int64_t)r->state,
               r->opened_ms, (int64_t)r->base_version, view_of(r->terms, r->terms_bytes),
               view_of(r->signature, ID_SIG), view_of(r->signing_key, ID_KEY),
               view_of(r->round_public, SEAL_PUBLIC), &r->terms_hash, (int64_t)member_count));
    for (uint32_t i = 0; i < member_count; i++)
        TRY(db_run(s, err,
                   "INSERT INTO members (task, round, serial, grp, state) VALUES (?,?,?,?,?)",
                   "iiiii", r->task, (int64_t)r->round, (int64_t)members[i].serial,
                   (int64_t)members[i].group, (int64_t)members[i].state));
    for (uint32_t i = 0; i < group_count; i++)
        TRY(db_run(s, err,
                   "INSERT INTO groups (task, round, grp, members, goal, minimum, state) VALUES "
                   "(?,?,?,?,?,?,?)",
                   "iiiiiii", r->task, (int64_t)r->round, (int64_t)i, (int64_t)groups[i].members,
                   (int64_t)groups[i].goal, (int64_t)groups[i].minimum, (int64_t)groups[i].state));
    TRY(db_run(s, err, "UPDATE tasks SET next_round = ? WHERE id = ?", "ii", (int64_t)r->round + 1,
               r->task));
out:
    return status;
}

#define ROUND_COLUMNS                                                                              \
    "task, round, kind, state, opened_ms, closed_ms, base_version, version, terms, signature, "    \
    "signing_key,"                                                                                 \
    " round_public, terms_hash, members, counted, rejected, returned, bytes_up, bytes_down, "      \
    "train_examples,"                                                                              \
    " train_loss, train_accuracy, reason"

static enum sotto_status round_row(sqlite3_stmt *stmt, struct store_round *r,
                                   struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    memset(r, 0, sizeof *r);
    r->task = sqlite3_column_int64(stmt, 0);
    r->round = (uint32_t)sqlite3_column_int64(stmt, 1);
    r->kind = sqlite3_column_int(stmt, 2);
    r->state = (enum store_round_state)sqlite3_column_int(stmt, 3);
    r->opened_ms = sqlite3_column_int64(stmt, 4);
    r->closed_ms = sqlite3_column_int64(stmt, 5);
    r->base_version = (uint32_t)sqlite3_column_int64(stmt, 6);
    r->version = (uint32_t)sqlite3_column_int64(stmt, 7);
    int n = sqlite3_column_bytes(stmt, 8);
    if (n <= 0 || (size_t)n > sizeof r->terms)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "store: round %u has damaged terms", r->round);
    memcpy(r->terms, sqlite3_column_blob(stmt, 8), (size_t)n);
    r->terms_bytes = (uint32_t)n;
    db_blob(stmt, 9, r->signature, ID_SIG, &status);
    db_blob(stmt, 10, r->signing_key, ID_KEY, &status);
    db_blob(stmt, 11, r->round_public, SEAL_PUBLIC, &status);
    db_blob(stmt, 12, r->terms_hash.b, WIRE_HASH, &status);
    r->members = (uint32_t)sqlite3_column_int64(stmt, 13);
    r->counted = (uint32_t)sqlite3_column_int64(stmt, 14);
    r->rejected = (uint32_t)sqlite3_column_int64(stmt, 15);
    r->returned = (uint32_t)sqlite3_column_int64(stmt, 16);
    r->bytes_up = (uint64_t)sqlite3_column_int64(stmt, 17);
    r->bytes_down = (uint64_t)sqlite3_column_int64(stmt, 18);
    r->train_examples = (uint64_t)sqlite3_column_int64(stmt, 19);
    r->train_loss = db_double(stmt, 20);
    r->train_accuracy = db_double(stmt, 21);
    db_text(stmt, 22, r->reason, sizeof r->reason);
    if (status != SOTTO_OK)
        return SOTTO_FAIL(err, status, "store: round %u is damaged", r->round);
    return SOTTO_OK;
}

enum sotto_status store_round_get(struct store *s, int64_t task, uint32_t round,
                                  struct store_round *out, struct sotto_error *err) {
    sqlite3_stmt *stmt;
    enum sotto_status status;
    if (round)
        status = db_one(s, &stmt, "round", err,
                        "SELECT " ROUND_COLUMNS " FROM rounds WHERE task = ? AND round = ?", "ii",
                        task, (int64_t)round);
    else
        status = db_one(s, &stmt, "open round", err,
                        "SELECT " ROUND_COLUMNS
                        " FROM rounds WHERE task = ? AND state < 2 ORDER BY round DESC LIMIT 1",
                        "i", task);
    if (status != SOTTO_OK)
        return status;
    status = round_row(stmt, out, err);
    db_done(stmt);
    return status;
}

enum sotto_status store_round_by_terms(struct store *s, const struct wire_hash *terms,
                                       struct store_round *out, struct sotto_error *err) {
    sqlite3_stmt *stmt;
    enum sotto_status status =
        db_one(s, &stmt, "round", err, "SELECT " ROUND_COLUMNS " FROM rounds WHERE terms_hash = ?",
               "h", terms);
    if (status != SOTTO_OK)
        return status;
    status = round_row(stmt, out, err);
    db_done(stmt);
    return status;
}

enum sotto_status store_round_close(struct store *s, const struct store_round *r,
                                    struct sotto_error *err) {
    return db_run(s, err,
                  "UPDATE rounds SET state = ?, closed_ms = ?, version = ?, counted = ?, rejected "
                  "= ?, returned = ?,"
                  " bytes_up = ?, bytes_down = ?, train_examples = ?, train_loss = ?, "
                  "train_accuracy = ?, reason = ?"
                  " WHERE task = ? AND round = ?",
                  "iiiiiiiiiddtii", (int64_t)r->state, r->closed_ms, (int64_t)r->version,
                  (int64_t)r->counted, (int64_t)r->rejected, (int64_t)r->returned,
                  (int64_t)r->bytes_up, (int64_t)r->bytes_down, (int64_t)r->train_examples,
                  r->train_loss, r->train_accuracy, r->reason, r->task, (int64_t)r->round);
}

enum sotto_status store_round_each(struct store *s, int64_t task, uint32_t limit,
                                   enum sotto_status (*visit)(void *ctx,
                                                              const struct store_round *r),
                                   void *ctx, struct sotto_error *err) {
    sqlite3_stmt *stmt;
    bool row = false;
    enum sotto_status status =
        db_bind(s, &stmt, err,
                "SELECT " ROUND_COLUMNS " FROM rounds WHERE task = ? ORDER BY round DESC LIMIT ?",
                "ii", task, limit ? (int64_t)limit : (int64_t)-1);
    while (status == SOTTO_OK && (status = db_step(s, stmt, &row, err)) == SOTTO_OK && row) {
        struct store_round r;
        status = round_row(stmt, &r, err);
        if (status == SOTTO_OK)
            status = visit(ctx, &r);
    }
    if (row)
        db_done(stmt);
    return status;
}

enum sotto_status store_round_state_set(struct store *s, int64_t task, uint32_t round,
                                        enum store_round_state state, struct sotto_error *err) {
    return db_run(s, err, "UPDATE rounds SET state = ? WHERE task = ? AND round = ?", "iii",
                  (int64_t)state, task, (int64_t)round);
}

enum sotto_status store_round_down(struct store *s, int64_t task, uint32_t round,
                                   uint64_t bytes_down, struct sotto_error *err) {
    return db_run(s, err, "UPDATE rounds SET bytes_down = ? WHERE task = ? AND round = ?", "iii",
                  (int64_t)bytes_down, task, (int64_t)round);
}

enum sotto_status store_member_set(struct store *s, int64_t task, uint32_t round, uint64_t serial,
                                   int state, struct sotto_error *err) {
    return db_run(s, err,
                  "UPDATE members SET state = ? WHERE task = ? AND round = ? AND serial = ?",
                  "iiii", (int64_t)state, task, (int64_t)round, (int64_t)serial);
}

enum sotto_status store_member_report(struct store *s, int64_t task, uint32_t round,
                                      uint64_t serial, int state, uint64_t report_bytes,
                                      struct sotto_error *err) {
    return db_run(s, err,
                  "UPDATE members SET state = ?, report_bytes = ? WHERE task = ? AND round = ? AND "
                  "serial = ?",
                  "iiiii", (int64_t)state, (int64_t)report_bytes, task, (int64_t)round,
                  (int64_t)serial);
}

enum sotto_status store_group_set(struct store *s, int64_t task, uint32_t round, uint32_t group,
                                  int state, struct sotto_error *err) {
    return db_run(s, err, "UPDATE groups SET state = ? WHERE task = ? AND round = ? AND grp = ?",
                  "iiii", (int64_t)state, task, (int64_t)round, (int64_t)group);
}

static enum sotto_status count_rows(struct store *s, const char *sql, int64_t task, uint32_t round,
                                    uint32_t *out, struct sotto_error *err) {
    sqlite3_stmt *stmt;
    enum sotto_status status = db_one(s, &stmt, "count", err, sql, "ii", task, (int64_t)round);
    if (status != SOTTO_OK)
        return status;
    *out = (uint32_t)sqlite3_column_int64(stmt, 0);
    db_done(stmt);
    return SOTTO_OK;
}

enum sotto_status store_members(struct store *s, int64_t task, uint32_t round,
                                struct store_member **out, uint32_t *count,
                                struct sotto_error *err) {
    sqlite3_stmt *stmt;
    bool row = false;
    uint32_t n = 0, i = 0;
    *out = NULL;
    *count = 0;
    enum sotto_status status = count_rows(
        s, "SELECT count(*) FROM members WHERE task = ? AND round = ?", task, round, &n, err);
    if (status != SOTTO_OK || n == 0)
        return status;
    struct store_member *list = mem_array(n, sizeof *list);
    if (!list)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "store: out of memory");
    status =
        db_bind(s, &stmt, err,
                "SELECT serial, grp, state, report_bytes, attempt FROM members WHERE task = ? AND "
                "round = ? ORDER BY serial",
                "ii", task, (int64_t)round);
    while (status == SOTTO_OK && i < n && (status = db_step(s, stmt, &row, err)) == SOTTO_OK &&
           row) {
        list[i].serial = (uint64_t)sqlite3_column_int64(stmt, 0);
        list[i].group = (uint32_t)sqlite3_column_int64(stmt, 1);
        list[i].state = sqlite3_column_int(stmt, 2);
        list[i].report_bytes = (uint64_t)sqlite3_column_int64(stmt, 3);
        list[i].attempt = (uint32_t)sqlite3_column_int64(stmt, 4);
        i++;
    }
    if (row)
        db_done(stmt);
    *out = list;
    *count = i;
    return status;
}

enum sotto_status store_groups(struct store *s, int64_t task, uint32_t round,
                               struct store_group **out, uint32_t *count, struct sotto_error *err) {
    sqlite3_stmt *stmt;
    bool row = false;
    uint32_t n = 0, i = 0;
    *out = NULL;
    *count = 0;
    enum sotto_status status = count_rows(
        s, "SELECT count(*) FROM groups WHERE task = ? AND round = ?", task, round, &n, err);
    if (status != SOTTO_OK || n == 0)
        return status;
    struct store_group *list = mem_array(n, sizeof *list);
    if (!list)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "store: out of memory");
    status = db_bind(s, &stmt, err,
                     "SELECT members, goal, minimum, state FROM groups WHERE task = ? AND round = "
                     "? ORDER BY grp",
                     "ii", task, (int64_t)round);
    while (status == SOTTO_OK && i < n && (status = db_step(s, stmt, &row, err)) == SOTTO_OK &&
           row) {
        list[i].members = (uint32_t)sqlite3_column_int64(stmt, 0);
        list[i].goal = (uint32_t)sqlite3_column_int64(stmt, 1);
        list[i].minimum = (uint32_t)sqlite3_column_int64(stmt, 2);
        list[i].state = sqlite3_column_int(stmt, 3);
        i++;
    }
    if (row)
        db_done(stmt);
    *out = list;
    *count = i;
    return status;
}

enum sotto_status store_upload_set(struct store *s, const struct wire_hash *terms, uint64_t serial,
                                   uint32_t attempt, const struct store_upload *u,
                                   struct sotto_error *err) {
    return db_run(s, err,
                  "INSERT INTO uploads (terms_hash, serial, attempt, bytes, hash) VALUES "
                  "(?,?,?,?,?)",
                  "hiiih", terms, (int64_t)serial, (int64_t)attempt, (int64_t)u->bytes, &u->hash);
}

enum sotto_status store_upload_get(struct store *s, const struct wire_hash *terms, uint64_t serial,
                                   uint32_t attempt, struct store_upload *out,
                                   struct sotto_error *err) {
    sqlite3_stmt *stmt;
    enum sotto_status status = db_one(s, &stmt, "upload", err,
                                      "SELECT bytes, hash FROM uploads WHERE terms_hash = ? AND "
                                      "serial = ? AND attempt = ?",
                                      "hii", terms, (int64_t)serial, (int64_t)attempt);
    if (status != SOTTO_OK)
        return status;
    out->bytes = (uint64_t)sqlite3_column_int64(stmt, 0);
    db_blob(stmt, 1, out->hash.b, WIRE_HASH, &status);
    db_done(stmt);
    return status == SOTTO_OK ? status
                              : SOTTO_FAIL(err, status, "store: an upload's record is damaged");
}

enum sotto_status store_upload_clear(struct store *s, const struct wire_hash *terms,
                                     struct sotto_error *err) {
    return db_run(s, err, "DELETE FROM uploads WHERE terms_hash = ?", "h", terms);
}

enum sotto_status store_outcome_set(struct store *s, uint64_t serial, const struct wire_hash *terms,
                                    sotto_Outcome outcome, int64_t now_ms,
                                    struct sotto_error *err) {
    return db_run(s, err,
                  "INSERT INTO outcomes (serial, terms_hash, outcome, at_ms) VALUES (?,?,?,?)"
                  " ON CONFLICT (serial, terms_hash) DO NOTHING",
                  "ihii", (int64_t)serial, terms, (int64_t)outcome, now_ms);
}

enum sotto_status store_outcome_get(struct store *s, uint64_t serial, const struct wire_hash *terms,
                                    sotto_Outcome *out, struct sotto_error *err) {
    sqlite3_stmt *stmt;
    enum sotto_status status =
        db_one(s, &stmt, "outcome", err,
               "SELECT outcome FROM outcomes WHERE serial = ? AND terms_hash = ?", "ih",
               (int64_t)serial, terms);
    if (status != SOTTO_OK)
        return status;
    *out = (sotto_Outcome)sqlite3_column_int(stmt, 0);
    db_done(stmt);
    return SOTTO_OK;
}
