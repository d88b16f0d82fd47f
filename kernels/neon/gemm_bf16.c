/* Products of bfloat16 by NEON where the processor has BFMMLA (A510, A710, X2 and later): 2 x 4 by
 * 4 x 2, sums in fp32, a tile of 8 x 8. Operands are rounded as they are packed, in groups of four
 * of k with zeros past its end. Compiled for such processors, and entered on them only. */
#if defined(__aarch64__)
#include <arm_neon.h>

#include "neon/product.h"

#define TILE    8
#define K_BLOCK 256
#define M_BLOCK 64

/* Up to four floats, zeros past n, as bfloat16. */
static inline bfloat16x4_t round4(const float *p, size_t n) {
    float some[4] = {0};
    if (n >= 4)
        return vcvt_bf16_f32(vld1q_f32(p));
    memcpy(some, p, n * sizeof(float));
    return vcvt_bf16_f32(vld1q_f32(some));
}

/* [group][row][4] of up to 8 rows. */
static void pack_rows(const float *a, size_t lda, size_t rows, size_t len, bfloat16_t *dst) {
    const size_t whole = rows == TILE ? len / 4 * 4 : 0;
    for (size_t k = 0; k < whole; k += 4)
        for (size_t r = 0; r < TILE; r++, dst += 4)
            vst1_bf16(dst, vcvt_bf16_f32(vld1q_f32(a + r * lda + k)));
    for (size_t k = whole; k < len; k += 4)
        for (size_t r = 0; r < TILE; r++, dst += 4)
            vst1_bf16(dst, round4(a + (r < rows ? r : 0) * lda + k, r >= rows     ? 0
                                                                    : len - k < 4 ? len - k
                                                                                  : 4));
}

/* [group][column][4] of up to 8 columns. */
static void pack_columns(const float *b, size_t ldb, size_t columns, size_t len, bfloat16_t *dst) {
    const size_t low = columns < 4 ? columns : 4;
    for (size_t k = 0; k < len; k += 4, dst += 4 * TILE) {
        uint16x8_t r[4];
        for (size_t i = 0; columns == TILE && len - k >= 4 && i < 4; i++) {
            const float *row = b + (k + i) * ldb;
            const bfloat16x8_t half = vcvtq_low_bf16_f32(vld1q_f32(row));
            r[i] = vreinterpretq_u16_bf16(vcvtq_high_bf16_f32(half, vld1q_f32(row + 4)));
        }
        for (size_t i = columns == TILE && len - k >= 4 ? 4 : 0; i < 4; i++) {
            const bool inside = k + i < len;
            const float *row = b + (inside ? k + i : 0) * ldb;
            r[i] =
                vcombine_u16(vreinterpret_u16_bf16(round4(row, inside ? low : 0)),
                             vreinterpret_u16_bf16(round4(row + low, inside ? columns - low : 0)));
        }
        const uint32x4_t a = vreinterpretq_u32_u16(vzip1q_u16(r[0], r[1]));
        const uint32x4_t c = vreinterpretq_u32_u16(vzip2q_u16(r[0], r[1]));
        const uint32x4_t d = vreinterpretq_u32_u16(vzip1q_u16(r[2], r[3]));
        const uint32x4_t e = vreinterpretq_u32_u16(vzip2q_u16(r[2], r[3]));
        vst1q_bf16(dst, vreinterpretq_bf16_u32(vzip1q_u32(a, d)));
        vst1q_bf16(dst + 8, vreinterpretq_bf16_u32(vzip2q_u32(a, d)));
        vst1q_bf16(dst + 16, vreinterpretq_bf16_u32(vzip1q_u32(c, e)));
        vst1q_bf16(dst + 24, vreinterpretq_bf16_u32(vzip2q_u32(c, e)));
    }
}

#define PAIRS(X) X(0) X(1) X(2) X(3)
#define ZERO(r)                                                                                    \
    float32x4_t m##r##0 = vdupq_n_f32(0), m##r##1 = m##r##0, m##r##2 = m##r##0, m##r##3 = m##r##0;
