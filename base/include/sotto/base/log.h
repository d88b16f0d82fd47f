/* One line per event on stderr: key=value or JSON. Thread-safe. Never log keys, updates or
 * examples. */
#ifndef SOTTO_BASE_LOG_H
#define SOTTO_BASE_LOG_H

#include "sotto/base/status.h"

enum log_level { LOG_ERROR = 0, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT = 0, LOG_JSON };

enum log_type { LOG_T_END = 0, LOG_T_STR, LOG_T_U64, LOG_T_I64, LOG_T_F64 };
struct log_field {
    const char *key;
    enum log_type type;
    union {
        const char *s;
        uint64_t u;
        int64_t i;
        double f;
    } v;
};
#define LS(k, value) ((struct log_field){(k), LOG_T_STR, {.s = (value)}})
#define LU(k, value) ((struct log_field){(k), LOG_T_U64, {.u = (uint64_t)(value)}})
#define LI(k, value) ((struct log_field){(k), LOG_T_I64, {.i = (int64_t)(value)}})
#define LF(k, value) ((struct log_field){(k), LOG_T_F64, {.f = (double)(value)}})

/* LOG(LOG_INFO, "round.commit", LS("task", name), LU("round", n)); at least one field; the event id
 * is a stable, static "room.what". */
#define LOG(level, event, ...)                                                                     \
    log_write((level), (event), (const struct log_field[]){__VA_ARGS__, {NULL, LOG_T_END, {0}}})
void log_write(enum log_level level, const char *event, const struct log_field *fields);
/* Process-wide: set once at start by the tool. Defaults: LOG_INFO, LOG_TEXT, stderr. */
void log_setup(enum log_level level, enum log_format format);
/* Repeats of one event beyond burst a second are counted and reported as suppressed=N. 0 turns it
 * off. */
void log_limit(unsigned burst_per_second);
enum sotto_status log_level_parse(const char *text, enum log_level *out);

#endif
