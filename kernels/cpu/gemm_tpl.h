/* Products. Skinny ones (few rows, a big weight matrix) stream the weights once and never repack
 * them; wide ones pack strips of B for the cache. dW of a dense layer is one too: its k is the
 * batch, and the update of plain SGD is the alpha and beta of the same store. */
#ifndef SOTTO_KERN_GEMM_TPL_H
#define SOTTO_KERN_GEMM_TPL_H

#include "cpu/tile_tpl.h"

#define GEMM_K_SKINNY 96 /* of B's rows at a time */
#define GEMM_BLOCK_FLOATS                                                                          \
    16384 /* of B at a time: 64 KiB, read again from L2 by the next rows of A */
#define GEMM_K_PACKED    256
#define GEMM_ROWS_PACKED 192
#define GEMM_FAR_FLOATS  (64 * 1024) /* of B, from which on it is taken to lie beyond L2 */
#define GEMM_ROWS_SKINNY 32          /* up to here B is not packed */

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

/* c += a b for a few rows, over whole strips of columns, with a short k: what both skinny
 * products below are made of. a is packed as [k][6], alpha already in it. The sum over k starts
 * from 0 and is added to c once: in the update of plain SGD a weight is rounded once. */
#define U_ZERO(r)  vf x##r = V_SET(0.0f), y##r = x##r;
#define U_AHEAD(r) __builtin_prefetch(c + r * n + next_c, 0, 2);
#define U_FMA(r)                                                                                   \
    s = V_SET(ap[r]);                                                                              \
    x##r = V_FMA(s, b0, x##r);                                                                     \
    y##r = V_FMA(s, b1, y##r);
