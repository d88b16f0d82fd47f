/* Secure groups in the store: sessions, the messages of their members, closed exchanges. */
#include <string.h>

#include "store/store_int.h"

enum sotto_status store_secure_set(struct store *s, int64_t task, uint32_t round,
                                   const struct store_secure *g, struct sotto_error *err) {
    return db_run(
        s, err,
        "INSERT OR REPLACE INTO secure_groups (task, round, grp, attempt, state, members, sharers, "
        "survivors, signers, unmaskers, dropped_advertise, dropped_shares, dropped_masked, "
        "dropped_signature, dropped_unmask, degree, threshold, minimum, bad_shares, complete, "
        "beside, bytes_up, bytes_down, seconds, started_ms, ended_ms, session, reason) VALUES "
        "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        "iiiiiiiiiiiiiiiiiiiiiiidiibt", task, (int64_t)round, (int64_t)g->group,
        (int64_t)g->attempt, (int64_t)g->state, (int64_t)g->members, (int64_t)g->sharers,
        (int64_t)g->survivors, (int64_t)g->signers, (int64_t)g->unmaskers, (int64_t)g->dropped[0],
        (int64_t)g->dropped[1], (int64_t)g->dropped[2], (int64_t)g->dropped[3],
        (int64_t)g->dropped[4], (int64_t)g->degree, (int64_t)g->threshold, (int64_t)g->minimum,
        (int64_t)g->bad_shares, (int64_t)g->complete, (int64_t)g->beside, (int64_t)g->bytes_up,
        (int64_t)g->bytes_down, g->seconds, g->started_ms, g->ended_ms,
        view_of(g->session, sizeof g->session), g->reason);
}

static enum sotto_status secure_row(sqlite3_stmt *stmt, struct store_secure *g) {
    enum sotto_status status = SOTTO_OK;
    uint32_t *const numbers[] = {&g->group,      &g->attempt,    NULL,           &g->members,
                                 &g->sharers,    &g->survivors,  &g->signers,    &g->unmaskers,
                                 &g->dropped[0], &g->dropped[1], &g->dropped[2], &g->dropped[3],
                                 &g->dropped[4], &g->degree,     &g->threshold,  &g->minimum,
                                 &g->bad_shares};
    memset(g, 0, sizeof *g);
    for (int i = 0; i < (int)ARRAY_LEN(numbers); i++)
        if (numbers[i])
            *numbers[i] = (uint32_t)sqlite3_column_int64(stmt, i);
    g->state = (enum store_secure_state)sqlite3_column_int(stmt, 2);
    g->complete = sqlite3_column_int(stmt, 17) != 0;
    g->beside = sqlite3_column_int(stmt, 18) != 0;
    g->bytes_up = (uint64_t)sqlite3_column_int64(stmt, 19);
    g->bytes_down = (uint64_t)sqlite3_column_int64(stmt, 20);
    g->seconds = sqlite3_column_double(stmt, 21);
    g->started_ms = sqlite3_column_int64(stmt, 22);
    g->ended_ms = sqlite3_column_int64(stmt, 23);
    db_blob(stmt, 24, g->session, sizeof g->session, &status);
    db_text(stmt, 25, g->reason, sizeof g->reason);
    return status;
}

