/* Convolution forward by NEON, and dX where it is a convolution of dy. NHWC, no im2col: the rows of
 * a row tile are output pixels that see the same taps, so padding is never multiplied, and the
 * filter is read as it lies ([kh][kw][cin][cout]: the rows of B). An image of one channel is padded
 * instead: its adjacent pixels are the rows of a column tile. */
#if defined(__aarch64__)
#define KERN_ISA_NEON 1
#include "cpu/conv_geom.h"

#include "neon/product.h"

#define POOL_BYTES 262144 /* unpooled outputs held at a time */

struct conv_view {
    const struct kern_conv *v;
    const float *x, *w, *bias;
    float *y;
    uint32_t images;
    enum kern_act act;
    float *padded; /* one image, for conv_lines */
};

/* Outputs [first, end) that see the same taps [k0, k1); none where a window lies outside. */
struct span {
    uint32_t first, end, k0, k1;
};

static void span_taps(uint32_t o, uint32_t stride, uint32_t pad, uint32_t kernel, uint32_t in,
                      uint32_t *k0, uint32_t *k1) {
    const int64_t base = (int64_t)o * stride - pad, last = (int64_t)in - base;
    *k0 = base < 0 ? (uint32_t)-base : 0;
    *k1 = last <= 0 ? 0 : last < (int64_t)kernel ? (uint32_t)last : kernel;
    if (*k0 >= *k1)
        *k0 = *k1 = 0;
}

static struct span span_from(uint32_t from, uint32_t out, uint32_t stride, uint32_t pad,
                             uint32_t kernel, uint32_t in) {
    struct span s = {from, from, 0, 0};
    uint32_t k0, k1;
    span_taps(from, stride, pad, kernel, in, &s.k0, &s.k1);
    do {
        s.end++;
        span_taps(s.end, stride, pad, kernel, in, &k0, &k1);
    } while (s.end < out && k0 == s.k0 && k1 == s.k1);
    return s;
}

/* Up to 8 pixels times all output channels. */
static void tile_pixels(const struct neon_rtile *whole, unsigned rows, size_t channels) {
    const struct neon_tiles *tiles = neon_tiles();
    struct neon_rtile t = *whole;
    for (unsigned done = 0; done < rows;) {
        const unsigned part = rows - done >= 8   ? 8
                              : rows - done >= 4 ? 4
                              : rows - done >= 2 ? 2
                                                 : 1;
        for (unsigned r = 0; r < part; r++) {
            t.a[r] = whole->a[done + r];
            t.c[r] = whole->c[done + r];
        }
        t.b = whole->b;
        t.end.bias = whole->end.bias;
        t.strips = channels / STRIP;
        if (t.strips)
            tiles->rows_strip[part](&t);
        for (size_t j = t.strips * STRIP; j < channels;) {
            const size_t at = channels - j >= 4 ? j : channels - 4;
            t.b = whole->b + at;
            t.end.bias = whole->end.bias ? whole->end.bias + at : NULL;
            for (unsigned r = 0; r < part; r++)
                t.c[r] = whole->c[done + r] + at;
            t.skip = (unsigned)(j - at);
            tiles->rows_quarter[part](&t);
            j = at + 4;
        }
        done += part;
    }
}

static void conv_block(const struct conv_view *cv, struct span ys, struct span xs) {
    const struct kern_conv *v = cv->v;
    const size_t in_row = (size_t)v->in_w * v->in_c;
    struct neon_rtile t = {.b_step = v->out_c, .a_run = in_row};
    t.end.alpha = 1.0f;
    t.end.bias = cv->bias;
    t.end.act = cv->act;
    t.runs = xs.k1 == xs.k0 ? 0 : ys.k1 - ys.k0;
    t.len = (size_t)(xs.k1 - xs.k0) * v->in_c;
    t.b_run = (size_t)v->kernel_w * v->in_c * v->out_c;
    t.b = cv->w + ((size_t)ys.k0 * v->kernel_w + xs.k0) * v->in_c * v->out_c;
    unsigned rows = 0;
    for (uint32_t image = 0; image < cv->images; image++)
        for (uint32_t oy = ys.first; oy < ys.end; oy++) {
            const int64_t iy = (int64_t)oy * v->stride_h - v->pad_top + ys.k0;
            for (uint32_t ox = xs.first; ox < xs.end; ox++) {
                const int64_t ix = (int64_t)ox * v->stride_w - v->pad_left + xs.k0;
                const size_t at = ((size_t)image * v->out_h + oy) * v->out_w + ox;
                t.a[rows] = t.runs == 0 ? cv->x
                                        : cv->x + (size_t)image * v->in_h * in_row +
                                              (size_t)iy * in_row + (size_t)ix * v->in_c;
                t.c[rows] = cv->y + at * v->out_c;
                if (++rows == RTILE_ROWS) {
                    tile_pixels(&t, rows, v->out_c);
                    rows = 0;
                }
            }
        }
    if (rows)
        tile_pixels(&t, rows, v->out_c);
}

