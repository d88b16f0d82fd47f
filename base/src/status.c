/* Status names and texts from the one list, and the error record's setters. */
#include "sotto/base/status.h"

#include <stdio.h>
#include <string.h>

struct status_row {
    const char *name;
    const char *text;
    int exit_code;
    bool retryable;
};

static const struct status_row rows[] = {
#define STATUS_ROW(name, value, text, exit, retry) [value] = {#name, text, exit, (retry) != 0},
    SOTTO_STATUS_MAP(STATUS_ROW)
#undef STATUS_ROW
};

static const struct status_row *row_of(enum sotto_status status) {
    const size_t i = (size_t)status; /* a negative value from the wire becomes huge */
    return i < ARRAY_LEN(rows) && rows[i].name != NULL ? &rows[i] : NULL;
}

const char *sotto_status_text(enum sotto_status status) {
    const struct status_row *row = row_of(status);
    return row != NULL ? row->text : "unknown status";
}

const char *sotto_status_name(enum sotto_status status) {
    const struct status_row *row = row_of(status);
    return row != NULL ? row->name : "UNKNOWN";
}

int sotto_status_exit(enum sotto_status status) {
    const struct status_row *row = row_of(status);
    return row != NULL ? row->exit_code : 1;
}

bool sotto_status_retryable(enum sotto_status status) {
    const struct status_row *row = row_of(status);
    return row != NULL && row->retryable;
}

/* strerror_r comes in two shapes; the return types choose between them at compile time in no
 * portable way, so both are avoided: strerrordesc_np is glibc's, thread-safe and returns a static
 * string. */
static const char *errno_text(int sys_errno) {
    const char *text = strerrordesc_np(sys_errno);
    return text != NULL ? text : "unknown system error";
}

/* One line: a message that quotes something odd must not break a log in two. */
static void flatten(char *s) {
    for (; *s != '\0'; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            *s = ' ';
}

enum sotto_status sotto_error_set(struct sotto_error *err, enum sotto_status status, int sys_errno,
                                  const char *file, int line, const char *fmt, ...) {
    if (err == NULL)
        return status;
    err->status = status;
    err->sys_errno = sys_errno;
    err->file = file;
    err->line = line;
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(err->message, sizeof err->message, fmt, args);
    va_end(args);
    if (n < 0)
        err->message[0] = '\0';
    size_t used = strlen(err->message);
    if (sys_errno != 0)
        (void)snprintf(err->message + used, sizeof err->message - used, ": %s",
                       errno_text(sys_errno));
    flatten(err->message);
    return status;
}

enum sotto_status sotto_error_prefix(struct sotto_error *err, const char *fmt, ...) {
    if (err == NULL) /* nothing to say, and its status is not known: a failure all the same */
        return SOTTO_INTERNAL;
    char old[sizeof err->message];
    memcpy(old, err->message, sizeof old);
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(err->message, sizeof err->message, fmt, args);
    va_end(args);
    if (n < 0)
        err->message[0] = '\0';
    size_t used = strlen(err->message);
    (void)snprintf(err->message + used, sizeof err->message - used, ": %s", old);
    flatten(err->message);
    return err->status;
}

const char *sotto_escape(char *out, size_t cap, const void *bytes, size_t len) {
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = bytes;
    size_t o = 0;
    if (cap == 0)
        return out;
    for (size_t i = 0; i < len; i++) {
        const bool plain = p[i] >= 0x20 && p[i] < 0x7f && p[i] != '\\';
        if (o + (plain ? 1u : 4u) >= cap)
            break;
        if (plain) {
            out[o++] = (char)p[i];
            continue;
        }
        out[o++] = '\\';
        out[o++] = 'x';
        out[o++] = digits[p[i] >> 4];
        out[o++] = digits[p[i] & 15];
    }
    out[o] = '\0';
    return out;
}
