/* Products of halves by NEON. Operands are rounded as they are packed (FCVTN) and lie in the caches
 * at half their size; the product of two halves is exact in fp32 and each is added in one rounding,
 * by FMLA on widened operands or by FMLAL, in the order of k within blocks of K_BLOCK. So every
 * processor and tile gives the same bits. */
#if defined(__aarch64__)
#include "neon/f16.h"

#define K_BLOCK 256
#define M_BLOCK 384

static inline uint16x8_t eight_of(const float *p) {
    return vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(vld1q_f32(p)), vld1q_f32(p + 4)));
}
/* Four rows of steps k and k + 4, and of k + 1 and k + 5. */
static inline void put_steps(float16_t *dst, size_t step, uint32x4_t even, uint32x4_t odd) {
    vst1_f16(dst, vreinterpret_f16_u32(vget_low_u32(even)));
    vst1_f16(dst + step, vreinterpret_f16_u32(vget_low_u32(odd)));
    vst1_f16(dst + 4 * step, vreinterpret_f16_u32(vget_high_u32(even)));
    vst1_f16(dst + 5 * step, vreinterpret_f16_u32(vget_high_u32(odd)));
}

/* Four rows, lda apart, become [k][step]; rows past those there are repeat the last. */
static void pack_four(const float *a, size_t lda, size_t rows, size_t len, float16_t *dst,
                      size_t step) {
    const float *r0 = a, *r1 = rows > 1 ? r0 + lda : r0, *r2 = rows > 2 ? r1 + lda : r1;
    const float *r3 = rows > 3 ? r2 + lda : r2;
    size_t k = 0;
    for (; k + 8 <= len; k += 8, dst += 8 * step) {
        const uint16x8_t h0 = eight_of(r0 + k), h1 = eight_of(r1 + k);
        const uint16x8_t h2 = eight_of(r2 + k), h3 = eight_of(r3 + k);
        const uint32x4_t e0 = vreinterpretq_u32_u16(vtrn1q_u16(h0, h1));
        const uint32x4_t o0 = vreinterpretq_u32_u16(vtrn2q_u16(h0, h1));
        const uint32x4_t e1 = vreinterpretq_u32_u16(vtrn1q_u16(h2, h3));
        const uint32x4_t o1 = vreinterpretq_u32_u16(vtrn2q_u16(h2, h3));
        put_steps(dst, step, vtrn1q_u32(e0, e1), vtrn1q_u32(o0, o1));
        put_steps(dst + 2 * step, step, vtrn2q_u32(e0, e1), vtrn2q_u32(o0, o1));
    }
    for (; k < len; k++, dst += step) {
        const float some[4] = {r0[k], r1[k], r2[k], r3[k]};
        vst1_f16(dst, vcvt_f16_f32(vld1q_f32(some)));
    }
}

/* [k][8] of up to 8 columns, zeros past them. */
static void pack_columns(const float *b, size_t ldb, size_t columns, size_t len, float16_t *dst) {
    float some[F16_COLUMNS] = {0};
#pragma GCC unroll 4
    for (; columns == F16_COLUMNS && len; len--, b += ldb, dst += F16_COLUMNS)
        vst1q_f16(dst, vreinterpretq_f16_u16(eight_of(b)));
    for (; len; len--, b += ldb, dst += F16_COLUMNS) {
        memcpy(some, b, columns * sizeof(float));
        vst1q_f16(dst, vreinterpretq_f16_u16(eight_of(some)));
    }
}

/* Rows of the next tile when so many are left: no tile of fewer rows than a fuller one leaves. */
static size_t tile_rows(const struct f16_way *way, size_t left) {
    if (left <= 4)
        return 4;
    if (left <= 8 || !way->tile[3])
        return 8;
    return left > 12 && left <= 16 ? 8 : 12;
}

void neon_f16_put(const struct f16_tile *t, float sums[][F16_COLUMNS]) {
    for (size_t r = 0; r < t->rows; r++)
        for (size_t j = 0; j < t->columns; j++) {
            float *c = &t->c[r * t->ldc + j];
            *c = sums[r][j] + (t->add ? *c : 0.0f);
        }
}

size_t neon_gemm_f16_scratch(const struct kern_instr *in) {
    (void)in;
    return (M_BLOCK + F16_ROWS + F16_COLUMNS) * (size_t)K_BLOCK * sizeof(float16_t);
}

/* Packs rows rows of A over len of k: panels of 4, 8 or 12 rows one after another. */
static void pack_panels(const struct f16_way *way, const float *a, size_t lda, size_t rows,
                        size_t len, float16_t *dst) {
    for (size_t i = 0, step; i < rows; i += step) {
        step = tile_rows(way, rows - i);
        for (size_t g = 0; g < step; g += 4) {
            const size_t first = i + g < rows ? i + g : rows - 1;
            pack_four(a + first * lda, lda, rows - first, len, dst + g, step);
        }
        dst += step * len;
    }
}

/* One block of k: all rows of it and every strip of columns. */
static void block_of(const struct kern_gemm *g, const float *a, const float *b, float *c, size_t k0,
                     float16_t *strip) {
    const struct f16_way *way = neon_f16_way();
    float16_t *panels = strip + (size_t)K_BLOCK * F16_COLUMNS;
    const size_t len = g->k - k0 < K_BLOCK ? g->k - k0 : K_BLOCK, n = g->n;
    struct f16_tile t = {.b = strip, .len = len, .ldc = n, .add = k0 > 0};
    for (size_t i0 = 0; i0 < g->m; i0 += M_BLOCK) {
        const size_t rows = g->m - i0 < M_BLOCK ? g->m - i0 : M_BLOCK;
        pack_panels(way, a + i0 * g->k + k0, g->k, rows, len, panels);
        for (size_t j = 0; j < n; j += F16_COLUMNS) {
            t.columns = n - j < F16_COLUMNS ? n - j : F16_COLUMNS;
            pack_columns(b + k0 * n + j, n, t.columns, len, strip);
            t.a = panels;
            for (size_t i = 0, step; i < rows; i += step) {
                step = tile_rows(way, rows - i);
                t.rows = rows - i < step ? rows - i : step;
                t.c = c + (i0 + i) * n + j;
                way->tile[step / 4](&t);
                t.a += step * len;
            }
        }
    }
}

void neon_gemm_f16(const struct kern_ctx *ctx, const struct kern_instr *in) {
    const struct kern_gemm *g = &in->u.gemm;
    const float *bias = kern_f32(ctx, in, 3);
    float *c = kern_f32(ctx, in, 2);
    for (size_t k0 = 0; k0 < g->k; k0 += K_BLOCK)
        block_of(g, kern_f32(ctx, in, 0), kern_f32(ctx, in, 1), c, k0,
                 (float16_t *)(void *)ctx->scratch);
    neon_add_bias_act(g, bias, c);
}
#else
typedef int kern_neon_gemm_f16_is_for_arm;
#endif
