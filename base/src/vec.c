/* Dispatch of the vector loops, their scalar variants, and bit-packing. Compiled without
 * contraction to fused multiply-add, as every variant must give the same bits. */
#include "sotto/base/vec.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "sotto/base/rng.h"

#include "vec_int.h"

/* Non-negative floats order as their bits do, and a NaN's bits lie above infinity's: an integer
 * maximum of the magnitudes needs no order and keeps a NaN. */
static float max_abs_scalar(const float *x, size_t n) {
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    float out;
    memcpy(&out, &most, sizeof out);
    return out;
}

static double sum_squares_scalar(const float *x, size_t n) {
    double lane[8] = {0};
    for (size_t i = 0; i < n; i++) {
        const double v = x[i];
        lane[i % 8] += v * v;
    }
    return vec_fold8(lane);
}

static bool all_finite_scalar(const float *x, size_t n) {
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bad |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    return bad == 0;
}

static void scale_scalar(float *x, size_t n, float a) {
    for (size_t i = 0; i < n; i++)
        x[i] = a * x[i];
}

static void sub_scalar(float *out, const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        out[i] = a[i] - b[i];
}

static void add_scalar(float *out, const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        out[i] = a[i] + b[i];
}

static void dequant_scalar(float *out, const int8_t *q, size_t n, float scale) {
    for (size_t i = 0; i < n; i++)
        out[i] = scale * (float)q[i];
}

static void dequant_row_scalar(float *out, const int8_t *q, const float *scale, size_t n) {
    for (size_t i = 0; i < n; i++)
        out[i] = scale[i] * (float)q[i];
}

static void u8_scalar(float *out, const uint8_t *x, size_t n, float scale, float shift) {
    for (size_t i = 0; i < n; i++)
        out[i] = scale * (float)x[i] + shift;
}

static void round_levels_scalar(int32_t *levels, const float *x, const uint32_t *draws, size_t n,
                                double inverse, int32_t most) {
    for (size_t i = 0; i < n; i++) {
        const double scaled = (double)x[i] * inverse;
        const double level = draws ? floor(scaled + (double)draws[i] * 0x1p-32) : rint(scaled);
        levels[i] = level > most ? most : level < -most ? -most : (int32_t)level;
    }
}

static void philox_scalar(uint32_t *out, size_t blocks, const uint32_t ctr[4],
                          const uint32_t key[2]) {
    for (size_t i = 0; i < blocks; i++) {
        const uint32_t at[4] = {ctr[0] + (uint32_t)i, ctr[1], ctr[2], ctr[3]};
        rng_philox4x32(at, key, out + 4 * i);
    }
}

static void narrow_scalar(uint8_t *out, const uint32_t *x, size_t n, unsigned bits) {
    for (size_t i = 0; i < n; i++) {
        *out++ = (uint8_t)x[i];
        if (bits == 16)
            *out++ = (uint8_t)(x[i] >> 8);
    }
}

static void widen_scalar(uint32_t *out, const uint8_t *x, size_t n, unsigned bits) {
    for (size_t i = 0; i < n; i++)
        out[i] = bits == 8 ? x[i] : (uint32_t)(x[2 * i] | x[2 * i + 1] << 8);
}

static void add_mod_scalar(uint32_t *acc, const uint32_t *x, size_t n, uint32_t mask) {
    for (size_t i = 0; i < n; i++)
        acc[i] = (acc[i] + x[i]) & mask;
}

static void fwht_scalar(float *x, size_t n) {
    for (size_t h = 1; h < n; h *= 2)
        for (size_t i = 0; i < n; i += 2 * h)
            for (size_t j = i; j < i + h; j++) {
                const float a = x[j], b = x[j + h];
                x[j] = a + b;
                x[j + h] = a - b;
            }
}

const struct vec_ops vec_ops_scalar = {
    .isa = "scalar",
    .max_abs_f32 = max_abs_scalar,
    .sum_squares_f32 = sum_squares_scalar,
    .all_finite_f32 = all_finite_scalar,
    .scale_f32 = scale_scalar,
    .sub_f32 = sub_scalar,
    .add_f32 = add_scalar,
    .dequant_i8_f32 = dequant_scalar,
    .dequant_row_f32 = dequant_row_scalar,
    .u8_f32 = u8_scalar,
    .round_levels = round_levels_scalar,
    .philox_u32 = philox_scalar,
    .narrow = narrow_scalar,
    .widen = widen_scalar,
    .add_mod_u32 = add_mod_scalar,
    .fwht_f32 = fwht_scalar,
};

static _Atomic(const struct vec_ops *) chosen;

