/* Writes JSON into a buf: commas, escapes and number forms are its business. Values that are not
 * finite become null. */
#ifndef SOTTO_BASE_JSON_H
#define SOTTO_BASE_JSON_H

#include "sotto/base/buf.h"

#define JSON_DEPTH_MAX 16

struct json {
    struct buf *out; /* borrowed */
    int depth;
    bool need_comma[JSON_DEPTH_MAX];
    bool after_key;
};
void json_init(struct json *j, struct buf *out);
void json_object_begin(struct json *j);
void json_object_end(struct json *j);
void json_array_begin(struct json *j);
void json_array_end(struct json *j);
void json_key(struct json *j, const char *key);
void json_str(struct json *j, const char *value); /* NULL -> null; invalid UTF-8 is replaced */
void json_u64(struct json *j, uint64_t value);
void json_i64(struct json *j, int64_t value);
void json_f64(struct json *j, double value); /* shortest of %.9g..%.17g that reads back */
void json_bool(struct json *j, bool value);
void json_null(struct json *j);
void json_hex(struct json *j, const uint8_t *bytes, size_t n);
/* key and value in one. */
void json_put_str(struct json *j, const char *key, const char *value);
void json_put_u64(struct json *j, const char *key, uint64_t value);
void json_put_f64(struct json *j, const char *key, double value);
void json_put_bool(struct json *j, const char *key, bool value);

#endif
