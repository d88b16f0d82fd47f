/* Tensors to bytes and back: fp32, int8 per output channel, int4 in blocks of 32 with an fp16
 * scale. */
#include "package/package_int.h"

#include <math.h>
#include <string.h>

#define HALF_MAX         65504.0f
#define QUANT_WEIGHT_MAX 1e36f /* so that 127 scales stay finite */
#define QUANT_PIECE      512u  /* values checked at a time */

static uint32_t float_bits(float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

uint16_t quant_half_from(float v) {
    uint32_t bits = float_bits(v), sign = bits >> 16 & 0x8000u, mag = bits & 0x7fffffffu;
    if (mag >= 0x47800000u) /* 65536 and up, infinity, NaN */
        return (uint16_t)(sign | (mag > 0x7f800000u ? 0x7e00u : 0x7c00u));
    uint32_t shift = 13, value = mag;
    if (mag >= 0x38800000u) { /* normal: from exponent bias 127 to 15 */
        value -= 112u << 23;
    } else { /* subnormal: units of 2^-24 */
        uint32_t exponent = mag >> 23;
        if (exponent < 102)
            return (uint16_t)sign;
        value = (mag & 0x7fffffu) | 0x800000u;
        shift = 126 - exponent;
    }
    uint32_t half = value >> shift, rest = value & ((1u << shift) - 1), mid = 1u << (shift - 1);
    if (rest > mid || (rest == mid && (half & 1)))
        half++;
    return (uint16_t)(sign | half);
}

float quant_half_to(uint16_t h) {
    uint32_t exponent = h >> 10 & 31u, mantissa = h & 0x3ffu;
    float v;
    if (exponent == 31)
        v = mantissa ? NAN : INFINITY;
    else
        v = exponent ? ldexpf((float)(mantissa | 0x400u), (int)exponent - 25)
                     : ldexpf((float)mantissa, -24);
    return h & 0x8000u ? -v : v;
}

/* Nearest, ties to even (the default rounding mode), clamped. */
static int32_t quantize_one(float v, float scale, float top) {
    float q = rintf(v / scale);
    q = q > top ? top : q < -top ? -top : q;
    return (int32_t)q;
}

enum quant_form quant_form_of(const struct layout *l, uint32_t segment,
                              enum package_precision precision) {
    if (precision == PACKAGE_F32 || l->segments[segment].kind != LAYOUT_WEIGHT)
        return QUANT_F32;
    if (precision == PACKAGE_I8)
        return QUANT_I8;
    bool first = true, last = true;
    for (uint32_t s = 0; s < l->segment_count; s++) {
        if (l->segments[s].kind != LAYOUT_WEIGHT)
            continue;
        first &= s >= segment;
        last &= s <= segment;
    }
    return first || last ? QUANT_I8 : QUANT_I4;
}

uint32_t quant_channels(const struct layout_segment *s) {
    return s->dims[s->rank - 1];
}

uint64_t quant_bytes(const struct layout_segment *s, enum quant_form form) {
    uint64_t n = s->count;
    switch (form) {
    case QUANT_F32:
        return 4 * n;
    case QUANT_I8:
        return 4 * (uint64_t)quant_channels(s) + n;
    case QUANT_I4:
        return 2 * ((n + QUANT_BLOCK - 1) / QUANT_BLOCK) + (n + 1) / 2;
    }
    return 0;
}

static void put_f32(const float *w, uint32_t n, struct buf *out) {
    buf_put(out, w, 4 * (size_t)n); /* little-endian in memory, as everywhere */
}

/* scale[c] = max|w[.][c]| / 127, as the kernels' QUANT_I8; 1 for a channel of zeros. */
static void find_scales(const float *w, uint32_t rows, uint32_t channels, float *scales) {
    memset(scales, 0, channels * sizeof *scales);
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t c = 0; c < channels; c++)
            scales[c] = fmaxf(scales[c], fabsf(w[(size_t)r * channels + c]));
    for (uint32_t c = 0; c < channels; c++) {
        scales[c] /= 127.0f;
        if (!(scales[c] > 0.0f))
            scales[c] = 1.0f;
    }
}

