/* Counters, the history of what the device did, and forgetting. */
#include "store/store_int.h"

#include <string.h>

#define BOOT_CHARS 40

/* Names this run of the machine; "" when there is no telling. */
static void boot_id(char out[BOOT_CHARS]) {
    struct buf b;
    buf_init(&b, BOOT_CHARS);
    out[0] = '\0';
    if (io_read_file("/proc/sys/kernel/random/boot_id", BOOT_CHARS, &b, NULL) == SOTTO_OK) {
        while (b.len > 0 && b.data[b.len - 1] == '\n')
            b.len--;
        if (b.len < BOOT_CHARS) {
            memcpy(out, b.data, b.len);
            out[b.len] = '\0';
        }
    }
    buf_deinit(&b);
}

enum sotto_status devstore_counters_get(struct devstore *s, struct devstore_counters *out,
                                        struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    char boot[BOOT_CHARS];
    const enum sotto_status status =
        db_first(s, err, &stmt, "counters",
                 "SELECT bytes_left, rounds_left, rounds_done,"
                 " bytes_up, bytes_down, boot, bucket_ms FROM counters",
                 "");
    if (status != SOTTO_OK)
        return status;
    out->bytes_left = sqlite3_column_double(stmt, 0);
    out->rounds_left = sqlite3_column_double(stmt, 1);
    out->rounds_done = (uint64_t)sqlite3_column_int64(stmt, 2);
    out->bytes_up = (uint64_t)sqlite3_column_int64(stmt, 3);
    out->bytes_down = (uint64_t)sqlite3_column_int64(stmt, 4);
    boot_id(boot);
    const bool same =
        boot[0] != '\0' && strcmp((const char *)sqlite3_column_text(stmt, 5), boot) == 0;
    out->bucket_ms = same ? (uint64_t)sqlite3_column_int64(stmt, 6) : 0;
    sqlite3_finalize(stmt);
    return SOTTO_OK;
}

enum sotto_status devstore_buckets_put(struct devstore *s, double bytes_left, double rounds_left,
                                       struct sotto_error *err) {
    char boot[BOOT_CHARS];
    boot_id(boot);
    return db_exec(s, err,
                   "UPDATE counters SET bytes_left = ?, rounds_left = ?, boot = ?, bucket_ms = ?",
                   "ffti", bytes_left, rounds_left, boot, (int64_t)clock_mono_ms());
}

enum sotto_status devstore_traffic_add(struct devstore *s, uint64_t up, uint64_t down,
                                       struct sotto_error *err) {
    return db_exec(s, err,
                   "UPDATE counters SET bytes_up = bytes_up + ?, bytes_down = bytes_down + ?", "ii",
                   (int64_t)up, (int64_t)down);
}

enum sotto_status devstore_history_add(struct devstore *s, int64_t now_ms, const char *task,
                                       uint32_t round, const char *text, struct sotto_error *err) {
    enum sotto_status status = devstore_begin(s, err);
    if (status != SOTTO_OK)
        return status;
    TRY(db_exec(s, err, "INSERT INTO history(at_ms, task, round, text) VALUES(?, ?, ?, ?)", "itit",
                now_ms, task, (int64_t)round, text));
    TRY(db_exec(s, err, "DELETE FROM history WHERE id <= (SELECT max(id) FROM history) - ?", "i",
                (int64_t)DEVSTORE_HISTORY));
    TRY(devstore_commit(s, err));
out:
    if (status != SOTTO_OK)
        devstore_rollback(s);
    return status;
}

enum sotto_status devstore_history_each(struct devstore *s, uint32_t limit,
                                        void (*visit)(void *ctx, const struct devstore_history *h),
                                        void *ctx, struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    enum sotto_status status =
        db_first(s, NULL, &stmt, "history",
                 "SELECT at_ms, task, round, text FROM history ORDER BY id DESC LIMIT ?", "i",
                 (int64_t)limit);
    while (status == SOTTO_OK) {
        const struct devstore_history h = {
            .at_ms = sqlite3_column_int64(stmt, 0),
            .task = (const char *)sqlite3_column_text(stmt, 1),
            .round = (uint32_t)sqlite3_column_int64(stmt, 2),
            .text = (const char *)sqlite3_column_text(stmt, 3),
        };
        visit(ctx, &h);
        status = db_next(s, stmt, err);
    }
    sqlite3_finalize(stmt);
    return status == SOTTO_NOT_FOUND ? SOTTO_OK : status;
}

enum sotto_status devstore_scrub(struct devstore *s, struct sotto_error *err) {
    return db_exec(s, err, "PRAGMA wal_checkpoint(TRUNCATE)", "");
}

enum sotto_status devstore_forget(struct devstore *s, struct sotto_error *err) {
    /* Identity, document, last rounds and counters stay: who wipes its data must not be able to
     * replay a round. */
    static const char *const wipe[] = {
        "DELETE FROM choice",         "DELETE FROM example",  "DELETE FROM collection",
        "DELETE FROM report",         "DELETE FROM residual", "DELETE FROM terms",
        "DELETE FROM part",           "DELETE FROM package",  "DELETE FROM control",
        "UPDATE task SET sealed = 1", /* what was begun is not begun again
                                       */
    };
    enum sotto_status status = devstore_begin(s, err);
    if (status != SOTTO_OK)
        return status;
    for (size_t i = 0; i < ARRAY_LEN(wipe); i++)
        TRY(db_exec(s, err, wipe[i], ""));
    TRY(devstore_commit(s, err));
    TRY(store_files_sweep(s, err));
    TRY(db_exec(s, err, "VACUUM", "")); /* before the log is emptied: it passes through that */
    TRY(devstore_scrub(s, err));
out:
    if (status != SOTTO_OK)
        devstore_rollback(s);
    return status;
}
