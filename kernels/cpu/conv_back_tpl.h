/* Both backwards of convolution, driven by lists of the nonzero gradients. Behind a max pool at
 * most one gradient in a window is not zero, and ReLU clears more: the lists make the work
 * proportional to what is left, and with no zeros they still run near the multipliers' peak. A list
 * entry times one run (taps and channels of one filter row, side by side in NHWC) is an axpy on
 * registers: dX: for each output pixel, hold a piece of the padded dX in registers, add value *
 * filter piece over the pixel's list (one entry an output channel); the filter is packed as [filter
 * row][piece][output channel][piece floats]. dW: for each output channel, hold a piece of its
 * filter gradient in registers, add value * padded input piece over the channel's list (one entry a
 * pixel). Lists are in ascending order and whether a gradient is zero depends on the data only: the
 * order of sums is fixed. */
#ifndef SOTTO_KERN_CONV_BACK_TPL_H
#define SOTTO_KERN_CONV_BACK_TPL_H

#include "cpu/tile_tpl.h"

#define PIECE_VECTORS 10 /* a piece of up to 10 registers, updated from memory operands */

struct entry {
    float value;
    uint32_t offset; /* floats, into the packed filter piece (dX) or the padded input (dW) */
};

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

#define PV_1(X)    X(0)
#define PV_2(X)    PV_1(X) X(1)
#define PV_3(X)    PV_2(X) X(2)
#define PV_4(X)    PV_3(X) X(3)
#define PV_5(X)    PV_4(X) X(4)
#define PV_6(X)    PV_5(X) X(5)
#define PV_7(X)    PV_6(X) X(6)
#define PV_8(X)    PV_7(X) X(7)
#define PV_9(X)    PV_8(X) X(8)
#define PV_10(X)   PV_9(X) X(9)
#define P_LOAD(i)  v8 s##i = V_LOAD(sum + (i)*LANES);
#define P_FMA(i)   s##i = V_FMA(value, V_LOAD(from + (i)*LANES), s##i);
#define P_STORE(i) V_STORE(sum + (i)*LANES, s##i);

/* sum[0 .. 8 n) += value * base[offset ..) over the list. */
#define PIECE_KERNEL(n)                                                                            \
    TARGET static void NAME(piece_##n)(float *sum, const struct entry *list, size_t count,         \
                                       const float *base) {                                        \
        PV_##n(P_LOAD) for (size_t e = 0; e < count; e++) {                                        \
            const float *from = base + list[e].offset;                                             \
            const v8 value = V_SET(list[e].value);                                                 \
            PV_##n(P_FMA)                                                                          \
        }                                                                                          \
        PV_##n(P_STORE)                                                                            \
    }
PIECE_KERNEL(1)
PIECE_KERNEL(2)
PIECE_KERNEL(3)
PIECE_KERNEL(4)
PIECE_KERNEL(5)
PIECE_KERNEL(6)
PIECE_KERNEL(7)
PIECE_KERNEL(8)
PIECE_KERNEL(9)
PIECE_KERNEL(10)

typedef void NAME(piece_fn)(float *, const struct entry *, size_t, const float *);
static NAME(piece_fn) *const NAME(pieces)[PIECE_VECTORS + 1] = {
    NULL,          NAME(piece_1), NAME(piece_2), NAME(piece_3), NAME(piece_4), NAME(piece_5),
    NAME(piece_6), NAME(piece_7), NAME(piece_8), NAME(piece_9), NAME(piece_10)};

/* The next bytes of a scratch area, or NULL when only its size is asked for (base NULL). */
INLINE void *carve(unsigned char *base, size_t *at, size_t bytes) {
    void *p = base ? base + *at : NULL;
    *at += num_round_up(bytes, KERN_ALIGN);
    return p;
}

/* ---- dX ---- */

/* [filter row][piece][output channel][piece floats], zeros past the run. */
TARGET static void NAME(conv_pack_dx)(const struct kern_conv *v, const float *w, float *packed) {
    struct pieces pc = conv_pieces(v);
    size_t len = pc.vectors * LANES;
    for (size_t ky = 0; ky < v->kernel_h; ky++)
        for (size_t p = 0; p < pc.count; p++, packed += v->out_c * len)
            for (size_t f = 0; f < len; f++) {
                size_t at = p * len + f;
                const float *src = w + (ky * pc.run + at) * v->out_c;
                for (size_t o = 0; o < v->out_c; o++)
                    packed[o * len + f] = at < pc.run ? src[o] : 0.0f;
            }
}

