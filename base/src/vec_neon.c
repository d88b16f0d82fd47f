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

const struct vec_ops vec_ops_neon = {
    .isa = "neon",
    .max_abs_f32 = max_abs_neon,
    .sum_squares_f32 = sum_squares_neon,
    .all_finite_f32 = all_finite_neon,
    .scale_f32 = scale_neon,
    .sub_f32 = sub_neon,
    .add_f32 = add_neon,
    .dequant_i8_f32 = dequant_neon,
    .u8_f32 = u8_neon,
};
#endif
