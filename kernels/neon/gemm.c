/* Products by NEON of operands in layout order; those of weights that lie in panels are in
 * gemm_panels.c. No operand is copied that a tile can read as it lies: B [k][n] row by row, a
 * transposed A, a transposed B by dot tiles. Only a plain A is packed, a panel of up to 12 rows at
 * a time; it is read once for every 8 columns. */
#if defined(__aarch64__)
#include <arm_neon.h>

#include "sotto/base/vec.h"

#include "neon/product.h"
#include "src/panels.h"

#define K_BLOCK     256 /* of k at a time: a panel of A stays in L1 */
#define K_BLOCK_FAR 128 /* with long rows of B: fewer pages at a time */
#define FAR_COLUMNS 256
#define N_BLOCK     512 /* columns at a time with many rows: that much of B stays in L2 */
#define K_BLOCK_DOT 1024
#define W8_ROWS     48
#define W8_COLUMNS  64

unsigned neon_rows(const struct neon_tiles *tiles, size_t left) {
    /* By how many are left: no last tile of one row where two of some rows do. */
    static const uint8_t most12[24] = {0,  1, 2, 3,  4, 5,  6,  4,  8,  5,  10, 6,
                                       12, 8, 8, 10, 8, 12, 10, 12, 10, 12, 12, 12};
    static const uint8_t most8[16] = {0, 1, 2, 3, 4, 5, 6, 4, 8, 5, 5, 6, 6, 8, 8, 5};
    if (tiles->strip[12])
        return left < ARRAY_LEN(most12) ? most12[left] : 12;
    return left < ARRAY_LEN(most8) ? most8[left] : 8;
}

void neon_columns(const struct neon_tiles *tiles, const struct neon_ctile *whole, unsigned rows,
                  size_t n) {
    struct neon_ctile t = *whole;
    const size_t full = n / STRIP * STRIP;
    t.strips = n / STRIP;
    t.b_strip = STRIP;
    if (t.strips)
        tiles->strip[rows](&t);
    for (size_t j = full; j < n;) {
        /* Less than 4 columns are left: the last 4 again, of which only the new ones are stored. */
        const size_t at = n - j >= 4 ? j : n - 4;
        t.b = whole->b + at;
        t.c = whole->c + at;
        t.end.bias = whole->end.bias ? whole->end.bias + at : NULL;
        t.skip = (unsigned)(j - at);
        tiles->quarter[rows](&t);
        j = at + 4;
    }
}

void neon_pack_rows(const float *a, size_t lda, unsigned rows, size_t len, float *dst,
                    size_t step) {
    for (unsigned g = 0; g < step; g += 4) {
        const float *r[4];
        float *to = dst + g;
        size_t k = 0;
        for (unsigned i = 0; i < 4; i++)
            r[i] = a + (g + i < rows ? g + i : rows - 1) * lda;
        for (; k + 4 <= len; k += 4, to += 4 * step) {
            const float32x4_t a0 = vld1q_f32(r[0] + k), a1 = vld1q_f32(r[1] + k);
            const float32x4_t a2 = vld1q_f32(r[2] + k), a3 = vld1q_f32(r[3] + k);
            const float64x2_t t0 = vreinterpretq_f64_f32(vtrn1q_f32(a0, a1));
            const float64x2_t t1 = vreinterpretq_f64_f32(vtrn2q_f32(a0, a1));
            const float64x2_t t2 = vreinterpretq_f64_f32(vtrn1q_f32(a2, a3));
            const float64x2_t t3 = vreinterpretq_f64_f32(vtrn2q_f32(a2, a3));
            vst1q_f32(to, vreinterpretq_f32_f64(vtrn1q_f64(t0, t2)));
            vst1q_f32(to + step, vreinterpretq_f32_f64(vtrn1q_f64(t1, t3)));
            vst1q_f32(to + 2 * step, vreinterpretq_f32_f64(vtrn2q_f64(t0, t2)));
            vst1q_f32(to + 3 * step, vreinterpretq_f32_f64(vtrn2q_f64(t1, t3)));
        }
        for (; k < len; k++, to += step)
            for (unsigned i = 0; i < 4; i++)
                to[i] = r[i][k];
    }
}

