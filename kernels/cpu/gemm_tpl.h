/* Products. Skinny ones (few rows, a big weight matrix) stream the weights once and never repack
 * them; wide ones pack strips of B for the cache. dW of a dense layer is one too: its k is the
 * batch, and the update of plain SGD is the alpha and beta of the same store. */
#ifndef SOTTO_KERN_GEMM_TPL_H
#define SOTTO_KERN_GEMM_TPL_H

#include "cpu/tile_tpl.h"

/* Rows of B a strip is kept hot for. 64 rows of a strip of 16 are 4 KiB: half of them are read
 * again from L1. */
#define GEMM_K_SKINNY    64
#define GEMM_K_PACKED    256
#define GEMM_ROWS_SKINNY 32 /* up to here B is not packed */

/* The activations that the tile does not do. */
TARGET static void NAME(act_rows)(enum kern_act act, float slope, float *x, size_t n);

struct gemm_view { /* a product as the loops see it: strides instead of transposes */
    const float *a;
    size_t a_row, a_k;
    const float *b; /* [k][n], or [n][k] when b_trans */
    size_t ldb;
    bool b_trans;
    float *c;
    size_t m, n, k;
    float alpha, beta;
    const float *bias;
    enum kern_act act;
    float slope;
};

/* Asks for row strips of the next block while this one is worked on: the hardware does not foresee
 * jumps of a row. */
INLINE void prefetch_strip(const float *b, size_t ldb, size_t rows) {
    for (size_t r = 0; r < rows; r++)
        __builtin_prefetch(b + r * ldb, 0, 2);
}

/* One strip of columns times all rows of A, over k in [k0, k0 + len). */
TARGET static void NAME(gemm_strip)(const struct gemm_view *g, const float *b, size_t ldb, size_t j,
                                    size_t k0, size_t len) {
    struct tile t = {.a_step = g->a_k, .b = b, .ldb = ldb, .len = len, .runs = 1};
    t.cols = g->n - j < TILE_COLS ? g->n - j : TILE_COLS;
    t.alpha = g->alpha;
    t.beta = k0 == 0 ? g->beta : 1.0f;
    if (k0 + len == g->k) {
        t.bias = g->bias ? g->bias + j : NULL;
        t.act = g->act;
        t.slope = g->slope;
    }
    /* Even tiles: 10 rows are 5 + 5, not 6 + 4. */
    size_t tiles = (g->m + TILE_ROWS - 1) / TILE_ROWS;
    for (size_t i = 0, done = 0; i < tiles; i++) {
        unsigned rows = (unsigned)((g->m - done + (tiles - i) - 1) / (tiles - i));
        for (unsigned r = 0; r < rows; r++) {
            t.a[r] = g->a + (done + r) * g->a_row + k0 * g->a_k;
            t.c[r] = g->c + (done + r) * g->n + j;
        }
        NAME(tile_run)(&t, rows);
        done += rows;
    }
}

/* Few k, many rows: dW of a dense layer, whose k is the batch. B stays in the cache, every row of C
 * is visited once. */
TARGET static void NAME(gemm_flat)(const struct gemm_view *g) {
    struct gemm_view part = *g;
    for (size_t i = 0; i < g->m; i += TILE_ROWS) {
        part.a = g->a + i * g->a_row;
        part.c = g->c + i * g->n;
        part.m = g->m - i < TILE_ROWS ? g->m - i : TILE_ROWS;
        for (size_t j = 0; j < g->n; j += TILE_COLS)
            NAME(gemm_strip)(&part, g->b + j, g->ldb, j, 0, g->k);
    }
}

TARGET static void NAME(gemm_skinny)(const struct gemm_view *g) {
    bool big = g->k * g->n > 64 * 1024;
    for (size_t k0 = 0; k0 < g->k; k0 += GEMM_K_SKINNY) {
        size_t len = g->k - k0 < GEMM_K_SKINNY ? g->k - k0 : GEMM_K_SKINNY;
        size_t next = g->k - k0 - len < GEMM_K_SKINNY ? g->k - k0 - len : GEMM_K_SKINNY;
        const float *b = g->b + k0 * g->ldb;
        for (size_t j = 0; j < g->n; j += TILE_COLS) {
            if (big)
                prefetch_strip(b + len * g->ldb + j, g->ldb, next);
            NAME(gemm_strip)(g, b + j, g->ldb, j, k0, len);
        }
    }
}