static bool conv_is_lines(const struct kern_conv *v) {
    return v->in_c == 1 && v->stride_w == 1;
}

static void conv_lines(const struct conv_view *cv) {
    const struct kern_conv *v = cv->v;
    const struct neon_tiles *tiles = neon_tiles();
    const struct padded pd = conv_padded(v);
    struct neon_ctile t = {.a_step = 1, .len = v->kernel_w, .runs = v->kernel_h, .a_run = pd.row};
    t.b = cv->w;
    t.b_step = t.ldc = v->out_c;
    t.b_run = (size_t)v->kernel_w * v->out_c;
    t.end.alpha = 1.0f;
    t.end.bias = cv->bias;
    t.end.act = cv->act;
    t.c = cv->y;
    memset(cv->padded, 0, pd.floats * sizeof(float));
    for (uint32_t image = 0; image < cv->images; image++) {
        conv_pad(v, cv->x + (size_t)image * v->in_h * v->in_w, cv->padded);
        for (uint32_t oy = 0; oy < v->out_h; oy++)
            for (uint32_t ox = 0; ox < v->out_w;) {
                const unsigned rows = neon_rows(tiles, v->out_w - ox);
                t.a = cv->padded + (size_t)oy * v->stride_h * pd.row + ox;
                neon_columns(tiles, &t, rows, v->out_c);
                t.c += rows * v->out_c;
                ox += rows;
            }
    }
}

static void conv_forward(const struct conv_view *cv) {
    const struct kern_conv *v = cv->v;
    if (v->groups != 1) {
        neon_groups_forward(v, cv->images, cv->x, cv->w, cv->bias, cv->act, cv->y);
        return;
    }
    if (conv_is_lines(v)) {
        conv_lines(cv);
        return;
    }
    for (uint32_t oy = 0; oy < v->out_h;) {
        const struct span ys =
            span_from(oy, v->out_h, v->stride_h, v->pad_top, v->kernel_h, v->in_h);
        for (uint32_t ox = 0; ox < v->out_w;) {
            const struct span xs =
                span_from(ox, v->out_w, v->stride_w, v->pad_left, v->kernel_w, v->in_w);
            conv_block(cv, ys, xs);
            ox = xs.end;
        }
        oy = ys.end;
    }
}

/* Fewer channels than a vector has lanes. */
static bool conv_odd(const struct kern_conv *v) {
    return v->out_c < 4;
}

static size_t conv_padded_bytes(const struct kern_conv *v) {
    return conv_is_lines(v) ? conv_padded(v).floats * sizeof(float) : 0;
}

size_t neon_conv2d_scratch(const struct kern_instr *in) {
    return conv_odd(&in->u.conv) ? 0 : conv_padded_bytes(&in->u.conv);
}

void neon_conv2d(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_conv *v = &in->u.conv;
    if (conv_odd(v)) {
        kern_ref.ops[KERN_CONV2D].run(c, in);
        return;
    }
    struct conv_view cv = {.v = v, .x = kern_f32(c, in, 0), .w = kern_f32(c, in, 1)};
    cv.y = kern_f32(c, in, 2);
    cv.bias = kern_f32(c, in, 3);
    cv.images = v->batch;
    cv.act = neon_end_act(v->act);
    cv.padded = (float *)(void *)c->scratch;
    conv_forward(&cv);
    neon_act_pass(v->act, v->slope, cv.y, (size_t)v->batch * v->out_h * v->out_w * v->out_c);
}

/* Images whose unpooled outputs are held at a time: enough to fill tiles at the borders, few enough
 * to stay in L2. */
static uint32_t pool_images(const struct kern_conv *v) {
    const size_t n = POOL_BYTES / ((size_t)v->out_h * v->out_w * v->out_c * sizeof(float));
    return n == 0 ? 1 : n < v->batch ? (uint32_t)n : v->batch;
}

size_t neon_conv2d_pool_scratch(const struct kern_instr *in) {
    const struct kern_conv *v = &in->u.conv;
    if (conv_odd(v))
        return 0;
    return pool_images(v) * ((size_t)v->out_h * v->out_w * v->out_c) * sizeof(float) +
           conv_padded_bytes(v);
}

