/* Convolution forward, NHWC, without im2col: a tile's rows are output pixels, its columns output
 * channels. All pixels of a tile see the same taps, so no padding is ever multiplied; taps and
 * channels of one filter row lie side by side in the input, so that a filter row is one run of the
 * tile. The filter is packed into strips of TILE_COLS channels first. */
#ifndef SOTTO_KERN_CONV_TPL_H
#define SOTTO_KERN_CONV_TPL_H

#include "cpu/conv_geom.h"
#include "cpu/narrow_tpl.h"
#include "cpu/pool_tpl.h"
#include "cpu/tile_tpl.h"

#define CONV_POOL_BYTES (256 * 1024) /* of unpooled outputs kept at a time */

struct conv_view {
    const struct kern_conv *v;
    const float *x;      /* of the first image */
    uint32_t images;     /* this call's */
    const float *packed; /* [group][strip][kh][kw][cin/groups][TILE_COLS] */
    const float *bias;
    float *y;
    enum kern_act act;
    unsigned char *spare; /* conv_spare_bytes of scratch */
};

/* Runs too short to be loops of their own (a first layer's) go through a table of offsets into a
 * padded image. */
#define CONV_RUN_SHORT 16
INLINE bool conv_short(const struct kern_conv *v) {
    return v->groups == 1 && (size_t)v->kernel_w * v->in_c < CONV_RUN_SHORT &&
           v->out_c % TILE_COLS == 0;
}
INLINE size_t conv_short_taps(const struct kern_conv *v) {
    return (size_t)v->kernel_h * v->kernel_w * v->in_c;
}
/* Whether narrow_tpl.h does convolution and pooling in one. */
INLINE bool conv_pool_narrow(const struct kern_conv *v) {
    return v->groups == 1 && (size_t)v->kernel_w * v->in_c < CONV_RUN_SHORT && v->out_c <= LANES &&
           v->pool_h == 2 && v->pool_w == 2 && v->out_w / 2 >= NARROW_WINDOWS &&
           act_in_tile(v->act) == v->act;
}
INLINE size_t conv_spare_bytes(const struct kern_conv *v) {
    if (!conv_short(v) && !conv_pool_narrow(v))
        return 0;
    return conv_padded(v).floats * sizeof(float) + conv_short_taps(v) * sizeof(uint32_t);
}

INLINE size_t conv_strips(const struct kern_conv *v) {
    return (v->out_c / v->groups + TILE_COLS - 1) / TILE_COLS;
}
INLINE size_t conv_packed_floats(const struct kern_conv *v) {
    return v->groups * conv_strips(v) * v->kernel_h * v->kernel_w * (v->in_c / v->groups) *
           TILE_COLS;
}

TARGET static void NAME(conv_pack)(const struct kern_conv *v, const float *w, float *packed) {
    size_t out_g = v->out_c / v->groups;
    size_t taps = (size_t)v->kernel_h * v->kernel_w * (v->in_c / v->groups);
    for (size_t g = 0; g < v->groups; g++)
        for (size_t j = 0; j < out_g; j += TILE_COLS) {
            size_t cols = out_g - j < TILE_COLS ? out_g - j : TILE_COLS;
            const float *src = w + g * out_g + j;
            for (size_t k = 0; k < taps; k++, packed += TILE_COLS, src += v->out_c) {
                if (cols == TILE_COLS) {
                    V_STORE(packed, V_LOAD(src));
                    V_STORE(packed + LANES, V_LOAD(src + LANES));
                } else {
                    memset(packed, 0, TILE_COLS * sizeof(float));
                    memcpy(packed, src, cols * sizeof(float));
                }
            }
        }
}

/* A span of output rows (or columns) that see the same taps [k0, k1). */
struct span {
    uint32_t first, end, k0, k1;
};
INLINE struct span conv_span(uint32_t from, uint32_t out, uint32_t stride, uint32_t pad,
                             uint32_t kernel, uint32_t in) {
    struct span s = {from, from, 0, 0};
    (void)kern_taps(from, stride, pad, kernel, in, &s.k0, &s.k1);
    uint32_t k0 = s.k0, k1 = s.k1;
    while (s.end < out && k0 == s.k0 && k1 == s.k1) {
        s.end++;
        (void)kern_taps(s.end, stride, pad, kernel, in, &k0, &k1);
    }
    return s;
}

