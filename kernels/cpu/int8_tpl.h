/* Eight-bit integers: quantization by channel, exact products, and products with a package's
 * weights. */
#ifndef SOTTO_KERN_INT8_TPL_H
#define SOTTO_KERN_INT8_TPL_H

#include "cpu/simd.h"

typedef int8_t v_i8 __attribute__((vector_size(LANES)));

#define W8_ROWS_SKINNY 24 /* up to here W is converted for each six rows anew */

/* LANES integers at p as floats. */
INLINE vf load_i8(const int8_t *p) {
#ifdef KERN_ISA_AVX2 /* gcc 12 makes single bytes of the conversion below */
    return (vf)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)p)));
#else
    v_i8 q;
    memcpy(&q, p, sizeof(q));
    return __builtin_convertvector(q, vf);
#endif
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

/* Few rows: blocks of rows of W are read as they lie, converted in registers for all rows of A; the
 * scales come last, with bias and activation. As UPDATE_KERNEL, whole strips only. */
#define CODES_KERNEL(rows)                                                                         \
    TARGET static void NAME(codes_##rows)(const float *a, const int8_t *b, float *c, size_t n,     \
                                          size_t k, bool add) {                                    \
        for (size_t strips = n / TILE_COLS; strips; strips--, b += TILE_COLS, c += TILE_COLS) {    \
            const float *ap = a;                                                                   \
            const int8_t *bp = b;                                                                  \
            ROWS_##rows(U_ZERO) for (size_t i = k; i; i--, ap += TILE_ROWS, bp += n) {             \
                vf s, b0 = load_i8(bp), b1 = load_i8(bp + LANES);                                  \
                __builtin_prefetch(bp + k * n, 0, 2);                                              \
                ROWS_##rows(U_FMA)                                                                 \
            }                                                                                      \
            if (add) {                                                                             \
                ROWS_##rows(U_ADD)                                                                 \
            } else {                                                                               \
                ROWS_##rows(U_SET)                                                                 \
            }                                                                                      \
        }                                                                                          \
    }
CODES_KERNEL(1)
CODES_KERNEL(2)
CODES_KERNEL(3)
CODES_KERNEL(4)
CODES_KERNEL(5)
CODES_KERNEL(6)

/* Rows [i, i + rows) over k in [k0, k0 + len), len <= GEMM_K_SKINNY. */
TARGET static void NAME(w8_update)(const struct gemm_view *g, const int8_t *w, size_t i,
                                   size_t rows, size_t k0, size_t len) {
    typedef void codes_fn(const float *, const int8_t *, float *, size_t, size_t, bool);
    static codes_fn *const table[] = {NAME(codes_1), NAME(codes_2), NAME(codes_3),
                                      NAME(codes_4), NAME(codes_5), NAME(codes_6)};
    float packed[GEMM_K_SKINNY * TILE_ROWS];
    for (size_t r = 0; r < rows; r++)
        for (size_t k = 0; k < len; k++)
            packed[k * TILE_ROWS + r] = g->a[(i + r) * g->k + k0 + k];
    table[rows - 1](packed, w + k0 * g->n, g->c + i * g->n, g->n, len, k0 > 0);
}

TARGET static void NAME(w8_skinny)(const struct gemm_view *g, const int8_t *w, const float *scale) {
    const size_t whole = g->n / TILE_COLS * TILE_COLS;
    size_t block = 4 * GEMM_BLOCK_FLOATS / g->n;
    block = block < 8 ? 8 : block > GEMM_K_SKINNY ? GEMM_K_SKINNY : block;
    const size_t tiles = (g->m + TILE_ROWS - 1) / TILE_ROWS;
    for (size_t k0 = 0; whole && k0 < g->k; k0 += block) {
        const size_t len = g->k - k0 < block ? g->k - k0 : block;
        for (size_t i = 0, done = 0; i < tiles; i++) { /* even tiles */
            const size_t rows = (g->m - done + (tiles - i) - 1) / (tiles - i);
            NAME(w8_update)(g, w, done, rows, k0, len);
            done += rows;
        }
    }
    for (size_t i = 0; i < g->m; i++)
        for (size_t j = 0; j < whole; j += LANES)
            V_STORE(g->c + i * g->n + j, V_LOAD(g->c + i * g->n + j) * V_LOAD(scale + j));
    NAME(gemm_finish)(g, whole);
}

/* Rows [k0, k0 + len) of a strip of W as floats, zeros past its columns. */
TARGET static void NAME(w8_unpack)(const struct gemm_view *g, const int8_t *w, const float *scale,
                                   size_t j, size_t k0, size_t len, float *panel) {
    const size_t cols = g->n - j < TILE_COLS ? g->n - j : TILE_COLS;
    int8_t row[TILE_COLS] = {0};
    float scales[TILE_COLS] = {0};
    memcpy(scales, scale + j, cols * sizeof(*scales));
    const vf s0 = V_LOAD(scales), s1 = V_LOAD(scales + LANES);
    for (size_t k = k0; k < k0 + len; k++, panel += TILE_COLS) {
        const int8_t *src = w + k * g->n + j;
        if (cols < TILE_COLS)
            src = memcpy(row, src, cols);
        V_STORE(panel, load_i8(src) * s0);
        V_STORE(panel + LANES, load_i8(src + LANES) * s1);
    }
}

TARGET static size_t NAME(gemm_w8_scratch)(const struct kern_instr *in) {
    size_t k = in->u.gemm.k;
    return (k < GEMM_K_PACKED ? k : GEMM_K_PACKED) * TILE_COLS * sizeof(float);
}

/* Many rows, and the columns that fill no strip: a strip of W becomes floats a block at a time, in
 * the cache, four bytes of memory traffic a weight less than unpacking W first. */
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
    size_t first = 0;
    if (g.m <= W8_ROWS_SKINNY) {
        NAME(w8_skinny)(&g, w, scale);
        first = g.n / TILE_COLS * TILE_COLS;
    }
    for (size_t k0 = 0; k0 < g.k && first < g.n; k0 += GEMM_K_PACKED) {
        size_t len = g.k - k0 < GEMM_K_PACKED ? g.k - k0 : GEMM_K_PACKED;
        for (size_t j = first; j < g.n; j += TILE_COLS) {
            NAME(w8_unpack)(&g, w, scale, j, k0, len, panel);
            NAME(gemm_strip)(&g, panel, TILE_COLS, j, k0, len);
        }
    }
    if (g.act != p->act)
        NAME(act_rows)(p->act, p->slope, g.c, g.m * g.n);
}
#endif

#endif