#define MATRIX(r)                                                                                  \
    m##r##0 = vbfmmlaq_f32(m##r##0, a##r, b0);                                                     \
    m##r##1 = vbfmmlaq_f32(m##r##1, a##r, b1);                                                     \
    m##r##2 = vbfmmlaq_f32(m##r##2, a##r, b2);                                                     \
    m##r##3 = vbfmmlaq_f32(m##r##3, a##r, b3);
/* A 2 x 2 result is [row 0: two columns][row 1: two columns]. */
#define STORE(r)                                                                                   \
    vst1q_f32(sums[2 * (r)], vcombine_f32(vget_low_f32(m##r##0), vget_low_f32(m##r##1)));          \
    vst1q_f32(sums[2 * (r)] + 4, vcombine_f32(vget_low_f32(m##r##2), vget_low_f32(m##r##3)));      \
    vst1q_f32(sums[2 * (r) + 1], vcombine_f32(vget_high_f32(m##r##0), vget_high_f32(m##r##1)));    \
    vst1q_f32(sums[2 * (r) + 1] + 4, vcombine_f32(vget_high_f32(m##r##2), vget_high_f32(m##r##3)));
static void tile_matrix(const bfloat16_t *a, const bfloat16_t *b, size_t groups,
                        float sums[TILE][TILE]) {
    PAIRS(ZERO)
    for (; groups; groups--, a += 32, b += 32) {
        const bfloat16x8_t a0 = vld1q_bf16(a), a1 = vld1q_bf16(a + 8), a2 = vld1q_bf16(a + 16);
        const bfloat16x8_t a3 = vld1q_bf16(a + 24), b0 = vld1q_bf16(b), b1 = vld1q_bf16(b + 8);
        const bfloat16x8_t b2 = vld1q_bf16(b + 16), b3 = vld1q_bf16(b + 24);
        PAIRS(MATRIX)
    }
    PAIRS(STORE)
}

static void put_sums(float sums[TILE][TILE], size_t rows, size_t columns, bool add, float *c,
                     size_t ldc) {
    for (size_t r = 0; r < rows; r++, c += ldc) {
        if (add)
            vec_add_f32(c, c, sums[r], columns);
        else
            memcpy(c, sums[r], columns * sizeof(float));
    }
}

size_t neon_gemm_bf16_scratch(const struct kern_instr *in) {
    (void)in;
    return (M_BLOCK + TILE) * (size_t)K_BLOCK * sizeof(bfloat16_t);
}

void neon_gemm_bf16(const struct kern_ctx *ctx, const struct kern_instr *in) {
    const struct kern_gemm *g = &in->u.gemm;
    const float *a = kern_f32(ctx, in, 0), *b = kern_f32(ctx, in, 1), *bias = kern_f32(ctx, in, 3);
    float *c = kern_f32(ctx, in, 2);
    bfloat16_t *strip = (bfloat16_t *)(void *)ctx->scratch;
    bfloat16_t *panels = strip + (size_t)K_BLOCK * TILE;
    for (size_t k0 = 0; k0 < g->k; k0 += K_BLOCK) {
        const size_t len = g->k - k0 < K_BLOCK ? g->k - k0 : K_BLOCK, groups = (len + 3) / 4;
        for (size_t i0 = 0; i0 < g->m; i0 += M_BLOCK) {
            const size_t rows = g->m - i0 < M_BLOCK ? g->m - i0 : M_BLOCK;
            for (size_t i = 0; i < rows; i += TILE)
                pack_rows(a + (i0 + i) * g->k + k0, g->k, rows - i < TILE ? rows - i : TILE, len,
                          panels + i * groups * 4);
            for (size_t j = 0; j < g->n; j += TILE) {
                const size_t columns = g->n - j < TILE ? g->n - j : TILE;
                pack_columns(b + k0 * g->n + j, g->n, columns, len, strip);
                for (size_t i = 0; i < rows; i += TILE) {
                    float sums[TILE][TILE];
                    tile_matrix(panels + i * groups * 4, strip, groups, sums);
                    put_sums(sums, rows - i < TILE ? rows - i : TILE, columns, k0 > 0,
                             c + (i0 + i) * g->n + j, g->n);
                }
            }
        }
    }
    neon_add_bias_act(g, bias, c);
}
#else
typedef int kern_neon_gemm_bf16_is_for_arm;
#endif
