/* Reference pooling. */
#include "ref/ref.h"

/* Element index of (image, row, column) in an input or output plane of NHWC. */
static size_t in_at(const struct kern_pool *v, uint32_t b, int64_t iy, int64_t ix) {
    return (((size_t)b * v->in_h + (size_t)iy) * v->in_w + (size_t)ix) * v->channels;
}

void kern_pool_max_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_pool *v = &in->u.pool;
    const float *x = kern_f32(c, in, 0);
    float *y = kern_f32(c, in, 1);
    uint8_t *arg = kern_ptr(c, in, 2);
    for (uint32_t b = 0; b < v->batch; b++)
        for (uint32_t oy = 0; oy < v->out_h; oy++)
            for (uint32_t ox = 0; ox < v->out_w; ox++) {
                uint32_t y0, y1, x0, x1;
                int64_t iy = kern_taps(oy, v->stride_h, v->pad_top, v->kernel_h, v->in_h, &y0, &y1);
                int64_t ix =
                    kern_taps(ox, v->stride_w, v->pad_left, v->kernel_w, v->in_w, &x0, &x1);
                for (uint32_t ch = 0; ch < v->channels; ch++, y++, arg++) {
                    bool first = true;
                    for (uint32_t ky = y0; ky < y1; ky++)
                        for (uint32_t kx = x0; kx < x1; kx++) {
                            float val = x[in_at(v, b, iy + ky, ix + kx) + ch];
                            if (first || val > *y || (*y != *y && val == val)) {
                                *y = val;
                                *arg = (uint8_t)(ky * v->kernel_w + kx);
                            }
                            first = false;
                        }
                }
            }
}

void kern_pool_max_dx_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_pool *v = &in->u.pool;
    const float *dy = kern_f32(c, in, 0);
    const uint8_t *arg = kern_ptr(c, in, 1);
    float *dx = kern_f32(c, in, 2);
    memset(dx, 0, (size_t)v->batch * v->in_h * v->in_w * v->channels * sizeof(*dx));
    for (uint32_t b = 0; b < v->batch; b++)
        for (uint32_t oy = 0; oy < v->out_h; oy++)
            for (uint32_t ox = 0; ox < v->out_w; ox++)
                for (uint32_t ch = 0; ch < v->channels; ch++, dy++, arg++) {
                    int64_t iy = (int64_t)oy * v->stride_h - v->pad_top + *arg / v->kernel_w;
                    int64_t ix = (int64_t)ox * v->stride_w - v->pad_left + *arg % v->kernel_w;
                    /* A broken arg must not write outside the image. */
                    if (iy >= 0 && iy < v->in_h && ix >= 0 && ix < v->in_w)
                        dx[in_at(v, b, iy, ix) + ch] += *dy;
                }
}

void kern_pool_avg_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_pool *v = &in->u.pool;
    const float *x = kern_f32(c, in, 0);
    float *y = kern_f32(c, in, 1);
    for (uint32_t b = 0; b < v->batch; b++)
        for (uint32_t oy = 0; oy < v->out_h; oy++)
            for (uint32_t ox = 0; ox < v->out_w; ox++) {
                uint32_t y0, y1, x0, x1;
                int64_t iy = kern_taps(oy, v->stride_h, v->pad_top, v->kernel_h, v->in_h, &y0, &y1);
                int64_t ix =
                    kern_taps(ox, v->stride_w, v->pad_left, v->kernel_w, v->in_w, &x0, &x1);
                for (uint32_t ch = 0; ch < v->channels; ch++) {
                    double sum = 0.0;
                    for (uint32_t ky = y0; ky < y1; ky++)
                        for (uint32_t kx = x0; kx < x1; kx++)
                            sum += (double)x[in_at(v, b, iy + ky, ix + kx) + ch];
                    *y++ = (float)(sum / ((y1 - y0) * (x1 - x0)));
                }
            }
}

void kern_pool_avg_dx_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_pool *v = &in->u.pool;
    const float *dy = kern_f32(c, in, 0);
    float *dx = kern_f32(c, in, 1);
    memset(dx, 0, (size_t)v->batch * v->in_h * v->in_w * v->channels * sizeof(*dx));
    for (uint32_t b = 0; b < v->batch; b++)
        for (uint32_t oy = 0; oy < v->out_h; oy++)
            for (uint32_t ox = 0; ox < v->out_w; ox++, dy += v->channels) {
                uint32_t y0, y1, x0, x1;
                int64_t iy = kern_taps(oy, v->stride_h, v->pad_top, v->kernel_h, v->in_h, &y0, &y1);
                int64_t ix =
                    kern_taps(ox, v->stride_w, v->pad_left, v->kernel_w, v->in_w, &x0, &x1);
                float share = 1.0f / (float)((y1 - y0) * (x1 - x0));
                for (uint32_t ky = y0; ky < y1; ky++)
                    for (uint32_t kx = x0; kx < x1; kx++)
                        for (uint32_t ch = 0; ch < v->channels; ch++)
                            dx[in_at(v, b, iy + ky, ix + kx) + ch] += dy[ch] * share;
            }
}
