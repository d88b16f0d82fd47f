/* Elementwise instructions, pooling and things over rows. */
#ifndef SOTTO_KERN_POINTWISE_TPL_H
#define SOTTO_KERN_POINTWISE_TPL_H

#include <math.h>

#include "cpu/pool_tpl.h"
#include "cpu/simd.h"

/* e^x to about 2 ulp for x in [-87, 88]; beyond, the nearest end's value (Cephes expf: Cody-Waite
 * reduction, degree 5). */
#define V_EXP(out, in)                                                                             \
    do {                                                                                           \
        const vf magic_ = V_SET(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */     \
        vf x_ = V_MAX(in, V_SET(-87.0f));                                                          \
        x_ = V_SELECT(x_ > V_SET(88.0f), V_SET(88.0f), x_);                                        \
        vf t_ = V_FMA(x_, V_SET(1.44269504088896341f), magic_), n_ = t_ - magic_;                  \
        x_ = V_FMA(n_, V_SET(-0.693359375f), x_);                                                  \
        x_ = V_FMA(n_, V_SET(2.12194440e-4f), x_);                                                 \
        vf p_ = V_FMA(V_SET(1.9875691500e-4f), x_, V_SET(1.3981999507e-3f));                       \
        p_ = V_FMA(p_, x_, V_SET(8.3334519073e-3f));                                               \
        p_ = V_FMA(p_, x_, V_SET(4.1665795894e-2f));                                               \
        p_ = V_FMA(p_, x_, V_SET(1.6666665459e-1f));                                               \
        p_ = V_FMA(p_, x_, V_SET(5.0000001201e-1f));                                               \
        p_ = V_FMA(p_, x_ * x_, x_ + 1.0f);                                                        \
        (out) = (vf)((vi)p_ + ((vi)t_ << 23));                                                     \
    } while (0)

/* Runs BODY over n elements, LANES at a time; the tail goes through LOADS that see zeros past the
 * end. Inside BODY, LD(p) loads and ST(p, x) stores at element i. */
#define V_EACH(n, BODY)                                                                            \
    {                                                                                              \
        size_t i = 0;                                                                              \
        for (; i + LANES <= (n); i += LANES) {                                                     \
            BODY(V_LD, V_ST)                                                                       \
        }                                                                                          \
        if (i < (n)) {                                                                             \
            const size_t rest_ = (n)-i;                                                            \
            const vi mask_ = V_FIRST(rest_);                                                       \
            BODY(V_LD_REST, V_ST_REST)                                                             \
        }                                                                                          \
    }
#define V_LD(p)         V_LOAD((p) + i)
#define V_ST(p, x)      V_STORE((p) + i, x)
#define V_LD_REST(p)    V_LOAD_FIRST((p) + i, mask_)
#define V_ST_REST(p, x) V_STORE_FIRST((p) + i, x, rest_)

#define RELU_BODY(LD, ST) ST(y, V_MAX(V_SET(0.0f), LD(x)));
#define LEAKY_BODY(LD, ST)                                                                         \
    vf v = LD(x);                                                                                  \
    ST(y, V_MAX(v *slope, v));
#define SIGMOID_BODY(LD, ST)                                                                       \
    vf v = -LD(x), e;                                                                              \
    V_EXP(e, v);                                                                                   \
    ST(y, V_SELECT(v != v, v, 1.0f / (e + 1.0f)));
/* Near 0 the quotient would lose digits: an odd polynomial there (Cephes tanhf). */
#define TANH_BODY(LD, ST)                                                                          \
    vf v = LD(x), e, z = v * v;                                                                    \
    V_EXP(e, v * 2.0f);                                                                            \
    vf far = 1.0f - 2.0f / (e + 1.0f);                                                             \
    vf near = V_FMA(V_SET(-5.70498872745e-3f), z, V_SET(2.06390887954e-2f));                       \
    near = V_FMA(near, z, V_SET(-5.37397155531e-2f));                                              \
    near = V_FMA(near, z, V_SET(1.33314422036e-1f));                                               \
    near = V_FMA(near, z, V_SET(-3.33332819422e-1f));                                              \
    near = V_FMA(near * z, v, v);                                                                  \
    far = V_SELECT(z < 0.390625f, near, far);                                                      \
    ST(y, V_SELECT(v != v, v, far));

TARGET static void NAME(act_values)(enum kern_act act, float slope, const float *x, float *y,
                                    size_t n) {
    switch (act) {
    case KERN_ACT_RELU:
        V_EACH(n, RELU_BODY)
        break;
    case KERN_ACT_LEAKY_RELU:
        V_EACH(n, LEAKY_BODY)
        break;
    case KERN_ACT_SIGMOID:
        V_EACH(n, SIGMOID_BODY)
        break;
    case KERN_ACT_TANH:
        V_EACH(n, TANH_BODY)
        break;
    case KERN_ACT_NONE:
    default:
        if (x != y)
            memcpy(y, x, n * sizeof(*y));
        break;
    }
}

TARGET __attribute__((unused)) static void NAME(act_rows)(enum kern_act act, float slope, float *x,
                                                          size_t n) {
    NAME(act_values)(act, slope, x, x, n);
}

TARGET static void NAME(act)(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_pointwise *v = &in->u.pointwise;
    NAME(act_values)(v->act, v->slope, kern_f32(c, in, 0), kern_f32(c, in, 1), v->count);
}

#define RELU_DX_BODY(LD, ST) ST(dx, V_SELECT(LD(y) > 0.0f, LD(dy), V_SET(0.0f)));
#define LEAKY_DX_BODY(LD, ST)                                                                      \
    vf d = LD(dy);                                                                                 \
    ST(dx, V_SELECT(LD(y) > 0.0f, d, d * slope));
#define SIGMOID_DX_BODY(LD, ST)                                                                    \
    vf v = LD(y);                                                                                  \
    ST(dx, LD(dy) * (v * (1.0f - v)));
#define TANH_DX_BODY(LD, ST)                                                                       \
    vf v = LD(y);                                                                                  \
    ST(dx, LD(dy) * (1.0f - v * v));

TARGET static void NAME(act_dx)(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_pointwise *p = &in->u.pointwise;
    const float *y = kern_f32(c, in, 0), *dy = kern_f32(c, in, 1);
    float *dx = kern_f32(c, in, 2), slope = p->slope;
    size_t n = p->count;
    switch (p->act) {
    case KERN_ACT_RELU:
        V_EACH(n, RELU_DX_BODY)
        break;
    case KERN_ACT_LEAKY_RELU:
        V_EACH(n, LEAKY_DX_BODY)
        break;
    case KERN_ACT_SIGMOID:
        V_EACH(n, SIGMOID_DX_BODY)
        break;
    case KERN_ACT_TANH:
        V_EACH(n, TANH_DX_BODY)
        break;
    case KERN_ACT_NONE:
    default:
        if (dx != dy)
            memcpy(dx, dy, n * sizeof(*dx));
        break;
    }
}

#define ADD_BODY(LD, ST) ST(z, LD(x) + LD(y));
TARGET static void NAME(add)(const struct kern_ctx *c, const struct kern_instr *in) {
    const float *x = kern_f32(c, in, 0), *y = kern_f32(c, in, 1);
    float *z = kern_f32(c, in, 2);
    V_EACH(in->u.pointwise.count, ADD_BODY)
}

TARGET static void NAME(bias_add)(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_rows *v = &in->u.rows;
    const float *x = kern_f32(c, in, 0), *y = kern_f32(c, in, 1);
    float *z = kern_f32(c, in, 2);
    for (size_t r = 0; r < v->rows; r++, x += v->cols, z += v->cols)
        V_EACH(v->cols, ADD_BODY)
}

/* Column sums, up to 32 columns in registers at a time, rows in ascending order. */
#define BIAS_COLS 4
TARGET static void NAME(bias_grad)(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_rows *v = &in->u.rows;
    const float *dy = kern_f32(c, in, 0);
    float *db = kern_f32(c, in, 1);
    float scale = kern_scale_of(c, v->scale), beta = kern_beta_of(c, v->beta, v->weight_decay);
    size_t j = 0;
    for (; j + BIAS_COLS * LANES <= v->cols; j += BIAS_COLS * LANES) {
        vf s0 = V_SET(0.0f), s1 = s0, s2 = s0, s3 = s0;
        const float *d = dy + j;
        for (size_t r = 0; r < v->rows; r++, d += v->cols) {
            s0 += V_LOAD(d);
            s1 += V_LOAD(d + LANES);
            s2 += V_LOAD(d + 2 * LANES);
            s3 += V_LOAD(d + 3 * LANES);
        }
        float sums[BIAS_COLS * LANES];
        V_STORE(sums, s0);
        V_STORE(sums + LANES, s1);
        V_STORE(sums + 2 * LANES, s2);
        V_STORE(sums + 3 * LANES, s3);
        for (size_t i = 0; i < BIAS_COLS * LANES; i++)
            kern_put(&db[j + i], (double)sums[i], scale, beta);
    }
    for (; j < v->cols; j += LANES) {
        size_t n = v->cols - j < LANES ? v->cols - j : LANES;
        const vi mask = V_FIRST(n);
        vf s = V_SET(0.0f);
        for (size_t r = 0; r < v->rows; r++)
            s += V_LOAD_FIRST(dy + r * v->cols + j, mask);
        for (size_t i = 0; i < n; i++)
            kern_put(&db[j + i], (double)s[i], scale, beta);
    }
}

TARGET static void NAME(sgd)(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_sgd *s = &in->u.sgd;
    float *w = kern_f32(c, in, 0), *m = kern_f32(c, in, 2);
    const float *g = kern_f32(c, in, 1), *anchor = kern_f32(c, in, 3);
    float lr = c->step->lr, decay = s->weight_decay, mu = s->prox_mu, momentum = s->momentum;
#define SGD_BODY(LD, ST)                                                                           \
    vf old = LD(w), d = LD(g) + old * decay;                                                       \
    if (anchor)                                                                                    \
        d += (old - LD(anchor)) * mu;                                                              \
    if (m) {                                                                                       \
        vf mv = LD(m) * momentum + d;                                                              \
        ST(m, mv);                                                                                 \
        d = s->nesterov ? d + mv * momentum : mv;                                                  \
    }                                                                                              \
    ST(w, old - d * lr);
    V_EACH(s->count, SGD_BODY)
#undef SGD_BODY
}

TARGET static void NAME(clip_norm)(const struct kern_ctx *c, const struct kern_instr *in) {
    float *g = kern_f32(c, in, 0);
    double norm = sqrt(vec_sum_squares_f32(g, in->u.clip.count));
    if (norm > (double)in->u.clip.max_norm)
        vec_scale_f32(g, in->u.clip.count, (float)((double)in->u.clip.max_norm / norm));
}

/* One row: e[j] = exp((x[j] - most) factor), where e is given; returns their sum in a fixed order
 * (lanes, then across). */
TARGET static double NAME(exp_row)(const float *x, float *e, size_t n, float factor, float most) {
    vf sum = V_SET(0.0f);
#define EXP_BODY(LD, ST)                                                                           \
    vf v = (LD(x) - most) * factor;                                                                \
    V_EXP(v, v);                                                                                   \
    if (e) {                                                                                       \
        ST(e, v);                                                                                  \
    }                                                                                              \
    sum += KEEP(v);
#define KEEP(v) v
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        EXP_BODY(V_LD, V_ST)
    }
#undef KEEP
#define KEEP(v) V_SELECT(mask_, v, V_SET(0.0f))
    if (i < n) {
        const size_t rest_ = n - i;
        const vi mask_ = V_FIRST(rest_);
        EXP_BODY(V_LD_REST, V_ST_REST)
    }
#undef KEEP
#undef EXP_BODY
    double total = 0.0;
    for (unsigned l = 0; l < LANES; l++)
        total += (double)sum[l];
    return total;
}