static enum sotto_status put_i8(const struct layout_segment *s, const float *w, struct buf *out,
                                struct sotto_error *err) {
    uint32_t channels = quant_channels(s), rows = s->count / channels;
    if (vec_max_abs_f32(w, s->count) > QUANT_WEIGHT_MAX)
        return SOTTO_FAIL(err, SOTTO_INVALID, "tensor %s: a weight is too large for int8", s->name);
    float *scales = mem_array(channels, sizeof *scales);
    if (!scales)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "tensor %s: scales of %u channels", s->name, channels);
    find_scales(w, rows, channels, scales);
    put_f32(scales, channels, out);
    uint8_t *q = buf_grow(out, s->count);
    for (uint32_t r = 0; q && r < rows; r++)
        for (uint32_t c = 0; c < channels; c++) {
            size_t i = (size_t)r * channels + c;
            q[i] = (uint8_t)quantize_one(w[i], scales[c], 127.0f);
        }
    mem_free(scales);
    return SOTTO_OK; /* out keeps its own failure */
}

/* Blocks in layout order: an fp16 scale = max|w| / 7, then two values a byte (low nibble first) as
 * q + 8, q in -7..7. */
static enum sotto_status put_i4(const struct layout_segment *s, const float *w, struct buf *out,
                                struct sotto_error *err) {
    for (uint32_t at = 0; at < s->count; at += QUANT_BLOCK) {
        uint32_t n = s->count - at < QUANT_BLOCK ? s->count - at : QUANT_BLOCK;
        float top = vec_max_abs_f32(w + at, n) / 7.0f;
        if (top > HALF_MAX)
            return SOTTO_FAIL(err, SOTTO_INVALID, "tensor %s: %g is too large for int4", s->name,
                              (double)top * 7);
        uint16_t half = quant_half_from(top);
        float scale = quant_half_to(half);
        buf_put_u16(out, half);
        for (uint32_t i = 0; i < n; i += 2) {
            uint32_t pair = 0x88;
            for (uint32_t k = 0; k < 2 && i + k < n; k++) {
                int32_t q = scale > 0 ? quantize_one(w[at + i + k], scale, 7.0f) : 0;
                pair = (pair & ~(15u << 4 * k)) | (uint32_t)(q + 8) << 4 * k;
            }
            buf_put_u8(out, (uint8_t)pair);
        }
    }
    return SOTTO_OK;
}

enum sotto_status quant_put(const struct layout_segment *s, enum quant_form form, const float *w,
                            struct buf *out, struct sotto_error *err) {
    switch (form) {
    case QUANT_F32:
        put_f32(w, s->count, out);
        return SOTTO_OK;
    case QUANT_I8:
        return put_i8(s, w, out, err);
    case QUANT_I4:
        return put_i4(s, w, out, err);
    }
    return SOTTO_FAIL(err, SOTTO_INTERNAL, "unknown form of a tensor");
}

/* ---- Reading: all of a tensor is checked first, then any part of it unpacks without a failure
 * ----
 */

static void check_f32(const struct layout_segment *s, struct reader *r, struct quant_tensor *out) {
    struct view v = reader_bytes(r, 4 * (size_t)s->count, "fp32 tensor");
    if (r->status != SOTTO_OK)
        return;
    out->bytes = v.p;
    for (size_t at = 0; at < s->count; at += QUANT_PIECE) { /* the bytes lie at any address */
        float piece[QUANT_PIECE];
        size_t n = s->count - at < QUANT_PIECE ? s->count - at : QUANT_PIECE;
        memcpy(piece, v.p + 4 * at, 4 * n);
        if (!vec_all_finite_f32(piece, n)) {
            reader_fail(r, SOTTO_CORRUPT, "fp32 tensor");
            return;
        }
    }
}

static void check_i8(const struct layout_segment *s, struct reader *r, float *scales,
                     struct quant_tensor *out) {
    size_t scales_at = r->off;
    for (uint32_t c = 0; c < quant_channels(s); c++) {
        float scale = reader_f32(r, "scale of a channel");
        if (!(scale > 0.0f && scale <= QUANT_WEIGHT_MAX / 100))
            reader_fail(r, SOTTO_CORRUPT, "scale of a channel");
        scales[c] = scale;
    }
    struct view q = reader_bytes(r, s->count, "int8 weights");
    if (r->status != SOTTO_OK)
        return;
    out->bytes = q.p;
    out->scales = scales;
    if (memchr(q.p, (unsigned char)INT8_MIN, q.n)) {
        r->off = scales_at;
        reader_fail(r, SOTTO_CORRUPT, "int8 weights");
    }
}

