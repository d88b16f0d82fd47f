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

#include "cpu/conv_geom.h"
#ifndef KERN_ISA_NEON
#include "cpu/narrow_tpl.h"
#endif

struct entry {
    float value;
    uint32_t offset; /* floats, into the packed filter piece (dX) or the padded input (dW) */
};

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
#define P_LOAD(i)  vf s##i = V_LOAD(sum + (i)*LANES);
#define P_FMA(i)   s##i = V_FMA(value, V_LOAD(from + (i)*LANES), s##i);
#define P_STORE(i) V_STORE(sum + (i)*LANES, s##i);

/* sum[0 .. n LANES) += value * base[offset ..) over the list. */
#define PIECE_KERNEL(n)                                                                            \
    TARGET static void NAME(piece_##n)(float *sum, const struct entry *list, size_t count,         \
                                       const float *base) {                                        \
        PV_##n(P_LOAD) for (size_t e = 0; e < count; e++) {                                        \
            const float *from = base + list[e].offset;                                             \
            const vf value = V_SET(list[e].value);                                                 \
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

/* 1 unless *x is 0 or -0; as integers: a float comparison has NaN to think of. */
INLINE uint32_t not_zero(const float *x) {
    uint32_t bits;
    memcpy(&bits, x, sizeof(bits));
    return (bits << 1) != 0;
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
            n += not_zero(dy);
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
    size_t step = (size_t)v->stride_w * v->in_c, apart = (len + step - 1) / step;
    NAME(piece_fn) *const kernel = NAME(pieces)[pc.vectors];
    const float *filter = s->packed;
    for (size_t ky = 0; ky < v->kernel_h; ky++)
        for (size_t p = 0; p < pc.count; p++, filter += v->out_c * len) {
            const uint32_t *at = s->starts;
            for (size_t oy = 0; oy < v->out_h; oy++) {
                size_t y = oy * v->stride_h + ky;
                if (y < v->pad_top || y >= (size_t)v->pad_top + v->in_h) {
                    at += v->out_w; /* this filter row lies in the padding */
                    continue;
                }
                float *sum = s->image + y * row + p * len;
                /* Neighbours' pieces overlap: taken far apart, they need not wait for one another.
                 */
                for (size_t phase = 0; phase < apart; phase++)
                    for (size_t ox = phase; ox < v->out_w; ox += apart)
                        if (at[ox + 1] != at[ox])
                            kernel(sum + ox * v->stride_w * v->in_c, s->list + at[ox],
                                   at[ox + 1] - at[ox], filter);
                at += v->out_w;
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

/* Short runs (a first layer's) leave a list entry little to do: there dense loops go over all
 * pixels. (NEON has tiles of its own, and comes here with long runs only.) */
#define DW_RUN_SHORT 24
enum dw_way { DW_LISTS, DW_TILES, DW_NARROW };
INLINE enum dw_way dw_choose(const struct kern_conv *v) {
#ifdef KERN_ISA_NEON
    (void)v;
    return DW_LISTS;
#else
    if ((size_t)v->kernel_w * v->in_c >= DW_RUN_SHORT)
        return DW_LISTS;
    return v->out_c <= LANES ? DW_NARROW : DW_TILES;
#endif
}

struct dw_scratch {
    float *sum;         /* [filter row][piece][output channel][piece floats] */
    float *image;       /* padded input */
    float *narrow;      /* DW_NARROW: sums, [tap][LANES] */
    float *last_dy;     /* DW_NARROW: the last image's, with LANES floats to spare */
    struct entry *list; /* [output channel][pixels + 1] */
    uint32_t
        *starts; /* [output row + 1][output channel]: where the row begins in the channel's list */
};
INLINE size_t dw_layout(const struct kern_conv *v, unsigned char *base, struct dw_scratch *s) {
    struct pieces pc = conv_pieces(v);
    size_t pixels = (size_t)v->out_h * v->out_w, at = 0;
    s->sum =
        carve(base, &at, v->kernel_h * pc.count * v->out_c * pc.vectors * LANES * sizeof(float));
    s->image = carve(base, &at, conv_padded(v).floats * sizeof(float));
    s->narrow = s->last_dy = NULL;
#ifndef KERN_ISA_NEON
    if (dw_choose(v) == DW_NARROW) {
        s->narrow = carve(base, &at, dw_narrow_sums(v) * LANES * sizeof(float));
        s->last_dy = carve(base, &at, (pixels * v->out_c + LANES) * sizeof(float));
    }
#endif
    s->list = carve(base, &at, (pixels + 1) * v->out_c * sizeof(struct entry));
    s->starts = carve(base, &at, (v->out_h + (size_t)1) * v->out_c * sizeof(uint32_t));
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
    size_t row = conv_padded(v).row, room = (size_t)v->out_h * v->out_w + 1;
    uint32_t *ends = s->starts;
    memset(ends, 0, v->out_c * sizeof(*ends));
    for (size_t oy = 0; oy < v->out_h; oy++) {
        memcpy(ends + v->out_c, ends, v->out_c * sizeof(*ends));
        ends += v->out_c;
        for (size_t ox = 0; ox < v->out_w; ox++, dy += v->out_c) {
            uint32_t offset = (uint32_t)(oy * v->stride_h * row + ox * v->stride_w * v->in_c);
            for (size_t o = 0; o < v->out_c; o++) {
                struct entry *e = &s->list[o * room + ends[o]];
                e->value = dy[o];
                e->offset = offset;
                ends[o] += not_zero(&dy[o]);
            }
        }
    }
}

TARGET static void NAME(dw_image)(const struct kern_conv *v, const struct dw_scratch *s) {
    struct pieces pc = conv_pieces(v);
    struct padded pd = conv_padded(v);
    size_t len = pc.vectors * LANES, room = (size_t)v->out_h * v->out_w + 1;
    NAME(piece_fn) *const kernel = NAME(pieces)[pc.vectors];
    float *sum = s->sum;
    for (size_t ky = 0; ky < v->kernel_h; ky++) {
        /* Output rows whose tap ky lies inside the input. */
        size_t y0 = 0, y1 = v->out_h;
        while (y0 < y1 && y0 * v->stride_h + ky < v->pad_top)
            y0++;
        while (y1 > y0 && (y1 - 1) * v->stride_h + ky >= (size_t)v->pad_top + v->in_h)
            y1--;
        const uint32_t *from = s->starts + y0 * v->out_c, *to = s->starts + y1 * v->out_c;
        for (size_t p = 0; p < pc.count; p++)
            for (size_t o = 0; o < v->out_c; o++, sum += len)
                if (to[o] != from[o])
                    kernel(sum, s->list + o * room + from[o], to[o] - from[o],
                           s->image + ky * pd.row + p * len);
    }
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

#ifndef KERN_ISA_NEON
/* The tile goes over all pixels, six places of a filter row by a strip of output channels, and adds
 * to dw itself. */
TARGET static void NAME(dw_image_dense)(const struct kern_conv *v, const float *image,
                                        const float *dy, float *dw, float scale, float beta) {
    struct padded pd = conv_padded(v);
    size_t run = (size_t)v->kernel_w * v->in_c;
    struct tile t = {.a_step = (size_t)v->stride_w * v->in_c, .a_run = v->stride_h * pd.row};
    t.ldb = v->out_c;
    t.b_run = (size_t)v->out_w * v->out_c;
    t.len = v->out_w;
    t.runs = v->out_h;
    t.alpha = scale;
    t.beta = beta;
    for (size_t j = 0; j < v->out_c; j += TILE_COLS) {
        t.cols = v->out_c - j < TILE_COLS ? v->out_c - j : TILE_COLS;
        t.b = dy + j;
        for (size_t k = 0; k < v->kernel_h * run;) {
            unsigned rows = 0;
            for (; rows < TILE_ROWS && k < v->kernel_h * run; rows++, k++) {
                t.a[rows] = image + k / run * pd.row + k % run;
                t.c[rows] = dw + k * v->out_c + j;
            }
            NAME(tile_run)(&t, rows);
        }
    }
}

TARGET static void NAME(dw_dense)(const struct kern_conv *v, const float *x, const float *dy,
                                  float *dw, float scale, float beta, const struct dw_scratch *s) {
    size_t pixels = (size_t)v->out_h * v->out_w, of_dy = pixels * v->out_c;
    size_t of_x = (size_t)v->in_h * v->in_w * v->in_c, sums = dw_narrow_sums(v) * LANES;
    bool narrow = dw_choose(v) == DW_NARROW;
    memset(s->image, 0, conv_padded(v).floats * sizeof(float));
    if (narrow)
        memset(s->narrow, 0, sums * sizeof(float));
    for (uint32_t b = 0; b < v->batch; b++, x += of_x, dy += of_dy) {
        conv_pad(v, x, s->image);
        if (!narrow) {
            NAME(dw_image_dense)(v, s->image, dy, dw, scale, b == 0 ? beta : 1.0f);
            continue;
        }
        /* A vector from the last pixel on must not reach past dy: of small images several end
         * there. */
        const bool last = (v->batch - b - 1) * of_dy < LANES;
        if (last) {
            memcpy(s->last_dy, dy, of_dy * sizeof(float));
            memset(s->last_dy + of_dy, 0, LANES * sizeof(float));
        }
        NAME(dw_narrow_image)(v, s->image, last ? s->last_dy : dy, s->narrow);
    }
    size_t taps = narrow ? (size_t)v->kernel_h * v->kernel_w * v->in_c : 0;
    for (size_t k = 0; k < taps; k++, dw += v->out_c)
        for (size_t o = 0; o < v->out_c; o++)
            dw[o] = scale * s->narrow[k * LANES + o] + (beta != 0.0f ? beta * dw[o] : 0.0f);
}
#endif

TARGET static void NAME(conv2d_dw)(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_conv *v = &in->u.conv;
    if (v->groups != 1) {
        kern_ref.ops[KERN_CONV2D_DW].run(c, in);
        return;
    }
    const float *x = kern_f32(c, in, 0), *dy = kern_f32(c, in, 1);
    float *dw = kern_f32(c, in, 2), scale = kern_scale_of(c, v->scale),
          beta = kern_beta_of(c, v->beta, v->weight_decay);
    struct dw_scratch s;
    (void)dw_layout(v, c->scratch, &s);
    struct padded pd = conv_padded(v);
    struct pieces pc = conv_pieces(v);
#ifndef KERN_ISA_NEON
    if (dw_choose(v) != DW_LISTS) {
        NAME(dw_dense)(v, x, dy, dw, scale, beta, &s);
        return;
    }
#endif
    memset(s.sum, 0, v->kernel_h * pc.count * v->out_c * pc.vectors * LANES * sizeof(float));
    memset(s.image, 0, pd.floats * sizeof(float));
    for (uint32_t b = 0; b < v->batch; b++, dy += (size_t)v->out_h * v->out_w * v->out_c) {
        conv_pad(v, x + (size_t)b * v->in_h * v->in_w * v->in_c, s.image);
        NAME(list_channels)(v, dy, &s);
        NAME(dw_image)(v, &s);
    }
    NAME(dw_finish)(v, s.sum, dw, scale, beta);
}

#endif
