/* Model packages: the download under way, and the newest whole one of each task. */
#include "store/store_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static enum sotto_status part_row(struct devstore *s, struct devstore_part *out, char *file,
                                  struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    enum sotto_status status;
    TRY(db_first(s, err, &stmt, "download", "SELECT hash, bytes, delta, chunks, file FROM part",
                 ""));
    TRY(db_blob(s, stmt, 0, out->package.b, WIRE_HASH, err));
    out->bytes = (uint64_t)sqlite3_column_int64(stmt, 1);
    out->delta = sqlite3_column_int(stmt, 2) != 0;
    out->chunks = (uint32_t)sqlite3_column_int64(stmt, 3);
    snprintf(file, STORE_FILE_NAME, "%s", (const char *)sqlite3_column_text(stmt, 4));
out:
    sqlite3_finalize(stmt);
    return status;
}

enum sotto_status devstore_part_get(struct devstore *s, struct devstore_part *out,
                                    struct sotto_error *err) {
    char file[STORE_FILE_NAME];
    return part_row(s, out, file, err);
}

enum sotto_status devstore_part_drop(struct devstore *s, struct sotto_error *err) {
    struct devstore_part part;
    char file[STORE_FILE_NAME];
    enum sotto_status status = part_row(s, &part, file, NULL);
    if (status != SOTTO_OK)
        return status == SOTTO_NOT_FOUND ? SOTTO_OK : status;
    TRY(devstore_begin(s, err));
    status = db_exec(s, err, "DELETE FROM part", "");
    if (status == SOTTO_OK) {
        store_file_drop(s, file);
        status = devstore_commit(s, err);
    }
    if (status != SOTTO_OK)
        devstore_rollback(s);
out:
    return status;
}

/* Not synced: what a power cut takes away is seen by the package's hash, and fetched again. */
static enum sotto_status write_at(const char *path, uint64_t offset, struct view bytes,
                                  struct sotto_error *err) {
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    enum sotto_status status = SOTTO_OK;
    if (fd < 0)
        return SOTTO_FAIL_SYS(err, SOTTO_IO, "cannot open %.180s", path);
    while (bytes.n > 0 && status == SOTTO_OK) {
        const ssize_t n = pwrite(fd, bytes.p, bytes.n, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            status = SOTTO_FAIL_SYS(err, store_errno(errno), "cannot write %.180s", path);
            break;
        }
        bytes = view_of(bytes.p + n, bytes.n - (size_t)n);
        offset += (uint64_t)n;
    }
    close(fd);
    return status;
}

enum sotto_status devstore_part_add(struct devstore *s, const struct devstore_part *part,
                                    uint32_t chunk, struct view bytes, struct sotto_error *err) {
    struct devstore_part have;
    char file[STORE_FILE_NAME], path[IO_PATH_MAX];
    enum sotto_status status = devstore_begin(s, err);
    if (status != SOTTO_OK)
        return status;
    if (chunk == 0) {
        if (part_row(s, &have, file, NULL) == SOTTO_OK)
            store_file_drop(s, file);
        TRY(store_file_new(s, "part", view_of("", 0), file, err));
        TRY(db_exec(s, err, "INSERT OR REPLACE INTO part VALUES(1, ?, ?, ?, 0, ?)", "biit",
                    part->package.b, (size_t)WIRE_HASH, (int64_t)part->bytes, (int64_t)part->delta,
                    file));
    } else {
        TRY(part_row(s, &have, file, err));
        if (!wire_hash_equal(&have.package, &part->package) || have.chunks != chunk ||
            have.bytes != part->bytes)
            TRY_FAIL(err, SOTTO_STATE, "device store: chunk %u does not follow what is stored",
                     chunk);
    }
    TRY(store_file_path(s, file, path, sizeof path, err));
    TRY(write_at(path, (uint64_t)chunk * CHUNK_BYTES, bytes, err));
    TRY(db_exec(s, err, "UPDATE part SET chunks = ?", "i", (int64_t)chunk + 1));
    TRY(devstore_commit(s, err));
out:
    if (status != SOTTO_OK)
        devstore_rollback(s);
    return status;
}