/* Each pixel's nonzero gradients, in channel order; starts has pixels + 1 elements. */
TARGET static void NAME(list_pixels)(const struct kern_conv *v, const float *dy, struct entry *list,
                                     uint32_t *starts) {
    size_t pixels = (size_t)v->out_h * v->out_w, len = conv_pieces(v).vectors * LANES;
    uint32_t n = 0;
    for (size_t p = 0; p < pixels; p++) {
        starts[p] = n;
        /* Written always, kept when not zero: a branch here is a coin toss for the predictor. */
        for (size_t o = 0; o < v->out_c; o++, dy++) {
            list[n].value = *dy;
            list[n].offset = (uint32_t)(o * len);
            n += *dy != 0.0f;
        }
    }
    starts[pixels] = n;
}

struct dx_scratch {
    float *packed, *image;
    struct entry *list; /* one more than there are gradients */
    uint32_t *starts;
};
INLINE size_t dx_layout(const struct kern_conv *v, unsigned char *base, struct dx_scratch *s) {
    struct pieces pc = conv_pieces(v);
    size_t pixels = (size_t)v->out_h * v->out_w, at = 0;
    s->packed =
        carve(base, &at, v->kernel_h * pc.count * v->out_c * pc.vectors * LANES * sizeof(float));
    s->image = carve(base, &at, conv_padded(v).floats * sizeof(float));
    s->list = carve(base, &at, (pixels * v->out_c + 1) * sizeof(struct entry));
    s->starts = carve(base, &at, (pixels + 1) * sizeof(uint32_t));
    return at;
}
TARGET static size_t NAME(conv2d_dx_scratch)(const struct kern_instr *in) {
    struct dx_scratch s;
    return in->u.conv.groups == 1 ? dx_layout(&in->u.conv, NULL, &s) : 0;
}

TARGET static void NAME(dx_image)(const struct kern_conv *v, const struct dx_scratch *s) {
    struct pieces pc = conv_pieces(v);
    size_t row = conv_padded(v).row, len = pc.vectors * LANES;
    NAME(piece_fn) *const kernel = NAME(pieces)[pc.vectors];
    const float *filter = s->packed;
    for (size_t ky = 0; ky < v->kernel_h; ky++)
        for (size_t p = 0; p < pc.count; p++, filter += v->out_c * len) {
            const uint32_t *at = s->starts;
            for (size_t oy = 0; oy < v->out_h; oy++) {
                float *sum = s->image + (oy * v->stride_h + ky) * row + p * len;
                for (size_t ox = 0; ox < v->out_w; ox++, at++, sum += v->stride_w * v->in_c)
                    if (at[1] != at[0])
                        kernel(sum, s->list + at[0], at[1] - at[0], filter);
            }
        }
}

TARGET static void NAME(conv2d_dx)(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_conv *v = &in->u.conv;
    if (v->groups != 1) {
        kern_ref.ops[KERN_CONV2D_DX].run(c, in);
        return;
    }
    const float *dy = kern_f32(c, in, 0);
    float *dx = kern_f32(c, in, 2);
    struct dx_scratch s;
    (void)dx_layout(v, c->scratch, &s);
    struct padded pd = conv_padded(v);
    struct inside area = conv_inside(v, &pd);
    size_t row = (size_t)v->in_w * v->in_c;
    NAME(conv_pack_dx)(v, kern_f32(c, in, 1), s.packed);
    for (uint32_t b = 0; b < v->batch; b++, dx += v->in_h * row) {
        memset(s.image, 0, pd.floats * sizeof(float));
        NAME(list_pixels)(v, dy + (size_t)b * v->out_h * v->out_w * v->out_c, s.list, s.starts);
        NAME(dx_image)(v, &s);
        /* Inputs that no window reached get zero. */
        if (area.n < row || area.y1 - area.y0 < v->in_h)
            memset(dx, 0, v->in_h * row * sizeof(float));
        for (uint32_t y = area.y0; y < area.y1; y++)
            memcpy(dx + (y - area.y0) * row, s.image + y * pd.row + area.x0,
                   area.n * sizeof(float));
    }
}

/* ---- dW ---- */

