/* Exact products of int8 by NEON: a tile of 8 x 8 sums, in one of three ways by what the processor
 * has. Packed operands, k in groups of G (zeros past its end):
 * - smlal (any processor): both widened to 16 bits, G = 1, one multiplier by lane;
 * - sdot (dot products, A55, A76 and later): G = 4, four products a lane;
 * - smmla (int8 matrix products, A510, A710 and later): G = 8, 2 x 8 by 8 x 2.
 * Sums of 32 bits never overflow (kernels.h), so every way gives the same bits. */
#if defined(__aarch64__)
#include <arm_neon.h>

#include "neon/product.h"

#define TILE    8
#define K_BLOCK 512
#define M_BLOCK 128

#define DOT  __attribute__((target("arch=armv8.2-a+dotprod")))
#define I8MM __attribute__((target("arch=armv8.2-a+i8mm")))

/* sums[row][column] over groups of k. */
typedef void i8_tile_fn(const int8_t *a, const int8_t *b, size_t groups, int32_t sums[TILE][TILE]);
/* Eight columns of len rows of B, ldb bytes apart (columns < 8: zeros past them). */
typedef void i8_pack_b_fn(const int8_t *b, size_t ldb, size_t columns, size_t len, int8_t *dst);
/* Up to 8 rows of A, lda bytes apart. */
typedef void i8_pack_a_fn(const int8_t *a, size_t lda, size_t rows, size_t len, int8_t *dst);

struct i8_way {
    size_t group;
    size_t bytes; /* of a packed element */
    i8_tile_fn *tile;
    i8_pack_a_fn *pack_a;
    i8_pack_b_fn *pack_b;
};

