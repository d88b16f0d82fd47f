/* Eight-bit integers: quantization by channel, exact products, and products with a package's
 * weights. */
#ifndef SOTTO_KERN_INT8_TPL_H
#define SOTTO_KERN_INT8_TPL_H

#include "cpu/simd.h"

typedef int8_t v_i8 __attribute__((vector_size(LANES)));

/* LANES integers at p as floats. */
INLINE vf load_i8(const int8_t *p) {
    v_i8 q;
    memcpy(&q, p, sizeof(q));
    return __builtin_convertvector(q, vf);
}

TARGET static void NAME(dequant_i8)(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_quant *v = &in->u.quant;
    const int8_t *q = kern_ptr(c, in, 0);
    const float *scale = kern_f32(c, in, 1);
    float *x = kern_f32(c, in, 2);
    for (size_t r = 0; r < v->rows; r++, q += v->channels, x += v->channels) {
        size_t i = 0;
        for (; i + LANES <= v->channels; i += LANES)
            V_STORE(x + i, V_LOAD(scale + i) * load_i8(q + i));
        for (; i < v->channels; i++)
            x[i] = scale[i] * (float)q[i];
    }
}

/* One vector of channels (n <= LANES of them) over all rows; the reference's operations lane by
 * lane, so its bits. */
INLINE void quant_lanes(const float *x, int8_t *q, float *scale, size_t rows, size_t channels,
                        size_t n) {
    const vi mask = V_FIRST(n), magnitude = (vi){0} + 0x7fffffff;
    const vf magic = V_SET(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    vf most = V_SET(0.0f);
    for (size_t r = 0; r < rows; r++) {
        vf m = (vf)((vi)V_LOAD_FIRST(x + r * channels, mask) & magnitude);
        most = V_SELECT(m > most, m, most);
    }
    vf s = most / 127.0f;
    s = V_SELECT(s > 0.0f, s, V_SET(1.0f)); /* all zeros, or too small for a scale */
    V_STORE_FIRST(scale, s, n);
    for (size_t r = 0; r < rows; r++) {
        vf t = V_LOAD_FIRST(x + r * channels, mask) / s;
        t = V_SELECT(t > 127.0f, V_SET(127.0f), t);
        t = V_SELECT(t > -127.0f, t, V_SET(-127.0f)); /* NaN too */
        vi whole = (vi)(t + magic) - (vi)magic;
        for (size_t l = 0; l < n; l++)
            q[r * channels + l] = (int8_t)whole[l];
    }
}

TARGET static void NAME(quant_i8)(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_quant *v = &in->u.quant;
    const float *x = kern_f32(c, in, 0);
    int8_t *q = kern_ptr(c, in, 1);
    float *scale = kern_f32(c, in, 2);
    for (size_t ch = 0; ch < v->channels; ch += LANES) {
        size_t n = v->channels - ch < LANES ? v->channels - ch : LANES;
        quant_lanes(x + ch, q + ch, scale + ch, v->rows, v->channels, n);
    }
}

#ifndef KERN_ISA_NEON /* it has products of its own */
#include "cpu/gemm_tpl.h"

/* c[i][j .. j + n) for n <= LANES columns of one row, k in order; exact, so any order would do. */
INLINE void gemm_i8_lanes(const int8_t *a, const int8_t *b, int32_t *c, size_t k, size_t ldb,
                          size_t n) {
    if (n == LANES) {
        vi sum = (vi){0};
        size_t l = 0;
#ifdef KERN_ISA_AVX2
        for (; l + 2 <= k; l += 2) { /* pairs of k side by side, as vpmaddwd takes them */
            const __m128i even = _mm_loadl_epi64((const __m128i *)(const void *)(b + l * ldb));
            const __m128i odd = _mm_loadl_epi64((const __m128i *)(const void *)(b + (l + 1) * ldb));
            const __m256i pairs = _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(even, odd));
            const uint32_t both = (uint16_t)a[l] | (uint32_t)(uint16_t)a[l + 1] << 16;
            sum += (vi)_mm256_madd_epi16(pairs, _mm256_set1_epi32((int)both));
        }
#endif
        for (; l < k; l++) {
            v_i8 q;
            memcpy(&q, b + l * ldb, sizeof(q));
            sum += __builtin_convertvector(q, vi) * (int32_t)a[l];
        }
        memcpy(c, &sum, sizeof(sum));
        return;
    }
    for (size_t j = 0; j < n; j++) {
        int32_t sum = 0;
        for (size_t l = 0; l < k; l++)
            sum += (int32_t)a[l] * b[l * ldb + j];
        c[j] = sum;
    }
}

TARGET static void NAME(gemm_i8)(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_gemm *g = &in->u.gemm;
    const int8_t *a = kern_ptr(c, in, 0), *b = kern_ptr(c, in, 1);
    int32_t *out = kern_ptr(c, in, 2);
    for (size_t j = 0; j < g->n; j += LANES)
        for (size_t i = 0; i < g->m; i++)
            gemm_i8_lanes(a + i * g->k, b + j, out + i * g->n + j, g->k, g->n,
                          g->n - j < LANES ? g->n - j : LANES);
}

/* The strips of W become floats a block at a time, in the cache: four bytes of memory traffic a
 * weight less than unpacking them first. */
TARGET static size_t NAME(gemm_w8_scratch)(const struct kern_instr *in) {
    size_t k = in->u.gemm.k;
    return (k < GEMM_K_PACKED ? k : GEMM_K_PACKED) * TILE_COLS * sizeof(float);
}

TARGET static void NAME(gemm_w8)(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_gemm *p = &in->u.gemm;
    const int8_t *w = kern_ptr(c, in, 1);
    const float *scale = kern_f32(c, in, 2);
    float *panel = (float *)(void *)c->scratch;
    struct gemm_view g = {.a = kern_f32(c, in, 0), .a_row = p->k, .a_k = 1, .alpha = 1.0f};
    g.m = p->m, g.n = p->n, g.k = p->k;
    g.c = kern_f32(c, in, 3);
    g.bias = kern_f32(c, in, 4);
    g.act = act_in_tile(p->act);
    g.slope = p->slope;
    for (size_t k0 = 0; k0 < g.k; k0 += GEMM_K_PACKED) {
        size_t len = g.k - k0 < GEMM_K_PACKED ? g.k - k0 : GEMM_K_PACKED;
        for (size_t j = 0; j < g.n; j += TILE_COLS) {
            size_t cols = g.n - j < TILE_COLS ? g.n - j : TILE_COLS;
            for (size_t k = 0; k < len; k++) {
                const int8_t *src = w + (k0 + k) * g.n + j;
                float *dst = panel + k * TILE_COLS;
                if (cols == TILE_COLS) {
                    V_STORE(dst, load_i8(src) * V_LOAD(scale + j));
                    V_STORE(dst + LANES, load_i8(src + LANES) * V_LOAD(scale + j + LANES));
                } else {
                    for (size_t l = 0; l < TILE_COLS; l++)
                        dst[l] = l < cols ? (float)src[l] * scale[j + l] : 0.0f;
                }
            }
            NAME(gemm_strip)(&g, panel, TILE_COLS, j, k0, len);
        }
    }
    if (g.act != p->act)
        NAME(act_rows)(p->act, p->slope, g.c, g.m * g.n);
}
#endif

#endif
