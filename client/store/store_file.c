/* Files beside the database: written whole before their name is committed, removed after it is
 * gone. */
#include "store/store_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum sotto_status store_errno(int number) {
    return number == ENOSPC || number == EDQUOT || number == EFBIG ? SOTTO_FULL : SOTTO_IO;
}

enum sotto_status store_file_path(struct devstore *s, const char *name, char *path, size_t cap,
                                  struct sotto_error *err) {
    if (name == NULL || name[0] == '\0' || strchr(name, '/') != NULL)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "device store %.100s names no file", s->dir);
    return io_join(path, cap, s->files, name, err);
}

static enum sotto_status make_name(struct devstore *s, const char *kind, char *name, char *path,
                                   struct sotto_error *err) {
    uint8_t random[8];
    char hex[2 * sizeof random + 1];
    id_random(random, sizeof random);
    snprintf(name, STORE_FILE_NAME, "%s-%s", kind, num_format_hex(hex, random, sizeof random));
    return store_file_path(s, name, path, IO_PATH_MAX, err);
}

static void remember(struct devstore *s, const char *name) {
    if (s->fresh_count < STORE_GARBAGE)
        snprintf(s->fresh[s->fresh_count++], STORE_FILE_NAME, "%s", name);
}

enum sotto_status store_file_begin(struct devstore *s, const char *kind, char *name, int *fd,
                                   struct sotto_error *err) {
    char path[IO_PATH_MAX];
    const enum sotto_status status = make_name(s, kind, name, path, err);
    if (status != SOTTO_OK)
        return status;
    crash_point("file.before");
    *fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (*fd < 0) {
        s->failed = true;
        return SOTTO_FAIL_SYS(err, store_errno(errno), "cannot make %.180s", path);
    }
    remember(s, name);
    return SOTTO_OK;
}

enum sotto_status store_file_end(struct devstore *s, const char *name, int fd,
                                 struct sotto_error *err) {
    const bool synced = fsync(fd) == 0;
    const enum sotto_status status =
        synced ? io_fsync_dir(s->files, err)
               : SOTTO_FAIL_SYS(err, store_errno(errno), "cannot sync %s", name);
    if (status != SOTTO_OK) {
        s->failed = true;
        return status;
    }
    close(fd);
    crash_point("file.after");
    return SOTTO_OK;
}

enum sotto_status store_file_new(struct devstore *s, const char *kind, struct view bytes,
                                 char *name, struct sotto_error *err) {
    char path[IO_PATH_MAX];
    enum sotto_status status;
    TRY(make_name(s, kind, name, path, err));
    crash_point("file.before");
    const bool durable = strcmp(kind, "checkpoint") != 0; /* one that is lost costs some seconds */
    status = io_write_file(path, bytes.p, bytes.n, 0600, durable, err);
    if (status != SOTTO_OK) {
        s->failed = true;
        goto out;
    }
    crash_point("file.after");
    remember(s, name);
out:
    return status;
}

enum sotto_status store_file_read(struct devstore *s, const char *name, size_t max, struct buf *out,
                                  struct sotto_error *err) {
    char path[IO_PATH_MAX];
    const enum sotto_status status = store_file_path(s, name, path, sizeof path, err);
    return status == SOTTO_OK ? io_read_file(path, max, out, err) : status;
}

void store_file_drop(struct devstore *s, const char *name) {
    if (name == NULL || name[0] == '\0' || strlen(name) >= STORE_FILE_NAME)
        return;
    if (s->garbage_count < STORE_GARBAGE) /* the sweep takes what does not fit */
        snprintf(s->garbage[s->garbage_count++], STORE_FILE_NAME, "%s", name);
}

static enum sotto_status sweep_one(void *ctx, const char *name) {
    struct devstore *s = ctx;
    sqlite3_stmt *stmt = NULL;
    char path[IO_PATH_MAX];
    const enum sotto_status status =
        db_first(s, NULL, &stmt, "file",
                 "SELECT 1 FROM (SELECT file FROM package UNION ALL SELECT file FROM part"
                 " UNION ALL SELECT file FROM report UNION ALL SELECT decoded FROM report"
                 " UNION ALL SELECT file FROM residual UNION ALL SELECT checkpoint FROM terms"
                 " UNION ALL SELECT file FROM control UNION ALL SELECT change FROM report)"
                 " WHERE file = ?",
                 "t", name);
    sqlite3_finalize(stmt);
    if (status != SOTTO_NOT_FOUND)
        return status;
    if (store_file_path(s, name, path, sizeof path, NULL) == SOTTO_OK)
        (void)io_remove(path, NULL);
    return SOTTO_OK;
}

enum sotto_status store_files_sweep(struct devstore *s, struct sotto_error *err) {
    const enum sotto_status status = io_list(s->files, sweep_one, s, err);
    if (status != SOTTO_OK && (err == NULL || err->status == SOTTO_OK))
        return SOTTO_FAIL(err, status, "device store %.100s: cannot look through its files",
                          s->dir);
    return status;
}
