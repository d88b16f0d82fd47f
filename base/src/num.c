/* Strict parsers and formatters of numbers, sizes and durations. */
#include "sotto/base/num.h"

#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUOTE_MAX 49 /* how much of a refused text a message shows */

/* The refused text, escaped and cut, for messages. */
static const char *quote(char *out, size_t cap, const char *text) {
    return sotto_escape(out, cap, text, strnlen(text, QUOTE_MAX));
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* Reads decimal digits; false when there is none, on a leading zero or on overflow. *end is behind
 * the last digit. */
static bool digits_u64(const char *text, uint64_t *out, const char **end) {
    uint64_t v = 0;
    const char *p = text;
    if (!is_digit(*p) || (*p == '0' && is_digit(p[1])))
        return false;
    for (; is_digit(*p); p++)
        if (__builtin_mul_overflow(v, 10u, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
            return false;
    *out = v;
    *end = p;
    return true;
}

/* Whether text is a whole number in form, whatever its size: decides between "not a number" and
 * "out of range". */
static bool looks_whole(const char *text) {
    if (!is_digit(*text) || (*text == '0' && is_digit(text[1])))
        return false;
    while (is_digit(*text))
        text++;
    return *text == '\0';
}

enum sotto_status num_parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *out,
                                struct sotto_error *err) {
    char q[4 * QUOTE_MAX + 1];
    uint64_t v = 0;
    const char *end = text;
    if (!looks_whole(text))
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "'%s' is not a whole number; allowed: %" PRIu64 " to %" PRIu64,
                          quote(q, sizeof q, text), min, max);
    if (!digits_u64(text, &v, &end) || v < min || v > max)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "'%s' is out of range; allowed: %" PRIu64 " to %" PRIu64,
                          quote(q, sizeof q, text), min, max);
    *out = v;
    return SOTTO_OK;
}

enum sotto_status num_parse_i64(const char *text, int64_t min, int64_t max, int64_t *out,
                                struct sotto_error *err) {
    char q[4 * QUOTE_MAX + 1];
    const bool negative = text[0] == '-';
    uint64_t v = 0;
    const char *end = text;
    if (!looks_whole(text + negative) || (negative && text[1] == '0'))
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "'%s' is not a whole number; allowed: %" PRId64 " to %" PRId64,
                          quote(q, sizeof q, text), min, max);
    const uint64_t most = (uint64_t)INT64_MAX + (negative ? 1u : 0u);
    bool ok = digits_u64(text + negative, &v, &end) && v <= most;
    const int64_t value = !ok ? 0 : negative ? (int64_t)(0u - v) : (int64_t)v;
    if (!ok || value < min || value > max)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "'%s' is out of range; allowed: %" PRId64 " to %" PRId64,
                          quote(q, sizeof q, text), min, max);
    *out = value;
    return SOTTO_OK;
}

/* -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)? ; *zero: all digits of the mantissa are 0. */
static bool looks_decimal(const char *p, bool *zero) {
    *zero = true;
    if (*p == '-')
        p++;
    if (!is_digit(*p) || (*p == '0' && is_digit(p[1])))
        return false;
    for (; is_digit(*p); p++)
        *zero = *zero && *p == '0';
    if (*p == '.') {
        p++;
        if (!is_digit(*p))
            return false;
        for (; is_digit(*p); p++)
            *zero = *zero && *p == '0';
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        if (*p == '+' || *p == '-')
            p++;
        if (!is_digit(*p))
            return false;
        while (is_digit(*p))
            p++;
    }
    return *p == '\0';
}

/* The C locale whatever the process set: a decimal comma must not change what a file means. Made
 * without allocation. */
static locale_t c_locale(void) {
    return newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

enum sotto_status num_parse_f64(const char *text, double min, double max, double *out,
                                struct sotto_error *err) {
    char q[4 * QUOTE_MAX + 1];
    bool zero;
    if (!looks_decimal(text, &zero))
        return SOTTO_FAIL(err, SOTTO_INVALID, "'%s' is not a number; allowed: %g to %g",
                          quote(q, sizeof q, text), min, max);
    locale_t c = c_locale();
    const double v = c != (locale_t)0 ? strtod_l(text, NULL, c) : strtod(text, NULL);
    if (c != (locale_t)0)
        freelocale(c);
    const bool vanished = v == 0.0 && !zero; /* 1e-999 is not 0 */
    if (!isfinite(v) || vanished || v < min || v > max)
        return SOTTO_FAIL(err, SOTTO_INVALID, "'%s' is out of range; allowed: %g to %g",
                          quote(q, sizeof q, text), min, max);
    *out = v;
    return SOTTO_OK;
}

struct unit {
    const char *suffix;
    uint64_t factor;
};

static const struct unit size_units[] = {
    {"", 1},
    {"B", 1},
    {"kB", 1000},
    {"MB", 1000000},
    {"GB", 1000000000},
    {"KiB", UINT64_C(1) << 10},
    {"MiB", UINT64_C(1) << 20},
    {"GiB", UINT64_C(1) << 30},
    {"TiB", UINT64_C(1) << 40},
};

static const struct unit duration_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000},
};

enum parsed { PARSED_OK, PARSED_MALFORMED, PARSED_RANGE };