enum sotto_status store_secure_list(struct store *s, int64_t task, uint32_t round,
                                    struct store_secure **out, uint32_t *count,
                                    struct sotto_error *err) {
    sqlite3_stmt *stmt;
    bool row = false;
    struct store_secure *list = NULL;
    uint32_t n = 0, cap = 0;
    enum sotto_status status =
        db_bind(s, &stmt, err,
                "SELECT grp, attempt, state, members, sharers, survivors, signers, unmaskers, "
                "dropped_advertise, dropped_shares, dropped_masked, dropped_signature, "
                "dropped_unmask, degree, threshold, minimum, bad_shares, complete, beside, "
                "bytes_up, bytes_down, seconds, started_ms, ended_ms, session, reason FROM "
                "secure_groups WHERE task = ? AND round = ? ORDER BY grp, attempt",
                "ii", task, (int64_t)round);
    *out = NULL;
    *count = 0;
    while (status == SOTTO_OK && (status = db_step(s, stmt, &row, err)) == SOTTO_OK && row) {
        if (n == cap) {
            struct store_secure *grown = mem_resize(list, cap ? cap * 2 : 8, sizeof *list);
            if (!grown) {
                status = SOTTO_FAIL(err, SOTTO_NOMEM, "store: out of memory");
                break;
            }
            list = grown;
            cap = cap ? cap * 2 : 8;
        }
        if (secure_row(stmt, &list[n++]) != SOTTO_OK)
            status = SOTTO_FAIL(err, SOTTO_CORRUPT, "store: a secure group's record is damaged");
    }
    if (row)
        db_done(stmt);
    if (status != SOTTO_OK) {
        mem_free(list);
        return status;
    }
    *out = list;
    *count = n;
    return SOTTO_OK;
}

enum sotto_status store_groups_replace(struct store *s, int64_t task, uint32_t round,
                                       const struct round_group *groups, uint32_t group_count,
                                       struct sotto_error *err) {
    enum sotto_status status;
    TRY(db_run(s, err, "DELETE FROM groups WHERE task = ? AND round = ?", "ii", task,
               (int64_t)round));
    for (uint32_t i = 0; i < group_count; i++)
        TRY(db_run(s, err,
                   "INSERT INTO groups (task, round, grp, members, goal, minimum, state) VALUES "
                   "(?,?,?,?,?,?,?)",
                   "iiiiiii", task, (int64_t)round, (int64_t)i, (int64_t)groups[i].members,
                   (int64_t)groups[i].goal, (int64_t)groups[i].minimum, (int64_t)groups[i].state));
out:
    return status;
}

enum sotto_status store_member_group(struct store *s, int64_t task, uint32_t round, uint64_t serial,
                                     uint32_t group, uint32_t attempt, struct sotto_error *err) {
    return db_run(s, err,
                  "UPDATE members SET grp = ?, attempt = ? WHERE task = ? AND round = ? AND "
                  "serial = ?",
                  "iiiii", (int64_t)group, (int64_t)attempt, task, (int64_t)round, (int64_t)serial);
}

enum sotto_status store_message_add(struct store *s, int64_t task, uint32_t round, uint32_t group,
                                    uint32_t attempt, uint32_t exchange,
                                    const struct store_message *m, struct sotto_error *err) {
    return db_run(s, err,
                  "INSERT INTO secure_messages (task, round, grp, attempt, exchange, serial, "
                  "bytes, hash, body) VALUES (?,?,?,?,?,?,?,?,?)",
                  "iiiiiiihb", task, (int64_t)round, (int64_t)group, (int64_t)attempt,
                  (int64_t)exchange, (int64_t)m->serial, (int64_t)m->bytes, &m->hash, m->body);
}

enum sotto_status store_message_get(struct store *s, int64_t task, uint32_t round, uint32_t group,
                                    uint32_t attempt, uint32_t exchange, uint64_t serial,
                                    struct wire_hash *hash, struct sotto_error *err) {
    sqlite3_stmt *stmt;
    enum sotto_status status =
        db_one(s, &stmt, "message", err,
               "SELECT hash FROM secure_messages WHERE task = ? AND round = ? AND grp = ? AND "
               "attempt = ? AND exchange = ? AND serial = ?",
               "iiiiii", task, (int64_t)round, (int64_t)group, (int64_t)attempt, (int64_t)exchange,
               (int64_t)serial);
    if (status != SOTTO_OK)
        return status;
    db_blob(stmt, 0, hash->b, WIRE_HASH, &status);
    db_done(stmt);
    return status == SOTTO_OK ? status
                              : SOTTO_FAIL(err, status, "store: a message's record is damaged");
}

