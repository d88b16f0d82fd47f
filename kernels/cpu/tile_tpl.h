/* The register tile (6 x 16 with AVX2, 6 x 8 with four lanes) that gemm and convolution share: up
 * to 6 rows of A (anywhere in memory) times a strip of up to two vectors' columns of B. 12
 * accumulators, 2 vectors of B, 1 broadcast: 15 of the 16 vector registers; a step over k costs 8
 * loads for 12 multiply-adds, so the multipliers are what it waits for. The sum's order is k = 0,
 * 1, ...: fixed. */
#ifndef SOTTO_KERN_TILE_TPL_H
#define SOTTO_KERN_TILE_TPL_H

#include "cpu/simd.h"

#define TILE_ROWS 6
#define TILE_COLS (2 * LANES)

struct tile {
    const float *a[TILE_ROWS]; /* row r's element k of run j lies at a[r][j * a_run + k * a_step] */
    float *c[TILE_ROWS];
    size_t a_step, a_run;
    const float *b; /* element (k, column) of run j lies at b[j * b_run + k * ldb + column] */
    size_t ldb, b_run;
    const uint32_t *offsets; /* tile_run_offsets: element k of row r is a[r][offsets[k]]; one run */
    size_t len, runs;  /* a convolution's run is one filter row: taps and channels lie side by side
                          in NHWC */
    size_t cols;       /* 1..TILE_COLS */
    float alpha, beta; /* c = alpha * sum + beta * c; c is not read when beta is 0 */
    const float *bias; /* added to the result, or NULL */
    enum kern_act act; /* NONE, RELU, LEAKY_RELU; the others need a pass of their own */
    float slope;
};

/* The activation as the tile's store does it, or NONE when a pass of its own has to follow. */
INLINE enum kern_act act_in_tile(enum kern_act act) {
    return act == KERN_ACT_RELU || act == KERN_ACT_LEAKY_RELU ? act : KERN_ACT_NONE;
}

#define ROWS_1(X) X(0)
#define ROWS_2(X) ROWS_1(X) X(1)
#define ROWS_3(X) ROWS_2(X) X(2)
#define ROWS_4(X) ROWS_3(X) X(3)
#define ROWS_5(X) ROWS_4(X) X(4)
#define ROWS_6(X) ROWS_5(X) X(5)