#define U_ADD(r)                                                                                   \
    {                                                                                              \
        float *to = c + r * n;                                                                     \
        V_STORE(to, x##r + V_LOAD(to));                                                            \
        V_STORE(to + LANES, y##r + V_LOAD(to + LANES));                                            \
    }
#define U_MIX(r)                                                                                   \
    {                                                                                              \
        float *to = c + r * n;                                                                     \
        V_STORE(to, V_FMA(V_SET(*beta), V_LOAD(to), x##r));                                        \
        V_STORE(to + LANES, V_FMA(V_SET(*beta), V_LOAD(to + LANES), y##r));                        \
    }
#define U_SET(r)                                                                                   \
    {                                                                                              \
        float *to = c + r * n;                                                                     \
        V_STORE(to, x##r);                                                                         \
        V_STORE(to + LANES, y##r);                                                                 \
    }
/* What becomes of c. An integer and a pointer to beta: with one float more in a register an
 * accumulator is spilled. */
enum { UPDATE_SET, UPDATE_ADD, UPDATE_MIX };
/* Strips jump from row to row, which the hardware does not foresee: whichever of b and c comes from
 * far (b is the weights in forward, c in the update) is asked for one block of rows in advance. */
#define UPDATE_KERNEL(rows)                                                                        \
    TARGET static void NAME(update_##rows)(const float *a, const float *b, float *c, size_t n,     \
                                           size_t k, int mode, const float *beta) {                \
        const size_t next_b = k * n, next_c = TILE_ROWS * n;                                       \
        for (size_t strips = n / TILE_COLS; strips; strips--, b += TILE_COLS, c += TILE_COLS) {    \
            ROWS_##rows(U_ZERO) ROWS_##rows(U_AHEAD) const float *ap = a, *bp = b;                 \
            for (size_t i = k; i; i--, ap += TILE_ROWS, bp += n) {                                 \
                vf s, b0 = V_LOAD(bp), b1 = V_LOAD(bp + LANES);                                    \
                __builtin_prefetch(bp + next_b, 0, 2);                                             \
                ROWS_##rows(U_FMA)                                                                 \
            }                                                                                      \
            if (mode == UPDATE_ADD) {                                                              \
                ROWS_##rows(U_ADD)                                                                 \
            } else if (mode == UPDATE_SET) {                                                       \
                ROWS_##rows(U_SET)                                                                 \
            } else {                                                                               \
                ROWS_##rows(U_MIX)                                                                 \
            }                                                                                      \
        }                                                                                          \
    }
UPDATE_KERNEL(1)
UPDATE_KERNEL(2)
UPDATE_KERNEL(3)
UPDATE_KERNEL(4)
UPDATE_KERNEL(5)
UPDATE_KERNEL(6)

/* Rows [i, i + rows) of c over k in [k0, k0 + len), len <= GEMM_K_SKINNY, whole strips only. */
TARGET static void NAME(gemm_update)(const struct gemm_view *g, size_t i, unsigned rows, size_t k0,
                                     size_t len, float beta) {
    typedef void update_fn(const float *, const float *, float *, size_t, size_t, int,
                           const float *);
    static update_fn *const table[] = {NAME(update_1), NAME(update_2), NAME(update_3),
                                       NAME(update_4), NAME(update_5), NAME(update_6)};
    float packed[GEMM_K_SKINNY * TILE_ROWS];
    const float *a = g->a + i * g->a_row + k0 * g->a_k;
    if (g->a_row == 1) {
        for (size_t k = 0; k < len; k++)
            for (size_t r = 0; r < rows; r++)
                packed[k * TILE_ROWS + r] = g->alpha * a[k * g->a_k + r];
    } else {
        for (size_t r = 0; r < rows; r++)
            for (size_t k = 0; k < len; k++)
                packed[k * TILE_ROWS + r] = g->alpha * a[r * g->a_row + k * g->a_k];
    }
    int mode = beta == 0.0f ? UPDATE_SET : beta == 1.0f ? UPDATE_ADD : UPDATE_MIX;
    table[rows - 1](packed, g->b + k0 * g->ldb, g->c + i * g->n, g->n, len, mode, &beta);
}

/* bias and activation over columns [0, n) of every row. */
TARGET static void NAME(gemm_finish)(const struct gemm_view *g, size_t n) {
    if (!g->bias && g->act == KERN_ACT_NONE)
        return;
    for (size_t i = 0; i < g->m; i++) {
        float *c = g->c + i * g->n;
        for (size_t j = 0; j < n; j += LANES) {
            vf v = V_LOAD(c + j);
            if (g->bias)
                v += V_LOAD(g->bias + j);
            if (g->act == KERN_ACT_RELU)
                v = V_MAX(V_SET(0.0f), v);
            else if (g->act == KERN_ACT_LEAKY_RELU)
                v = V_MAX(v * g->slope, v);
            V_STORE(c + j, v);
        }
    }
}

TARGET static void NAME(pack_strip)(const struct gemm_view *g, size_t j, size_t k0, size_t len,
                                    float *dst);

/* The same where C is narrower than a strip (a last layer's dW): B is packed with zeros to a
 * strip's width, sums of a block of rows lie side by side like C's, rows being written upwards over
 * the zeros of the row before, and C takes them up whole vectors at a time. */
#define GEMM_ROWS_NARROW 48
TARGET static void NAME(gemm_flat_narrow)(const struct gemm_view *g) {
    float b[GEMM_K_SKINNY * TILE_COLS], sums[(GEMM_ROWS_NARROW + 1) * TILE_COLS];
    NAME(pack_strip)(g, 0, 0, g->k, b);
    struct tile t = {.a_step = g->a_k, .b = b, .ldb = TILE_COLS, .len = g->k, .runs = 1};
    t.cols = TILE_COLS;
    t.alpha = g->alpha;
    for (size_t i = 0; i < g->m; i += GEMM_ROWS_NARROW) {
        size_t block = g->m - i < GEMM_ROWS_NARROW ? g->m - i : GEMM_ROWS_NARROW;
        for (size_t done = 0; done < block; done += TILE_ROWS) {
            unsigned rows = (unsigned)(block - done < TILE_ROWS ? block - done : TILE_ROWS);
            for (unsigned r = 0; r < rows; r++) {
                t.a[r] = g->a + (i + done + r) * g->a_row;
                t.c[r] = sums + (done + r) * g->n;
            }
            NAME(tile_run)(&t, rows);
        }
        float *c = g->c + i * g->n;
        size_t n = block * g->n, at = 0;
        const vf beta = V_SET(g->beta);
        if (g->beta != 0.0f)
            for (; at + LANES <= n; at += LANES)
                V_STORE(c + at, V_FMA(beta, V_LOAD(c + at), V_LOAD(sums + at)));
        for (; at < n; at++)
            c[at] = sums[at] + (g->beta != 0.0f ? g->beta * c[at] : 0.0f);
    }
}

/* Few k, many rows: dW of a dense layer, whose k is the batch. B stays in the cache, every row of C
 * is visited once, and the whole step of plain SGD is the addition in the store. */
TARGET static void NAME(gemm_flat)(const struct gemm_view *g) {
    struct gemm_view part = *g;
    size_t whole = g->n / TILE_COLS * TILE_COLS;
    if (!whole && !g->bias && g->act == KERN_ACT_NONE) {
        NAME(gemm_flat_narrow)(g);
        return;
    }
    for (size_t i = 0; i < g->m; i += TILE_ROWS) {
        part.a = g->a + i * g->a_row;
        part.c = g->c + i * g->n;
        part.m = g->m - i < TILE_ROWS ? g->m - i : TILE_ROWS;
        if (whole)
            NAME(gemm_update)(g, i, (unsigned)part.m, 0, g->k, g->beta);
        if (whole < g->n)
            NAME(gemm_strip)(&part, g->b + whole, g->ldb, whole, 0, g->k);
        NAME(gemm_finish)(&part, whole);
    }
}

/* Few rows: a block of rows of B is read as it lies in memory and used for all rows of A while it
 * is in L1. */
TARGET static void NAME(gemm_skinny)(const struct gemm_view *g) {
    size_t whole = g->n / TILE_COLS * TILE_COLS;
    size_t block = GEMM_BLOCK_FLOATS / g->n;
    block = block < 8 ? 8 : block > GEMM_K_SKINNY ? GEMM_K_SKINNY : block;
    size_t tiles = (g->m + TILE_ROWS - 1) / TILE_ROWS;
    for (size_t k0 = 0; whole && k0 < g->k; k0 += block) {
        size_t len = g->k - k0 < block ? g->k - k0 : block;
        for (size_t i = 0, done = 0; i < tiles; i++) {
            /* Even tiles: 10 rows are 5 + 5, not 6 + 4. */
            unsigned rows = (unsigned)((g->m - done + (tiles - i) - 1) / (tiles - i));
            NAME(gemm_update)(g, done, rows, k0, len, k0 == 0 ? g->beta : 1.0f);
            done += rows;
        }
    }
    NAME(gemm_finish)(g, whole);
    if (whole < g->n)
        NAME(gemm_strip)(g, g->b + whole, g->ldb, whole, 0, g->k);
}

/* dst[k][TILE_COLS] = the strip of B, zeros past its columns. */
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

/* Many rows: a block of A that fits L2 times packed strips of B that fit L1. */
TARGET static void NAME(gemm_packed)(const struct gemm_view *g, float *panel) {
    struct gemm_view part = *g;
    for (size_t i = 0; i < g->m; i += GEMM_ROWS_PACKED) {
        part.m = g->m - i < GEMM_ROWS_PACKED ? g->m - i : GEMM_ROWS_PACKED;
        part.a = g->a + i * g->a_row;
        part.c = g->c + i * g->n;
        for (size_t k0 = 0; k0 < g->k; k0 += GEMM_K_PACKED) {
            size_t len = g->k - k0 < GEMM_K_PACKED ? g->k - k0 : GEMM_K_PACKED;
            for (size_t j = 0; j < g->n; j += TILE_COLS) {
                NAME(pack_strip)(g, j, k0, len, panel);
                NAME(gemm_strip)(&part, panel, TILE_COLS, j, k0, len);
            }
        }
    }
}

/* c[j .. j + count) of one row from four vectors of partial sums. */
#define DOT_FINISH(i, s0, s1, s2, s3)                                                              \
    {                                                                                              \
        float sums[4];                                                                             \
        DOT_SUM4(sums, s0, s1, s2, s3)                                                             \
        float *c = g->c + (row + (i)) * g->n + j;                                                  \
        if (plain)                                                                                 \
            memcpy(c, sums, sizeof(sums));                                                         \
        else                                                                                       \
            for (size_t l = 0; l < count; l++)                                                     \
                c[l] = g->alpha * sums[l] + (g->beta != 0.0f ? g->beta * c[l] : 0.0f);             \
    }
#ifdef KERN_ISA_AVX2
#define DOT_SUM4(out, s0, s1, s2, s3)                                                              \
    __m256 h_ = _mm256_hadd_ps(_mm256_hadd_ps(s0, s1), _mm256_hadd_ps(s2, s3));                    \
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(h_), _mm256_extractf128_ps(h_, 1)));
#else
#define DOT_SUM1(s) (((s)[0] + (s)[1]) + ((s)[2] + (s)[3])) /* four lanes */
#define DOT_SUM4(out, s0, s1, s2, s3)                                                              \
    out[0] = DOT_SUM1(s0);                                                                         \
    out[1] = DOT_SUM1(s1);                                                                         \
    out[2] = DOT_SUM1(s2);                                                                         \
    out[3] = DOT_SUM1(s3);
#endif

#define D_ROW(i)  const float *a##i = g->a + (row + (i)) * g->a_row;
#define D_ZERO(i) vf s##i##0 = V_SET(0.0f), s##i##1 = s##i##0, s##i##2 = s##i##0, s##i##3 = s##i##0;
#define D_FMA(i)                                                                                   \
    x = LOADX(a##i + k);                                                                           \
    s##i##0 = V_FMA(x, w0, s##i##0);                                                               \
    s##i##1 = V_FMA(x, w1, s##i##1);                                                               \
    s##i##2 = V_FMA(x, w2, s##i##2);                                                               \
    s##i##3 = V_FMA(x, w3, s##i##3);
#define D_FINISH(i) DOT_FINISH(i, s##i##0, s##i##1, s##i##2, s##i##3)
#define D_STEP(n)                                                                                  \
    {                                                                                              \
        vf x, w0 = LOADX(b0 + k), w1 = LOADX(b1 + k), w2 = LOADX(b2 + k), w3 = LOADX(b3 + k);      \
        ROWS_##n(D_FMA)                                                                            \
    }

/* Dot products of n rows of A with four rows of B, both contiguous over k: dX of a dense layer.
 * When fewer than four rows are left, the last is read again and its sums are dropped. */
#define DOT_KERNEL(q)                                                                              \
    TARGET static void NAME(dot_##q##x4)(const struct gemm_view *g, size_t row, size_t j) {        \
        size_t count = g->n - j < 4 ? g->n - j : 4, k = 0;                                         \
        const bool plain = count == 4 && g->alpha == 1.0f && g->beta == 0.0f;                      \
        const float *b0 = g->b + j * g->ldb, *b1 = count > 1 ? b0 + g->ldb : b0,                   \
                    *b2 = count > 2 ? b1 + g->ldb : b1, *b3 = count > 3 ? b2 + g->ldb : b2;        \
        ROWS_##q(D_ROW) ROWS_##q(D_ZERO) for (; k + LANES <= g->k; k += LANES) {                   \
            D_STEP(q)                                                                              \
        }                                                                                          \
        if (k < g->k) {                                                                            \
            const vi mask = V_FIRST(g->k - k);                                                     \
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
    vf x, w0 = V_LOAD_FIRST(b0 + k, mask), w1 = V_LOAD_FIRST(b1 + k, mask),                        \
          w2 = V_LOAD_FIRST(b2 + k, mask), w3 = V_LOAD_FIRST(b3 + k, mask);                        \
    ROWS_##n(D_FMA_TAIL)

DOT_KERNEL(1)
DOT_KERNEL(2)
DOT_KERNEL(3)

/* C = A B^T for few rows of A: every row of B is read once from memory. */
TARGET static void NAME(gemm_dot)(const struct gemm_view *g) {
    size_t tiles = (g->m + 2) / 3;
    bool far = g->n * g->k > GEMM_FAR_FLOATS;
    for (size_t j = 0; j < g->n; j += 4) {
        /* The next four rows, while these are worked on: matters when others press on the shared
         * cache. */
        for (size_t k = 0; far && k < 4 * g->ldb; k += 16)
            __builtin_prefetch(g->b + (j + 4) * g->ldb + k, 0, 2);
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

/* Large products with no short side are OpenBLAS's, where it is built in: it packs both sides.
 * (Measured: equal at 256^3, 15 to 30% ahead at 1024^3.) */
#define GEMM_BLAS_SIDE 128
#define GEMM_BLAS_WORK ((size_t)1 << 26) /* multiply-adds */

TARGET static bool NAME(gemm_blas)(const struct gemm_view *g, bool trans_a) {
#ifdef SOTTO_HAVE_OPENBLAS
    if (g->m < GEMM_BLAS_SIDE || g->n < GEMM_BLAS_SIDE || g->k < GEMM_BLAS_SIDE ||
        g->m * g->n * g->k < GEMM_BLAS_WORK)
        return false;
    kern_blas_gemm(g->m, g->n, g->k, trans_a, g->b_trans, g->alpha, g->a, g->b, g->beta, g->c);
    if (g->bias || g->act != KERN_ACT_NONE) {
        size_t whole = g->n / LANES * LANES;
        NAME(gemm_finish)(g, whole);
        for (size_t i = 0; i < g->m; i++)
            for (size_t j = whole; j < g->n; j++) {
                float v = g->c[i * g->n + j] + (g->bias ? g->bias[j] : 0.0f);
                g->c[i * g->n + j] = kern_act_value(g->act, g->slope, v);
            }
    }
    return true;
#else
    (void)g;
    (void)trans_a;
    return false;
#endif
}

/* Who does it: by shape alone, so that the same program always sums in the same order. */
TARGET static void NAME(gemm_run)(const struct gemm_view *g, bool trans_a, float *panel) {
    if (NAME(gemm_blas)(g, trans_a))
        return;
    if (g->b_trans && !trans_a && g->m <= GEMM_ROWS_SKINNY)
        NAME(gemm_dot)(g);
    else if (!g->b_trans && g->k <= GEMM_K_SKINNY && g->m > g->k)
        NAME(gemm_flat)(g);
    else if (!g->b_trans && g->m <= GEMM_ROWS_SKINNY)
        NAME(gemm_skinny)(g);
    else
        NAME(gemm_packed)(g, panel);
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
    g.act = act_in_tile(s->act);
    NAME(gemm_run)(&g, s->trans_a, (float *)(void *)c->scratch);
    if (g.act != s->act)
        NAME(act_rows)(s->act, s->slope, g.c, g.m * g.n);
}

#endif
