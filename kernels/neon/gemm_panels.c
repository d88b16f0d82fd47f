/* Products of weights that lie in panels (src/panels.h) from step to step: the forward product
 * streams them, dX reads them four rows at a time, the update of dW writes tiles of them. Nothing
 * of the size of the weights is ever copied; what is packed is a tile's rows of the other operands.
 */
#if defined(__aarch64__)
#include <arm_neon.h>

#include "neon/product.h"
#include "src/panels.h"

#define K_BLOCK     256 /* rows of weights at a time: a panel of A stays in L1 */
#define K_BLOCK_DOT 1024
#define N_BLOCK     512  /* columns at a time with many rows: that much of B stays in L2 */
#define STRIPS_DY   4096 /* floats of dY packed at a time: they stay in L1 */

_Static_assert(PANEL == STRIP, "a strip of a tile is a panel");

static size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

/* The panels of a block of rows weights, full columns of them, and the end panel. t's b and c point
 * to the first panel and its columns. */
static void tile_columns(const struct neon_ctile *whole, unsigned rows, size_t full, size_t end,
                         const float *b_end, size_t b_end_step, float *c_end, size_t c_end_step) {
    const struct neon_tiles *tiles = neon_tiles();
    struct neon_ctile t = *whole;
    t.b_step = STRIP;
    t.strips = full / STRIP;
    if (tiles->panel[rows] && t.strips) {
        tiles->panel[rows](&t);
    } else {
        for (t.strips = 1; t.c != whole->c + full / STRIP * whole->c_strip; t.c += t.c_strip) {
            tiles->strip[rows](&t);
            t.b += t.b_strip;
            if (t.end.bias)
                t.end.bias += STRIP;
        }
    }
    if (end == 0)
        return;
    t = *whole;
    t.b = b_end, t.b_step = b_end_step;
    t.c = c_end, t.ldc = c_end_step;
    if (t.end.bias)
        t.end.bias += full;
    neon_columns(tiles, &t, rows, end);
}

/* Blocks of the same size that are taken as one run of k. */
static size_t blocks_at(const struct kern_panel_shape *s, size_t block) {
    const size_t whole = s->last == s->rows ? s->blocks : s->blocks - 1;
    if (block >= whole)
        return 1;
    return min_size(neon_even_part(whole, K_BLOCK / PANEL_ROWS), whole - block);
}

static void forward_columns(const struct neon_product *g, const struct kern_panel_shape *s,
                            size_t j0, size_t columns, float *panel) {
    const bool at_end = j0 + columns == g->n;
    const size_t full = at_end ? s->full - j0 : columns;
    for (size_t block = 0, runs; block < s->blocks; block += runs) {
        runs = blocks_at(s, block);
        const size_t k0 = block * s->rows, rows = kern_panel_block_rows(s, block);
        const float *start = g->b + k0 * g->n;
        struct neon_ctile t = {.b = start + j0 * rows, .len = rows, .runs = runs, .ldc = g->n};
        t.b_run = rows * g->n;
        t.b_strip = rows * STRIP, t.c_strip = STRIP;
        neon_end_of(g, k0, runs * rows, &t.end);
        if (t.end.bias)
            t.end.bias += j0;
        for (size_t i = 0; i < g->m;) {
            const unsigned tile = neon_rows(neon_tiles(), g->m - i);
            t.a = panel;
            t.a_step = (tile + 3u) / 4 * 4;
            t.a_run = rows * t.a_step;
            neon_pack_rows(g->a + i * g->k + k0, g->k, tile, runs * rows, panel, t.a_step);
            t.c = g->c + i * g->n + j0;
            tile_columns(&t, tile, full, at_end ? s->end : 0, start + s->full * rows, s->end,
                         t.c + full, g->n);
            i += tile;
        }
    }
}

void neon_panels_forward(const struct neon_product *g, float *scratch) {
    const struct kern_panel_shape s = kern_panel_shape(g->k, g->n);
    const size_t block = g->m > 2 * TILE_ROWS ? N_BLOCK : g->n;
    for (size_t j = 0; j < g->n;) {
        const size_t columns = g->n - j < block + 4 ? g->n - j : block; /* never cuts a panel */
        forward_columns(g, &s, j, columns, scratch);
        j += columns;
    }
}