size_t neon_even_part(size_t whole, size_t most) {
    const size_t parts = (whole + most - 1) / most;
    return (whole + parts - 1) / parts;
}

/* A's place for one tile over k in [k0, k0 + len): where it lies, or a panel of it. */
static void place_rows(const struct neon_product *g, size_t i, unsigned rows, size_t k0, size_t len,
                       float *panel, struct neon_ctile *t) {
    if (g->trans_a) {
        t->a = g->a + k0 * g->m + i;
        t->a_step = g->m;
        return;
    }
    t->a_step = (rows + 3u) / 4 * 4;
    neon_pack_rows(g->a + i * g->k + k0, g->k, rows, len, panel, t->a_step);
    t->a = panel;
}

void neon_end_of(const struct neon_product *g, size_t k0, size_t len, struct neon_end *end) {
    const bool last = k0 + len == g->k;
    end->alpha = g->alpha;
    end->add = k0 > 0 || g->add;
    end->bias = last ? g->bias : NULL;
    end->act = last ? neon_end_act(g->act) : KERN_ACT_NONE;
}

static void product_columns(const struct neon_product *g, size_t j0, size_t columns, float *panel) {
    const struct neon_tiles *tiles = neon_tiles();
    const size_t block = neon_even_part(g->k, g->n > FAR_COLUMNS ? K_BLOCK_FAR : K_BLOCK);
    for (size_t k0 = 0; k0 < g->k; k0 += block) {
        const size_t len = g->k - k0 < block ? g->k - k0 : block;
        struct neon_ctile t = {.b_step = g->n, .len = len, .runs = 1, .ldc = g->n};
        neon_end_of(g, k0, len, &t.end);
        if (t.end.bias)
            t.end.bias += j0;
        t.b = g->b + k0 * g->n + j0;
        for (size_t i = 0; i < g->m;) {
            const unsigned rows = neon_rows(tiles, g->m - i);
            place_rows(g, i, rows, k0, len, panel, &t);
            t.c = g->c + i * g->n + j0;
            neon_columns(tiles, &t, rows, columns);
            i += rows;
        }
    }
}

unsigned neon_dot_rows(size_t left) {
    return left == 6 || left == 8 ? 4 : left >= 5 ? 5 : left == 3 ? 2 : (unsigned)left;
}

/* dX of a dense layer: the rows of a transposed B are weights that lie side by side along k. */
static void product_dots(const struct neon_product *g) {
    const struct neon_tiles *tiles = neon_tiles();
    for (size_t k0 = 0; k0 < g->k; k0 += K_BLOCK_DOT) {
        const size_t len = g->k - k0 < K_BLOCK_DOT ? g->k - k0 : K_BLOCK_DOT;
        struct neon_dtile t = {.lda = g->k, .ldb = g->k, .len = len, .ldc = g->n};
        t.alpha = g->alpha;
        t.add = k0 > 0 || g->add;
        for (size_t j = 0; j < g->n;) {
            const size_t at = g->n - j >= 4 ? j : g->n - 4;
            t.skip = (unsigned)(j - at);
            t.b = g->b + at * g->k + k0;
            for (size_t i = 0; i < g->m;) {
                const unsigned rows = neon_dot_rows(g->m - i);
                t.a = g->a + i * g->k + k0;
                t.c = g->c + i * g->n + at;
                tiles->dot[rows](&t);
                i += rows;
            }
            j = at + 4;
        }
    }
}

/* Bias and activation as a pass of their own. */
static void finish_dots(const struct neon_product *g) {
    if (g->bias)
        for (size_t i = 0; i < g->m; i++)
            vec_add_f32(g->c + i * g->n, g->c + i * g->n, g->bias, g->n);
    if (g->act != KERN_ACT_NONE)
        neon_act_values(g->act, g->slope, g->c, g->c, g->m * g->n);
}

