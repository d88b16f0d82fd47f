/* Checked arithmetic and strict parsers: the whole text must be the value, nothing is guessed. */
#ifndef SOTTO_BASE_NUM_H
#define SOTTO_BASE_NUM_H

#include "sotto/base/status.h"

/* False on overflow; *out is then untouched. */
static inline bool num_add_size(size_t a, size_t b, size_t *out) {
    size_t r;
    if (__builtin_add_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}
static inline bool num_mul_size(size_t a, size_t b, size_t *out) {
    size_t r;
    if (__builtin_mul_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}
static inline bool num_add_u64(uint64_t a, uint64_t b, uint64_t *out) {
    uint64_t r;
    if (__builtin_add_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}
static inline bool num_mul_u64(uint64_t a, uint64_t b, uint64_t *out) {
    uint64_t r;
    if (__builtin_mul_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}
static inline uint64_t num_min_u64(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}
static inline uint64_t num_max_u64(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}
static inline size_t num_round_up(size_t n, size_t to) {
    return (n + to - 1) / to * to;
}

/* Decimal integers only: no sign for u64, no blanks, no leading zeros, no hex or octal, nothing
 * after. */
enum sotto_status num_parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *out,
                                struct sotto_error *err);
enum sotto_status num_parse_i64(const char *text, int64_t min, int64_t max, int64_t *out,
                                struct sotto_error *err);
/* Decimal floating point, finite, within [min, max]; "nan", "inf", hex and trailing text are
 * refused. */
enum sotto_status num_parse_f64(const char *text, double min, double max, double *out,
                                struct sotto_error *err);
/* "512", "64KiB", "10MiB", "2GiB", "5kB", "5MB" -> bytes. */
enum sotto_status num_parse_size(const char *text, uint64_t max, uint64_t *out,
                                 struct sotto_error *err);
/* "250ms", "5s", "2m", "1h", "7d" -> milliseconds. A bare number is refused: it has no unit. */
enum sotto_status num_parse_duration_ms(const char *text, uint64_t max_ms, uint64_t *out,
                                        struct sotto_error *err);
/* "true"/"false"/"yes"/"no"/"on"/"off". */
enum sotto_status num_parse_bool(const char *text, bool *out, struct sotto_error *err);
/* Exactly 2*n lower- or upper-case hex digits -> n bytes. */
enum sotto_status num_parse_hex(const char *text, uint8_t *out, size_t n, struct sotto_error *err);
/* n bytes -> 2*n lower-case digits and a terminator; out holds 2*n+1. Returns out. */
char *num_format_hex(char *out, const uint8_t *bytes, size_t n);
/* For people: "6.3 MiB", "812 B"; "1.4 s", "2 m 05 s". out holds at least 32. Returns out. */
char *num_format_size(char *out, size_t cap, uint64_t bytes);
char *num_format_duration(char *out, size_t cap, uint64_t ms);
/* A finite value as the shortest of %.9g..%.17g that reads back, with a point in every locale; out
 * holds at least 32. Returns out. */
char *num_format_f64(char *out, size_t cap, double value);

#endif