/* Input of tap (0, first valid column tap) of an output pixel; taps above the image are skipped by
 * the caller's runs. */
INLINE const float *conv_input(const struct conv_view *cv, uint32_t image, uint32_t oy, uint32_t ox,
                               uint32_t ky, uint32_t kx, size_t group) {
    const struct kern_conv *v = cv->v;
    int64_t iy = (int64_t)oy * v->stride_h - v->pad_top + ky;
    int64_t ix = (int64_t)ox * v->stride_w - v->pad_left + kx;
    size_t at = ((size_t)image * v->in_h + (size_t)iy) * v->in_w + (size_t)ix;
    return cv->x + at * v->in_c + group * (v->in_c / v->groups);
}

/* All pixels of (rows x columns) of every image times one strip of output channels. */
TARGET static void NAME(conv_block)(const struct conv_view *cv, struct span ys, struct span xs,
                                    size_t group, size_t strip) {
    const struct kern_conv *v = cv->v;
    size_t in_g = v->in_c / v->groups, out_g = v->out_c / v->groups, j = strip * TILE_COLS;
    size_t taps = (size_t)v->kernel_h * v->kernel_w * in_g;
    struct tile t = {
        .a_step = 1, .ldb = TILE_COLS, .alpha = 1.0f, .act = cv->act, .slope = v->slope};
    t.cols = out_g - j < TILE_COLS ? out_g - j : TILE_COLS;
    t.bias = cv->bias ? cv->bias + group * out_g + j : NULL;
    t.a_run = (size_t)v->in_w * v->in_c;
    t.b_run = (size_t)v->kernel_w * in_g * TILE_COLS;
    t.runs = ys.k1 - ys.k0;
    t.len = (xs.k1 - xs.k0) * in_g;
    t.b = cv->packed +
          ((group * conv_strips(v) + strip) * taps + ((size_t)ys.k0 * v->kernel_w + xs.k0) * in_g) *
              TILE_COLS;
    unsigned rows = 0;
    for (uint32_t image = 0; image < cv->images; image++)
        for (uint32_t oy = ys.first; oy < ys.end; oy++)
            for (uint32_t ox = xs.first; ox < xs.end; ox++) {
                size_t at = ((size_t)image * v->out_h + oy) * v->out_w + ox;
                t.a[rows] = conv_input(cv, image, oy, ox, ys.k0, xs.k0, group);
                t.c[rows] = cv->y + at * v->out_c + group * out_g + j;
                if (++rows == TILE_ROWS) {
                    NAME(tile_run)(&t, rows);
                    rows = 0;
                }
            }
    if (rows)
        NAME(tile_run)(&t, rows);
}

/* With groups a tap's channels are not beside the next tap's: one pass a tap, adding up. */
TARGET static void NAME(conv_block_grouped)(const struct conv_view *cv, struct span ys,
                                            struct span xs, size_t group, size_t strip) {
    const struct kern_conv *v = cv->v;
    size_t in_g = v->in_c / v->groups, out_g = v->out_c / v->groups, j = strip * TILE_COLS;
    size_t taps = (size_t)v->kernel_h * v->kernel_w * in_g;
    struct tile t = {.a_step = 1, .ldb = TILE_COLS, .alpha = 1.0f, .slope = v->slope};
    t.cols = out_g - j < TILE_COLS ? out_g - j : TILE_COLS;
    t.a_run = (size_t)v->in_w * v->in_c;
    t.b_run = (size_t)v->kernel_w * in_g * TILE_COLS;
    t.runs = ys.k1 - ys.k0;
    t.len = in_g;
    for (uint32_t image = 0; image < cv->images; image++)
        for (uint32_t oy = ys.first; oy < ys.end; oy++)
            for (uint32_t ox = xs.first; ox < xs.end; ox++)
                for (uint32_t kx = xs.k0; kx < xs.k1; kx++) {
                    size_t at = ((size_t)image * v->out_h + oy) * v->out_w + ox;
                    bool last = kx + 1 == xs.k1;
                    t.beta = kx == xs.k0 ? 0.0f : 1.0f;
                    t.bias = last && cv->bias ? cv->bias + group * out_g + j : NULL;
                    t.act = last ? cv->act : KERN_ACT_NONE;
                    t.a[0] = conv_input(cv, image, oy, ox, ys.k0, kx, group);
                    t.c[0] = cv->y + at * v->out_c + group * out_g + j;
                    t.b = cv->packed + ((group * conv_strips(v) + strip) * taps +
                                        ((size_t)ys.k0 * v->kernel_w + kx) * in_g) *
                                           TILE_COLS;
                    NAME(tile_run)(&t, 1);
                }
}