void neon_panels_dots(const struct neon_product *g) {
    const struct kern_panel_shape s = kern_panel_shape(g->n, g->k); /* of the weights */
    for (size_t k0 = 0, len; k0 < g->k; k0 += len) {
        len = g->k - k0 < K_BLOCK_DOT + 12 ? g->k - k0 : K_BLOCK_DOT; /* never cuts a panel */
        const bool at_end = k0 + len == g->k;
        struct neon_dtile t = {.lda = g->k, .ldb = s.end, .ldc = g->n, .alpha = g->alpha};
        t.len = at_end ? s.end : 0;
        t.panels = (len - t.len) / PANEL;
        t.add = k0 > 0 || g->add;
        for (size_t block = 0; block < s.blocks; block++) {
            const size_t rows = kern_panel_block_rows(&s, block);
            const float *start = g->b + block * s.rows * g->k;
            t.panel_step = rows * PANEL;
            for (size_t r = 0; r < rows; r += 4) {
                /* Less than 4 rows are left: the last 4 again, of which only new ones count. */
                const size_t at = min_size(r, rows - 4);
                t.skip = (unsigned)(r - at);
                t.panel = start + k0 * rows + at * PANEL;
                t.b = start + s.full * rows + at * s.end;
                for (size_t i = 0; i < g->m;) {
                    const unsigned tile = neon_dot_rows(g->m - i);
                    t.a = g->a + i * g->k + k0;
                    t.c = g->c + i * g->n + block * s.rows + at;
                    neon_tiles()->dot[tile](&t);
                    i += tile;
                }
            }
        }
    }
}

/* ---- dW ---- */

/* [columns / 8][len][8] from len rows of dY. */
static void pack_strips(const float *y, size_t ldy, size_t len, size_t columns, float *dst) {
    for (size_t j = 0; j < columns; j += STRIP)
        for (size_t k = 0; k < len; k++, dst += STRIP) {
            const float *from = y + k * ldy + j;
            vst1q_f32(dst, vld1q_f32(from));
            vst1q_f32(dst + 4, vld1q_f32(from + 4));
        }
}

/* [len][step] from rows columns of a transposed A. */
static void pack_columns(const float *a, size_t lda, unsigned rows, size_t len, float *dst,
                         size_t step) {
    for (size_t k = 0; k < len; k++, a += lda, dst += step) {
        unsigned r = 0;
        for (; r + 4 <= rows; r += 4)
            vst1q_f32(dst + r, vld1q_f32(a + r));
        for (; r < rows; r++)
            dst[r] = a[r];
    }
}

struct update {
    const struct neon_product *g;
    struct kern_panel_shape s;
    size_t k0, len;      /* of the batch */
    size_t j0, full;     /* columns in panels */
    size_t end;          /* columns of the end panel, when it is this part's */
    const float *strips; /* their dY */
    float *panel;
};

/* All weights of some columns. */
static void update_columns(const struct update *u) {
    const struct neon_product *g = u->g;
    struct neon_ctile t = {.a = u->panel, .len = u->len, .runs = 1, .ldc = STRIP};
    t.b = u->strips, t.b_strip = u->len * STRIP;
    neon_end_of(g, u->k0, u->len, &t.end);
    for (size_t block = 0; block < u->s.blocks; block++) {
        const size_t rows = kern_panel_block_rows(&u->s, block);
        float *start = g->c + block * u->s.rows * g->n;
        t.c_strip = rows * STRIP;
        for (size_t r = 0; r < rows;) {
            const unsigned tile = neon_rows(neon_tiles(), rows - r);
            const size_t i = block * u->s.rows + r;
            t.a_step = (tile + 3u) / 4 * 4;
            if (g->trans_a)
                pack_columns(g->a + u->k0 * g->m + i, g->m, tile, u->len, u->panel, t.a_step);
            else
                neon_pack_rows(g->a + i * g->k + u->k0, g->k, tile, u->len, u->panel, t.a_step);
            t.c = start + u->j0 * rows + r * STRIP;
            tile_columns(&t, tile, u->full, u->end, g->b + u->k0 * g->n + u->s.full, g->n,
                         start + u->s.full * rows + r * u->end, u->end);
            r += tile;
        }
    }
}

size_t neon_panels_update_scratch(void) {
    return ((size_t)K_BLOCK * TILE_ROWS + STRIPS_DY) * sizeof(float);
}

void neon_panels_update(const struct neon_product *g, float *scratch) {
    struct update u = {.g = g, .s = kern_panel_shape(g->m, g->n), .panel = scratch};
    float *strips = scratch + (size_t)K_BLOCK * TILE_ROWS;
    const size_t block = neon_even_part(g->k, K_BLOCK);
    const size_t columns =
        neon_even_part(u.s.full / STRIP, STRIPS_DY / (min_size(block, g->k) * STRIP)) * STRIP;
    u.strips = strips;
    for (u.k0 = 0; u.k0 < g->k; u.k0 += u.len) {
        u.len = min_size(block, g->k - u.k0);
        for (u.j0 = 0; u.j0 < u.s.full; u.j0 += u.full) {
            u.full = min_size(columns, u.s.full - u.j0);
            u.end = u.j0 + u.full == u.s.full ? u.s.end : 0;
            pack_strips(g->b + u.k0 * g->n + u.j0, g->n, u.len, u.full, strips);
            update_columns(&u);
        }
    }
}
#else
typedef int kern_neon_gemm_panels_is_for_arm;
#endif