/* dst[k][16] = the strip of B, zeros past its columns. */
TARGET static void NAME(pack_strip)(const struct gemm_view *g, size_t j, size_t k0, size_t len,
                                    float *dst) {
    size_t cols = g->n - j < TILE_COLS ? g->n - j : TILE_COLS;
    if (!g->b_trans) {
        for (size_t k = 0; k < len; k++, dst += TILE_COLS) {
            const float *src = g->b + (k0 + k) * g->ldb + j;
            if (cols == TILE_COLS) {
                V_STORE(dst, V_LOAD(src));
                V_STORE(dst + LANES, V_LOAD(src + LANES));
            } else {
                for (size_t i = 0; i < TILE_COLS; i++)
                    dst[i] = i < cols ? src[i] : 0.0f;
            }
        }
        return;
    }
    for (size_t i = 0; i < TILE_COLS; i++) {
        const float *src = g->b + (j + i) * g->ldb + k0;
        for (size_t k = 0; k < len; k++)
            dst[k * TILE_COLS + i] = i < cols ? src[k] : 0.0f;
    }
}

TARGET static void NAME(gemm_packed)(const struct gemm_view *g, float *panel) {
    for (size_t k0 = 0; k0 < g->k; k0 += GEMM_K_PACKED) {
        size_t len = g->k - k0 < GEMM_K_PACKED ? g->k - k0 : GEMM_K_PACKED;
        for (size_t j = 0; j < g->n; j += TILE_COLS) {
            NAME(pack_strip)(g, j, k0, len, panel);
            NAME(gemm_strip)(g, panel, TILE_COLS, j, k0, len);
        }
    }
}

/* c[j .. j + count) of one row from four vectors of partial sums. */
#define DOT_FINISH(i, s0, s1, s2, s3)                                                              \
    {                                                                                              \
        float lanes[4];                                                                            \
        DOT_SUM4(lanes, s0, s1, s2, s3)                                                            \
        float *c = g->c + (row + (i)) * g->n + j;                                                  \
        for (size_t l = 0; l < count; l++)                                                         \
            c[l] = g->alpha * lanes[l] + (g->beta != 0.0f ? g->beta * c[l] : 0.0f);                \
    }
#ifdef KERN_ISA_AVX2
#define DOT_SUM4(out, s0, s1, s2, s3)                                                              \
    __m256 h_ = _mm256_hadd_ps(_mm256_hadd_ps(s0, s1), _mm256_hadd_ps(s2, s3));                    \
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(h_), _mm256_extractf128_ps(h_, 1)));
#else
#define DOT_SUM1(s)                                                                                \
    ((((s)[0] + (s)[1]) + ((s)[2] + (s)[3])) + (((s)[4] + (s)[5]) + ((s)[6] + (s)[7])))
#define DOT_SUM4(out, s0, s1, s2, s3)                                                              \
    out[0] = DOT_SUM1(s0);                                                                         \
    out[1] = DOT_SUM1(s1);                                                                         \
    out[2] = DOT_SUM1(s2);                                                                         \
    out[3] = DOT_SUM1(s3);
#endif

#define D_ROW(i)  const float *a##i = g->a + (row + (i)) * g->a_row;
#define D_ZERO(i) v8 s##i##0 = V_SET(0.0f), s##i##1 = s##i##0, s##i##2 = s##i##0, s##i##3 = s##i##0;
#define D_FMA(i)                                                                                   \
    x = LOADX(a##i + k);                                                                           \
    s##i##0 = V_FMA(x, w0, s##i##0);                                                               \
    s##i##1 = V_FMA(x, w1, s##i##1);                                                               \
    s##i##2 = V_FMA(x, w2, s##i##2);                                                               \
    s##i##3 = V_FMA(x, w3, s##i##3);
#define D_FINISH(i) DOT_FINISH(i, s##i##0, s##i##1, s##i##2, s##i##3)
#define D_STEP(n)                                                                                  \
    {                                                                                              \
        v8 x, w0 = LOADX(b0 + k), w1 = LOADX(b1 + k), w2 = LOADX(b2 + k), w3 = LOADX(b3 + k);      \
        ROWS_##n(D_FMA)                                                                            \
    }

/* Dot products of n rows of A with four rows of B, both contiguous over k: dX of a dense layer.
 * When fewer than four rows are left, the last is read again and its sums are dropped. */
#define DOT_KERNEL(q)                                                                              \
    TARGET static void NAME(dot_##q##x4)(const struct gemm_view *g, size_t row, size_t j) {        \
        size_t count = g->n - j < 4 ? g->n - j : 4, k = 0;                                         \
        const float *b0 = g->b + j * g->ldb, *b1 = count > 1 ? b0 + g->ldb : b0,                   \
                    *b2 = count > 2 ? b1 + g->ldb : b1, *b3 = count > 3 ? b2 + g->ldb : b2;        \
        ROWS_##q(D_ROW) ROWS_##q(D_ZERO) for (; k + LANES <= g->k; k += LANES) {                   \
            D_STEP(q)                                                                              \
        }                                                                                          \
        if (k < g->k) {                                                                            \
            const v8i mask = V_FIRST(g->k - k);                                                    \
            D_TAIL(q)                                                                              \
        }                                                                                          \
        ROWS_##q(D_FINISH)                                                                         \
    }
