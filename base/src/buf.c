/* The growable buffer and the bounds-checked reader. */
#include "sotto/base/buf.h"

#include <stdio.h>
#include <string.h>

#include "sotto/base/mem.h"
#include "sotto/base/num.h"
#include "utf8.h"

#define BUF_FIRST_CAP 64u

void buf_init(struct buf *b, size_t max_bytes) {
    *b = (struct buf){.max = max_bytes};
}

void buf_deinit(struct buf *b) {
    mem_free(b->data);
    *b = (struct buf){.max = b->max};
}

void buf_reset(struct buf *b) {
    b->len = 0;
    b->status = SOTTO_OK;
}

/* Room for n more bytes; false sets the sticky error. */
static bool reserve(struct buf *b, size_t n) {
    if (b->status != SOTTO_OK)
        return false;
    size_t need;
    if (!num_add_size(b->len, n, &need) || need > b->max) {
        b->status = SOTTO_LIMIT;
        return false;
    }
    if (need <= b->cap)
        return true;
    size_t cap = b->cap < BUF_FIRST_CAP ? BUF_FIRST_CAP : b->cap;
    while (cap < need)
        cap = cap > b->max / 2 ? b->max : cap * 2;
    if (cap > b->max)
        cap = b->max;
    uint8_t *data = mem_resize(b->data, cap, 1);
    if (data == NULL) {
        b->status = SOTTO_NOMEM;
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

uint8_t *buf_grow(struct buf *b, size_t n) {
    static uint8_t nothing; /* a place to point at when an empty buffer grows by nothing */
    if (!reserve(b, n))
        return NULL;
    uint8_t *p = b->data != NULL ? b->data + b->len : &nothing;
    b->len += n;
    return p;
}

void buf_put(struct buf *b, const void *p, size_t n) {
    uint8_t *to = buf_grow(b, n);
    if (to != NULL && n > 0)
        memcpy(to, p, n);
}

/* The n low bytes of v, lowest first. */
static void put_le(struct buf *b, uint64_t v, unsigned n) {
    uint8_t *to = buf_grow(b, n);
    if (to == NULL)
        return;
    for (unsigned i = 0; i < n; i++)
        to[i] = (uint8_t)(v >> (8 * i));
}

void buf_put_u8(struct buf *b, uint8_t v) {
    put_le(b, v, 1);
}

void buf_put_u16(struct buf *b, uint16_t v) {
    put_le(b, v, 2);
}

void buf_put_u32(struct buf *b, uint32_t v) {
    put_le(b, v, 4);
}

void buf_put_u64(struct buf *b, uint64_t v) {
    put_le(b, v, 8);
}

void buf_put_f32(struct buf *b, float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    put_le(b, bits, 4);
}

void buf_put_f64(struct buf *b, double v) {
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    put_le(b, bits, 8);
}

void buf_put_varint(struct buf *b, uint64_t v) {
    uint8_t bytes[10];
    size_t n = 0;
    do {
        bytes[n] = (uint8_t)(v & 0x7f);
        v >>= 7;
        if (v != 0)
            bytes[n] |= 0x80;
        n++;
    } while (v != 0);
    buf_put(b, bytes, n);
}

void buf_put_str(struct buf *b, const char *s) {
    const size_t n = strlen(s);
    buf_put_varint(b, n);
    buf_put(b, s, n);
}

void buf_printf(struct buf *b, const char *fmt, ...) {
    if (b->status != SOTTO_OK)
        return;
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    char small[256];
    const int n = vsnprintf(small, sizeof small, fmt, args);
    va_end(args);
    if (n < 0) {
        b->status = SOTTO_INVALID;
    } else if ((size_t)n < sizeof small) {
        buf_put(b, small, (size_t)n);
    } else {
        /* vsnprintf ends with a zero byte that is not part of the text: room for it, then off
         * again. */
        const size_t before = b->len;
        char *big = mem_alloc((size_t)n + 1);
        if (big == NULL)
            b->status = SOTTO_NOMEM;
        else if (vsnprintf(big, (size_t)n + 1, fmt, again) == n)
            buf_put(b, big, (size_t)n);
        else
            b->len = before;
        mem_free(big);
    }
    va_end(again);
}

uint8_t *buf_take(struct buf *b, size_t *len) {
    uint8_t *data = b->data;
    *len = b->len;
    *b = (struct buf){.max = b->max};
    return data;
}

void reader_init(struct reader *r, struct view v) {
    *r = (struct reader){.p = v.p, .n = v.n};
}

void reader_fail(struct reader *r, enum sotto_status status, const char *field) {
    if (r->status != SOTTO_OK)
        return;
    r->status = status;
    r->error_off = r->off;
    r->error_field = field;
}

size_t reader_left(const struct reader *r) {
    return r->status == SOTTO_OK ? r->n - r->off : 0;
}

/* n bytes, or NULL with the sticky error. */
static const uint8_t *take(struct reader *r, size_t n, const char *field) {
    if (r->status != SOTTO_OK)
        return NULL;
    if (n > r->n - r->off) {
        reader_fail(r, SOTTO_CORRUPT, field);
        return NULL;
    }
    const uint8_t *p = r->p + r->off;
    r->off += n;
    return p;
}

static uint64_t get_le(struct reader *r, unsigned n, const char *field) {
    const uint8_t *p = take(r, n, field);
    uint64_t v = 0;
    if (p != NULL)
        for (unsigned i = 0; i < n; i++)
            v |= (uint64_t)p[i] << (8 * i);
    return v;
}

uint8_t reader_u8(struct reader *r, const char *field) {
    return (uint8_t)get_le(r, 1, field);
}

uint16_t reader_u16(struct reader *r, const char *field) {
    return (uint16_t)get_le(r, 2, field);
}

uint32_t reader_u32(struct reader *r, const char *field) {
    return (uint32_t)get_le(r, 4, field);
}

uint64_t reader_u64(struct reader *r, const char *field) {
    return get_le(r, 8, field);
}

/* Steps back over a value that was read but is not acceptable, so that the error points at its
 * first byte. */
static void refuse(struct reader *r, size_t start, enum sotto_status status, const char *field) {
    if (r->status != SOTTO_OK)
        return;
    r->off = start;
    reader_fail(r, status, field);
}

float reader_f32(struct reader *r, const char *field) {
    const size_t start = r->off;
    const uint32_t bits = (uint32_t)get_le(r, 4, field);
    if ((bits & 0x7f800000u) == 0x7f800000u) {
        refuse(r, start, SOTTO_CORRUPT, field);
        return 0;
    }
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

double reader_f64(struct reader *r, const char *field) {
    const size_t start = r->off;
    const uint64_t bits = get_le(r, 8, field);
    if ((bits & 0x7ff0000000000000u) == 0x7ff0000000000000u) {
        refuse(r, start, SOTTO_CORRUPT, field);
        return 0;
    }
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

uint64_t reader_varint(struct reader *r, uint64_t max, const char *field) {
    const size_t start = r->off;
    uint64_t v = 0;
    for (unsigned shift = 0;; shift += 7) {
        const uint8_t *p = take(r, 1, field);
        if (p == NULL)
            return 0;
        /* Ten bytes at most, the tenth with one bit, and no padding with zero groups: one form per
         * value. */
        if ((shift == 63 && *p > 1) || (shift > 0 && *p == 0)) {
            refuse(r, start, SOTTO_CORRUPT, field);
            return 0;
        }
        v |= (uint64_t)(*p & 0x7f) << shift;
        if ((*p & 0x80) == 0)
            break;
    }
    if (v > max) {
        refuse(r, start, SOTTO_LIMIT, field);
        return 0;
    }
    return v;
}

struct view reader_bytes(struct reader *r, size_t n, const char *field) {
    const uint8_t *p = take(r, n, field);
    return p != NULL ? view_of(p, n) : view_of(NULL, 0);
}

void reader_str(struct reader *r, char *out, size_t cap, const char *field) {
    out[0] = '\0';
    const size_t start = r->off;
    const size_t n = (size_t)reader_varint(r, cap - 1, field);
    const uint8_t *p = take(r, n, field);
    if (p == NULL)
        return;
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        const size_t len = utf8_next(p + i, n - i, &cp);
        if (len == 0 || cp < 0x20 || (cp >= 0x7f && cp < 0xa0)) {
            refuse(r, start, SOTTO_CORRUPT, field);
            return;
        }
        i += len;
    }
    memcpy(out, p, n);
    out[n] = '\0';
}

enum sotto_status reader_finish(struct reader *r, bool at_end, const char *what,
                                struct sotto_error *err) {
    if (r->status != SOTTO_OK)
        return SOTTO_FAIL(err, r->status, "%s: field %s at byte %zu: %s", what,
                          r->error_field != NULL ? r->error_field : "?", r->error_off,
                          sotto_status_text(r->status));
    if (at_end && r->off != r->n)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "%s: field end at byte %zu: %zu bytes too many", what,
                          r->off, r->n - r->off);
    return SOTTO_OK;
}