static enum parsed parse_units(const char *text, const struct unit *units, size_t count,
                               uint64_t max, uint64_t *out) {
    uint64_t v = 0;
    const char *end = text;
    if (!is_digit(*text) || (*text == '0' && is_digit(text[1])))
        return PARSED_MALFORMED;
    const bool fits = digits_u64(text, &v, &end);
    if (!fits)
        for (end = text; is_digit(*end); end++)
            ;
    for (size_t i = 0; i < count; i++)
        if (strcmp(end, units[i].suffix) == 0) {
            uint64_t scaled;
            if (!fits || !num_mul_u64(v, units[i].factor, &scaled) || scaled > max)
                return PARSED_RANGE;
            *out = scaled;
            return PARSED_OK;
        }
    return PARSED_MALFORMED;
}

enum sotto_status num_parse_size(const char *text, uint64_t max, uint64_t *out,
                                 struct sotto_error *err) {
    char q[4 * QUOTE_MAX + 1], most[32];
    const enum parsed p = parse_units(text, size_units, ARRAY_LEN(size_units), max, out);
    if (p == PARSED_OK)
        return SOTTO_OK;
    return SOTTO_FAIL(err, SOTTO_INVALID, "'%s' is %s; allowed: 0 to %s", quote(q, sizeof q, text),
                      p == PARSED_RANGE ? "too large" : "not a size such as 512, 64KiB or 10MB",
                      num_format_size(most, sizeof most, max));
}

enum sotto_status num_parse_duration_ms(const char *text, uint64_t max_ms, uint64_t *out,
                                        struct sotto_error *err) {
    char q[4 * QUOTE_MAX + 1], most[32];
    const enum parsed p = parse_units(text, duration_units, ARRAY_LEN(duration_units), max_ms, out);
    if (p == PARSED_OK)
        return SOTTO_OK;
    return SOTTO_FAIL(err, SOTTO_INVALID, "'%s' is %s; allowed: 0 to %s", quote(q, sizeof q, text),
                      p == PARSED_RANGE ? "too long" : "not a duration such as 250ms, 5s or 2h",
                      num_format_duration(most, sizeof most, max_ms));
}

enum sotto_status num_parse_bool(const char *text, bool *out, struct sotto_error *err) {
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
    char q[4 * QUOTE_MAX + 1];
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strcmp(text, words[i]) == 0) {
            *out = i % 2 == 1;
            return SOTTO_OK;
        }
    return SOTTO_FAIL(err, SOTTO_INVALID,
                      "'%s' is not a switch; allowed: true, false, yes, no, on, off",
                      quote(q, sizeof q, text));
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

enum sotto_status num_parse_hex(const char *text, uint8_t *out, size_t n, struct sotto_error *err) {
    /* The text may be a key: no part of it goes into the message. */
    for (size_t i = 0; i < n; i++) {
        const int hi = hex_value(text[2 * i]);
        const int lo = hi < 0 ? -1 : hex_value(text[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return SOTTO_FAIL(err, SOTTO_INVALID,
                              "hex digit %zu is missing or wrong; %zu are needed",
                              2 * i + (hi < 0 ? 0u : 1u) + 1, 2 * n);
        out[i] = (uint8_t)(hi << 4 | lo);
    }
    if (text[2 * n] != '\0')
        return SOTTO_FAIL(err, SOTTO_INVALID, "more than %zu hex digits", 2 * n);
    return SOTTO_OK;
}

char *num_format_hex(char *out, const uint8_t *bytes, size_t n) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * n] = '\0';
    return out;
}

char *num_format_size(char *out, size_t cap, uint64_t bytes) {
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t unit = 0;
    uint64_t tenths = bytes; /* of the next unit, once there is one */
    if (bytes < 1024) {
        (void)snprintf(out, cap, "%" PRIu64 " B", bytes);
        return out;
    }
    uint64_t whole = bytes, rest = 0;
    while (whole >= 1024 && unit + 1 < ARRAY_LEN(names)) {
        rest = whole % 1024;
        whole /= 1024;
        unit++;
    }
    tenths = whole * 10 + (rest * 10 + 512) / 1024;
    if (tenths >= 10240 && unit + 1 < ARRAY_LEN(names)) {
        tenths = 10;
        unit++;
    }
    if (tenths % 10 == 0)
        (void)snprintf(out, cap, "%" PRIu64 " %s", tenths / 10, names[unit]);
    else
        (void)snprintf(out, cap, "%" PRIu64 ".%" PRIu64 " %s", tenths / 10, tenths % 10,
                       names[unit]);
    return out;
}

char *num_format_duration(char *out, size_t cap, uint64_t ms) {
    const uint64_t s = ms / 1000;
    if (ms < 1000)
        (void)snprintf(out, cap, "%" PRIu64 " ms", ms);
    else if (s < 60 && ms % 1000 >= 100)
        (void)snprintf(out, cap, "%" PRIu64 ".%" PRIu64 " s", s, ms % 1000 / 100);
    else if (s < 60)
        (void)snprintf(out, cap, "%" PRIu64 " s", s);
    else if (s < 3600)
        (void)snprintf(out, cap, "%" PRIu64 " m %02" PRIu64 " s", s / 60, s % 60);
    else if (s < 86400)
        (void)snprintf(out, cap, "%" PRIu64 " h %02" PRIu64 " m", s / 3600, s / 60 % 60);
    else
        (void)snprintf(out, cap, "%" PRIu64 " d %02" PRIu64 " h", s / 86400, s / 3600 % 24);
    return out;
}

char *num_format_f64(char *out, size_t cap, double value) {
    locale_t c = c_locale();
    const locale_t before = c != (locale_t)0 ? uselocale(c) : (locale_t)0;
    for (int digits = 9; digits <= 17; digits++) {
        (void)snprintf(out, cap, "%.*g", digits, value);
        if (strtod(out, NULL) == value)
            break;
    }
    if (c != (locale_t)0) {
        uselocale(before);
        freelocale(c);
    }
    return out;
}