/* The table of offsets and a padded image of zeros, both in spare. */
TARGET static uint32_t *NAME(conv_offsets)(const struct kern_conv *v, unsigned char *spare) {
    struct padded pd = conv_padded(v);
    float *image = (float *)(void *)spare;
    uint32_t *offsets = (uint32_t *)(void *)(image + pd.floats);
    size_t run = (size_t)v->kernel_w * v->in_c, taps = conv_short_taps(v);
    for (size_t k = 0; k < taps; k++)
        offsets[k] = (uint32_t)(k / run * pd.row + k % run);
    memset(image, 0, pd.floats * sizeof(float));
    return offsets;
}

TARGET static void NAME(conv_forward_short)(const struct conv_view *cv) {
    const struct kern_conv *v = cv->v;
    struct padded pd = conv_padded(v);
    const uint32_t *offsets = NAME(conv_offsets)(v, cv->spare);
    float *image = (float *)(void *)cv->spare;
    size_t taps = conv_short_taps(v), y_at = 0;
    struct tile t = {.offsets = offsets, .len = taps, .alpha = 1.0f, .act = cv->act};
    t.slope = v->slope;
    for (uint32_t b = 0; b < cv->images; b++, y_at += (size_t)v->out_h * v->out_w * v->out_c) {
        conv_pad(v, cv->x + (size_t)b * v->in_h * v->in_w * v->in_c, image);
        for (size_t j = 0; j < v->out_c; j += TILE_COLS) {
            unsigned rows = 0;
            float *y = cv->y + y_at + j;
            t.b = cv->packed + j * taps;
            t.bias = cv->bias ? cv->bias + j : NULL;
            for (size_t oy = 0; oy < v->out_h; oy++)
                for (size_t ox = 0; ox < v->out_w; ox++, y += v->out_c) {
                    t.a[rows] = image + oy * v->stride_h * pd.row + ox * v->stride_w * v->in_c;
                    t.c[rows] = y;
                    if (++rows == TILE_ROWS) {
                        NAME(tile_run_offsets)(&t, rows);
                        rows = 0;
                    }
                }
            if (rows)
                NAME(tile_run_offsets)(&t, rows);
        }
    }
}

TARGET static void NAME(conv_forward)(const struct conv_view *cv) {
    const struct kern_conv *v = cv->v;
    if (conv_short(v)) {
        NAME(conv_forward_short)(cv);
        return;
    }
    for (size_t group = 0; group < v->groups; group++)
        for (size_t strip = 0; strip < conv_strips(v); strip++)
            for (uint32_t oy = 0; oy < v->out_h;) {
                struct span ys =
                    conv_span(oy, v->out_h, v->stride_h, v->pad_top, v->kernel_h, v->in_h);
                for (uint32_t ox = 0; ox < v->out_w;) {
                    struct span xs =
                        conv_span(ox, v->out_w, v->stride_w, v->pad_left, v->kernel_w, v->in_w);
                    if (v->groups == 1)
                        NAME(conv_block)(cv, ys, xs, group, strip);
                    else
                        NAME(conv_block_grouped)(cv, ys, xs, group, strip);
                    ox = xs.end;
                }
                oy = ys.end;
            }
}

TARGET static size_t NAME(conv2d_scratch)(const struct kern_instr *in) {
    return conv_packed_floats(&in->u.conv) * sizeof(float) + conv_spare_bytes(&in->u.conv);
}

TARGET static void NAME(conv2d)(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_conv *v = &in->u.conv;
    float *packed = (float *)(void *)c->scratch;
    NAME(conv_pack)(v, kern_f32(c, in, 1), packed);
    struct conv_view cv = {.v = v, .x = kern_f32(c, in, 0), .images = v->batch, .packed = packed};
    cv.bias = kern_f32(c, in, 3);
    cv.y = kern_f32(c, in, 2);
    cv.act = act_in_tile(v->act);
    cv.spare = (unsigned char *)(packed + conv_packed_floats(v));
    NAME(conv_forward)(&cv);
    if (cv.act != v->act)
        NAME(act_rows)
    (v->act, v->slope, cv.y, (size_t)v->batch * v->out_h * v->out_w * v->out_c);
}