#ifdef KERN_ISA_AVX2
/* One round of Philox4x32 on eight counters: hi and lo halves of x0 * m0 and x2 * m1, then the
 * mixing of the paper. */
#define PHILOX_MUL(x, m, hi, lo)                                                                   \
    do {                                                                                           \
        __m256i even_ = _mm256_mul_epu32(x, m);                                                    \
        __m256i odd_ = _mm256_mul_epu32(_mm256_srli_epi64(x, 32), m);                              \
        lo = _mm256_blend_epi32(even_, _mm256_slli_epi64(odd_, 32), 0xaa);                         \
        hi = _mm256_blend_epi32(_mm256_srli_epi64(even_, 32), odd_, 0xaa);                         \
    } while (0)

/* keep[32]: all ones where word i of the eight blocks from `block` on is at least limit. */
TARGET static void dropout_words_avx2(uint32_t block, uint32_t stream, uint32_t index,
                                      uint64_t seed, uint32_t limit, __m256i keep[4]) {
    const __m256i m0 = _mm256_set1_epi64x(0xD2511F53), m1 = _mm256_set1_epi64x(0xCD9E8D57);
    const __m256i low = _mm256_set1_epi32((int)limit);
    __m256i x0 =
        _mm256_add_epi32(_mm256_set1_epi32((int)block), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    __m256i x1 = _mm256_set1_epi32((int)stream), x2 = _mm256_set1_epi32((int)index);
    __m256i x3 = _mm256_setzero_si256();
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (unsigned r = 0; r < KERN_PHILOX_ROUNDS; r++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        __m256i hi0, lo0, hi1, lo1;
        PHILOX_MUL(x0, m0, hi0, lo0);
        PHILOX_MUL(x2, m1, hi1, lo1);
        x0 = _mm256_xor_si256(_mm256_xor_si256(hi1, x1), _mm256_set1_epi32((int)k0));
        x2 = _mm256_xor_si256(_mm256_xor_si256(hi0, x3), _mm256_set1_epi32((int)k1));
        x1 = lo1;
        x3 = lo0;
    }
    /* Unsigned x >= limit, then from word by word to block by block. */
    x0 = _mm256_cmpeq_epi32(_mm256_max_epu32(x0, low), x0);
    x1 = _mm256_cmpeq_epi32(_mm256_max_epu32(x1, low), x1);
    x2 = _mm256_cmpeq_epi32(_mm256_max_epu32(x2, low), x2);
    x3 = _mm256_cmpeq_epi32(_mm256_max_epu32(x3, low), x3);
    __m256i a = _mm256_unpacklo_epi32(x0, x1), b = _mm256_unpackhi_epi32(x0, x1);
    __m256i c = _mm256_unpacklo_epi32(x2, x3), d = _mm256_unpackhi_epi32(x2, x3);
    __m256i b04 = _mm256_unpacklo_epi64(a, c), b15 = _mm256_unpackhi_epi64(a, c);
    __m256i b26 = _mm256_unpacklo_epi64(b, d), b37 = _mm256_unpackhi_epi64(b, d);
    keep[0] = _mm256_permute2x128_si256(b04, b15, 0x20);
    keep[1] = _mm256_permute2x128_si256(b26, b37, 0x20);
    keep[2] = _mm256_permute2x128_si256(b04, b15, 0x31);
    keep[3] = _mm256_permute2x128_si256(b26, b37, 0x31);
}

TARGET static void dropout_avx2(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_dropout *v = &in->u.dropout;
    const float *x = kern_f32(c, in, 0);
    float *y = kern_f32(c, in, 1);
    uint32_t limit = (uint32_t)floor((double)v->rate * 4294967296.0);
    const __m256 factor = _mm256_set1_ps(1.0f / (1.0f - v->rate));
    for (uint32_t i = 0; i < v->count; i += 4 * LANES) {
        __m256i keep[4];
        dropout_words_avx2(i / 4, v->stream, c->step->index, c->step->seed, limit, keep);
        for (uint32_t j = 0; j < 4 && i + j * LANES < v->count; j++) {
            const size_t at = (size_t)i + j * LANES, rest = v->count - at;
            const vi mask = V_FIRST(rest < LANES ? rest : LANES);
            vf kept = _mm256_and_ps(_mm256_mul_ps(V_LOAD_FIRST(x + at, mask), factor),
                                    _mm256_castsi256_ps(keep[j]));
            V_STORE_FIRST(y + at, kept, rest);
        }
    }
}
#endif

#define SCALE_BODY(LD, ST) ST(y, LD(y) * factor);
TARGET static void NAME(softmax)(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_rows *v = &in->u.rows;
    const float *x = kern_f32(c, in, 0);
    float *y = kern_f32(c, in, 1);
    for (size_t r = 0; r < v->rows; r++, x += v->cols, y += v->cols) {
        float most = x[kern_arg_max(x, v->cols)];
        float factor = (float)(1.0 / NAME(exp_row)(x, y, v->cols, 1.0f, most));
        V_EACH(v->cols, SCALE_BODY)
    }
}

TARGET static void NAME(pool_max)(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_pool *v = &in->u.pool;
    const float *x = kern_f32(c, in, 0);
    float *y = kern_f32(c, in, 1);
    uint8_t *arg = kern_ptr(c, in, 2);
    size_t col = v->channels, row = v->in_w * col;
    for (uint32_t b = 0; b < v->batch; b++, x += v->in_h * row)
        for (uint32_t oy = 0; oy < v->out_h; oy++)
            for (uint32_t ox = 0; ox < v->out_w; ox++, y += col, arg += col) {
                uint32_t y0, y1, x0, x1;
                int64_t iy = kern_taps(oy, v->stride_h, v->pad_top, v->kernel_h, v->in_h, &y0, &y1);
                int64_t ix =
                    kern_taps(ox, v->stride_w, v->pad_left, v->kernel_w, v->in_w, &x0, &x1);
                const float *from = x + (size_t)(iy + y0) * row + (size_t)(ix + x0) * col;
                const struct pool_window w = {y1 - y0,     x1 - x0, y0 * v->kernel_w + x0,
                                              v->kernel_w, row,     col};
                pool_max_pixel(from, &w, col, y, arg);
            }
}

/* One row of inputs, of row ky of its windows: input kx of a window gets the gradient where the
 * window's place says so. Stores run upwards: what lanes past the channels write, the next pixel's
 * store mends; only the tensors' ends need care. left: channels from dy's start to its end. */
TARGET static void NAME(pool_row_dx)(const struct kern_pool *v, uint32_t ky, const float *dy,
                                     const uint8_t *arg, float *dx, size_t left) {
    const size_t col = v->channels;
    for (uint32_t ox = 0; ox < v->out_w; ox++, dy += col, arg += col, left -= col)
        for (uint32_t kx = 0; kx < v->kernel_w; kx++, dx += col) {
            const vi here = (vi){0} + (int32_t)(ky * v->kernel_w + kx);
            for (size_t ch = 0; ch < col; ch += LANES) {
                vi place;
                if (left - ch >= LANES) {
                    places_load(&place, arg + ch);
                    V_STORE(dx + ch, V_SELECT(place == here, V_LOAD(dy + ch), V_SET(0.0f)));
                } else {
                    const vi mask = V_FIRST(left - ch);
                    uint8_t last[LANES] = {0};
                    memcpy(last, arg + ch, left - ch);
                    places_load(&place, last);
                    vf d = V_LOAD_FIRST(dy + ch, mask);
                    V_STORE_FIRST(dx + ch, V_SELECT(place == here, d, V_SET(0.0f)), col - ch);
                }
            }
        }
}

/* Windows that tile the input exactly: each input has one window, so dx is written, never added to.
 * Others are the reference's. */
TARGET static void NAME(pool_max_dx)(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_pool *v = &in->u.pool;
    bool simple = v->kernel_h == v->stride_h && v->kernel_w == v->stride_w && v->pad_top == 0 &&
                  v->pad_left == 0 && v->out_h * v->stride_h == v->in_h &&
                  v->out_w * v->stride_w == v->in_w;
    if (!simple) {
        kern_ref.ops[KERN_POOL_MAX_DX].run(c, in);
        return;
    }
    const float *dy = kern_f32(c, in, 0);
    const uint8_t *arg = kern_ptr(c, in, 1);
    float *dx = kern_f32(c, in, 2);
    size_t windows = (size_t)v->out_w * v->channels, row = (size_t)v->in_w * v->channels;
    size_t left = (size_t)v->batch * v->out_h * windows;
    for (; left; left -= windows, dy += windows, arg += windows)
        for (uint32_t ky = 0; ky < v->kernel_h; ky++, dx += row)
            NAME(pool_row_dx)(v, ky, dy, arg, dx, left);
}

#endif
