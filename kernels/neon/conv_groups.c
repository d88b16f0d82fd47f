/* Convolutions in groups by NEON, depthwise ones among them. Four output channels are a vector
 * whatever their group: the filter of one tap and one of a group's inputs is contiguous over all
 * output channels ([kh][kw][cin / groups][cout]), and each lane is multiplied by the input of its
 * own group. Forward takes four pixels at a time for each vector of the filter. dX with stride 1 is
 * forward with dy and a filter turned round within its groups; with other strides each dy adds to
 * the inputs that it came from. */
#if defined(__aarch64__)
#include <arm_neon.h>

#include "neon/product.h"

typedef float32x4_t v4;
#define INLINE static inline __attribute__((always_inline))

/* Where the lanes of output channels o to o + 3 find their inputs. */
enum lanes {
    LANES_SAME, /* one channel a group: the same channels */
    LANES_ONE,  /* all in one group: one value */
    LANES_EACH  /* anything else */
};
struct lane_inputs {
    size_t at[4]; /* first input channel of each lane's group */
};
INLINE enum lanes lanes_of(uint32_t ci, uint32_t co) {
    return ci == 1 && co == 1 ? LANES_SAME : co % 4 == 0 ? LANES_ONE : LANES_EACH;
}
INLINE struct lane_inputs inputs_of(size_t o, uint32_t ci, uint32_t co, enum lanes kind) {
    struct lane_inputs in = {{o}};
    for (size_t l = 0; kind != LANES_SAME && l < (kind == LANES_ONE ? 1 : 4); l++)
        in.at[l] = (o + l) / co * ci;
    return in;
}
/* The i-th input of each lane's group at pixel x. */
INLINE v4 load_inputs(const float *x, const struct lane_inputs *in, size_t i, enum lanes kind) {
    if (kind == LANES_SAME)
        return vld1q_f32(x + in->at[0]);
    if (kind == LANES_ONE)
        return vld1q_dup_f32(x + in->at[0] + i);
    v4 v = vld1q_dup_f32(x + in->at[0] + i);
    v = vld1q_lane_f32(x + in->at[1] + i, v, 1);
    v = vld1q_lane_f32(x + in->at[2] + i, v, 2);
    return vld1q_lane_f32(x + in->at[3] + i, v, 3);
}

/* The taps [k0, k1) of a window that lie inside, none where k0 = k1; returns tap 0's input. */
static int64_t taps_inside(uint32_t o, uint32_t stride, uint32_t pad, uint32_t kernel, uint32_t in,
                           uint32_t *k0, uint32_t *k1) {
    const int64_t base = (int64_t)o * stride - pad, last = (int64_t)in - base;
    *k0 = base < 0 ? (uint32_t)-base : 0;
    *k1 = last <= 0 ? 0 : last < (int64_t)kernel ? (uint32_t)last : kernel;
    if (*k0 >= *k1)
        *k0 = *k1 = 0;
    return base;
}

/* Output pixels side by side that see the same taps. */
struct pixels {
    const float *x; /* the first one's input at tap (y0, x0) */
    const float *w; /* tap (y0, x0) */
    float *y;
    uint32_t rows, columns; /* taps */
    uint32_t ci, co;
    size_t in_c, out_c;
    size_t in_row, w_row; /* floats from a row of taps to the next */
    size_t step;          /* from a pixel's input to the next one's */
    const float *bias;
    bool relu;
};

INLINE void put_pixel(const struct pixels *p, size_t pixel, size_t o, v4 sum) {
    if (p->bias)
        sum = vaddq_f32(sum, vld1q_f32(p->bias + o));
    if (p->relu)
        sum = vmaxq_f32(sum, vdupq_n_f32(0.0f));
    vst1q_f32(p->y + pixel * p->out_c + o, sum);
}

