/* Values in fixed point, added into int64 sums. Compiled with -O3: the loops vectorise, and every
 * variant gives the same bits. */
#include <math.h>
#include <string.h>

#include "codec_int.h"

/* 1.5 * 2^52: a double of magnitude <= 2^50 added to it is rounded to an integer, to nearest, ties
 * to even, as llrint rounds it, and the integer stands in the low bits. value * 2^F is exact, so
 * contraction to a fused multiply-add changes nothing. */
#define ROUNDER 0x1.8p52

int64_t codec_fixed(float value, unsigned fraction_bits) {
    return llrint((double)value * ldexp(1.0, (int)fraction_bits));
}

static inline __attribute__((always_inline)) uint64_t product(float value, double scale,
                                                              uint64_t weight) {
    const double rounded = (double)value * scale + ROUNDER;
    const double rounder = ROUNDER;
    uint64_t bits, zero;
    memcpy(&bits, &rounded, sizeof bits);
    memcpy(&zero, &rounder, sizeof zero);
    return (bits - zero) * weight; /* two's complement: right for negative values too */
}

static inline __attribute__((always_inline)) void
add_run(int64_t *sums, const float *values, uint32_t n, double scale, uint64_t weight) {
    for (uint32_t i = 0; i < n; i++)
        sums[i] = (int64_t)((uint64_t)sums[i] + product(values[i], scale, weight));
}

static inline __attribute__((always_inline)) void
products(uint64_t *out, const float *values, uint32_t n, double scale, uint64_t weight) {
    for (uint32_t i = 0; i < n; i++)
        out[i] = product(values[i], scale, weight);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void
add_run_avx2(int64_t *sums, const float *values, uint32_t n, double scale, uint64_t weight) {
    add_run(sums, values, n, scale, weight);
}

__attribute__((target("avx2"))) static void
products_avx2(uint64_t *out, const float *values, uint32_t n, double scale, uint64_t weight) {
    products(out, values, n, scale, weight);
}
#endif

void codec_fixed_add_run(int64_t *sums, const float *values, uint32_t n, unsigned fraction_bits,
                         uint32_t weight) {
    const double scale = (double)(UINT64_C(1) << fraction_bits);
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        add_run_avx2(sums, values, n, scale, weight);
        return;
    }
#endif
    add_run(sums, values, n, scale, weight);
}

void codec_fixed_add_scatter(int64_t *sums, const uint32_t *at, const float *values, uint32_t n,
                             unsigned fraction_bits, uint32_t weight) {
    const double scale = (double)(UINT64_C(1) << fraction_bits);
    uint64_t add[CODEC_CHUNK];
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        products_avx2(add, values, n, scale, weight);
    else
#endif
        products(add, values, n, scale, weight);
    for (uint32_t i = 0; i < n; i++)
        sums[at[i]] = (int64_t)((uint64_t)sums[at[i]] + add[i]);
}
