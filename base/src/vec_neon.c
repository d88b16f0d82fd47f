/* NEON variants of the vector loops: same operations in the same lane order as the scalar ones, so
 * the same bits. */
#include "vec_int.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#include <string.h>

static float max_abs_neon(const float *x, size_t n) {
    const uint32x4_t magnitude = vdupq_n_u32(0x7fffffffu);
    uint32x4_t most = vdupq_n_u32(0);
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        most = vmaxq_u32(most, vandq_u32(vreinterpretq_u32_f32(vld1q_f32(x + i)), magnitude));
    uint32_t all = vmaxvq_u32(most);
    for (; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffffu;
        all = bits > all ? bits : all;
    }
    float out;
    memcpy(&out, &all, sizeof out);
    return out;
}

static double sum_squares_neon(const float *x, size_t n) {
    float64x2_t sum[4] = {vdupq_n_f64(0), vdupq_n_f64(0), vdupq_n_f64(0), vdupq_n_f64(0)};
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const float32x4_t a = vld1q_f32(x + i), b = vld1q_f32(x + i + 4);
        const float64x2_t v[4] = {vcvt_f64_f32(vget_low_f32(a)), vcvt_high_f64_f32(a),
                                  vcvt_f64_f32(vget_low_f32(b)), vcvt_high_f64_f32(b)};
        for (int k = 0; k < 4; k++)
            sum[k] = vaddq_f64(sum[k], vmulq_f64(v[k], v[k]));
    }
    double lane[8];
    for (int k = 0; k < 4; k++)
        vst1q_f64(lane + 2 * k, sum[k]);
    for (size_t k = 0; i < n; i++, k++) {
        const double v = x[i];
        lane[k] += v * v;
    }
    return vec_fold8(lane);
}

static bool all_finite_neon(const float *x, size_t n) {
    const uint32x4_t exponent = vdupq_n_u32(0x7f800000u);
    uint32x4_t bad = vdupq_n_u32(0);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const uint32x4_t v = vreinterpretq_u32_f32(vld1q_f32(x + i));
        bad = vorrq_u32(bad, vceqq_u32(vandq_u32(v, exponent), exponent));
    }
    return vmaxvq_u32(bad) == 0 && vec_ops_scalar.all_finite_f32(x + i, n - i);
}

static void scale_neon(float *x, size_t n, float a) {
    const float32x4_t va = vdupq_n_f32(a);
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        vst1q_f32(x + i, vmulq_f32(va, vld1q_f32(x + i)));
    vec_ops_scalar.scale_f32(x + i, n - i, a);
}

static void sub_neon(float *out, const float *a, const float *b, size_t n) {
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        vst1q_f32(out + i, vsubq_f32(vld1q_f32(a + i), vld1q_f32(b + i)));
    vec_ops_scalar.sub_f32(out + i, a + i, b + i, n - i);
}

static void add_neon(float *out, const float *a, const float *b, size_t n) {
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        vst1q_f32(out + i, vaddq_f32(vld1q_f32(a + i), vld1q_f32(b + i)));
    vec_ops_scalar.add_f32(out + i, a + i, b + i, n - i);
}

static void dequant_neon(float *out, const int8_t *q, size_t n, float scale) {
    const float32x4_t vs = vdupq_n_f32(scale);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const int16x8_t w = vmovl_s8(vld1_s8(q + i));
        const float32x4_t lo = vcvtq_f32_s32(vmovl_s16(vget_low_s16(w)));
        const float32x4_t hi = vcvtq_f32_s32(vmovl_high_s16(w));
        vst1q_f32(out + i, vmulq_f32(vs, lo));
        vst1q_f32(out + i + 4, vmulq_f32(vs, hi));
    }
    vec_ops_scalar.dequant_i8_f32(out + i, q + i, n - i, scale);
}

static void dequant_row_neon(float *out, const int8_t *q, const float *scale, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const int16x8_t w = vmovl_s8(vld1_s8(q + i));
        const float32x4_t lo = vcvtq_f32_s32(vmovl_s16(vget_low_s16(w)));
        const float32x4_t hi = vcvtq_f32_s32(vmovl_high_s16(w));
        vst1q_f32(out + i, vmulq_f32(vld1q_f32(scale + i), lo));
        vst1q_f32(out + i + 4, vmulq_f32(vld1q_f32(scale + i + 4), hi));
    }
    vec_ops_scalar.dequant_row_f32(out + i, q + i, scale + i, n - i);
}

