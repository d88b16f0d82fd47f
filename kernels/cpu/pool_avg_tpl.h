/* Average pooling, one vector of channels at a time. */
#ifndef SOTTO_KERN_POOL_AVG_TPL_H
#define SOTTO_KERN_POOL_AVG_TPL_H

#include "cpu/pointwise_tpl.h"

/* The part of a window that lies inside the input: floats from its image's first to the window's
 * first, rows and columns, and how many places. */
struct avg_window {
    size_t at;
    uint32_t kh, kw;
    float places;
};
INLINE struct avg_window avg_window(const struct kern_pool *v, uint32_t oy, uint32_t ox) {
    uint32_t y0, y1, x0, x1;
    const int64_t iy = kern_taps(oy, v->stride_h, v->pad_top, v->kernel_h, v->in_h, &y0, &y1);
    const int64_t ix = kern_taps(ox, v->stride_w, v->pad_left, v->kernel_w, v->in_w, &x0, &x1);
    struct avg_window w = {.kh = y1 - y0, .kw = x1 - x0};
    w.at = ((size_t)(iy + y0) * v->in_w + (size_t)(ix + x0)) * v->channels;
    w.places = (float)(w.kh * w.kw);
    return w;
}

TARGET static void NAME(pool_avg)(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_pool *v = &in->u.pool;
    const float *x = kern_f32(c, in, 0);
    float *y = kern_f32(c, in, 1);
    const size_t col = v->channels, row = v->in_w * col;
    for (uint32_t b = 0; b < v->batch; b++, x += v->in_h * row)
        for (uint32_t oy = 0; oy < v->out_h; oy++)
            for (uint32_t ox = 0; ox < v->out_w; ox++, y += col) {
                const struct avg_window w = avg_window(v, oy, ox);
#define AVG_BODY(LD, ST)                                                                           \
    vf sum = V_SET(0.0f);                                                                          \
    for (uint32_t ky = 0; ky < w.kh; ky++)                                                         \
        for (uint32_t kx = 0; kx < w.kw; kx++)                                                     \
            sum += LD(x + w.at + ky * row + kx * col);                                             \
    ST(y, sum / w.places);
                V_EACH(col, AVG_BODY)
            }
}

TARGET static void NAME(pool_avg_dx)(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_pool *v = &in->u.pool;
    const float *dy = kern_f32(c, in, 0);
    float *dx = kern_f32(c, in, 1);
    const size_t col = v->channels, row = v->in_w * col;
    memset(dx, 0, v->batch * v->in_h * row * sizeof(*dx));
    for (uint32_t b = 0; b < v->batch; b++, dx += v->in_h * row)
        for (uint32_t oy = 0; oy < v->out_h; oy++)
            for (uint32_t ox = 0; ox < v->out_w; ox++, dy += col) {
                const struct avg_window w = avg_window(v, oy, ox);
                const float share = 1.0f / w.places;
#define AVG_DX_BODY(LD, ST)                                                                        \
    const vf part = LD(dy) * share;                                                                \
    for (uint32_t ky = 0; ky < w.kh; ky++)                                                         \
        for (uint32_t kx = 0; kx < w.kw; kx++) {                                                   \
            float *to = dx + w.at + ky * row + kx * col;                                           \
            ST(to, LD(to) + part);                                                                 \
        }
                V_EACH(col, AVG_DX_BODY)
            }
}

#endif