#define ROWS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define ZERO(r) int32x4_t x##r = vdupq_n_s32(0), y##r = x##r;
#define STORE(r)                                                                                   \
    vst1q_s32(sums[r], x##r);                                                                      \
    vst1q_s32(sums[r] + 4, y##r);

static int8x8_t load_columns(const int8_t *b, size_t columns) {
    int8_t some[TILE] = {0};
    if (columns == TILE)
        return vld1_s8(b);
    memcpy(some, b, columns);
    return vld1_s8(some);
}

/* ---- smlal ---- */

#define WIDE(r)                                                                                    \
    x##r = vmlal_laneq_s16(x##r, vget_low_s16(vb), va, r);                                         \
    y##r = vmlal_high_laneq_s16(y##r, vb, va, r);
static void tile_wide(const int8_t *a, const int8_t *b, size_t groups, int32_t sums[TILE][TILE]) {
    ROWS(ZERO)
#pragma GCC unroll 2
    for (; groups; groups--, a += 16, b += 16) {
        const int16x8_t va = vreinterpretq_s16_s8(vld1q_s8(a));
        const int16x8_t vb = vreinterpretq_s16_s8(vld1q_s8(b));
        ROWS(WIDE)
    }
    ROWS(STORE)
}

static void pack_b_wide(const int8_t *b, size_t ldb, size_t columns, size_t len, int8_t *dst) {
    for (; len; len--, b += ldb, dst += 16)
        vst1q_s8(dst, vreinterpretq_s8_s16(vmovl_s8(load_columns(b, columns))));
}

static void pack_a_wide(const int8_t *a, size_t lda, size_t rows, size_t len, int8_t *dst) {
    for (size_t k = 0; k < len; k++, dst += 16)
        for (size_t r = 0; r < TILE; r++) {
            const int16_t v = r < rows ? a[r * lda + k] : 0;
            memcpy(dst + 2 * r, &v, 2);
        }
}

/* ---- sdot ---- */

#define DOTS(r)                                                                                    \
    x##r = vdotq_laneq_s32(x##r, b0, (r) < 4 ? a0 : a1, (r) % 4);                                  \
    y##r = vdotq_laneq_s32(y##r, b1, (r) < 4 ? a0 : a1, (r) % 4);
DOT static void tile_dot(const int8_t *a, const int8_t *b, size_t groups,
                         int32_t sums[TILE][TILE]) {
    ROWS(ZERO)
#pragma GCC unroll 2
    for (; groups; groups--, a += 32, b += 32) {
        const int8x16_t a0 = vld1q_s8(a), a1 = vld1q_s8(a + 16);
        const int8x16_t b0 = vld1q_s8(b), b1 = vld1q_s8(b + 16);
        ROWS(DOTS)
    }
    ROWS(STORE)
}

/* Four rows of eight columns become [column][4]. */
static inline void zip_rows(const int8x8_t r[4], int8x16_t out[2]) {
    const int16x8_t low =
        vreinterpretq_s16_s8(vcombine_s8(vzip1_s8(r[0], r[1]), vzip2_s8(r[0], r[1])));
    const int16x8_t high =
        vreinterpretq_s16_s8(vcombine_s8(vzip1_s8(r[2], r[3]), vzip2_s8(r[2], r[3])));
    out[0] = vreinterpretq_s8_s16(vzip1q_s16(low, high));
    out[1] = vreinterpretq_s8_s16(vzip2q_s16(low, high));
}
static inline void four_rows(const int8_t *b, size_t ldb, int8x16_t out[2]) {
    const int8x8_t r[4] = {vld1_s8(b), vld1_s8(b + ldb), vld1_s8(b + 2 * ldb),
                           vld1_s8(b + 3 * ldb)};
    zip_rows(r, out);
}
/* The same at an edge: zeros past the columns and rows there are. */
static void some_rows(const int8_t *b, size_t ldb, size_t columns, size_t rows, int8x16_t out[2]) {
    int8x8_t r[4];
    for (size_t i = 0; i < 4; i++)
        r[i] = i < rows ? load_columns(b + i * ldb, columns) : vdup_n_s8(0);
    zip_rows(r, out);
}

static void pack_b_dot(const int8_t *b, size_t ldb, size_t columns, size_t len, int8_t *dst) {
    int8x16_t v[2];
    for (size_t k = 0; k < len; k += 4, b += 4 * ldb, dst += 32) {
        if (columns == TILE && len - k >= 4)
            four_rows(b, ldb, v);
        else
            some_rows(b, ldb, columns, len - k < 4 ? len - k : 4, v);
        vst1q_s8(dst, v[0]);
        vst1q_s8(dst + 16, v[1]);
    }
}

/* [group][row][group bytes], for groups of 4 and of 8. */
static void pack_a_groups(const int8_t *a, size_t lda, size_t rows, size_t len, int8_t *dst,
                          size_t group) {
    for (size_t k = 0; k < len; k += group) {
        const size_t n = len - k < group ? len - k : group;
        for (size_t r = 0; r < TILE; r++, dst += group) {
            memset(dst, 0, group);
            if (r < rows)
                memcpy(dst, a + r * lda + k, n);
        }
    }
}
static void pack_a_dot(const int8_t *a, size_t lda, size_t rows, size_t len, int8_t *dst) {
    const size_t whole = rows == TILE ? len / 4 * 4 : 0;
    for (size_t k = 0; k < whole; k += 4)
        for (size_t r = 0; r < TILE; r++, dst += 4)
            memcpy(dst, a + r * lda + k, 4);
    pack_a_groups(a + whole, lda, rows, len - whole, dst, 4);
}

/* ---- smmla ---- */

#define MATRIX(r)                                                                                  \
    m##r##0 = vmmlaq_s32(m##r##0, a##r, b0);                                                       \
    m##r##1 = vmmlaq_s32(m##r##1, a##r, b1);                                                       \
    m##r##2 = vmmlaq_s32(m##r##2, a##r, b2);                                                       \
    m##r##3 = vmmlaq_s32(m##r##3, a##r, b3);
#define MATRIX_ZERO(r)                                                                             \
    int32x4_t m##r##0 = vdupq_n_s32(0), m##r##1 = m##r##0, m##r##2 = m##r##0, m##r##3 = m##r##0;
/* A 2 x 2 result is [row 0: two columns][row 1: two columns]. */
#define MATRIX_STORE(r)                                                                            \
    vst1q_s32(sums[2 * (r)], vcombine_s32(vget_low_s32(m##r##0), vget_low_s32(m##r##1)));          \
    vst1q_s32(sums[2 * (r)] + 4, vcombine_s32(vget_low_s32(m##r##2), vget_low_s32(m##r##3)));      \
    vst1q_s32(sums[2 * (r) + 1], vcombine_s32(vget_high_s32(m##r##0), vget_high_s32(m##r##1)));    \
    vst1q_s32(sums[2 * (r) + 1] + 4, vcombine_s32(vget_high_s32(m##r##2), vget_high_s32(m##r##3)));
#define PAIRS(X) X(0) X(1) X(2) X(3)
I8MM static void tile_matrix(const int8_t *a, const int8_t *b, size_t groups,
                             int32_t sums[TILE][TILE]) {
    PAIRS(MATRIX_ZERO)
#pragma GCC unroll 2
    for (; groups; groups--, a += 64, b += 64) {
        const int8x16_t a0 = vld1q_s8(a), a1 = vld1q_s8(a + 16), a2 = vld1q_s8(a + 32);
        const int8x16_t a3 = vld1q_s8(a + 48), b0 = vld1q_s8(b), b1 = vld1q_s8(b + 16);
        const int8x16_t b2 = vld1q_s8(b + 32), b3 = vld1q_s8(b + 48);
        PAIRS(MATRIX)
    }
    PAIRS(MATRIX_STORE)
}

static void pack_b_matrix(const int8_t *b, size_t ldb, size_t columns, size_t len, int8_t *dst) {
    int8x16_t low[2], high[2];
    for (size_t k = 0; k < len; k += 8, b += 8 * ldb, dst += 64) {
        const size_t rows = len - k < 8 ? len - k : 8;
        if (columns == TILE && rows == 8) {
            four_rows(b, ldb, low);
            four_rows(b + 4 * ldb, ldb, high);
        } else {
            some_rows(b, ldb, columns, rows < 4 ? rows : 4, low);
            some_rows(b + 4 * ldb, ldb, columns, rows < 4 ? 0 : rows - 4, high);
        }
        for (int h = 0; h < 2; h++) {
            const int32x4_t l = vreinterpretq_s32_s8(low[h]), u = vreinterpretq_s32_s8(high[h]);
            vst1q_s8(dst + 32 * h, vreinterpretq_s8_s32(vzip1q_s32(l, u)));
            vst1q_s8(dst + 32 * h + 16, vreinterpretq_s8_s32(vzip2q_s32(l, u)));
        }
    }
}

static void pack_a_matrix(const int8_t *a, size_t lda, size_t rows, size_t len, int8_t *dst) {
    const size_t whole = rows == TILE ? len / 8 * 8 : 0;
    for (size_t k = 0; k < whole; k += 8)
        for (size_t r = 0; r < TILE; r++, dst += 8)
            vst1_s8(dst, vld1_s8(a + r * lda + k));
    pack_a_groups(a + whole, lda, rows, len - whole, dst, 8);
}

/* ---- The product ---- */

static const struct i8_way ways[] = {
    [NEON_I8_WIDE] = {1, 2, tile_wide, pack_a_wide, pack_b_wide},
    [NEON_I8_DOT] = {4, 1, tile_dot, pack_a_dot, pack_b_dot},
    [NEON_I8_MATRIX] = {8, 1, tile_matrix, pack_a_matrix, pack_b_matrix},
};

size_t neon_gemm_i8_scratch(const struct kern_instr *in) {
    (void)in;
    return (M_BLOCK + TILE) * (size_t)K_BLOCK * 2;
}

static void put_sums(int32_t sums[TILE][TILE], size_t rows, size_t columns, bool add, int32_t *c,
                     size_t ldc) {
    for (size_t r = 0; r < rows; r++, c += ldc) {
        if (columns == TILE) {
            int32x4_t x = vld1q_s32(sums[r]), y = vld1q_s32(sums[r] + 4);
            if (add)
                x = vaddq_s32(x, vld1q_s32(c)), y = vaddq_s32(y, vld1q_s32(c + 4));
            vst1q_s32(c, x);
            vst1q_s32(c + 4, y);
            continue;
        }
        for (size_t j = 0; j < columns; j++)
            c[j] = sums[r][j] + (add ? c[j] : 0);
    }
}

void neon_gemm_i8(const struct kern_ctx *ctx, const struct kern_instr *in) {
    const struct kern_gemm *g = &in->u.gemm;
    const int8_t *a = kern_ptr(ctx, in, 0), *b = kern_ptr(ctx, in, 1);
    int32_t *c = kern_ptr(ctx, in, 2);
    const struct i8_way *way = &ways[neon_i8_way()];
    int8_t *strip = (int8_t *)ctx->scratch, *panels = strip + (size_t)K_BLOCK * TILE * 2;
    for (size_t k0 = 0; k0 < g->k; k0 += K_BLOCK) {
        const size_t len = g->k - k0 < K_BLOCK ? g->k - k0 : K_BLOCK;
        const size_t groups = (len + way->group - 1) / way->group;
        const size_t panel = groups * way->group * TILE * way->bytes;
        for (size_t i0 = 0; i0 < g->m; i0 += M_BLOCK) {
            const size_t rows = g->m - i0 < M_BLOCK ? g->m - i0 : M_BLOCK;
            for (size_t i = 0; i < rows; i += TILE)
                way->pack_a(a + (i0 + i) * g->k + k0, g->k, rows - i < TILE ? rows - i : TILE, len,
                            panels + i / TILE * panel);
            for (size_t j = 0; j < g->n; j += TILE) {
                const size_t columns = g->n - j < TILE ? g->n - j : TILE;
                way->pack_b(b + k0 * g->n + j, g->n, columns, len, strip);
                for (size_t i = 0; i < rows; i += TILE) {
                    int32_t sums[TILE][TILE];
                    way->tile(panels + i / TILE * panel, strip, groups, sums);
                    put_sums(sums, rows - i < TILE ? rows - i : TILE, columns, k0 > 0,
                             c + (i0 + i) * g->n + j, g->n);
                }
            }
        }
    }
}
#else
typedef int kern_neon_gemm_i8_is_for_arm;
#endif