static void u8_neon(float *out, const uint8_t *x, size_t n, float scale, float shift) {
    const float32x4_t vs = vdupq_n_f32(scale), vt = vdupq_n_f32(shift);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const uint16x8_t w = vmovl_u8(vld1_u8(x + i));
        const float32x4_t lo = vcvtq_f32_u32(vmovl_u16(vget_low_u16(w)));
        const float32x4_t hi = vcvtq_f32_u32(vmovl_high_u16(w));
        vst1q_f32(out + i, vaddq_f32(vmulq_f32(vs, lo), vt));
        vst1q_f32(out + i + 4, vaddq_f32(vmulq_f32(vs, hi), vt));
    }
    vec_ops_scalar.u8_f32(out + i, x + i, n - i, scale, shift);
}

/* Two of a time's four values: into the double that the level is. */
static int32x2_t levels2(float64x2_t v, const uint32_t *draws, float64x2_t most) {
    if (draws) {
        const float64x2_t d = vcvtq_f64_u64(vmovl_u32(vld1_u32(draws)));
        v = vrndmq_f64(vaddq_f64(v, vmulq_n_f64(d, 0x1p-32)));
    } else {
        v = vrndnq_f64(v);
    }
    v = vmaxq_f64(vminq_f64(v, most), vnegq_f64(most));
    return vmovn_s64(vcvtq_s64_f64(v));
}

static void round_levels_neon(int32_t *levels, const float *x, const uint32_t *draws, size_t n,
                              double inverse, int32_t most) {
    const float64x2_t high = vdupq_n_f64(most);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const float32x4_t v = vld1q_f32(x + i);
        const float64x2_t a = vmulq_n_f64(vcvt_f64_f32(vget_low_f32(v)), inverse);
        const float64x2_t b = vmulq_n_f64(vcvt_high_f64_f32(v), inverse);
        vst1_s32(levels + i, levels2(a, draws ? draws + i : NULL, high));
        vst1_s32(levels + i + 2, levels2(b, draws ? draws + i + 2 : NULL, high));
    }
    vec_ops_scalar.round_levels(levels + i, x + i, draws ? draws + i : NULL, n - i, inverse, most);
}

static void narrow_neon(uint8_t *out, const uint32_t *x, size_t n, unsigned bits) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const uint16x8_t words =
            vcombine_u16(vmovn_u32(vld1q_u32(x + i)), vmovn_u32(vld1q_u32(x + i + 4)));
        if (bits == 16)
            vst1q_u8(out + 2 * i, vreinterpretq_u8_u16(words));
        else
            vst1_u8(out + i, vmovn_u16(words));
    }
    vec_ops_scalar.narrow(out + i * bits / 8, x + i, n - i, bits);
}

static void widen_neon(uint32_t *out, const uint8_t *x, size_t n, unsigned bits) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const uint16x8_t words =
            bits == 8 ? vmovl_u8(vld1_u8(x + i)) : vreinterpretq_u16_u8(vld1q_u8(x + 2 * i));
        vst1q_u32(out + i, vmovl_u16(vget_low_u16(words)));
        vst1q_u32(out + i + 4, vmovl_high_u16(words));
    }
    vec_ops_scalar.widen(out + i, x + i * bits / 8, n - i, bits);
}

/* Both halves of x * m. */
static void multiply(uint32x4_t x, uint32_t m, uint32x4_t *high, uint32x4_t *low) {
    const uint32x4_t a = vreinterpretq_u32_u64(vmull_n_u32(vget_low_u32(x), m));
    const uint32x4_t b = vreinterpretq_u32_u64(vmull_high_n_u32(x, m));
    *low = vuzp1q_u32(a, b);
    *high = vuzp2q_u32(a, b);
}

/* Four counters, a word of each to a lane. */
static void philox_neon(uint32_t *out, size_t blocks, const uint32_t ctr[4],
                        const uint32_t key[2]) {
    static const uint32_t count[4] = {0, 1, 2, 3};
    size_t i = 0;
    for (; i + 4 <= blocks; i += 4) {
        uint32x4_t c0 = vaddq_u32(vdupq_n_u32(ctr[0] + (uint32_t)i), vld1q_u32(count));
        uint32x4_t c1 = vdupq_n_u32(ctr[1]), c2 = vdupq_n_u32(ctr[2]), c3 = vdupq_n_u32(ctr[3]);
        uint32_t k0 = key[0], k1 = key[1];
        for (int round = 0; round < 10; round++, k0 += 0x9e3779b9u, k1 += 0xbb67ae85u) {
            uint32x4_t hi0, lo0, hi1, lo1;
            multiply(c0, 0xd2511f53u, &hi0, &lo0);
            multiply(c2, 0xcd9e8d57u, &hi1, &lo1);
            c0 = veorq_u32(veorq_u32(hi1, c1), vdupq_n_u32(k0));
            c2 = veorq_u32(veorq_u32(hi0, c3), vdupq_n_u32(k1));
            c1 = lo1;
            c3 = lo0;
        }
        vst4q_u32(out + 4 * i, ((uint32x4x4_t){{c0, c1, c2, c3}}));
    }
    const uint32_t rest[4] = {ctr[0] + (uint32_t)i, ctr[1], ctr[2], ctr[3]};
    vec_ops_scalar.philox_u32(out + 4 * i, blocks - i, rest, key);
}

