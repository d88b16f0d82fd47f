/* Reference products: gemm and the convolutions. */
#include "ref/ref.h"
#include "src/half.h"

void kern_gemm_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_gemm *g = &in->u.gemm;
    const float *a = kern_f32(c, in, 0), *b = kern_f32(c, in, 1), *bias = kern_f32(c, in, 3);
    float *out = kern_f32(c, in, 2);
    float scale = kern_scale_of(c, g->scale), beta = kern_beta_of(c, g->beta, g->weight_decay);
    size_t m = g->m, n = g->n, k = g->k;
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0.0;
            for (size_t l = 0; l < k; l++) {
                float av = g->trans_a ? a[l * m + i] : a[i * k + l];
                float bv = g->trans_b ? b[j * k + l] : b[l * n + j];
                sum += (double)av * (double)bv;
            }
            float *dst = &out[i * n + j];
            kern_put(dst, sum, scale, beta);
            *dst = kern_act_value(g->act, g->slope, *dst + (bias ? bias[j] : 0.0f));
        }
}

void kern_gemm_i8_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_gemm *g = &in->u.gemm;
    const int8_t *a = kern_ptr(c, in, 0), *b = kern_ptr(c, in, 1);
    int32_t *out = kern_ptr(c, in, 2);
    size_t n = g->n, k = g->k;
    for (size_t i = 0; i < g->m; i++)
        for (size_t j = 0; j < n; j++) {
            int32_t sum = 0;
            for (size_t l = 0; l < k; l++)
                sum += (int32_t)a[i * k + l] * b[l * n + j];
            out[i * n + j] = sum;
        }
}

/* The nearest bfloat16, ties to even: the upper half of the bits. */
static double round_bf16(float x) {
    uint32_t bits;
    if (x != x)
        return (double)x;
    memcpy(&bits, &x, sizeof(bits));
    bits += 0x7fff + (bits >> 16 & 1);
    bits &= 0xffff0000u;
    memcpy(&x, &bits, sizeof(bits));
    return (double)x;
}

static double round_f16(float x) {
    return (double)kern_half_round(x);
}

/* A product of operands that are rounded first. */
static void gemm_rounded(const struct kern_ctx *c, const struct kern_instr *in,
                         double (*rounded)(float)) {
    const struct kern_gemm *g = &in->u.gemm;
    const float *a = kern_f32(c, in, 0), *b = kern_f32(c, in, 1), *bias = kern_f32(c, in, 3);
    float *out = kern_f32(c, in, 2);
    size_t n = g->n, k = g->k;
    for (size_t i = 0; i < g->m; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0.0;
            for (size_t l = 0; l < k; l++)
                sum += rounded(a[i * k + l]) * rounded(b[l * n + j]);
            float v = (float)sum + (bias ? bias[j] : 0.0f);
            out[i * n + j] = kern_act_value(g->act, g->slope, v);
        }
}

void kern_gemm_bf16_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    gemm_rounded(c, in, round_bf16);
}

void kern_gemm_f16_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    gemm_rounded(c, in, round_f16);
}

void kern_gemm_w8_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_gemm *g = &in->u.gemm;
    const float *a = kern_f32(c, in, 0), *scale = kern_f32(c, in, 2), *bias = kern_f32(c, in, 4);
    const int8_t *w = kern_ptr(c, in, 1);
    float *out = kern_f32(c, in, 3);
    size_t n = g->n, k = g->k;
    for (size_t i = 0; i < g->m; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0.0;
            for (size_t l = 0; l < k; l++)
                sum += (double)a[i * k + l] * w[l * n + j];
            float v = (float)(sum * (double)scale[j]) + (bias ? bias[j] : 0.0f);
            out[i * n + j] = kern_act_value(g->act, g->slope, v);
        }
}

/* One output of a convolution before bias. */
static double conv_at(const struct kern_conv *v, const float *x, const float *w, uint32_t b,
                      uint32_t oy, uint32_t ox, uint32_t oc) {
    uint32_t ci = v->in_c / v->groups, first = oc / (v->out_c / v->groups) * ci;
    uint32_t y0, y1, x0, x1;
    int64_t iy = kern_taps(oy, v->stride_h, v->pad_top, v->kernel_h, v->in_h, &y0, &y1);
    int64_t ix = kern_taps(ox, v->stride_w, v->pad_left, v->kernel_w, v->in_w, &x0, &x1);
    double sum = 0.0;
    for (uint32_t ky = y0; ky < y1; ky++)
        for (uint32_t kx = x0; kx < x1; kx++) {
            size_t row = ((size_t)b * v->in_h + (size_t)(iy + ky)) * v->in_w + (size_t)(ix + kx);
            const float *xp = x + row * v->in_c + first;
            const float *wp = w + ((size_t)ky * v->kernel_w + kx) * ci * v->out_c + oc;
            for (uint32_t i = 0; i < ci; i++)
                sum += (double)xp[i] * (double)wp[(size_t)i * v->out_c];
        }
    return sum;
}

void kern_conv2d_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_conv *v = &in->u.conv;
    const float *x = kern_f32(c, in, 0), *w = kern_f32(c, in, 1), *bias = kern_f32(c, in, 3);
    float *y = kern_f32(c, in, 2);
    for (uint32_t b = 0; b < v->batch; b++)
        for (uint32_t oy = 0; oy < v->out_h; oy++)
            for (uint32_t ox = 0; ox < v->out_w; ox++)
                for (uint32_t oc = 0; oc < v->out_c; oc++) {
                    float sum = (float)conv_at(v, x, w, b, oy, ox, oc) + (bias ? bias[oc] : 0.0f);
                    *y++ = kern_act_value(v->act, v->slope, sum);
                }
}