/* Named variables, not arrays: gcc keeps arrays of vectors in memory. */
#define T_A(r)     const float *a##r = t->a[r];
#define T_ZERO2(r) vf x##r = V_SET(0.0f), y##r = V_SET(0.0f);
#define T_FMA2(r)                                                                                  \
    s = V_SET(a##r[off]);                                                                          \
    x##r = V_FMA(s, b0, x##r);                                                                     \
    y##r = V_FMA(s, b1, y##r);
#define T_ZERO1(r) vf x##r = V_SET(0.0f);
#define T_FMA1(r)                                                                                  \
    s = V_SET(a##r[off]);                                                                          \
    x##r = V_FMA(s, b0, x##r);

/* v = activation(alpha v + beta c + bias) */
#define T_FINISH(v, load_c, bias_v)                                                                \
    v *= alpha;                                                                                    \
    if (t->beta != 0.0f)                                                                           \
        v = V_FMA(load_c, beta, v);                                                                \
    if (t->bias)                                                                                   \
        v += bias_v;                                                                               \
    if (t->act == KERN_ACT_RELU)                                                                   \
        v = V_MAX(V_SET(0.0f), v);                                                                 \
    else if (t->act == KERN_ACT_LEAKY_RELU)                                                        \
        v = V_MAX(v * t->slope, v);

#define T_STORE2(r)                                                                                \
    {                                                                                              \
        float *c = t->c[r];                                                                        \
        T_FINISH(x##r, V_LOAD(c), bias0)                                                           \
        T_FINISH(y##r, V_LOAD(c + LANES), bias1)                                                   \
        V_STORE(c, x##r);                                                                          \
        V_STORE(c + LANES, y##r);                                                                  \
    }
#define T_STORE2M(r)                                                                               \
    {                                                                                              \
        float *c = t->c[r];                                                                        \
        T_FINISH(x##r, V_LOAD(c), bias0)                                                           \
        T_FINISH(y##r, V_LOAD_FIRST(c + LANES, mask), bias1)                                       \
        V_STORE(c, x##r);                                                                          \
        V_STORE_FIRST(c + LANES, y##r, rest);                                                      \
    }
#define T_STORE1M(r)                                                                               \
    {                                                                                              \
        float *c = t->c[r];                                                                        \
        T_FINISH(x##r, V_LOAD_FIRST(c, mask), bias0)                                               \
        V_STORE_FIRST(c, x##r, rest);                                                              \
    }

#define T_LOOP(LOADS, FMA)                                                                         \
    for (size_t run = 0; run < t->runs; run++) {                                                   \
        const float *b = t->b + run * t->b_run;                                                    \
        size_t off = run * t->a_run;                                                               \
        for (size_t k = t->len; k; k--, off += step, b += ldb) {                                   \
            vf s;                                                                                  \
            LOADS                                                                                  \
            FMA                                                                                    \
        }                                                                                          \
    }

#define T_HEAD                                                                                     \
    const size_t step = t->a_step, ldb = t->ldb;                                                   \
    const vf alpha = V_SET(t->alpha), beta = V_SET(t->beta);

/* For short runs: one loop over all k, the places come from a table. b is packed, TILE_COLS wide.
 */
#define OFFSET_KERNEL(n)                                                                           \
    TARGET static void NAME(tile_##n##_offsets)(const struct tile *t) {                            \
        const vf alpha = V_SET(t->alpha), beta = V_SET(t->beta);                                   \
        ROWS_##n(T_A) ROWS_##n(T_ZERO2) const float *b = t->b;                                     \
        for (size_t k = 0; k < t->len; k++, b += TILE_COLS) {                                      \
            const size_t off = t->offsets[k];                                                      \
            vf s, b0 = V_LOAD(b), b1 = V_LOAD(b + LANES);                                          \
            ROWS_##n(T_FMA2)                                                                       \
        }                                                                                          \
        vf bias0 = V_SET(0.0f), bias1 = bias0;                                                     \
        if (t->bias) {                                                                             \
            bias0 = V_LOAD(t->bias);                                                               \
            bias1 = V_LOAD(t->bias + LANES);                                                       \
        }                                                                                          \
        ROWS_##n(T_STORE2)                                                                         \
    }
OFFSET_KERNEL(1)
OFFSET_KERNEL(2)
OFFSET_KERNEL(3)
OFFSET_KERNEL(4)
OFFSET_KERNEL(5)
OFFSET_KERNEL(6)

#define TILE_KERNELS(n)                                                                            \
    TARGET static void NAME(tile_##n##_full)(const struct tile *t) {                               \
        T_HEAD                                                                                     \
        ROWS_##n(T_A) ROWS_##n(T_ZERO2) T_LOOP(vf b0 = V_LOAD(b); vf b1 = V_LOAD(b + LANES);       \
                                               , ROWS_##n(T_FMA2)) vf bias0 = V_SET(0.0f),         \
                                                                      bias1 = bias0;               \
        if (t->bias) {                                                                             \
            bias0 = V_LOAD(t->bias);                                                               \
            bias1 = V_LOAD(t->bias + LANES);                                                       \
        }                                                                                          \
        ROWS_##n(T_STORE2)                                                                         \
    }                                                                                              \
    TARGET static void NAME(tile_##n##_wide)(const struct tile *t) {                               \
        T_HEAD                                                                                     \
        const size_t rest = t->cols - LANES;                                                       \
        const vi mask = V_FIRST(rest);                                                             \
        ROWS_##n(T_A) ROWS_##n(T_ZERO2)                                                            \
            T_LOOP(vf b0 = V_LOAD(b); vf b1 = V_LOAD_FIRST(b + LANES, mask);, ROWS_##n(T_FMA2))    \
                vf bias0 = V_SET(0.0f),                                                            \
                   bias1 = bias0;                                                                  \
        if (t->bias) {                                                                             \
            bias0 = V_LOAD(t->bias);                                                               \
            bias1 = V_LOAD_FIRST(t->bias + LANES, mask);                                           \
        }                                                                                          \
        ROWS_##n(T_STORE2M)                                                                        \
    }                                                                                              \
    TARGET static void NAME(tile_##n##_slim)(const struct tile *t) {                               \
        T_HEAD                                                                                     \
        const size_t rest = t->cols;                                                               \
        const vi mask = V_FIRST(rest);                                                             \
        ROWS_##n(T_A) ROWS_##n(T_ZERO1) T_LOOP(vf b0 = V_LOAD_FIRST(b, mask);, ROWS_##n(T_FMA1))   \
            vf bias0 = V_SET(0.0f);                                                                \
        if (t->bias)                                                                               \
            bias0 = V_LOAD_FIRST(t->bias, mask);                                                   \
        ROWS_##n(T_STORE1M)                                                                        \
    }

TILE_KERNELS(1)
TILE_KERNELS(2)
TILE_KERNELS(3)
TILE_KERNELS(4)
TILE_KERNELS(5)
TILE_KERNELS(6)

/* Runs a tile of 1..6 rows. */
TARGET static void NAME(tile_run)(const struct tile *t, unsigned rows) {
    typedef void tile_fn(const struct tile *);
    static tile_fn *const full[] = {NAME(tile_1_full), NAME(tile_2_full), NAME(tile_3_full),
                                    NAME(tile_4_full), NAME(tile_5_full), NAME(tile_6_full)};
    static tile_fn *const wide[] = {NAME(tile_1_wide), NAME(tile_2_wide), NAME(tile_3_wide),
                                    NAME(tile_4_wide), NAME(tile_5_wide), NAME(tile_6_wide)};
    static tile_fn *const slim[] = {NAME(tile_1_slim), NAME(tile_2_slim), NAME(tile_3_slim),
                                    NAME(tile_4_slim), NAME(tile_5_slim), NAME(tile_6_slim)};
    tile_fn *const *table = t->cols == TILE_COLS ? full : t->cols > LANES ? wide : slim;
    table[rows - 1](t);
}

TARGET static void NAME(tile_run_offsets)(const struct tile *t, unsigned rows) {
    typedef void tile_fn(const struct tile *);
    static tile_fn *const table[] = {NAME(tile_1_offsets), NAME(tile_2_offsets),
                                     NAME(tile_3_offsets), NAME(tile_4_offsets),
                                     NAME(tile_5_offsets), NAME(tile_6_offsets)};
    table[rows - 1](t);
}

#endif
