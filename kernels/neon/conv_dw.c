/* dW of a convolution by NEON: a product whose k are the pixels of an image. For one tap, an input
 * channel is a row of A, an output channel a column of B, and a row of pixels is a run of k: both
 * are read as they lie, over the pixels only whose tap lies inside the image. With few channels the
 * taps of a filter row, which lie side by side in a padded image, are rows of A together. */
#if defined(__aarch64__)
#define KERN_ISA_NEON 1
#include "cpu/conv_geom.h"

#include "neon/product.h"

#define FEW_CHANNELS 8

struct dw_scratch {
    float *sum;   /* of all images; the weights are rounded once */
    float *image; /* padded, with few channels */
};
static size_t dw_layout(const struct kern_conv *v, unsigned char *base, struct dw_scratch *s) {
    size_t at = 0;
    s->sum =
        carve(base, &at, (size_t)v->kernel_h * v->kernel_w * v->in_c * v->out_c * sizeof(float));
    s->image = carve(base, &at, v->in_c < FEW_CHANNELS ? conv_padded(v).floats * sizeof(float) : 0);
    return at;
}
/* What the tiles do not do: groups, which have a file of their own, and fewer channels than a
 * vector has lanes. */
static bool dw_odd(const struct kern_conv *v) {
    return v->groups != 1 || v->out_c < 4;
}

size_t neon_conv2d_dw_scratch(const struct kern_instr *in) {
    struct dw_scratch s;
    const size_t lists = kern_ops_neon[KERN_CONV2D_DW].scratch(in);
    if (in->u.conv.groups != 1 && in->u.conv.out_c >= 4)
        return neon_groups_dw_scratch(&in->u.conv);
    if (dw_odd(&in->u.conv))
        return 0;
    const size_t dense = dw_layout(&in->u.conv, NULL, &s);
    return lists > dense ? lists : dense;
}

/* t, whose first row of A is given, for all rows: channels, or taps and channels. */
static void dw_rows(const struct neon_ctile *first, size_t count, size_t columns) {
    const struct neon_tiles *tiles = neon_tiles();
    struct neon_ctile t = *first;
    for (size_t i = 0; i < count;) {
        const unsigned rows = neon_rows(tiles, count - i);
        t.a = first->a + i;
        t.c = first->c + i * columns;
        neon_columns(tiles, &t, rows, columns);
        i += rows;
    }
}

/* Outputs [*first, *end) whose tap k lies inside the input. */
static void dw_range(uint32_t out, uint32_t stride, uint32_t pad, uint32_t k, uint32_t in,
                     uint32_t *first, uint32_t *end) {
    *first = 0;
    *end = out;
    while (*first < *end && (uint64_t)*first * stride + k < pad)
        ++*first;
    while (*end > *first && (uint64_t)(*end - 1) * stride + k >= (uint64_t)pad + in)
        --*end;
}

static void dw_image(const struct kern_conv *v, const float *x, const float *dy, float *sum) {
    const size_t in_row = (size_t)v->in_w * v->in_c, out_row = (size_t)v->out_w * v->out_c;
    struct neon_ctile t = {.a_step = (size_t)v->stride_w * v->in_c, .a_run = v->stride_h * in_row};
    t.b_step = t.ldc = v->out_c;
    t.b_run = out_row;
    t.end.alpha = 1.0f;
    t.end.add = true;
    for (uint32_t ky = 0; ky < v->kernel_h; ky++)
        for (uint32_t kx = 0; kx < v->kernel_w; kx++, sum += (size_t)v->in_c * v->out_c) {
            uint32_t y0, y1, x0, x1;
            dw_range(v->out_h, v->stride_h, v->pad_top, ky, v->in_h, &y0, &y1);
            dw_range(v->out_w, v->stride_w, v->pad_left, kx, v->in_w, &x0, &x1);
            if (y0 == y1 || x0 == x1)
                continue;
            t.runs = y1 - y0;
            t.len = x1 - x0;
            t.a = x + ((size_t)y0 * v->stride_h + ky - v->pad_top) * in_row +
                  ((size_t)x0 * v->stride_w + kx - v->pad_left) * v->in_c;
            t.b = dy + y0 * out_row + (size_t)x0 * v->out_c;
            t.c = sum;
            dw_rows(&t, v->in_c, v->out_c);
        }
}

static void dw_image_few(const struct kern_conv *v, const float *image, const float *dy,
                         float *sum) {
    const struct padded pd = conv_padded(v);
    const size_t run = (size_t)v->kernel_w * v->in_c;
    struct neon_ctile t = {.a_step = (size_t)v->stride_w * v->in_c, .a_run = v->stride_h * pd.row};
    t.b = dy;
    t.b_step = t.ldc = v->out_c;
    t.b_run = (size_t)v->out_w * v->out_c;
    t.len = v->out_w;
    t.runs = v->out_h;
    t.end.alpha = 1.0f;
    t.end.add = true;
    for (uint32_t ky = 0; ky < v->kernel_h; ky++) {
        t.a = image + ky * pd.row;
        t.c = sum + ky * run * v->out_c;
        dw_rows(&t, run, v->out_c);
    }
}

void neon_conv2d_dw(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_conv *v = &in->u.conv;
    const float *x = kern_f32(c, in, 0), *dy = kern_f32(c, in, 1);
    const size_t out = (size_t)v->out_h * v->out_w * v->out_c, image = (size_t)v->in_h * v->in_w;
    const bool few = v->in_c < FEW_CHANNELS;
    const float scale = kern_scale_of(c, v->scale),
                beta = kern_beta_of(c, v->beta, v->weight_decay);
    if (v->groups != 1 && v->out_c >= 4) {
        neon_groups_dw(v, x, dy, scale, beta, kern_f32(c, in, 2), (float *)(void *)c->scratch);
        return;
    }
    if (dw_odd(v)) {
        kern_ref.ops[KERN_CONV2D_DW].run(c, in);
        return;
    }
    if (!few && neon_mostly_zero(dy, v->batch * out)) {
        kern_ops_neon[KERN_CONV2D_DW].run(c, in);
        return;
    }
    struct dw_scratch s;
    (void)dw_layout(v, c->scratch, &s);
    const size_t weights = (size_t)v->kernel_h * v->kernel_w * v->in_c * v->out_c;
    memset(s.sum, 0, weights * sizeof(float));
    if (few)
        memset(s.image, 0, conv_padded(v).floats * sizeof(float));
    for (uint32_t b = 0; b < v->batch; b++, x += image * v->in_c, dy += out) {
        if (few) {
            conv_pad(v, x, s.image);
            dw_image_few(v, s.image, dy, s.sum);
        } else {
            dw_image(v, x, dy, s.sum);
        }
    }
    float *dw = kern_f32(c, in, 2);
    size_t i = 0;
    for (; i + 4 <= weights; i += 4) {
        float32x4_t w = vmulq_n_f32(vld1q_f32(s.sum + i), scale);
        if (beta != 0.0f)
            w = vfmaq_n_f32(w, vld1q_f32(dw + i), beta);
        vst1q_f32(dw + i, w);
    }
    for (; i < weights; i++)
        kern_put(&dw[i], (double)s.sum[i], scale, beta);
}
#else
typedef int kern_neon_conv_dw_is_for_arm;
#endif
