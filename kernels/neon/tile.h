/* The register tiles of the NEON backend and the table that a processor's variant fills.
 *
 * A column tile is up to 12 rows of A by strips of 8 columns of B: 24 accumulators, 3 vectors of A
 * taken by lane, 2 of B. Element (row, k) of A lies at a[k a_step + row]: a packed panel, a
 * transposed matrix or adjacent pixels of one channel need no copy. B is read as it lies.
 * A row tile is up to 8 rows anywhere in memory (pixels of an NHWC image), each read along k, four
 * at a time, and used by lane. A dot tile is up to 5 rows by 4 rows of a transposed B: weights as
 * dX of a dense layer reads them, along panels where they lie in those (src/panels.h).
 * A panel tile is a column tile whose operands lie in the order it takes them: a packed A by panels
 * of B, or packed dY by packed X with panels as C.
 *
 * Column tiles add in the order of k, dot tiles in four sums along it: the same operands in the
 * same order give the same bits. */
#ifndef SOTTO_KERN_NEON_TILE_H
#define SOTTO_KERN_NEON_TILE_H

#include "neon/neon.h"

#if defined(__aarch64__)

#define TILE_ROWS  12 /* of a column tile, at most */
#define RTILE_ROWS 8
#define DOT_ROWS   5
#define STRIP      8 /* columns */

/* c = act(alpha sum + bias), or act(c + alpha sum + bias) with add. */
struct neon_end {
    float alpha;
    bool add;
    const float *bias; /* of the first column, or NULL */
    enum kern_act act; /* NONE, RELU; the others need a pass of their own */
};

struct neon_ctile {
    const float *a, *b;
    size_t a_step, b_step; /* floats from k to k + 1 */
    size_t len, runs;      /* k = runs x len; a run starts a_run and b_run floats after the last */
    size_t a_run, b_run;
    size_t strips, b_strip; /* how many strips of columns, floats between them in B */
    float *c;
    size_t ldc;
    size_t c_strip; /* panel tiles: floats between the strips in C */
    unsigned skip;  /* quarter strips (4 columns): leading columns that are not stored, 0 to 3 */
    struct neon_end end;
};

struct neon_rtile {
    const float *a[RTILE_ROWS];
    float *c[RTILE_ROWS];
    const float *b;
    size_t b_step, len, runs, a_run, b_run, strips;
    unsigned skip;
    struct neon_end end;
};

struct neon_dtile { /* c[i][0 .. 4) = sum over k of a[i][k] b[j][k] */
    const float *a, *b;
    size_t lda, ldb, len;
    /* Before those of b, 8 k from each of so many panels: row j of the first at panel[8 j]. */
    const float *panel;
    size_t panels, panel_step;
    float *c;
    size_t ldc;
    unsigned skip;
    float alpha;
    bool add;
};

typedef void neon_ctile_fn(const struct neon_ctile *t);
typedef void neon_rtile_fn(const struct neon_rtile *t);
typedef void neon_dtile_fn(const struct neon_dtile *t);

struct neon_tiles {
    /* [rows]; NULL where there is none of so many rows. 1, 2, 4 and 8 there are always. */
    neon_ctile_fn *strip[TILE_ROWS + 1], *quarter[TILE_ROWS + 1];
    /* Like strip, with A and B one after the other in memory: a_step is rows rounded up to 4 (and
     * runs of A follow each other), b_step is 8. C may be panels too: ldc 8. */
    neon_ctile_fn *panel[TILE_ROWS + 1];
    neon_rtile_fn *rows_strip[RTILE_ROWS + 1], *rows_quarter[RTILE_ROWS + 1];
    neon_dtile_fn *dot[DOT_ROWS + 1];
};
extern const struct neon_tiles neon_tiles_wide;  /* out of order: A72, A76, X1 and so on */
extern const struct neon_tiles neon_tiles_small; /* in order: A53, A55, A510 */
const struct neon_tiles *neon_tiles(void);       /* this processor's */

/* The activation as a tile's end does it, or NONE when a pass of its own has to follow. */
static inline enum kern_act neon_end_act(enum kern_act act) {
    return act == KERN_ACT_RELU ? act : KERN_ACT_NONE;
}
/* That pass. */
static inline void neon_act_pass(enum kern_act act, float slope, float *x, size_t n) {
    if (neon_end_act(act) != act)
        neon_act_values(act, slope, x, x, n);
}

#endif
#endif