struct dw_scratch {
    float *sum;         /* [filter row][piece][output channel][piece floats] */
    float *image;       /* padded input */
    struct entry *list; /* [output channel][pixels] */
    uint32_t *counts;
};
INLINE size_t dw_layout(const struct kern_conv *v, unsigned char *base, struct dw_scratch *s) {
    struct pieces pc = conv_pieces(v);
    size_t pixels = (size_t)v->out_h * v->out_w, at = 0;
    s->sum =
        carve(base, &at, v->kernel_h * pc.count * v->out_c * pc.vectors * LANES * sizeof(float));
    s->image = carve(base, &at, conv_padded(v).floats * sizeof(float));
    s->list = carve(base, &at, (pixels + 1) * v->out_c * sizeof(struct entry));
    s->counts = carve(base, &at, v->out_c * sizeof(uint32_t));
    return at;
}
TARGET static size_t NAME(conv2d_dw_scratch)(const struct kern_instr *in) {
    struct dw_scratch s;
    return in->u.conv.groups == 1 ? dw_layout(&in->u.conv, NULL, &s) : 0;
}

/* Each channel's nonzero gradients, in pixel order. A list has room for one entry more than there
 * are pixels. */
TARGET static void NAME(list_channels)(const struct kern_conv *v, const float *dy,
                                       const struct dw_scratch *s) {
    struct padded pd = conv_padded(v);
    size_t room = (size_t)v->out_h * v->out_w + 1;
    memset(s->counts, 0, v->out_c * sizeof(*s->counts));
    for (size_t oy = 0; oy < v->out_h; oy++)
        for (size_t ox = 0; ox < v->out_w; ox++, dy += v->out_c) {
            uint32_t offset = (uint32_t)(oy * v->stride_h * pd.row + ox * v->stride_w * v->in_c);
            for (size_t o = 0; o < v->out_c; o++) {
                struct entry *e = &s->list[o * room + s->counts[o]];
                e->value = dy[o];
                e->offset = offset;
                s->counts[o] += dy[o] != 0.0f;
            }
        }
}

TARGET static void NAME(dw_image)(const struct kern_conv *v, const struct dw_scratch *s) {
    struct pieces pc = conv_pieces(v);
    struct padded pd = conv_padded(v);
    size_t len = pc.vectors * LANES, room = (size_t)v->out_h * v->out_w + 1;
    NAME(piece_fn) *const kernel = NAME(pieces)[pc.vectors];
    float *sum = s->sum;
    for (size_t ky = 0; ky < v->kernel_h; ky++)
        for (size_t p = 0; p < pc.count; p++)
            for (size_t o = 0; o < v->out_c; o++, sum += len)
                if (s->counts[o])
                    kernel(sum, s->list + o * room, s->counts[o], s->image + ky * pd.row + p * len);
}

/* dw = scale * sum + beta * dw, from [row][piece][channel][floats] to [row][tap][input
 * channel][channel]. */
TARGET static void NAME(dw_finish)(const struct kern_conv *v, const float *sum, float *dw,
                                   float scale, float beta) {
    struct pieces pc = conv_pieces(v);
    size_t len = pc.vectors * LANES;
    for (size_t ky = 0; ky < v->kernel_h; ky++)
        for (size_t f = 0; f < pc.run; f++) {
            const float *src = sum + (ky * pc.count + f / len) * v->out_c * len + f % len;
            float *dst = dw + (ky * pc.run + f) * v->out_c;
            for (size_t o = 0; o < v->out_c; o++)
                dst[o] = scale * src[o * len] + (beta != 0.0f ? beta * dst[o] : 0.0f);
        }
}

TARGET static void NAME(conv2d_dw)(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_conv *v = &in->u.conv;
    if (v->groups != 1) {
        kern_ref.ops[KERN_CONV2D_DW].run(c, in);
        return;
    }
    const float *x = kern_f32(c, in, 0), *dy = kern_f32(c, in, 1);
    struct dw_scratch s;
    (void)dw_layout(v, c->scratch, &s);
    struct padded pd = conv_padded(v);
    struct inside area = conv_inside(v, &pd);
    struct pieces pc = conv_pieces(v);
    size_t row = (size_t)v->in_w * v->in_c;
    memset(s.sum, 0, v->kernel_h * pc.count * v->out_c * pc.vectors * LANES * sizeof(float));
    memset(s.image, 0, pd.floats * sizeof(float));
    for (uint32_t b = 0; b < v->batch; b++) {
        const float *image = x + (size_t)b * v->in_h * row;
        for (uint32_t y = area.y0; y < area.y1; y++)
            memcpy(s.image + y * pd.row + area.x0, image + (y - area.y0) * row,
                   area.n * sizeof(float));
        NAME(list_channels)(v, dy + (size_t)b * v->out_h * v->out_w * v->out_c, &s);
        NAME(dw_image)(v, &s);
    }
    NAME(dw_finish)
    (v, s.sum, kern_f32(c, in, 2), kern_scale_of(c, v->scale),
     kern_beta_of(c, v->beta, v->weight_decay));
}

#endif
