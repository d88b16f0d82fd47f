/* Devices and enrolment tickets in the store. */
#include <string.h>

#include "store/store_int.h"

enum sotto_status store_ticket_add(struct store *s, const struct id_ticket *t,
                                   struct sotto_error *err) {
    uint8_t bytes[ID_TICKET_BYTES];
    id_ticket_encode(t, bytes);
    enum sotto_status status = db_run(
        s, err, "INSERT INTO tickets (serial, ticket, curve_key, expiry_ms) VALUES (?, ?, ?, ?)",
        "ibbi", (int64_t)t->serial, view_of(bytes, sizeof bytes), view_of(t->curve_key, ID_KEY),
        t->expiry_ms);
    if (status == SOTTO_EXISTS)
        return SOTTO_FAIL(err, SOTTO_EXISTS, "ticket %llu is known already",
                          (unsigned long long)t->serial);
    return status;
}

static enum sotto_status ticket_row(sqlite3_stmt *stmt, struct store_ticket *out,
                                    struct sotto_error *err) {
    struct view bytes =
        view_of(sqlite3_column_blob(stmt, 0), (size_t)sqlite3_column_bytes(stmt, 0));
    out->spent = sqlite3_column_int(stmt, 1) != 0;
    return id_ticket_decode(bytes, NULL, &out->ticket, err);
}

enum sotto_status store_ticket_get(struct store *s, uint64_t serial, struct store_ticket *out,
                                   struct sotto_error *err) {
    sqlite3_stmt *stmt;
    enum sotto_status status =
        db_one(s, &stmt, "ticket", err, "SELECT ticket, spent FROM tickets WHERE serial = ?", "i",
               (int64_t)serial);
    if (status != SOTTO_OK)
        return status;
    status = ticket_row(stmt, out, err);
    db_done(stmt);
    return status;
}

enum sotto_status store_ticket_each_open(struct store *s, int64_t now_ms,
                                         enum sotto_status (*visit)(void *ctx,
                                                                    const struct store_ticket *t),
                                         void *ctx, struct sotto_error *err) {
    sqlite3_stmt *stmt;
    bool row = false;
    enum sotto_status status = db_bind(
        s, &stmt, err, "SELECT ticket, spent FROM tickets WHERE expiry_ms > ? ORDER BY serial", "i",
        now_ms);
    while (status == SOTTO_OK && (status = db_step(s, stmt, &row, err)) == SOTTO_OK && row) {
        struct store_ticket t;
        status = ticket_row(stmt, &t, err);
        if (status == SOTTO_OK)
            status = visit(ctx, &t);
    }
    if (row)
        db_done(stmt);
    return status;
}

enum sotto_status store_serial_reserve(struct store *s, uint64_t count, uint64_t *first,
                                       struct sotto_error *err) {
    struct buf b;
    buf_init(&b, 8);
    uint64_t next = 1;
    enum sotto_status status = store_meta_get(s, "next_serial", &b, NULL);
    if (status == SOTTO_OK && b.len == 8)
        memcpy(&next, b.data, 8);
    buf_deinit(&b);
    *first = next;
    if (!num_add_u64(next, count, &next) || next > (uint64_t)INT64_MAX)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "no serial numbers are left");
    return store_meta_set(s, "next_serial", view_of(&next, 8), err);
}

enum sotto_status store_device_add(struct store *s, const struct id_cert *cert, const char *version,
                                   int64_t now_ms, struct sotto_error *err) {
    enum sotto_status status =
        db_run(s, err,
               "INSERT INTO devices (serial, device_key, curve_key, version, enrolled_ms, seen_ms) "
               "VALUES (?,?,?,?,?,?)",
               "ibbtii", (int64_t)cert->ticket.serial, view_of(cert->device_key, ID_KEY),
               view_of(cert->device_curve, ID_KEY), version, now_ms, now_ms);
    if (status == SOTTO_EXISTS)
        return SOTTO_FAIL(err, SOTTO_DENIED, "device %llu: serial or key is enrolled already",
                          (unsigned long long)cert->ticket.serial);
    if (status != SOTTO_OK)
        return status;
    return db_run(s, err, "UPDATE tickets SET spent = 1 WHERE serial = ?", "i",
                  (int64_t)cert->ticket.serial);
}

#define DEVICE_COLUMNS                                                                             \
    "serial, device_key, curve_key, version, tier, backend, enrolled_ms, seen_ms, revoked_ms, "    \
    "rejected, reports, samples_per_s, bytes_up, bytes_down"

static enum sotto_status device_row(sqlite3_stmt *stmt, struct store_device *d,
                                    struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    d->serial = (uint64_t)sqlite3_column_int64(stmt, 0);
    db_blob(stmt, 1, d->device_key, ID_KEY, &status);
    db_blob(stmt, 2, d->curve_key, ID_KEY, &status);
    db_text(stmt, 3, d->version, sizeof d->version);
    db_text(stmt, 4, d->tier, sizeof d->tier);
    db_text(stmt, 5, d->backend, sizeof d->backend);
    d->enrolled_ms = sqlite3_column_int64(stmt, 6);
    d->seen_ms = sqlite3_column_int64(stmt, 7);
    d->revoked_ms = sqlite3_column_int64(stmt, 8);
    d->rejected = (uint64_t)sqlite3_column_int64(stmt, 9);
    d->reports = (uint64_t)sqlite3_column_int64(stmt, 10);
    d->samples_per_s = sqlite3_column_double(stmt, 11);
    d->bytes_up = (uint64_t)sqlite3_column_int64(stmt, 12);
    d->bytes_down = (uint64_t)sqlite3_column_int64(stmt, 13);
    if (status != SOTTO_OK)
        return SOTTO_FAIL(err, status, "store: device %llu has a damaged key",
                          (unsigned long long)d->serial);
    return SOTTO_OK;
}