/* Channels o to o + 4 vectors - 1 of count (4 or 1) pixels; vectors is 1 or 2. */
INLINE void sum_pixels(const struct pixels *p, size_t o, size_t count, size_t vectors,
                       enum lanes kind) {
    const size_t ci = kind == LANES_SAME ? 1 : p->ci, out_c = p->out_c, in_c = p->in_c;
    const size_t step = p->step;
    struct lane_inputs in[2];
    v4 s[4][2];
    for (size_t j = 0; j < vectors; j++)
        in[j] = inputs_of(o + 4 * j, p->ci, p->co, kind);
    for (size_t n = 0; n < count; n++)
        s[n][0] = s[n][1] = vdupq_n_f32(0.0f);
    const float *x_row = p->x, *w_row = p->w + o;
    for (uint32_t ky = p->rows; ky; ky--, x_row += p->in_row, w_row += p->w_row) {
        const float *x = x_row, *w = w_row;
        for (uint32_t kx = p->columns; kx; kx--, x += in_c)
            for (size_t i = 0; i < ci; i++, w += out_c)
                for (size_t j = 0; j < vectors; j++) {
                    const v4 f = vld1q_f32(w + 4 * j);
                    for (size_t n = 0; n < count; n++)
                        s[n][j] = vfmaq_f32(s[n][j], load_inputs(x + n * step, &in[j], i, kind), f);
                }
    }
    for (size_t n = 0; n < count; n++)
        for (size_t j = 0; j < vectors; j++)
            put_pixel(p, n, o + 4 * j, s[n][j]);
}

/* All channels; the last vector overlaps the one before. */
#define SUM_KIND(count, kind)                                                                      \
    {                                                                                              \
        size_t o = 0;                                                                              \
        for (; o + 8 <= p->out_c; o += 8)                                                          \
            sum_pixels(p, o, count, 2, kind);                                                      \
        for (; o < p->out_c; o += 4)                                                               \
            sum_pixels(p, o + 4 <= p->out_c ? o : p->out_c - 4, count, 1, kind);                   \
    }
static void four_pixels(const struct pixels *p, enum lanes kind) {
    if (kind == LANES_SAME) {
        SUM_KIND(4, LANES_SAME)
    } else if (kind == LANES_ONE) {
        SUM_KIND(4, LANES_ONE)
    } else {
        SUM_KIND(4, LANES_EACH)
    }
}
static void one_pixel(const struct pixels *p, enum lanes kind) {
    if (kind == LANES_SAME) {
        SUM_KIND(1, LANES_SAME)
    } else if (kind == LANES_ONE) {
        SUM_KIND(1, LANES_ONE)
    } else {
        SUM_KIND(1, LANES_EACH)
    }
}

void neon_groups_forward(const struct kern_conv *v, uint32_t images, const float *x, const float *w,
                         const float *bias, enum kern_act act, float *y) {
    const uint32_t ci = v->in_c / v->groups, co = v->out_c / v->groups;
    const enum lanes kind = lanes_of(ci, co);
    const size_t in_row = (size_t)v->in_w * v->in_c, filter = (size_t)ci * v->out_c;
    struct pixels p = {.ci = ci, .co = co, .in_c = v->in_c, .out_c = v->out_c, .y = y};
    p.in_row = in_row, p.w_row = v->kernel_w * filter, p.step = (size_t)v->stride_w * v->in_c;
    p.bias = bias, p.relu = act == KERN_ACT_RELU;
    for (uint32_t b = 0; b < images; b++, x += v->in_h * in_row)
        for (uint32_t oy = 0; oy < v->out_h; oy++) {
            uint32_t y0, y1, x0, x1, e0, e1;
            const int64_t iy =
                taps_inside(oy, v->stride_h, v->pad_top, v->kernel_h, v->in_h, &y0, &y1);
            for (uint32_t ox = 0, n; ox < v->out_w; ox += n, p.y += n * p.out_c) {
                const int64_t ix =
                    taps_inside(ox, v->stride_w, v->pad_left, v->kernel_w, v->in_w, &x0, &x1);
                n = 1;
                if (ox + 4 <= v->out_w) {
                    (void)taps_inside(ox + 3, v->stride_w, v->pad_left, v->kernel_w, v->in_w, &e0,
                                      &e1);
                    n = e0 == x0 && e1 == x1 ? 4 : 1;
                }
                p.columns = x1 - x0;
                p.rows = p.columns ? y1 - y0 : 0;
                p.x = p.rows ? x + (size_t)(iy + y0) * in_row + (size_t)(ix + x0) * v->in_c : x;
                p.w = w + ((size_t)y0 * v->kernel_w + x0) * filter;
                if (n == 4)
                    four_pixels(&p, kind);
                else
                    one_pixel(&p, kind);
            }
        }
}

/* ---- dX ---- */

size_t neon_groups_dx_scratch(const struct kern_conv *v) {
    return (size_t)v->kernel_h * v->kernel_w * (v->in_c / v->groups) * v->out_c * sizeof(float);
}