void kern_conv2d_pool_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_conv *v = &in->u.conv;
    const float *x = kern_f32(c, in, 0), *w = kern_f32(c, in, 1), *bias = kern_f32(c, in, 3);
    float *y = kern_f32(c, in, 2);
    uint8_t *arg = kern_ptr(c, in, 4);
    uint32_t ph = v->out_h / v->pool_h, pw = v->out_w / v->pool_w;
    size_t at = 0;
    for (uint32_t b = 0; b < v->batch; b++)
        for (uint32_t py = 0; py < ph; py++)
            for (uint32_t px = 0; px < pw; px++)
                for (uint32_t oc = 0; oc < v->out_c; oc++, at++)
                    for (uint32_t i = 0; i < v->pool_h * v->pool_w; i++) {
                        uint32_t oy = py * v->pool_h + i / v->pool_w;
                        uint32_t ox = px * v->pool_w + i % v->pool_w;
                        float sum =
                            (float)conv_at(v, x, w, b, oy, ox, oc) + (bias ? bias[oc] : 0.0f);
                        float val = kern_act_value(v->act, v->slope, sum);
                        if (i == 0 || val > y[at] || (y[at] != y[at] && val == val)) {
                            y[at] = val;
                            arg[at] = (uint8_t)i;
                        }
                    }
}

/* One input's gradient: the sum of dy * w over the outputs whose window holds it. */
static double conv_dx_at(const struct kern_conv *v, const float *dy, const float *w, uint32_t b,
                         uint32_t iy, uint32_t ix, uint32_t ic) {
    uint32_t ci = v->in_c / v->groups, co = v->out_c / v->groups, g = ic / ci;
    double sum = 0.0;
    for (uint32_t ky = 0; ky < v->kernel_h; ky++) {
        int64_t ty = (int64_t)iy + v->pad_top - ky;
        if (ty < 0 || ty % v->stride_h || ty / v->stride_h >= v->out_h)
            continue;
        for (uint32_t kx = 0; kx < v->kernel_w; kx++) {
            int64_t tx = (int64_t)ix + v->pad_left - kx;
            if (tx < 0 || tx % v->stride_w || tx / v->stride_w >= v->out_w)
                continue;
            size_t row = ((size_t)b * v->out_h + (size_t)(ty / v->stride_h)) * v->out_w +
                         (size_t)(tx / v->stride_w);
            const float *d = dy + row * v->out_c + (size_t)g * co;
            const float *wp =
                w + (((size_t)ky * v->kernel_w + kx) * ci + ic % ci) * v->out_c + (size_t)g * co;
            for (uint32_t o = 0; o < co; o++)
                sum += (double)d[o] * (double)wp[o];
        }
    }
    return sum;
}

void kern_conv2d_dx_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_conv *v = &in->u.conv;
    const float *dy = kern_f32(c, in, 0), *w = kern_f32(c, in, 1);
    float *dx = kern_f32(c, in, 2);
    for (uint32_t b = 0; b < v->batch; b++)
        for (uint32_t iy = 0; iy < v->in_h; iy++)
            for (uint32_t ix = 0; ix < v->in_w; ix++)
                for (uint32_t ic = 0; ic < v->in_c; ic++)
                    *dx++ = (float)conv_dx_at(v, dy, w, b, iy, ix, ic);
}

/* One weight's gradient: the sum over images and the outputs whose tap (ky, kx) lies inside the
 * input. */
static double conv_dw_at(const struct kern_conv *v, const float *x, const float *dy, uint32_t ky,
                         uint32_t kx, uint32_t ic, uint32_t oc) {
    double sum = 0.0;
    for (uint32_t b = 0; b < v->batch; b++)
        for (uint32_t oy = 0; oy < v->out_h; oy++) {
            int64_t iy = (int64_t)oy * v->stride_h + ky - v->pad_top;
            if (iy < 0 || iy >= v->in_h)
                continue;
            for (uint32_t ox = 0; ox < v->out_w; ox++) {
                int64_t ix = (int64_t)ox * v->stride_w + kx - v->pad_left;
                if (ix < 0 || ix >= v->in_w)
                    continue;
                size_t xi = ((size_t)b * v->in_h + (size_t)iy) * v->in_w + (size_t)ix;
                size_t yi = ((size_t)b * v->out_h + oy) * v->out_w + ox;
                sum += (double)x[xi * v->in_c + ic] * (double)dy[yi * v->out_c + oc];
            }
        }
    return sum;
}

void kern_conv2d_dw_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_conv *v = &in->u.conv;
    const float *x = kern_f32(c, in, 0), *dy = kern_f32(c, in, 1);
    float *dw = kern_f32(c, in, 2);
    float scale = kern_scale_of(c, v->scale), beta = kern_beta_of(c, v->beta, v->weight_decay);
    uint32_t ci = v->in_c / v->groups, co = v->out_c / v->groups;
    for (uint32_t ky = 0; ky < v->kernel_h; ky++)
        for (uint32_t kx = 0; kx < v->kernel_w; kx++)
            for (uint32_t i = 0; i < ci; i++)
                for (uint32_t oc = 0; oc < v->out_c; oc++)
                    kern_put(dw++, conv_dw_at(v, x, dy, ky, kx, oc / co * ci + i, oc), scale, beta);
}
