/* Status codes and the error record that explains one. */
#ifndef SOTTO_BASE_STATUS_H
#define SOTTO_BASE_STATUS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SOTTO_NODISCARD    __attribute__((warn_unused_result))
#define SOTTO_NONNULL(...) __attribute__((nonnull(__VA_ARGS__)))
#define SOTTO_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* X(NAME, value, text, exit code of a tool, a retry may help). Values travel on the wire: append
 * only. */
#define SOTTO_STATUS_MAP(X)                                                                        \
    X(OK, 0, "ok", 0, 0)                                                                           \
    X(INVALID, 1, "invalid value", 1, 0)                                                           \
    X(USAGE, 2, "wrong usage", 2, 0)                                                               \
    X(CONFIG, 3, "invalid configuration", 78, 0)                                                   \
    X(IO, 4, "input/output error", 1, 1)                                                           \
    X(NOMEM, 5, "out of memory", 1, 1)                                                             \
    X(LIMIT, 6, "limit exceeded", 1, 0)                                                            \
    X(CORRUPT, 7, "corrupt data", 1, 0)                                                            \
    X(NOT_FOUND, 8, "not found", 1, 0)                                                             \
    X(EXISTS, 9, "already exists", 1, 0)                                                           \
    X(DENIED, 10, "denied", 1, 0)                                                                  \
    X(UNREACHABLE, 11, "unreachable", 3, 1)                                                        \
    X(TIMEOUT, 12, "timed out", 3, 1)                                                              \
    X(UNSUPPORTED, 13, "not supported", 1, 0)                                                      \
    X(STATE, 14, "not possible in this state", 1, 0)                                               \
    X(CANCELLED, 15, "cancelled", 1, 1)                                                            \
    X(BUSY, 16, "busy", 3, 1)                                                                      \
    X(VERSION, 17, "unknown version", 1, 0)                                                        \
    X(FULL, 18, "full", 1, 1)                                                                      \
    X(INTERNAL, 19, "internal error", 1, 0)                                                        \
    X(CHECK, 20, "check failed", 4, 0)

enum sotto_status {
#define SOTTO_STATUS_ENUM(name, value, text, exit, retry) SOTTO_##name = value,
    SOTTO_STATUS_MAP(SOTTO_STATUS_ENUM)
#undef SOTTO_STATUS_ENUM
};

/* What failed, on what, and what to do. Owned by the caller; every function that takes one accepts
 * NULL. */
struct sotto_error {
    enum sotto_status status;
    int sys_errno;    /* errno when a system call failed, otherwise 0 */
    const char *file; /* static string: where the error arose */
    int line;
    char message[256]; /* one line, terminated, no secrets, peer bytes escaped */
};

#define SOTTO_ERROR_INIT                                                                           \
    { SOTTO_OK, 0, "", 0, "" }

/* Short text of a status ("out of memory"); unknown values give "unknown status". */
const char *sotto_status_text(enum sotto_status status);
/* The name of a status ("NOMEM"). */
const char *sotto_status_name(enum sotto_status status);
/* The exit code a tool ends with for this status (operations: 0, 1, 2, 3 retryable, 4 check, 78
 * config). */
int sotto_status_exit(enum sotto_status status);
/* Whether the same call may succeed later. */
bool sotto_status_retryable(enum sotto_status status);

/* Fills err (may be NULL) and returns status. Use through SOTTO_FAIL. */
enum sotto_status sotto_error_set(struct sotto_error *err, enum sotto_status status, int sys_errno,
                                  const char *file, int line, const char *fmt, ...)
    SOTTO_PRINTF(6, 7);
/* Puts "prefix: " before the message of an error already set; for callers that know the object.
 * Returns err's status, INTERNAL for NULL: never OK, so that it can be returned on. */
enum sotto_status sotto_error_prefix(struct sotto_error *err, const char *fmt, ...)
    SOTTO_PRINTF(2, 3);
/* Copies len peer-controlled bytes into out (size cap, terminated), controls and non-ASCII as \xNN.
 * Returns out. */
const char *sotto_escape(char *out, size_t cap, const void *bytes, size_t len);

#define SOTTO_FAIL(err, status, ...)                                                               \
    sotto_error_set((err), (status), 0, __FILE__, __LINE__, __VA_ARGS__)
/* The same for a failed system call: appends strerror(errno). */
#define SOTTO_FAIL_SYS(err, status, ...)                                                           \
    sotto_error_set((err), (status), errno, __FILE__, __LINE__, __VA_ARGS__)

/* For functions with `enum sotto_status status` and one `out:` label that frees in reverse. */
#define TRY(expr)                                                                                  \
    do {                                                                                           \
        status = (expr);                                                                           \
        if (status != SOTTO_OK)                                                                    \
            goto out;                                                                              \
    } while (0)
#define TRY_FAIL(...)                                                                              \
    do {                                                                                           \
        status = SOTTO_FAIL(__VA_ARGS__);                                                          \
        goto out;                                                                                  \
    } while (0)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
