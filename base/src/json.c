/* The JSON writer. */
#include "sotto/base/json.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "sotto/base/num.h"
#include "utf8.h"

void json_init(struct json *j, struct buf *out) {
    *j = (struct json){.out = out};
}

/* What goes before a value: a comma between siblings, nothing right after a key. */
static void lead(struct json *j) {
    if (j->after_key) {
        j->after_key = false;
        return;
    }
    if (j->depth == 0)
        return;
    if (j->need_comma[j->depth - 1])
        buf_put_u8(j->out, ',');
    j->need_comma[j->depth - 1] = true;
}

static void open_with(struct json *j, char c) {
    lead(j);
    assert(j->depth < JSON_DEPTH_MAX);
    j->need_comma[j->depth++] = false;
    buf_put_u8(j->out, (uint8_t)c);
}

static void close_with(struct json *j, char c) {
    assert(j->depth > 0 && !j->after_key);
    j->depth--;
    buf_put_u8(j->out, (uint8_t)c);
}

void json_object_begin(struct json *j) {
    open_with(j, '{');
}

void json_object_end(struct json *j) {
    close_with(j, '}');
}

void json_array_begin(struct json *j) {
    open_with(j, '[');
}

void json_array_end(struct json *j) {
    close_with(j, ']');
}

static void put_text(struct buf *out, const char *s) {
    buf_put(out, s, strlen(s));
}

/* One ASCII character that may not stand for itself inside a string. */
static void put_escape(struct buf *out, uint32_t c) {
    switch (c) {
    case '"':
        put_text(out, "\\\"");
        break;
    case '\\':
        put_text(out, "\\\\");
        break;
    case '\n':
        put_text(out, "\\n");
        break;
    case '\r':
        put_text(out, "\\r");
        break;
    case '\t':
        put_text(out, "\\t");
        break;
    default:
        buf_printf(out, "\\u%04x", (unsigned)c);
        break;
    }
}

static void put_string(struct buf *out, const char *s) {
    const uint8_t *p = (const uint8_t *)s;
    const size_t n = strlen(s);
    buf_put_u8(out, '"');
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        const size_t len = utf8_next(p + i, n - i, &cp);
        if (len == 0) {
            put_text(out, "\\ufffd");
            i++;
            continue;
        }
        /* U+2028 and U+2029 end a line in JavaScript; escaped, a line of ours is a line everywhere.
         */
        if (cp < 0x20 || cp == '"' || cp == '\\' || cp == 0x7f || cp == 0x2028 || cp == 0x2029)
            put_escape(out, cp);
        else
            buf_put(out, p + i, len);
        i += len;
    }
    buf_put_u8(out, '"');
}

void json_key(struct json *j, const char *key) {
    assert(!j->after_key && j->depth > 0);
    lead(j);
    put_string(j->out, key);
    buf_put_u8(j->out, ':');
    j->after_key = true;
}

void json_str(struct json *j, const char *value) {
    if (value == NULL) {
        json_null(j);
        return;
    }
    lead(j);
    put_string(j->out, value);
}

void json_u64(struct json *j, uint64_t value) {
    lead(j);
    buf_printf(j->out, "%" PRIu64, value);
}

void json_i64(struct json *j, int64_t value) {
    lead(j);
    buf_printf(j->out, "%" PRId64, value);
}

void json_f64(struct json *j, double value) {
    char text[32];
    if (!isfinite(value)) {
        json_null(j);
        return;
    }
    lead(j);
    put_text(j->out, num_format_f64(text, sizeof text, value));
}

void json_bool(struct json *j, bool value) {
    lead(j);
    put_text(j->out, value ? "true" : "false");
}

void json_null(struct json *j) {
    lead(j);
    put_text(j->out, "null");
}

void json_hex(struct json *j, const uint8_t *bytes, size_t n) {
    lead(j);
    buf_put_u8(j->out, '"');
    for (size_t i = 0; i < n; i++) {
        char pair[3];
        buf_put(j->out, num_format_hex(pair, bytes + i, 1), 2);
    }
    buf_put_u8(j->out, '"');
}

void json_put_str(struct json *j, const char *key, const char *value) {
    json_key(j, key);
    json_str(j, value);
}

void json_put_u64(struct json *j, const char *key, uint64_t value) {
    json_key(j, key);
    json_u64(j, value);
}

void json_put_f64(struct json *j, const char *key, double value) {
    json_key(j, key);
    json_f64(j, value);
}

void json_put_bool(struct json *j, const char *key, bool value) {
    json_key(j, key);
    json_bool(j, value);
}