static int32_t nibble(const uint8_t *q, uint32_t i) {
    return (int32_t)(q[i / 2] >> 4 * (i & 1) & 15) - 8;
}

static void check_i4(const struct layout_segment *s, struct reader *r, struct quant_tensor *out) {
    for (uint32_t at = 0; at < s->count && r->status == SOTTO_OK; at += QUANT_BLOCK) {
        uint32_t n = s->count - at < QUANT_BLOCK ? s->count - at : QUANT_BLOCK;
        struct view half = reader_bytes(r, 2, "scale of a block");
        if (r->status != SOTTO_OK)
            return;
        if (at == 0)
            out->bytes = half.p;
        float scale = quant_half_to((uint16_t)(half.p[0] | half.p[1] << 8));
        if (!(scale >= 0.0f && scale <= HALF_MAX))
            reader_fail(r, SOTTO_CORRUPT, "scale of a block");
        struct view q = reader_bytes(r, (n + 1) / 2, "int4 weights");
        if (r->status != SOTTO_OK)
            return;
        for (uint32_t i = 0; i < 2 * ((n + 1) / 2); i++)
            if (nibble(q.p, i) == -8 || (i >= n && nibble(q.p, i) != 0))
                reader_fail(r, SOTTO_CORRUPT, "int4 weights");
    }
}

void quant_check(const struct layout_segment *s, enum quant_form form, struct reader *r,
                 float *scales, struct quant_tensor *out) {
    *out = (struct quant_tensor){.form = form};
    switch (form) {
    case QUANT_F32:
        check_f32(s, r, out);
        return;
    case QUANT_I8:
        check_i8(s, r, scales, out);
        return;
    case QUANT_I4:
        check_i4(s, r, out);
        return;
    }
}

/* Row by row: values first to first + count of rows of `channels`, the first and last perhaps in
 * part. */
static void unpack_i8(const struct quant_tensor *t, uint32_t channels, uint32_t first,
                      uint32_t count, float *w) {
    const int8_t *codes = (const int8_t *)t->bytes + first;
    for (uint32_t c = first % channels; count > 0; c = 0) {
        const uint32_t n = channels - c < count ? channels - c : count;
        vec_dequant_row_f32(w, codes, t->scales + c, n);
        w += n;
        codes += n;
        count -= n;
    }
}

static void unpack_i4(const struct quant_tensor *t, uint32_t first, uint32_t count, float *w) {
    const size_t block_bytes = 2 + QUANT_BLOCK / 2;
    while (count > 0) {
        const uint8_t *block = t->bytes + block_bytes * (first / QUANT_BLOCK);
        const float scale = quant_half_to((uint16_t)(block[0] | block[1] << 8));
        const uint32_t at = first % QUANT_BLOCK;
        const uint32_t n = QUANT_BLOCK - at < count ? QUANT_BLOCK - at : count;
        for (uint32_t i = 0; i < n; i++)
            w[i] = scale * (float)nibble(block + 2, at + i);
        w += n;
        first += n;
        count -= n;
    }
}

void quant_unpack(const struct layout_segment *s, const struct quant_tensor *t, uint32_t first,
                  uint32_t count, float *w) {
    switch (t->form) {
    case QUANT_F32: /* little-endian on the wire and in memory */
        memcpy(w, t->bytes + 4 * (size_t)first, 4 * (size_t)count);
        return;
    case QUANT_I8:
        unpack_i8(t, quant_channels(s), first, count, w);
        return;
    case QUANT_I4:
        unpack_i4(t, first, count, w);
        return;
    }
}

void quant_get(const struct layout_segment *s, enum quant_form form, struct reader *r, float *w) {
    const uint32_t channels = quant_channels(s);
    struct quant_tensor t;
    quant_check(s, form, r, w, &t);
    if (r->status != SOTTO_OK)
        return;
    if (form != QUANT_I8) {
        quant_unpack(s, &t, 0, s->count, w);
        return;
    }
    quant_unpack(s, &t, channels, s->count - channels, w + channels); /* the scales wait in row 0 */
    quant_unpack(s, &t, 0, channels, w);
}
