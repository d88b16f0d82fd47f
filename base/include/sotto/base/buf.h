/* Growable byte buffer with a stated maximum, and a bounds-checked reader. Both keep the first
 * error (sticky). */
#ifndef SOTTO_BASE_BUF_H
#define SOTTO_BASE_BUF_H

#include "sotto/base/status.h"

/* A borrowed slice. */
struct view {
    const uint8_t *p;
    size_t n;
};
static inline struct view view_of(const void *p, size_t n) {
    return (struct view){(const uint8_t *)p, n};
}

/* All multi-byte values are little-endian. After an error (LIMIT or NOMEM) further puts are
 * ignored. */
struct buf {
    uint8_t *data;
    size_t len;
    size_t cap;
    size_t max; /* never grows past this */
    enum sotto_status status;
};
void buf_init(struct buf *b, size_t max_bytes);
void buf_deinit(struct buf *b);
void buf_reset(struct buf *b); /* empties, keeps memory, clears the error */
void buf_put(struct buf *b, const void *p, size_t n);
uint8_t *buf_grow(struct buf *b, size_t n); /* n more bytes, uninitialised; NULL after an error */
void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_u16(struct buf *b, uint16_t v);
void buf_put_u32(struct buf *b, uint32_t v);
void buf_put_u64(struct buf *b, uint64_t v);
void buf_put_f32(struct buf *b, float v);
void buf_put_f64(struct buf *b, double v);
void buf_put_varint(struct buf *b, uint64_t v);                          /* LEB128 */
void buf_put_str(struct buf *b, const char *s);                          /* varint length, bytes */
void buf_printf(struct buf *b, const char *fmt, ...) SOTTO_PRINTF(2, 3); /* text, not terminated */
/* Hands the bytes over: the caller owns *data (mem_free), the buffer is empty again. */
uint8_t *buf_take(struct buf *b, size_t *len);
static inline struct view buf_view(const struct buf *b) {
    return (struct view){b->data, b->len};
}

/* Reads from a slice. Past the end, or after reader_fail, every get returns 0/NULL and the first
 * failure is kept. */
struct reader {
    const uint8_t *p;
    size_t n;
    size_t off;
    enum sotto_status status;
    size_t error_off;
    const char *error_field; /* static string */
};
void reader_init(struct reader *r, struct view v);
uint8_t reader_u8(struct reader *r, const char *field);
uint16_t reader_u16(struct reader *r, const char *field);
uint32_t reader_u32(struct reader *r, const char *field);
uint64_t reader_u64(struct reader *r, const char *field);
float reader_f32(struct reader *r, const char *field); /* NaN and infinity fail */
double reader_f64(struct reader *r, const char *field);
uint64_t reader_varint(struct reader *r, uint64_t max, const char *field);
struct view reader_bytes(struct reader *r, size_t n, const char *field); /* borrowed */
/* A varint-length string of at most cap-1 bytes, printable UTF-8, no NUL; copied and terminated. */
void reader_str(struct reader *r, char *out, size_t cap, const char *field);
void reader_fail(struct reader *r, enum sotto_status status, const char *field);
size_t reader_left(const struct reader *r);
/* OK when nothing failed and, if at_end, nothing is left; else fills err: "what: field F at byte N:
 * ...". */
enum sotto_status reader_finish(struct reader *r, bool at_end, const char *what,
                                struct sotto_error *err);

#endif
