/* Golomb-Rice codes of the gaps between kept coordinates. Bits are packed lowest first. */
#include <math.h>
#include <string.h>

#include "codec_int.h"

uint64_t codec_rice_bits(const uint32_t *positions, uint32_t n, unsigned b) {
    uint64_t bits = (uint64_t)n * (b + 1);
    uint32_t next = 0;
    for (uint32_t i = 0; i < n; i++) {
        bits += (positions[i] - next) >> b;
        next = positions[i] + 1;
    }
    return bits;
}

unsigned codec_rice_star(uint32_t k, uint32_t n) {
    if (k == 0 || k >= n)
        return 0;
    /* Sattler et al. 2019, eq. 14, with phi - 1 = 0.618...: b* = 1 + floor(log2(ln(phi - 1) / ln(1
     * - p))). */
    const double ratio = log(0.61803398874989484820) / log1p(-(double)k / (double)n);
    const double b = 1.0 + floor(log2(ratio));
    return b <= 0.0 ? 0u : b >= (double)CODEC_RICE_MAX ? CODEC_RICE_MAX : (unsigned)b;
}

unsigned codec_rice_best(const uint32_t *positions, uint32_t n, uint32_t range, uint64_t *bits) {
    unsigned b = codec_rice_star(n, range);
    uint64_t cost = codec_rice_bits(positions, n, b);
    const unsigned star = b;
    while (b > 0) {
        const uint64_t lower = codec_rice_bits(positions, n, b - 1);
        if (lower >= cost)
            break;
        cost = lower;
        b--;
    }
    while (b == star && b < CODEC_RICE_MAX) {
        const uint64_t higher = codec_rice_bits(positions, n, b + 1);
        if (higher >= cost)
            break;
        cost = higher;
        b++;
    }
    *bits = cost;
    return b;
}

struct bit_writer {
    uint8_t *p;
    uint64_t acc;
    unsigned fill; /* < 8 between puts */
};

/* n <= 56 bits of v. */
static void put_bits(struct bit_writer *w, uint64_t v, unsigned n) {
    w->acc |= v << w->fill;
    w->fill += n;
    for (; w->fill >= 8; w->fill -= 8) {
        *w->p++ = (uint8_t)w->acc;
        w->acc >>= 8;
    }
}

void codec_rice_write(uint8_t *out, const uint32_t *positions, uint32_t n, unsigned b) {
    struct bit_writer w = {.p = out};
    uint32_t next = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t gap = positions[i] - next;
        uint32_t ones = gap >> b;
        next = positions[i] + 1;
        for (; ones > 32; ones -= 32)
            put_bits(&w, UINT32_MAX, 32);
        put_bits(&w, (UINT64_C(1) << ones) - 1, ones + 1);
        put_bits(&w, gap & ((1u << b) - 1u), b);
    }
    if (w.fill > 0)
        *w.p = (uint8_t)w.acc;
}

void codec_rice_init(struct codec_rice *r, struct view bytes, unsigned b, uint32_t range) {
    *r = (struct codec_rice){
        .start = bytes.p, .p = bytes.p, .end = bytes.p + bytes.n, .b = b, .range = range};
}

static uint64_t load_u64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

/* At least 56 bits, or all that are left. Whole bytes are counted in fill; the bits above it, if
 * any, are those that the next load puts there again. */
static inline void refill(struct codec_rice *r) {
    if (r->end - r->p >= 8) {
        r->acc |= load_u64(r->p) << r->fill;
        r->p += (63 - r->fill) >> 3;
        r->fill |= 56;
        return;
    }
    for (; r->fill < 56 && r->p < r->end; r->fill += 8)
        r->acc |= (uint64_t)*r->p++ << r->fill;
}

static inline void drop(struct codec_rice *r, unsigned n) {
    r->acc >>= n; /* n <= 63 */
    r->fill -= n;
}

/* A gap whose code is longer than the buffered bits; false past the end of the bytes or the range.
 */
static bool read_long(struct codec_rice *r, uint32_t *gap) {
    const uint32_t cap = (r->range - 1) >> r->b;
    uint64_t ones = 0;
    for (;;) {
        refill(r);
        const unsigned run = r->acc == UINT64_MAX ? 64u : (unsigned)__builtin_ctzll(~r->acc);
        if (run < r->fill) {
            ones += run;
            drop(r, run + 1);
            break;
        }
        if (r->fill == 0)
            return false;
        ones += r->fill;
        drop(r, r->fill);
        if (ones > cap)
            return false;
    }
    refill(r);
    if (ones > cap || r->fill < r->b)
        return false;
    *gap = (uint32_t)(ones << r->b) | (uint32_t)(r->acc & ((1u << r->b) - 1u));
    drop(r, r->b);
    return true;
}

const char *codec_rice_read(struct codec_rice *r, uint32_t *positions, uint32_t n, uint32_t base) {
    struct codec_rice at = *r; /* kept in registers */
    const unsigned b = at.b;
    const uint32_t mask = (1u << b) - 1u;
    for (uint32_t i = 0; i < n; i++) {
        refill(&at);
        const unsigned run = at.acc == UINT64_MAX ? 64u : (unsigned)__builtin_ctzll(~at.acc);
        uint32_t gap;
        if (run + 1 + b <= at.fill) {
            drop(&at, run + 1);
            gap = (run << b) | ((uint32_t)at.acc & mask);
            drop(&at, b);
        } else if (!read_long(&at, &gap)) {
            return "a gap that runs past the end";
        }
        if (gap >= at.range - at.next)
            return "a position outside of the block";
        positions[i] = base + at.next + gap;
        at.next += gap + 1;
    }
    *r = at;
    return NULL;
}

const char *codec_rice_finish(const struct codec_rice *r, size_t *used) {
    const unsigned padding = r->fill % 8;
    *used = (size_t)(r->p - r->start) - r->fill / 8;
    if ((r->acc & ((1u << padding) - 1u)) != 0)
        return "gaps that do not end in zero bits";
    return NULL;
}
