/* What the files of the device's store share: the connection, statements with bound values, files
 * beside the database. */
#ifndef SOTTO_CLIENT_STORE_INT_H
#define SOTTO_CLIENT_STORE_INT_H

#include "store/devstore.h"

#include <sqlite3.h>

#define STORE_FILE_NAME 64
#define STORE_GARBAGE   64

struct devstore {
    char dir[IO_PATH_MAX], files[IO_PATH_MAX];
    int lock_fd;
    sqlite3 *db;
    unsigned depth; /* of begin */
    bool failed;    /* something inside the transaction failed: it can only be rolled back */
    uint64_t bytes_max, age_max_ms;
    /* Files to remove when the transaction is committed, and when it is rolled back. */
    char garbage[STORE_GARBAGE][STORE_FILE_NAME];
    uint32_t garbage_count;
    char fresh[STORE_GARBAGE][STORE_FILE_NAME];
    uint32_t fresh_count;
};

/* Prepares sql and binds one value per letter of types: i int64_t, f double, t const char * (NULL
 * is null), b const void * and size_t, and runs it to the end. */
enum sotto_status db_exec(struct devstore *s, struct sotto_error *err, const char *sql,
                          const char *types, ...);
/* The same, but leaves the statement at its first row: OK, and *out is the caller's to finalize;
 * NOT_FOUND without a row (and *out is NULL then; err is filled with `what`). */
enum sotto_status db_first(struct devstore *s, struct sotto_error *err, sqlite3_stmt **out,
                           const char *what, const char *sql, const char *types, ...);
/* OK: another row; NOT_FOUND: no more (err untouched). */
enum sotto_status db_next(struct devstore *s, sqlite3_stmt *stmt, struct sotto_error *err);
enum sotto_status db_fail(struct devstore *s, int rc, const char *doing, struct sotto_error *err);
/* A column that must be a blob of n bytes. */
enum sotto_status db_blob(struct devstore *s, sqlite3_stmt *stmt, int column, void *out, size_t n,
                          struct sotto_error *err);
void crash_point(const char *name);
/* FULL for the errno of a disk, quota or file-size limit that is full, else IO. */
enum sotto_status store_errno(int number);

enum sotto_status store_migrate(struct devstore *s, struct sotto_error *err);

/* Writes and syncs a new file; name (STORE_FILE_NAME) is what a row keeps. It is removed again if
 * the transaction fails. */
enum sotto_status store_file_new(struct devstore *s, const char *kind, struct view bytes,
                                 char *name, struct sotto_error *err);
/* The same in two steps, for content that is written in pieces to *fd, which end closes (and so
 * does the caller after an error). */
enum sotto_status store_file_begin(struct devstore *s, const char *kind, char *name, int *fd,
                                   struct sotto_error *err);
enum sotto_status store_file_end(struct devstore *s, const char *name, int fd,
                                 struct sotto_error *err);
enum sotto_status store_file_path(struct devstore *s, const char *name, char *path, size_t cap,
                                  struct sotto_error *err);
enum sotto_status store_file_read(struct devstore *s, const char *name, size_t max, struct buf *out,
                                  struct sotto_error *err);
/* Removed once the transaction holds. NULL and "" are fine. */
void store_file_drop(struct devstore *s, const char *name);
/* count values as a new file; most of them may be 0. */
enum sotto_status store_vector_write(struct devstore *s, const char *kind, const float *values,
                                     uint32_t count, char *name, struct sotto_error *err);
/* values[i] = (or +=) what the file holds. CORRUPT leaves them as they are, unless the file's own
 * writer was wrong. */
enum sotto_status store_vector_read(struct devstore *s, const char *name, bool add, float *values,
                                    uint32_t count, struct sotto_error *err);
/* Inside a transaction: the training's checkpoint goes. */
void store_checkpoint_drop(struct devstore *s);
/* Inside a transaction: the terms are done with training, their report lies in file; residual,
 * decoded update and control variate as in seal (without its report). */
struct store_report {
    char file[STORE_FILE_NAME];
    uint64_t bytes;
    struct wire_hash hash;
    enum { STORE_UNMASKED = 0, STORE_CODES = 1, STORE_MASKED = 2 } masks; /* what file holds */
    int64_t now_ms;
};
enum sotto_status store_seal(struct devstore *s, const struct devstore_seal *seal,
                             const struct store_report *report, struct sotto_error *err);
/* Inside a transaction: what became of the newest session under these terms. */
enum sotto_status store_secure_outcome(struct devstore *s, const struct wire_hash *terms,
                                       sotto_Outcome outcome, struct sotto_error *err);
/* Removes every file that no row names. */
enum sotto_status store_files_sweep(struct devstore *s, struct sotto_error *err);

#endif