void neon_conv2d_pool(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_conv *v = &in->u.conv;
    if (conv_odd(v)) {
        kern_ref.ops[KERN_CONV2D_POOL].run(c, in);
        return;
    }
    const size_t image = (size_t)v->out_h * v->out_w * v->out_c;
    const size_t pooled = (size_t)(v->out_h / v->pool_h) * (v->out_w / v->pool_w) * v->out_c;
    const uint32_t group = pool_images(v);
    struct conv_view cv = {.v = v, .x = kern_f32(c, in, 0), .w = kern_f32(c, in, 1)};
    float *y = kern_f32(c, in, 2);
    uint8_t *arg = kern_ptr(c, in, 4);
    cv.y = (float *)(void *)c->scratch;
    cv.bias = kern_f32(c, in, 3);
    cv.act = neon_end_act(v->act);
    cv.padded = cv.y + group * image;
    for (uint32_t b = 0; b < v->batch; b += cv.images) {
        cv.images = v->batch - b < group ? v->batch - b : group;
        conv_forward(&cv);
        neon_act_pass(v->act, v->slope, cv.y, cv.images * image);
        neon_pool_images(v, cv.images, cv.y, y, arg);
        cv.x += (size_t)cv.images * v->in_h * v->in_w * v->in_c;
        y += cv.images * pooled;
        arg += cv.images * pooled;
    }
}

/* ---- dX: dy convolved with the filter turned round, its channels exchanged. ---- */

/* Behind a max pool most gradients are zero: then the lists of cpu/, which skip them, do less. */
bool neon_mostly_zero(const float *x, size_t n) {
    uint32x4_t zeros = vdupq_n_u32(0);
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        zeros = vsubq_u32(zeros, vceqzq_f32(vld1q_f32(x + i)));
    size_t count = vaddvq_u32(zeros);
    for (; i < n; i++)
        count += x[i] == 0.0f;
    return count > n / 2;
}

static bool dx_by_lists(const struct kern_conv *v) {
    return v->stride_h != 1 || v->stride_w != 1 || v->in_c < 4;
}
static size_t filter_bytes(const struct kern_conv *v) {
    return (size_t)v->kernel_h * v->kernel_w * v->in_c * v->out_c * sizeof(float);
}

size_t neon_conv2d_dx_scratch(const struct kern_instr *in) {
    const size_t lists = kern_ops_neon[KERN_CONV2D_DX].scratch(in);
    if (in->u.conv.groups != 1)
        return neon_groups_dx_scratch(&in->u.conv);
    if (dx_by_lists(&in->u.conv))
        return lists;
    return lists > filter_bytes(&in->u.conv) ? lists : filter_bytes(&in->u.conv);
}

/* turned[kh - 1 - ky][kw - 1 - kx][cout][cin] = w[ky][kx][cin][cout] */
static void turn_filter(const struct kern_conv *v, const float *w, float *turned) {
    const size_t ci = v->in_c, co = v->out_c, taps = (size_t)v->kernel_h * v->kernel_w;
    for (size_t tap = 0; tap < taps; tap++) {
        const float *from = w + tap * ci * co;
        float *to = turned + (taps - 1 - tap) * ci * co;
        for (size_t i = 0; i < ci; i += 4) {
            const size_t n = ci - i < 4 ? ci - i : 4;
            for (size_t o = 0; o < co; o++)
                for (size_t l = 0; l < n; l++)
                    to[o * ci + i + l] = from[(i + l) * co + o];
        }
    }
}

void neon_conv2d_dx(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_conv *v = &in->u.conv;
    const float *dy = kern_f32(c, in, 0);
    if (v->groups != 1) {
        neon_groups_dx(v, dy, kern_f32(c, in, 1), kern_f32(c, in, 2), (float *)(void *)c->scratch);
        return;
    }
    if (dx_by_lists(v) || neon_mostly_zero(dy, (size_t)v->batch * v->out_h * v->out_w * v->out_c)) {
        kern_ops_neon[KERN_CONV2D_DX].run(c, in);
        return;
    }
    float *turned = (float *)(void *)c->scratch;
    turn_filter(v, kern_f32(c, in, 1), turned);
    const struct kern_conv back = {.batch = v->batch,
                                   .in_h = v->out_h,
                                   .in_w = v->out_w,
                                   .in_c = v->out_c,
                                   .out_h = v->in_h,
                                   .out_w = v->in_w,
                                   .out_c = v->in_c,
                                   .kernel_h = v->kernel_h,
                                   .kernel_w = v->kernel_w,
                                   .stride_h = 1,
                                   .stride_w = 1,
                                   .pad_top = v->kernel_h - 1 - v->pad_top,
                                   .pad_left = v->kernel_w - 1 - v->pad_left,
                                   .groups = 1};
    struct conv_view cv = {.v = &back, .x = dy, .w = turned, .images = v->batch};
    cv.y = kern_f32(c, in, 2);
    for (uint32_t oy = 0; oy < back.out_h;) {
        const struct span ys = span_from(oy, back.out_h, 1, back.pad_top, back.kernel_h, back.in_h);
        for (uint32_t ox = 0; ox < back.out_w;) {
            const struct span xs =
                span_from(ox, back.out_w, 1, back.pad_left, back.kernel_w, back.in_w);
            conv_block(&cv, ys, xs);
            ox = xs.end;
        }
        oy = ys.end;
    }
}
#else
typedef int kern_neon_conv_is_for_arm;
#endif