static const struct vec_ops *pick(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        return &vec_ops_avx2;
    return &vec_ops_scalar;
#elif defined(__aarch64__)
    return &vec_ops_neon; /* a part of every 64-bit Arm */
#else
    return &vec_ops_scalar;
#endif
}

/* The first call decides; two threads that race here store the same pointer. */
static const struct vec_ops *ops(void) {
    const struct vec_ops *o = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (o == NULL) {
        o = pick();
        atomic_store_explicit(&chosen, o, memory_order_relaxed);
    }
    return o;
}

void vec_force_scalar(bool on) {
    atomic_store_explicit(&chosen, on ? &vec_ops_scalar : pick(), memory_order_relaxed);
}

const char *vec_isa(void) {
    return ops()->isa;
}

float vec_max_abs_f32(const float *x, size_t n) {
    return ops()->max_abs_f32(x, n);
}

double vec_sum_squares_f32(const float *x, size_t n) {
    return ops()->sum_squares_f32(x, n);
}

bool vec_all_finite_f32(const float *x, size_t n) {
    return ops()->all_finite_f32(x, n);
}

void vec_scale_f32(float *x, size_t n, float a) {
    ops()->scale_f32(x, n, a);
}

void vec_sub_f32(float *out, const float *a, const float *b, size_t n) {
    ops()->sub_f32(out, a, b, n);
}

void vec_add_f32(float *out, const float *a, const float *b, size_t n) {
    ops()->add_f32(out, a, b, n);
}

void vec_dequant_i8_f32(float *out, const int8_t *q, size_t n, float scale) {
    ops()->dequant_i8_f32(out, q, n, scale);
}

void vec_dequant_row_f32(float *out, const int8_t *q, const float *scale, size_t n) {
    ops()->dequant_row_f32(out, q, scale, n);
}

void vec_u8_f32(float *out, const uint8_t *x, size_t n, float scale, float shift) {
    ops()->u8_f32(out, x, n, scale, shift);
}

void vec_round_levels(int32_t *levels, const float *x, const uint32_t *draws, size_t n,
                      double inverse, int32_t most) {
    ops()->round_levels(levels, x, draws, n, inverse, most);
}

void vec_philox_u32(uint32_t *out, size_t blocks, const uint32_t ctr[4], const uint32_t key[2]) {
    ops()->philox_u32(out, blocks, ctr, key);
}

void vec_add_mod_u32(uint32_t *acc, const uint32_t *x, size_t n, unsigned bits) {
    ops()->add_mod_u32(acc, x, n, vec_mask(bits));
}

void vec_fwht_f32(float *x, size_t n) {
    assert(n > 0 && (n & (n - 1)) == 0);
    ops()->fwht_f32(x, n);
}

void vec_pack_bits(uint8_t *packed, const uint32_t *values, size_t n, unsigned bits) {
    if (bits == 8 || bits == 16) {
        ops()->narrow(packed, values, n, bits);
        return;
    }
    uint64_t acc = 0; /* bits not yet written, lowest first; fewer than 32 between values */
    unsigned fill = 0;
    for (size_t i = 0; i < n; i++) {
        acc |= (uint64_t)values[i] << fill;
        fill += bits;
        if (fill >= 32) {
            packed[0] = (uint8_t)acc;
            packed[1] = (uint8_t)(acc >> 8);
            packed[2] = (uint8_t)(acc >> 16);
            packed[3] = (uint8_t)(acc >> 24);
            packed += 4;
            acc >>= 32;
            fill -= 32;
        }
    }
    for (; fill > 0; fill = fill > 8 ? fill - 8 : 0) {
        *packed++ = (uint8_t)acc;
        acc >>= 8;
    }
}

void vec_unpack_bits(uint32_t *values, const uint8_t *packed, size_t n, unsigned bits) {
    if (bits == 8 || bits == 16) {
        ops()->widen(values, packed, n, bits);
        return;
    }
    const uint32_t mask = vec_mask(bits);
    uint64_t left = ((uint64_t)n * bits + 7) / 8; /* bytes that may be read */
    uint64_t acc = 0;
    unsigned fill = 0;
    for (size_t i = 0; i < n; i++) {
        if (fill < bits && left >= 4) {
            const uint32_t word = (uint32_t)packed[0] | (uint32_t)packed[1] << 8 |
                                  (uint32_t)packed[2] << 16 | (uint32_t)packed[3] << 24;
            acc |= (uint64_t)word << fill;
            packed += 4;
            left -= 4;
            fill += 32;
        }
        for (; fill < bits; fill += 8) {
            acc |= (uint64_t)*packed++ << fill;
            left--;
        }
        values[i] = (uint32_t)acc & mask;
        acc >>= bits;
        fill -= bits;
    }
}