static void add_mod_neon(uint32_t *acc, const uint32_t *x, size_t n, uint32_t mask) {
    const uint32x4_t m = vdupq_n_u32(mask);
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        vst1q_u32(acc + i, vandq_u32(vaddq_u32(vld1q_u32(acc + i), vld1q_u32(x + i)), m));
    vec_ops_scalar.add_mod_u32(acc + i, x + i, n - i, mask);
}

static float32x4_t zip_low(float32x4_t a, float32x4_t b) {
    return vreinterpretq_f32_f64(vzip1q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)));
}
static float32x4_t zip_high(float32x4_t a, float32x4_t b) {
    return vreinterpretq_f32_f64(vzip2q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)));
}

/* The first three stages of eight elements: neighbours, pairs, halves. */
static void fwht8(float *x) {
    float32x4_t a = vld1q_f32(x), b = vld1q_f32(x + 4);
    float32x4_t even = vtrn1q_f32(a, b), odd = vtrn2q_f32(a, b);
    float32x4_t sum = vaddq_f32(even, odd), difference = vsubq_f32(even, odd);
    a = vtrn1q_f32(sum, difference), b = vtrn2q_f32(sum, difference);
    even = zip_low(a, b), odd = zip_high(a, b);
    sum = vaddq_f32(even, odd), difference = vsubq_f32(even, odd);
    a = zip_low(sum, difference), b = zip_high(sum, difference);
    vst1q_f32(x, vaddq_f32(a, b));
    vst1q_f32(x + 4, vsubq_f32(a, b));
}

/* Two stages a pass, h and 2 h apart, so that memory is walked half as often. */
static void fwht_neon(float *x, size_t n) {
    if (n < 8) {
        vec_ops_scalar.fwht_f32(x, n);
        return;
    }
    for (size_t i = 0; i < n; i += 8)
        fwht8(x + i);
    size_t h = 8;
    for (; 2 * h < n; h *= 4)
        for (size_t i = 0; i < n; i += 4 * h)
            for (float *p = x + i, *end = p + h; p < end; p += 4) {
                const float32x4_t a = vld1q_f32(p), b = vld1q_f32(p + h);
                const float32x4_t c = vld1q_f32(p + 2 * h), d = vld1q_f32(p + 3 * h);
                const float32x4_t ab = vaddq_f32(a, b), a_b = vsubq_f32(a, b);
                const float32x4_t cd = vaddq_f32(c, d), c_d = vsubq_f32(c, d);
                vst1q_f32(p, vaddq_f32(ab, cd));
                vst1q_f32(p + h, vaddq_f32(a_b, c_d));
                vst1q_f32(p + 2 * h, vsubq_f32(ab, cd));
                vst1q_f32(p + 3 * h, vsubq_f32(a_b, c_d));
            }
    if (h < n)
        for (float *p = x, *end = p + h; p < end; p += 4) {
            const float32x4_t a = vld1q_f32(p), b = vld1q_f32(p + h);
            vst1q_f32(p, vaddq_f32(a, b));
            vst1q_f32(p + h, vsubq_f32(a, b));
        }
}

const struct vec_ops vec_ops_neon = {
    .isa = "neon",
    .max_abs_f32 = max_abs_neon,
    .sum_squares_f32 = sum_squares_neon,
    .all_finite_f32 = all_finite_neon,
    .scale_f32 = scale_neon,
    .sub_f32 = sub_neon,
    .add_f32 = add_neon,
    .dequant_i8_f32 = dequant_neon,
    .dequant_row_f32 = dequant_row_neon,
    .u8_f32 = u8_neon,
    .round_levels = round_levels_neon,
    .philox_u32 = philox_neon,
    .narrow = narrow_neon,
    .widen = widen_neon,
    .add_mod_u32 = add_mod_neon,
    .fwht_f32 = fwht_neon,
};
#endif