/* turned[kh - 1 - ky][kw - 1 - kx][o of the group][cin] */
static void turn_groups(const struct kern_conv *v, const float *w, float *turned) {
    const size_t ci = v->in_c / v->groups, co = v->out_c / v->groups;
    const size_t taps = (size_t)v->kernel_h * v->kernel_w, filter = ci * v->out_c;
    for (size_t tap = 0; tap < taps; tap++)
        for (size_t o = 0; o < co; o++) {
            float *to = turned + (taps - 1 - tap) * filter + o * v->in_c;
            for (size_t c = 0; c < v->in_c; c++)
                to[c] = w[tap * filter + c % ci * v->out_c + c / ci * co + o];
        }
}

/* dx of one pixel's window += dy turned. */
static void scatter_pixel(const struct kern_conv *v, const float *dy, const float *turned,
                          const struct pixels *p, float *dx) {
    const uint32_t ci = p->co, co = p->ci; /* of the forward direction */
    const enum lanes kind = lanes_of(co, ci);
    for (uint32_t ky = 0; ky < p->rows; ky++)
        for (uint32_t kx = 0; kx < p->columns; kx++) {
            float *to = dx + ky * p->in_row + (size_t)kx * v->in_c;
            const float *w = turned - ky * p->w_row - kx * ((size_t)co * v->in_c);
            size_t c = 0;
            for (; c + 4 <= v->in_c; c += 4) {
                const struct lane_inputs in = inputs_of(c, co, ci, kind);
                v4 sum = vld1q_f32(to + c);
                for (size_t o = 0; o < co; o++)
                    sum = vfmaq_f32(sum, load_inputs(dy, &in, o, kind),
                                    vld1q_f32(w + o * v->in_c + c));
                vst1q_f32(to + c, sum);
            }
            for (; c < v->in_c; c++)
                for (size_t o = 0; o < co; o++)
                    to[c] += dy[c / ci * co + o] * w[o * v->in_c + c];
        }
}

static void scatter(const struct kern_conv *v, const float *dy, const float *turned, float *dx) {
    const size_t in_row = (size_t)v->in_w * v->in_c;
    const size_t filter = (size_t)(v->in_c / v->groups) * v->out_c;
    const float *last = turned + ((size_t)v->kernel_h * v->kernel_w - 1) * filter; /* tap 0 */
    struct pixels p = {.in_row = in_row, .w_row = v->kernel_w * filter};
    p.ci = v->out_c / v->groups, p.co = v->in_c / v->groups;
    memset(dx, 0, v->batch * v->in_h * in_row * sizeof(*dx));
    for (uint32_t b = 0; b < v->batch; b++, dx += v->in_h * in_row)
        for (uint32_t oy = 0; oy < v->out_h; oy++)
            for (uint32_t ox = 0; ox < v->out_w; ox++, dy += v->out_c) {
                uint32_t y0, y1, x0, x1;
                const int64_t iy =
                    taps_inside(oy, v->stride_h, v->pad_top, v->kernel_h, v->in_h, &y0, &y1);
                const int64_t ix =
                    taps_inside(ox, v->stride_w, v->pad_left, v->kernel_w, v->in_w, &x0, &x1);
                p.rows = y1 - y0, p.columns = x1 - x0;
                if (p.rows && p.columns)
                    scatter_pixel(v, dy, last - ((size_t)y0 * v->kernel_w + x0) * filter, &p,
                                  dx + (size_t)(iy + y0) * in_row + (size_t)(ix + x0) * v->in_c);
            }
}

void neon_groups_dx(const struct kern_conv *v, const float *dy, const float *w, float *dx,
                    float *turned) {
    turn_groups(v, w, turned);
    if (v->stride_h != 1 || v->stride_w != 1 || v->in_c < 4) {
        scatter(v, dy, turned, dx);
        return;
    }
    struct kern_conv back = *v;
    back.in_h = v->out_h, back.in_w = v->out_w, back.in_c = v->out_c;
    back.out_h = v->in_h, back.out_w = v->in_w, back.out_c = v->in_c;
    back.pad_top = v->kernel_h - 1 - v->pad_top;
    back.pad_left = v->kernel_w - 1 - v->pad_left;
    neon_groups_forward(&back, v->batch, dy, turned, NULL, KERN_ACT_NONE, dx);
}

/* ---- dW: for one tap and one of a group's inputs, sums over the pixels whose tap lies inside. */

/* Outputs whose tap lies inside the input. */
struct tap_pixels {
    uint32_t y0, y1, x0, x1;
};