#define LOADX(p) V_LOAD(p)
#define D_FMA_TAIL(i)                                                                              \
    x = V_LOAD_FIRST(a##i + k, mask);                                                              \
    s##i##0 = V_FMA(x, w0, s##i##0);                                                               \
    s##i##1 = V_FMA(x, w1, s##i##1);                                                               \
    s##i##2 = V_FMA(x, w2, s##i##2);                                                               \
    s##i##3 = V_FMA(x, w3, s##i##3);
#define D_TAIL(n)                                                                                  \
    v8 x, w0 = V_LOAD_FIRST(b0 + k, mask), w1 = V_LOAD_FIRST(b1 + k, mask),                        \
          w2 = V_LOAD_FIRST(b2 + k, mask), w3 = V_LOAD_FIRST(b3 + k, mask);                        \
    ROWS_##n(D_FMA_TAIL)

DOT_KERNEL(1)
DOT_KERNEL(2)
DOT_KERNEL(3)

/* C = A B^T for few rows of A: every row of B is read once from memory. */
TARGET static void NAME(gemm_dot)(const struct gemm_view *g) {
    size_t tiles = (g->m + 2) / 3;
    for (size_t j = 0; j < g->n; j += 4)
        for (size_t i = 0, done = 0; i < tiles; i++) {
            size_t rows = (g->m - done + (tiles - i) - 1) / (tiles - i);
            if (rows == 3)
                NAME(dot_3x4)(g, done, j);
            else if (rows == 2)
                NAME(dot_2x4)(g, done, j);
            else
                NAME(dot_1x4)(g, done, j);
            done += rows;
        }
    if (g->bias)
        for (size_t i = 0; i < g->m; i++)
            for (size_t j = 0; j < g->n; j++)
                g->c[i * g->n + j] += g->bias[j];
    NAME(act_rows)(g->act, g->slope, g->c, g->m * g->n);
}

TARGET static size_t NAME(gemm_scratch)(const struct kern_instr *in) {
    (void)in;
    return GEMM_K_PACKED * TILE_COLS * sizeof(float);
}

TARGET static void NAME(gemm)(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_gemm *s = &in->u.gemm;
    struct gemm_view g = {
        .a = kern_f32(c, in, 0), .b = kern_f32(c, in, 1), .c = kern_f32(c, in, 2)};
    g.bias = kern_f32(c, in, 3);
    g.m = s->m, g.n = s->n, g.k = s->k;
    g.a_row = s->trans_a ? 1 : g.k;
    g.a_k = s->trans_a ? g.m : 1;
    g.b_trans = s->trans_b;
    g.ldb = s->trans_b ? g.k : g.n;
    g.alpha = kern_scale_of(c, s->scale);
    g.beta = kern_beta_of(c, s->beta, s->weight_decay);
    g.slope = s->slope;
    bool in_tile = s->act == KERN_ACT_RELU || s->act == KERN_ACT_LEAKY_RELU;
    g.act = in_tile ? s->act : KERN_ACT_NONE;
    if (s->trans_b && !s->trans_a && g.m <= GEMM_ROWS_SKINNY)
        NAME(gemm_dot)(&g);
    else if (!s->trans_b && g.k <= GEMM_K_SKINNY && g.m > g.k)
        NAME(gemm_flat)(&g);
    else if (!s->trans_b && g.m <= GEMM_ROWS_SKINNY)
        NAME(gemm_skinny)(&g);
    else
        NAME(gemm_packed)(&g, (float *)(void *)c->scratch);
    if (!in_tile)
        NAME(act_rows)(s->act, s->slope, g.c, g.m * g.n);
}

#endif