enum sotto_status devstore_part_read(struct devstore *s, struct buf *out, struct sotto_error *err) {
    struct devstore_part part;
    char file[STORE_FILE_NAME];
    const enum sotto_status status = part_row(s, &part, file, err);
    return status == SOTTO_OK ? store_file_read(s, file, PACKAGE_BYTES_MAX, out, err) : status;
}

/* Drops the packages of a task but one. */
static enum sotto_status drop_others(struct devstore *s, const char *task,
                                     const struct wire_hash *keep, struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    enum sotto_status status =
        db_first(s, NULL, &stmt, "package", "SELECT file FROM package WHERE task = ? AND hash <> ?",
                 "tb", task, keep->b, (size_t)WIRE_HASH);
    while (status == SOTTO_OK) {
        store_file_drop(s, (const char *)sqlite3_column_text(stmt, 0));
        status = db_next(s, stmt, err);
    }
    sqlite3_finalize(stmt);
    if (status != SOTTO_NOT_FOUND)
        return status;
    return db_exec(s, err, "DELETE FROM package WHERE task = ? AND hash <> ?", "tb", task, keep->b,
                   (size_t)WIRE_HASH);
}

enum sotto_status devstore_package_put(struct devstore *s, const struct wire_hash *hash,
                                       const char *task, struct view bytes,
                                       struct sotto_error *err) {
    char file[STORE_FILE_NAME];
    sqlite3_stmt *stmt = NULL;
    enum sotto_status status = devstore_begin(s, err);
    if (status != SOTTO_OK)
        return status;
    status = db_first(s, NULL, &stmt, "package", "SELECT file FROM package WHERE hash = ?", "b",
                      hash->b, (size_t)WIRE_HASH);
    if (status == SOTTO_OK)
        store_file_drop(s, (const char *)sqlite3_column_text(stmt, 0));
    sqlite3_finalize(stmt);
    TRY(store_file_new(s, "package", bytes, file, err));
    TRY(db_exec(s, err,
                "INSERT OR REPLACE INTO package VALUES(?, ?, ?,"
                " (SELECT coalesce(max(stored), 0) + 1 FROM package), ?)",
                "btti", hash->b, (size_t)WIRE_HASH, task, file, clock_wall_ms()));
    TRY(drop_others(s, task, hash, err));
    TRY(devstore_part_drop(s, err));
    TRY(devstore_commit(s, err));
out:
    if (status != SOTTO_OK)
        devstore_rollback(s);
    return status;
}

enum sotto_status devstore_package_read(struct devstore *s, const struct wire_hash *hash,
                                        const char *task, struct buf *out,
                                        struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    enum sotto_status status =
        hash != NULL
            ? db_first(s, err, &stmt, "such package", "SELECT file FROM package WHERE hash = ?",
                       "b", hash->b, (size_t)WIRE_HASH)
            : db_first(s, err, &stmt, "model of this task yet",
                       "SELECT file FROM package WHERE task = ? ORDER BY stored DESC", "t", task);
    if (status == SOTTO_OK)
        status = store_file_read(s, (const char *)sqlite3_column_text(stmt, 0), PACKAGE_BYTES_MAX,
                                 out, err);
    sqlite3_finalize(stmt);
    return status;
}

enum sotto_status devstore_package_newest(struct devstore *s, struct wire_hash *out,
                                          struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    enum sotto_status status =
        db_first(s, err, &stmt, "package", "SELECT hash FROM package ORDER BY stored DESC", "");
    if (status == SOTTO_OK)
        status = db_blob(s, stmt, 0, out->b, WIRE_HASH, err);
    sqlite3_finalize(stmt);
    return status;
}

enum sotto_status devstore_package_drop(struct devstore *s, const struct wire_hash *hash,
                                        struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    enum sotto_status status = devstore_begin(s, err);
    if (status != SOTTO_OK)
        return status;
    if (db_first(s, NULL, &stmt, "package", "SELECT file FROM package WHERE hash = ?", "b", hash->b,
                 (size_t)WIRE_HASH) == SOTTO_OK)
        store_file_drop(s, (const char *)sqlite3_column_text(stmt, 0));
    sqlite3_finalize(stmt);
    TRY(db_exec(s, err, "DELETE FROM package WHERE hash = ?", "b", hash->b, (size_t)WIRE_HASH));
    TRY(devstore_commit(s, err));
out:
    if (status != SOTTO_OK)
        devstore_rollback(s);
    return status;
}
