/* Convolutions of few output channels: one vector holds them all, lanes past the last are spare.
 * Forward with 2 x 2 pooling keeps three windows' pixels in registers and pools them there. dW
 * keeps NARROW_TAPS places of the filter in registers over all pixels of an image. */
#ifndef SOTTO_KERN_NARROW_TPL_H
#define SOTTO_KERN_NARROW_TPL_H

#include "cpu/conv_geom.h"
#include "cpu/pool_tpl.h"
#include "cpu/tile_tpl.h"

#define NARROW_WINDOWS 3 /* at a time: 12 pixels */
#define NARROW_TAPS    13

/* ---- Forward with pooling ---- */

struct narrow_row {     /* one row of pooling windows */
    const float *a;     /* the first window's input, in the padded image */
    size_t step, below; /* floats to the next pixel, to the pixel below */
    const uint32_t *offsets;
    size_t taps;
    const float *b;    /* [taps][TILE_COLS], zeros past the channels */
    const float *bias; /* LANES of them */
    enum kern_act act; /* as in a tile */
    float slope;
    uint32_t windows; /* at least NARROW_WINDOWS */
    size_t channels;
    float *y, *y_end; /* y_end: of the whole tensor, not of the row */
    uint8_t *arg;
};

#define NARROW_EACH(X) X(0) X(1) X(2) X(3) X(4) X(5)
#define NARROW_ZERO(i) vf u##i = V_SET(0.0f), l##i = V_SET(0.0f);
#define NARROW_FMA(i)                                                                              \
    u##i = V_FMA(V_SET(above[(i)*step]), w, u##i);                                                 \
    l##i = V_FMA(V_SET(under[(i)*step]), w, l##i);
#define NARROW_BIAS(i)                                                                             \
    u##i += bias;                                                                                  \
    l##i += bias;
#define NARROW_RELU(i)                                                                             \
    u##i = V_MAX(V_SET(0.0f), u##i);                                                               \
    l##i = V_MAX(V_SET(0.0f), l##i);
#define NARROW_LEAKY(i)                                                                            \
    u##i = V_MAX(u##i * t->slope, u##i);                                                           \
    l##i = V_MAX(l##i * t->slope, l##i);
#define NARROW_BETTER(val, here)                                                                   \
    {                                                                                              \
        vi better = (vi)((val) > best) | (vi)(best != best); /* NaN never stays */                 \
        best = V_SELECT(better, val, best);                                                        \
        place = (((vi){0} + (here)) & better) | (place & ~better);                                 \
    }
/* Stores run upwards: what lanes past the channels write, the next window's store mends. */
#define NARROW_POOL(w, i, j)                                                                       \
    {                                                                                              \
        vf best = u##i;                                                                            \
        vi place = (vi){0};                                                                        \
        NARROW_BETTER(u##j, 1)                                                                     \
        NARROW_BETTER(l##i, 2)                                                                     \
        NARROW_BETTER(l##j, 3)                                                                     \
        float *y = t->y + (first + (w)) * t->channels;                                             \
        uint8_t *arg = t->arg + (first + (w)) * t->channels;                                       \
        if (t->y_end - y >= LANES) {                                                               \
            V_STORE(y, best);                                                                      \
            places_store(arg, &place);                                                             \
        } else {                                                                                   \
            V_STORE_FIRST(y, best, t->channels);                                                   \
            for (size_t c = 0; c < t->channels; c++)                                               \
                arg[c] = (uint8_t)place[c];                                                        \
        }                                                                                          \
    }

INLINE void narrow_windows(const struct narrow_row *t, size_t first, const size_t step) {
    const float *a = t->a + first * 2 * step, *b = t->b;
    const size_t below = t->below;
    NARROW_EACH(NARROW_ZERO)
    for (size_t k = 0; k < t->taps; k++, b += TILE_COLS) {
        const float *above = a + t->offsets[k], *under = above + below;
        const vf w = V_LOAD(b);
        NARROW_EACH(NARROW_FMA)
    }
    const vf bias = V_LOAD(t->bias);
    NARROW_EACH(NARROW_BIAS)
    if (t->act == KERN_ACT_RELU) {
        NARROW_EACH(NARROW_RELU)
    } else if (t->act == KERN_ACT_LEAKY_RELU) {
        NARROW_EACH(NARROW_LEAKY)
    }
    NARROW_POOL(0, 0, 1)
    NARROW_POOL(1, 2, 3)
    NARROW_POOL(2, 4, 5)
}

/* The row's last windows may be done twice. */
#define NARROW_ROW(suffix, STEP)                                                                   \
    TARGET static void NAME(narrow_row_##suffix)(const struct narrow_row *t) {                     \
        size_t w = 0;                                                                              \
        for (; w + NARROW_WINDOWS <= t->windows; w += NARROW_WINDOWS)                              \
            narrow_windows(t, w, STEP);                                                            \
        if (w < t->windows)                                                                        \
            narrow_windows(t, t->windows - NARROW_WINDOWS, STEP);                                  \
    }
NARROW_ROW(beside, 1) /* pixels side by side: displacements in the instructions */
NARROW_ROW(apart, t->step)

/* ---- dW ---- */

#define DW_EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12)
#define DW_HEAD(i)                                                                                 \
    const float *a##i = image + offsets[i];                                                        \
    vf s##i = V_LOAD(sum + (i)*LANES);
#define DW_FMA(i)  s##i = V_FMA(V_SET(a##i[at]), d, s##i);
#define DW_TAIL(i) V_STORE(sum + (i)*LANES, s##i);

/* sum[tap][LANES] += over the pixels, input at the tap * dy of the pixel, whose LANES floats are
 * read. */
TARGET static void NAME(dw_narrow_taps)(const struct kern_conv *v, const float *image,
                                        const uint32_t *offsets, const float *dy, float *sum) {
    const size_t step = (size_t)v->stride_w * v->in_c, row = v->stride_h * conv_padded(v).row;
    DW_EACH(DW_HEAD)
    for (size_t oy = 0; oy < v->out_h; oy++) {
        const size_t end = oy * row + v->out_w * step;
        for (size_t at = oy * row; at < end; at += step, dy += v->out_c) {
            const vf d = V_LOAD(dy);
            DW_EACH(DW_FMA)
        }
    }
    DW_EACH(DW_TAIL)
}

INLINE size_t dw_narrow_sums(const struct kern_conv *v) { /* taps, rounded up */
    size_t taps = (size_t)v->kernel_h * v->kernel_w * v->in_c;
    return num_round_up(taps, NARROW_TAPS);
}

/* One image's share. Taps past the last one look at place 0, and their sums at nobody. */
TARGET static void NAME(dw_narrow_image)(const struct kern_conv *v, const float *image,
                                         const float *dy, float *sum) {
    const size_t run = (size_t)v->kernel_w * v->in_c, row = conv_padded(v).row;
    size_t taps = dw_narrow_sums(v), ky = 0, f = 0;
    for (size_t k = 0; k < taps; k += NARROW_TAPS, sum += NARROW_TAPS * LANES) {
        uint32_t offsets[NARROW_TAPS];
        for (size_t i = 0; i < NARROW_TAPS; i++) {
            offsets[i] = ky < v->kernel_h ? (uint32_t)(ky * row + f) : 0;
            if (++f == run)
                f = 0, ky++;
        }
        NAME(dw_narrow_taps)(v, image, offsets, dy, sum);
    }
}

#endif
