/* Products of short floats: operands are rounded to binary16 or bfloat16 as they are packed and
 * multiplied as floats, so that sums are fp32's. */
#ifndef SOTTO_KERN_HALF_TPL_H
#define SOTTO_KERN_HALF_TPL_H

#include "cpu/gemm_tpl.h"
#include "src/half.h"

/* LANES floats rounded to binary16, as kern_half_round does; F16C where the file is for AVX2 (the
 * row is entered only where the processor has both). */
#ifdef KERN_ISA_AVX2
#define HALF_TARGET __attribute__((target("avx2,fma,f16c")))
static inline __attribute__((always_inline)) HALF_TARGET vf half_lanes(vf x) {
    return (vf)_mm256_cvtph_ps(_mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT));
}
#else
#define HALF_TARGET TARGET
INLINE vf half_lanes(vf x) {
    const vi sign = (vi)x & (int32_t)0x80000000, bits = (vi)x ^ sign;
    const vi near = (bits + 0xfff + ((bits >> 13) & 1)) & ~0x1fff;
    const vi low = (vi)(((vf)bits + 0.5f) - 0.5f);
    vi y = (vi)V_SELECT(bits < (vi){0} + (int32_t)KERN_HALF_LOW, (vf)low, (vf)near);
    y = (vi)V_SELECT(bits >= (vi){0} + (int32_t)KERN_HALF_TIE, (vf)((vi){0} + 0x7f800000), (vf)y);
    y = (vi)V_SELECT(bits > (vi){0} + 0x7f800000, (vf)bits, (vf)y); /* NaN */
    return (vf)(y | sign);
}
#endif

/* rows rows of n floats, from src_step to dst_step floats apart; zeros from n to dst_step. */
HALF_TARGET static void NAME(half_pack)(const float *src, size_t src_step, float *dst,
                                        size_t dst_step, size_t rows, size_t n) {
    for (; rows; rows--, src += src_step, dst += dst_step) {
        size_t i = 0;
        for (; i + LANES <= n; i += LANES)
            V_STORE(dst + i, half_lanes(V_LOAD(src + i)));
        for (; i < n; i++)
            dst[i] = kern_half_round(src[i]);
        for (; i < dst_step; i++)
            dst[i] = 0.0f;
    }
}

/* The same with bfloat16: the upper half of a float, nearest, ties to even. */
TARGET static void NAME(brain_pack)(const float *src, size_t src_step, float *dst, size_t dst_step,
                                    size_t rows, size_t n) {
    for (; rows; rows--, src += src_step, dst += dst_step) {
        size_t i = 0;
        for (; i + LANES <= n; i += LANES) {
            const vf x = V_LOAD(src + i);
            const vi near = ((vi)x + 0x7fff + (((vi)x >> 16) & 1)) & ~0xffff;
            V_STORE(dst + i, V_SELECT(x == x, (vf)near, x)); /* NaN stays */
        }
        for (; i < n; i++) {
            uint32_t bits;
            memcpy(&bits, &src[i], sizeof(bits));
            if ((bits & 0x7fffffffu) <= 0x7f800000u)
                bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
            memcpy(&dst[i], &bits, sizeof(bits));
        }
        for (; i < dst_step; i++)
            dst[i] = 0.0f;
    }
}

TARGET static size_t NAME(gemm_short_scratch)(const struct kern_instr *in) {
    (void)in;
    return GEMM_K_PACKED * (GEMM_ROWS_PACKED + TILE_COLS) * sizeof(float);
}

/* pack: half_pack or brain_pack. */
TARGET static void NAME(gemm_short)(const struct kern_ctx *c, const struct kern_instr *in,
                                    void (*pack)(const float *, size_t, float *, size_t, size_t,
                                                 size_t)) {
    const struct kern_gemm *p = &in->u.gemm;
    const float *a = kern_f32(c, in, 0), *b = kern_f32(c, in, 1), *bias = kern_f32(c, in, 3);
    float *out = kern_f32(c, in, 2), *strip = (float *)(void *)c->scratch;
    float *left = strip + GEMM_K_PACKED * TILE_COLS;
    const size_t m = p->m, n = p->n, k = p->k;
    for (size_t i = 0; i < m; i += GEMM_ROWS_PACKED)
        for (size_t k0 = 0; k0 < k; k0 += GEMM_K_PACKED) {
            const size_t len = k - k0 < GEMM_K_PACKED ? k - k0 : GEMM_K_PACKED;
            const bool last = k0 + len == k;
            struct gemm_view g = {.a = left, .a_row = len, .a_k = 1, .n = n, .k = len};
            g.m = m - i < GEMM_ROWS_PACKED ? m - i : GEMM_ROWS_PACKED;
            g.c = out + i * n;
            g.alpha = 1.0f;
            g.beta = k0 ? 1.0f : 0.0f;
            g.bias = last ? bias : NULL;
            g.act = last ? act_in_tile(p->act) : KERN_ACT_NONE;
            g.slope = p->slope;
            pack(a + i * k + k0, k, left, len, g.m, len);
            for (size_t j = 0; j < n; j += TILE_COLS) {
                const size_t cols = n - j < TILE_COLS ? n - j : TILE_COLS;
                pack(b + k0 * n + j, n, strip, TILE_COLS, len, cols);
                NAME(gemm_strip)(&g, strip, TILE_COLS, j, 0, len);
            }
        }
    if (act_in_tile(p->act) != p->act)
        NAME(act_rows)(p->act, p->slope, out, m * n);
}

TARGET static void NAME(gemm_f16)(const struct kern_ctx *c, const struct kern_instr *in) {
    NAME(gemm_short)(c, in, NAME(half_pack));
}

TARGET static void NAME(gemm_bf16)(const struct kern_ctx *c, const struct kern_instr *in) {
    NAME(gemm_short)(c, in, NAME(brain_pack));
}

#endif