/* Too narrow for a vector, or both transposed: no model has it. */
static bool product_odd(const struct kern_gemm *g) {
    return g->n < 4 || (g->trans_a && g->trans_b);
}

size_t neon_gemm_scratch(const struct kern_instr *in) {
    const struct kern_gemm *g = &in->u.gemm;
    if (product_odd(g) || g->trans_b)
        return 0;
    if (g->trans_a) /* dW, perhaps into panels */
        return g->m < PANEL_SIDE_LEAST || g->n < PANEL_SIDE_LEAST ? 0
                                                                  : neon_panels_update_scratch();
    return in->args[3] == KERN_NONE && g->act == KERN_ACT_NONE
               ? neon_panels_update_scratch()
               : K_BLOCK * TILE_ROWS * sizeof(float);
}

static bool in_panels(const struct kern_ctx *c, uint32_t buffer) {
    return c->panels && c->panels[buffer] == KERN_PANEL_IN;
}

void neon_gemm(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_gemm *p = &in->u.gemm;
    if (product_odd(p)) {
        kern_ref.ops[KERN_GEMM].run(c, in);
        return;
    }
    struct neon_product g = {.m = p->m, .n = p->n, .k = p->k, .trans_a = p->trans_a};
    g.a = kern_f32(c, in, 0), g.b = kern_f32(c, in, 1), g.bias = kern_f32(c, in, 3);
    g.c = kern_f32(c, in, 2);
    g.act = p->act, g.slope = p->slope;
    g.alpha = kern_scale_of(c, p->scale);
    const float beta = kern_beta_of(c, p->beta, p->weight_decay);
    g.add = beta != 0.0f;
    if (g.add && beta != 1.0f)
        vec_scale_f32(g.c, g.m * g.n, beta);
    float *panel = (float *)(void *)c->scratch;
    const bool weights = in_panels(c, in->args[1]);
    if (p->trans_b) {
        if (weights)
            neon_panels_dots(&g);
        else
            product_dots(&g);
        finish_dots(&g);
        return;
    }
    if (weights || in_panels(c, in->args[2])) {
        if (weights)
            neon_panels_forward(&g, panel);
        else
            neon_panels_update(&g, panel);
        neon_act_pass(g.act, g.slope, g.c, g.m * g.n);
        return;
    }
    if (neon_gemm_is_ten(p)) {
        neon_gemm_ten(&g, panel);
        neon_act_pass(g.act, g.slope, g.c, g.m * g.n);
        return;
    }
    const size_t block = g.m > 2 * TILE_ROWS ? N_BLOCK : g.n;
    for (size_t j = 0; j < g.n;) {
        size_t columns = g.n - j < block + 4 ? g.n - j : block; /* the last part has 4 or more */
        product_columns(&g, j, columns, panel);
        j += columns;
    }
    neon_act_pass(g.act, g.slope, g.c, g.m * g.n);
}

/* ---- A package's weights: a block of them becomes floats in L1 and serves up to 48 rows. ---- */

/* dst[k][columns] = scale * w, the reference's DEQUANT_I8 in place. */
static void unpack_w8(const int8_t *w, size_t ldw, const float *scale, size_t len, size_t columns,
                      float *dst) {
    for (size_t k = 0; k < len; k++, w += ldw, dst += columns) {
        size_t j = 0;
        for (; j + 8 <= columns; j += 8) {
            const int16x8_t q = vmovl_s8(vld1_s8(w + j));
            const float32x4_t low = vcvtq_f32_s32(vmovl_s16(vget_low_s16(q)));
            const float32x4_t high = vcvtq_f32_s32(vmovl_high_s16(q));
            vst1q_f32(dst + j, vmulq_f32(low, vld1q_f32(scale + j)));
            vst1q_f32(dst + j + 4, vmulq_f32(high, vld1q_f32(scale + j + 4)));
        }
        for (; j < columns; j++)
            dst[j] = (float)w[j] * scale[j];
    }
}