/* Outputs [*first, *end) whose tap k lies inside the input. */
static void outputs_of(uint32_t out, uint32_t stride, uint32_t pad, uint32_t k, uint32_t in,
                       uint32_t *first, uint32_t *end) {
    *first = 0;
    *end = out;
    while (*first < *end && (uint64_t)*first * stride + k < pad)
        ++*first;
    while (*end > *first && (uint64_t)(*end - 1) * stride + k >= (uint64_t)pad + in)
        --*end;
}

/* sums[0 .. 4 vectors) of channels o on; vectors is 1 or 2. */
INLINE void sum_tap(const struct kern_conv *v, const float *x, const float *dy,
                    const struct tap_pixels *t, size_t i, size_t o, size_t vectors, enum lanes kind,
                    float *sums) {
    const size_t in_row = (size_t)v->in_w * v->in_c, step = (size_t)v->stride_w * v->in_c;
    const size_t out_c = v->out_c;
    struct lane_inputs in[2];
    v4 s[2];
    for (size_t j = 0; j < vectors; j++) {
        in[j] = inputs_of(o + 4 * j, v->in_c / v->groups, v->out_c / v->groups, kind);
        s[j] = vdupq_n_f32(0.0f);
    }
    for (uint32_t b = 0; b < v->batch; b++)
        for (uint32_t oy = t->y0; oy < t->y1; oy++) {
            const float *xp = x + ((size_t)b * v->in_h + (oy - t->y0) * v->stride_h) * in_row;
            const float *d = dy + o + (((size_t)b * v->out_h + oy) * v->out_w + t->x0) * out_c;
#pragma GCC unroll 4
            for (uint32_t n = t->x1 - t->x0; n; n--, xp += step, d += out_c)
                for (size_t j = 0; j < vectors; j++)
                    s[j] = vfmaq_f32(s[j], load_inputs(xp, &in[j], i, kind), vld1q_f32(d + 4 * j));
        }
    for (size_t j = 0; j < vectors; j++)
        vst1q_f32(sums + 4 * j, s[j]);
}

/* All channels of one tap and one of a group's inputs; the last vector overlaps the one before. */
#define TAP_KIND(kind)                                                                             \
    {                                                                                              \
        size_t o = 0;                                                                              \
        for (; o + 8 <= n; o += 8)                                                                 \
            sum_tap(v, x, dy, t, i, o, 2, kind, sums + o);                                         \
        for (; o < n; o += 4) {                                                                    \
            const size_t at = o + 4 <= n ? o : n - 4;                                              \
            sum_tap(v, x, dy, t, i, at, 1, kind, sums + at);                                       \
        }                                                                                          \
    }
static void sum_channels(const struct kern_conv *v, const float *x, const float *dy,
                         const struct tap_pixels *t, size_t i, float *sums) {
    const enum lanes kind = lanes_of(v->in_c / v->groups, v->out_c / v->groups);
    const size_t n = v->out_c;
    if (kind == LANES_SAME)
        TAP_KIND(LANES_SAME)
    else if (kind == LANES_ONE)
        TAP_KIND(LANES_ONE)
    else
        TAP_KIND(LANES_EACH)
}

size_t neon_groups_dw_scratch(const struct kern_conv *v) {
    return v->out_c * sizeof(float);
}

void neon_groups_dw(const struct kern_conv *v, const float *x, const float *dy, float scale,
                    float beta, float *dw, float *sums) {
    const uint32_t ci = v->in_c / v->groups;
    for (uint32_t ky = 0; ky < v->kernel_h; ky++)
        for (uint32_t kx = 0; kx < v->kernel_w; kx++) {
            struct tap_pixels t;
            const float *first = x;
            outputs_of(v->out_h, v->stride_h, v->pad_top, ky, v->in_h, &t.y0, &t.y1);
            outputs_of(v->out_w, v->stride_w, v->pad_left, kx, v->in_w, &t.x0, &t.x1);
            if (t.y0 == t.y1 || t.x0 == t.x1)
                t.y1 = t.y0;
            else
                first += (((size_t)t.y0 * v->stride_h + ky - v->pad_top) * v->in_w +
                          (size_t)t.x0 * v->stride_w + kx - v->pad_left) *
                         v->in_c;
            for (uint32_t i = 0; i < ci; i++, dw += v->out_c) {
                sum_channels(v, first, dy, &t, i, sums);
                for (size_t o = 0; o < v->out_c; o++)
                    kern_put(&dw[o], (double)sums[o], scale, beta);
            }
        }
}
#else
typedef int kern_neon_conv_groups_is_for_arm;
#endif