/* Images whose unpooled outputs are held at a time: enough to fill tiles at the borders, few enough
 * to stay in L2. */
INLINE uint32_t conv_pool_images(const struct kern_conv *v) {
    size_t bytes = (size_t)v->out_h * v->out_w * v->out_c * sizeof(float);
    size_t n = CONV_POOL_BYTES / bytes;
    n = n == 0 ? 1 : n;
    return n < v->batch ? (uint32_t)n : v->batch;
}

TARGET static size_t NAME(conv2d_pool_scratch)(const struct kern_instr *in) {
    const struct kern_conv *v = &in->u.conv;
    size_t image = (size_t)v->out_h * v->out_w * v->out_c;
    return (conv_packed_floats(v) + conv_pool_images(v) * image) * sizeof(float) +
           conv_spare_bytes(v);
}

/* y and arg: of the whole batch. */
TARGET static void NAME(conv_pool_few)(const struct conv_view *cv, float *y, uint8_t *arg) {
    const struct kern_conv *v = cv->v;
    struct padded pd = conv_padded(v);
    float *image = (float *)(void *)cv->spare, bias[LANES] = {0};
    struct narrow_row t = {.step = (size_t)v->stride_w * v->in_c, .taps = conv_short_taps(v)};
    t.below = v->stride_h * pd.row;
    t.offsets = NAME(conv_offsets)(v, cv->spare);
    t.b = cv->packed;
    if (cv->bias)
        memcpy(bias, cv->bias, v->out_c * sizeof(float));
    t.bias = bias;
    t.act = v->act;
    t.slope = v->slope;
    t.windows = v->out_w / 2;
    t.channels = v->out_c;
    size_t rows = v->out_h / 2, row = t.windows * t.channels;
    t.y = y;
    t.y_end = y + v->batch * rows * row;
    t.arg = arg;
    for (uint32_t b = 0; b < v->batch; b++) {
        conv_pad(v, cv->x + (size_t)b * v->in_h * v->in_w * v->in_c, image);
        t.a = image;
        for (size_t py = 0; py < rows; py++, t.y += row, t.arg += row, t.a += 2 * t.below)
            if (t.step == 1)
                NAME(narrow_row_beside)(&t);
            else
                NAME(narrow_row_apart)(&t);
    }
}

TARGET static void NAME(conv2d_pool)(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_conv *v = &in->u.conv;
    float *packed = (float *)(void *)c->scratch, *raw = packed + conv_packed_floats(v);
    float *y = kern_f32(c, in, 2);
    uint8_t *arg = kern_ptr(c, in, 4);
    NAME(conv_pack)(v, kern_f32(c, in, 1), packed);
    struct conv_view cv = {.v = v, .x = kern_f32(c, in, 0), .packed = packed, .y = raw};
    cv.bias = kern_f32(c, in, 3);
    cv.act = act_in_tile(v->act);
    cv.spare =
        (unsigned char *)(raw + (size_t)conv_pool_images(v) * v->out_h * v->out_w * v->out_c);
    if (conv_pool_narrow(v)) {
        NAME(conv_pool_few)(&cv, y, arg);
        return;
    }
    size_t image = (size_t)v->out_h * v->out_w * v->out_c;
    size_t pooled = (size_t)(v->out_h / v->pool_h) * (v->out_w / v->pool_w) * v->out_c;
    for (uint32_t b = 0; b < v->batch; b += cv.images) {
        uint32_t group = conv_pool_images(v);
        cv.images = v->batch - b < group ? v->batch - b : group;
        NAME(conv_forward)(&cv);
        if (cv.act != v->act)
            NAME(act_rows)(v->act, v->slope, raw, cv.images * image);
        NAME(conv_pool_images_max)(v, cv.images, raw, y, arg);
        cv.x += (size_t)cv.images * v->in_h * v->in_w * v->in_c;
        y += cv.images * pooled;
        arg += cv.images * pooled;
    }
}

#endif