size_t neon_gemm_w8_scratch(const struct kern_instr *in) {
    if (in->u.gemm.n < 4)
        return 0;
    return K_BLOCK_FAR * (W8_ROWS + W8_COLUMNS + 4) * sizeof(float);
}

/* One block of weights times up to 48 rows of A, which are packed. */
static void w8_block(const struct neon_ctile *block, const float *panels, size_t rows_left,
                     size_t columns, size_t n) {
    const struct neon_tiles *tiles = neon_tiles();
    struct neon_ctile t = *block;
    for (size_t i = 0; i < rows_left;) {
        const unsigned rows = neon_rows(tiles, rows_left - i);
        t.a = panels;
        t.a_step = (rows + 3u) / 4 * 4;
        panels += t.a_step * t.len;
        neon_columns(tiles, &t, rows, columns);
        t.c += rows * n;
        i += rows;
    }
}

void neon_gemm_w8(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_gemm *p = &in->u.gemm;
    if (p->n < 4) {
        kern_ref.ops[KERN_GEMM_W8].run(c, in);
        return;
    }
    const struct neon_tiles *tiles = neon_tiles();
    struct neon_product g = {.m = p->m, .n = p->n, .k = p->k, .alpha = 1.0f, .act = p->act};
    g.a = kern_f32(c, in, 0), g.bias = kern_f32(c, in, 4), g.c = kern_f32(c, in, 3);
    const int8_t *w = kern_ptr(c, in, 1);
    const float *scale = kern_f32(c, in, 2);
    float *weights = (float *)(void *)c->scratch;
    float *panels = weights + (size_t)K_BLOCK_FAR * (W8_COLUMNS + 4);
    for (size_t k0 = 0; k0 < g.k; k0 += K_BLOCK_FAR) {
        const size_t len = g.k - k0 < K_BLOCK_FAR ? g.k - k0 : K_BLOCK_FAR;
        struct neon_ctile t = {.b = weights, .len = len, .runs = 1, .ldc = g.n};
        for (size_t i0 = 0; i0 < g.m; i0 += W8_ROWS - TILE_ROWS) {
            const size_t most = W8_ROWS - TILE_ROWS; /* padding of panels takes the rest */
            const size_t left = g.m - i0 < most ? g.m - i0 : most;
            float *to = panels;
            for (size_t i = 0; i < left;) {
                const unsigned rows = neon_rows(tiles, left - i);
                const size_t step = (rows + 3u) / 4 * 4;
                neon_pack_rows(g.a + (i0 + i) * g.k + k0, g.k, rows, len, to, step);
                to += step * len;
                i += rows;
            }
            for (size_t j = 0; j < g.n;) {
                const size_t columns = g.n - j < W8_COLUMNS + 4 ? g.n - j : W8_COLUMNS;
                unpack_w8(w + k0 * g.n + j, g.n, scale + j, len, columns, weights);
                neon_end_of(&g, k0, len, &t.end);
                if (t.end.bias)
                    t.end.bias += j;
                t.b_step = columns;
                t.c = g.c + i0 * g.n + j;
                w8_block(&t, panels, left, columns, g.n);
                j += columns;
            }
        }
    }
    neon_act_pass(p->act, p->slope, g.c, g.m * g.n);
}

void neon_add_bias_act(const struct kern_gemm *g, const float *bias, float *c) {
    if (bias)
        for (size_t i = 0; i < g->m; i++)
            vec_add_f32(c + i * g->n, c + i * g->n, bias, g->n);
    if (g->act != KERN_ACT_NONE)
        neon_act_values(g->act, g->slope, c, c, (size_t)g->m * g->n);
}
#else
typedef int kern_neon_gemm_is_for_arm;
#endif