enum sotto_status store_device_get(struct store *s, uint64_t serial, struct store_device *out,
                                   struct sotto_error *err) {
    sqlite3_stmt *stmt;
    enum sotto_status status =
        db_one(s, &stmt, "device", err, "SELECT " DEVICE_COLUMNS " FROM devices WHERE serial = ?",
               "i", (int64_t)serial);
    if (status != SOTTO_OK)
        return status;
    status = device_row(stmt, out, err);
    db_done(stmt);
    return status;
}

enum sotto_status store_device_each(struct store *s,
                                    enum sotto_status (*visit)(void *ctx,
                                                               const struct store_device *d),
                                    void *ctx, struct sotto_error *err) {
    sqlite3_stmt *stmt;
    bool row = false;
    enum sotto_status status =
        db_bind(s, &stmt, err, "SELECT " DEVICE_COLUMNS " FROM devices ORDER BY serial", "");
    while (status == SOTTO_OK && (status = db_step(s, stmt, &row, err)) == SOTTO_OK && row) {
        struct store_device d;
        status = device_row(stmt, &d, err);
        if (status == SOTTO_OK)
            status = visit(ctx, &d);
    }
    if (row)
        db_done(stmt);
    return status;
}

enum sotto_status store_device_seen(struct store *s, uint64_t serial, int64_t now_ms,
                                    const char *version, const char *tier, const char *backend,
                                    double samples_per_s, struct sotto_error *err) {
    return db_run(s, err,
                  "UPDATE devices SET seen_ms = ?, version = ?, tier = ?, backend = ?, "
                  "samples_per_s = ? WHERE serial = ?",
                  "itttdi", now_ms, version, tier, backend, samples_per_s, (int64_t)serial);
}

enum sotto_status store_device_moved(struct store *s, uint64_t serial, uint64_t up, uint64_t down,
                                     struct sotto_error *err) {
    return db_run(s, err,
                  "UPDATE devices SET bytes_up = bytes_up + ?, bytes_down = bytes_down + ? "
                  "WHERE serial = ?",
                  "iii", (int64_t)up, (int64_t)down, (int64_t)serial);
}

enum sotto_status store_device_count_report(struct store *s, uint64_t serial, bool rejected,
                                            struct sotto_error *err) {
    return db_run(
        s, err,
        "UPDATE devices SET reports = reports + ?, rejected = rejected + ? WHERE serial = ?", "iii",
        (int64_t)!rejected, (int64_t)rejected, (int64_t)serial);
}

enum sotto_status store_device_revoke(struct store *s, uint64_t serial, int64_t now_ms,
                                      struct sotto_error *err) {
    return db_run(s, err, "UPDATE devices SET revoked_ms = ? WHERE serial = ? AND revoked_ms = 0",
                  "ii", now_ms, (int64_t)serial);
}

enum sotto_status store_curve_known(struct store *s, const uint8_t curve_key[ID_KEY], bool *known,
                                    struct sotto_error *err) {
    sqlite3_stmt *stmt;
    struct view key = view_of(curve_key, ID_KEY);
    enum sotto_status status =
        db_one(s, &stmt, "count", err,
               "SELECT exists (SELECT 1 FROM tickets WHERE curve_key = ?) OR exists (SELECT 1 FROM "
               "devices WHERE curve_key = ?)",
               "bb", key, key);
    if (status != SOTTO_OK)
        return status;
    *known = sqlite3_column_int(stmt, 0) != 0;
    db_done(stmt);
    return SOTTO_OK;
}

enum sotto_status store_ticket_withdraw(struct store *s, uint64_t serial, struct sotto_error *err) {
    return db_run(s, err, "UPDATE tickets SET spent = 1 WHERE serial = ?", "i", (int64_t)serial);
}

enum sotto_status store_revoked(struct store *s, uint64_t **serials, uint32_t *count,
                                struct sotto_error *err) {
    sqlite3_stmt *stmt;
    *serials = NULL;
    *count = 0;
    enum sotto_status status =
        db_one(s, &stmt, "count", err, "SELECT count(*) FROM devices WHERE revoked_ms > 0", "");
    if (status != SOTTO_OK)
        return status;
    int64_t n = sqlite3_column_int64(stmt, 0);
    db_done(stmt);
    if (n == 0)
        return SOTTO_OK;
    if (n > (int64_t)ID_REVOKED_MAX)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "%lld revoked devices: a document holds at most %u",
                          (long long)n, ID_REVOKED_MAX);
    uint64_t *list = mem_array((size_t)n, sizeof *list);
    if (!list)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "store: out of memory");
    bool row = false;
    uint32_t i = 0;
    status = db_bind(s, &stmt, err,
                     "SELECT serial FROM devices WHERE revoked_ms > 0 ORDER BY serial", "");
    while (status == SOTTO_OK && (status = db_step(s, stmt, &row, err)) == SOTTO_OK && row &&
           i < (uint32_t)n)
        list[i++] = (uint64_t)sqlite3_column_int64(stmt, 0);
    if (row)
        db_done(stmt);
    *serials = list;
    *count = i;
    return status;
}
