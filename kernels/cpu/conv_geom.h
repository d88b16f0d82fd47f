/* Geometry that the convolution kernels share: padded images, runs cut into pieces, scratch areas.
 */
#ifndef SOTTO_KERN_CONV_GEOM_H
#define SOTTO_KERN_CONV_GEOM_H

#include "cpu/simd.h"

#define PIECE_VECTORS 10 /* a piece of up to 10 registers, updated from memory operands */

/* A run cut into equal pieces of whole vectors. */
struct pieces {
    size_t run;     /* kernel_w * in_c */
    size_t count;   /* pieces a run */
    size_t vectors; /* a piece */
};
INLINE struct pieces conv_pieces(const struct kern_conv *v) {
    struct pieces p = {(size_t)v->kernel_w * v->in_c, 0, 0};
    size_t vectors = (p.run + LANES - 1) / LANES;
    p.count = (vectors + PIECE_VECTORS - 1) / PIECE_VECTORS;
    p.vectors = (vectors + p.count - 1) / p.count;
    return p;
}

/* The padded image: every window lies inside it, with room for the lanes past a run's end. */
struct padded {
    size_t rows, row; /* row: floats */
    size_t floats;
};
INLINE struct padded conv_padded(const struct kern_conv *v) {
    struct padded p;
    struct pieces pc = conv_pieces(v);
    p.rows = (size_t)(v->out_h - 1) * v->stride_h + v->kernel_h;
    p.row = ((size_t)(v->out_w - 1) * v->stride_w + v->kernel_w) * v->in_c;
    p.floats = num_round_up(p.rows * p.row + pc.count * pc.vectors * LANES, 16);
    return p;
}

/* The part of the padded image that is image: rows [y0, y1) of it start at column x0 and hold n
 * floats. */
struct inside {
    uint32_t y0, y1;
    size_t x0, n;
};
INLINE struct inside conv_inside(const struct kern_conv *v, const struct padded *p) {
    size_t cols = p->row / v->in_c, y1 = (size_t)v->pad_top + v->in_h, x1 = v->pad_left + v->in_w;
    y1 = y1 < p->rows ? y1 : p->rows;
    x1 = x1 < cols ? x1 : cols;
    return (struct inside){v->pad_top, (uint32_t)y1, (size_t)v->pad_left * v->in_c,
                           (x1 - v->pad_left) * v->in_c};
}

/* The next bytes of a scratch area, or NULL when only its size is asked for (base NULL). */
INLINE void *carve(unsigned char *base, size_t *at, size_t bytes) {
    void *p = base ? base + *at : NULL;
    *at += num_round_up(bytes, KERN_ALIGN);
    return p;
}

/* Copies an image into the inside of a padded one, whose border the caller has zeroed. */
INLINE void conv_pad(const struct kern_conv *v, const float *x, float *image) {
    struct padded pd = conv_padded(v);
    struct inside area = conv_inside(v, &pd);
    size_t row = (size_t)v->in_w * v->in_c;
    for (uint32_t y = area.y0; y < area.y1; y++)
        memcpy(image + y * pd.row + area.x0, x + (y - area.y0) * row, area.n * sizeof(float));
}

#endif