enum sotto_status store_message_each(struct store *s, int64_t task, uint32_t round, uint32_t group,
                                     uint32_t attempt, uint32_t exchange,
                                     enum sotto_status (*visit)(void *ctx,
                                                                const struct store_message *m),
                                     void *ctx, struct sotto_error *err) {
    sqlite3_stmt *stmt;
    bool row = false;
    enum sotto_status status =
        db_bind(s, &stmt, err,
                "SELECT serial, bytes, hash, body FROM secure_messages WHERE task = ? AND round = "
                "? AND grp = ? AND attempt = ? AND exchange = ? ORDER BY serial",
                "iiiii", task, (int64_t)round, (int64_t)group, (int64_t)attempt, (int64_t)exchange);
    while (status == SOTTO_OK && (status = db_step(s, stmt, &row, err)) == SOTTO_OK && row) {
        struct store_message m = {.serial = (uint64_t)sqlite3_column_int64(stmt, 0),
                                  .bytes = (uint64_t)sqlite3_column_int64(stmt, 1)};
        db_blob(stmt, 2, m.hash.b, WIRE_HASH, &status);
        if (status != SOTTO_OK) {
            (void)SOTTO_FAIL(err, status, "store: a message's record is damaged");
            break;
        }
        m.body = view_of(sqlite3_column_blob(stmt, 3), (size_t)sqlite3_column_bytes(stmt, 3));
        status = visit(ctx, &m);
    }
    if (row)
        db_done(stmt);
    return status;
}

enum sotto_status store_close_add(struct store *s, int64_t task, uint32_t round, uint32_t group,
                                  uint32_t attempt, uint32_t exchange, int64_t now_ms,
                                  struct sotto_error *err) {
    return db_run(s, err,
                  "INSERT OR REPLACE INTO secure_closes (task, round, grp, attempt, exchange, "
                  "at_ms) VALUES (?,?,?,?,?,?)",
                  "iiiiii", task, (int64_t)round, (int64_t)group, (int64_t)attempt,
                  (int64_t)exchange, now_ms);
}

enum sotto_status store_close_get(struct store *s, int64_t task, uint32_t round, uint32_t group,
                                  uint32_t attempt, uint32_t exchange, bool *closed,
                                  struct sotto_error *err) {
    sqlite3_stmt *stmt;
    enum sotto_status status =
        db_one(s, &stmt, "close", err,
               "SELECT count(*) FROM secure_closes WHERE task = ? AND round = ? AND grp = ? AND "
               "attempt = ? AND exchange = ?",
               "iiiii", task, (int64_t)round, (int64_t)group, (int64_t)attempt, (int64_t)exchange);
    if (status != SOTTO_OK)
        return status;
    *closed = sqlite3_column_int(stmt, 0) != 0;
    db_done(stmt);
    return SOTTO_OK;
}

enum sotto_status store_secure_asked(struct store *s, int64_t task, uint32_t round, uint64_t serial,
                                     bool *asked, struct sotto_error *err) {
    sqlite3_stmt *stmt;
    enum sotto_status status =
        db_one(s, &stmt, "member", err,
               "SELECT count(*) FROM members m JOIN secure_closes c ON c.task = m.task AND c.round "
               "= m.round AND c.grp = m.grp AND c.attempt = m.attempt AND c.exchange = 3 JOIN "
               "secure_messages g ON g.task = m.task AND g.round = m.round AND g.grp = m.grp AND "
               "g.attempt = m.attempt AND g.exchange = 3 AND g.serial = m.serial WHERE m.task = ? "
               "AND m.round = ? AND m.serial = ?",
               "iii", task, (int64_t)round, (int64_t)serial);
    if (status != SOTTO_OK)
        return status;
    *asked = sqlite3_column_int(stmt, 0) != 0;
    db_done(stmt);
    return SOTTO_OK;
}

enum sotto_status store_messages_clear(struct store *s, int64_t task, uint32_t round,
                                       uint32_t group, struct sotto_error *err) {
    enum sotto_status status;
    TRY(db_run(s, err, "DELETE FROM secure_messages WHERE task = ? AND round = ? AND grp = ?",
               "iii", task, (int64_t)round, (int64_t)group));
    TRY(db_run(s, err, "DELETE FROM secure_closes WHERE task = ? AND round = ? AND grp = ?", "iii",
               task, (int64_t)round, (int64_t)group));
out:
    return status;
}
