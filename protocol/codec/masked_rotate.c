/* The randomized Hadamard rotation of a block: signs, and the transform in integers, so that sums
 * turn back exactly. Compiled with -O3: the loops vectorise. */
#include "masked_int.h"

void masked_signs(const struct masked_plan *p, const struct masked_block *b, uint32_t *signs) {
    struct rng rng;
    rng_init(&rng, p->task_seed, p->round, (uint64_t)b->section << 32 | b->index, RNG_ROTATE);
    codec_draw(&rng, signs, (b->size + 31) / 32);
}

double masked_unit(const struct masked_plan *p, const struct masked_block *b) {
    const double step = (double)p->spec.pipeline.range / (double)p->level_max;
    return masked_rotates(p) ? step / sqrt((double)b->size) : step;
}

/* Stages of 1, 2 and 4 apart on eight values at a time, then those of 8 and more as loops over
 * whole registers. */
#define FWHT(type, x, n)                                                                           \
    do {                                                                                           \
        uint32_t h = 1;                                                                            \
        if (n >= 8) {                                                                              \
            for (uint32_t i = 0; i < n; i += 8) {                                                  \
                type *v = x + i, a[8], b[8];                                                       \
                for (int j = 0; j < 4; j++) {                                                      \
                    a[j] = v[j] + v[j + 4];                                                        \
                    a[j + 4] = v[j] - v[j + 4];                                                    \
                }                                                                                  \
                for (int j = 0; j < 8; j += 4)                                                     \
                    for (int k = j; k < j + 2; k++) {                                              \
                        b[k] = a[k] + a[k + 2];                                                    \
                        b[k + 2] = a[k] - a[k + 2];                                                \
                    }                                                                              \
                for (int j = 0; j < 8; j += 2) {                                                   \
                    v[j] = b[j] + b[j + 1];                                                        \
                    v[j + 1] = b[j] - b[j + 1];                                                    \
                }                                                                                  \
            }                                                                                      \
            h = 8;                                                                                 \
        }                                                                                          \
        for (; h < n; h *= 2)                                                                      \
            for (uint32_t i = 0; i < n; i += 2 * h) {                                              \
                type *restrict low = x + i, *restrict high = x + i + h;                            \
                for (uint32_t j = 0; j < h; j++) {                                                 \
                    const type a = low[j], b = high[j];                                            \
                    low[j] = a + b;                                                                \
                    high[j] = a - b;                                                               \
                }                                                                                  \
            }                                                                                      \
    } while (0)

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void fwht_i32_avx2(int32_t *x, uint32_t n) {
    FWHT(int32_t, x, n);
}
__attribute__((target("avx2"))) static void fwht_i64_avx2(int64_t *x, uint32_t n) {
    FWHT(int64_t, x, n);
}
#endif

void masked_fwht_i32(int32_t *x, uint32_t n) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        fwht_i32_avx2(x, n);
        return;
    }
#endif
    FWHT(int32_t, x, n);
}

void masked_fwht_i64(int64_t *x, uint32_t n) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        fwht_i64_avx2(x, n);
        return;
    }
#endif
    FWHT(int64_t, x, n);
}
