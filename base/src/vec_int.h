/* The table of variants behind vec.h. Private to base and its tests. */
#ifndef SOTTO_BASE_VEC_INT_H
#define SOTTO_BASE_VEC_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vec_ops {
    const char *isa;
    float (*max_abs_f32)(const float *x, size_t n);
    double (*sum_squares_f32)(const float *x, size_t n);
    bool (*all_finite_f32)(const float *x, size_t n);
    void (*scale_f32)(float *x, size_t n, float a);
    void (*sub_f32)(float *out, const float *a, const float *b, size_t n);
    void (*add_f32)(float *out, const float *a, const float *b, size_t n);
    void (*dequant_i8_f32)(float *out, const int8_t *q, size_t n, float scale);
    void (*dequant_row_f32)(float *out, const int8_t *q, const float *scale, size_t n);
    void (*u8_f32)(float *out, const uint8_t *x, size_t n, float scale, float shift);
    void (*round_levels)(int32_t *levels, const float *x, const uint32_t *draws, size_t n,
                         double inverse, int32_t most);
    void (*philox_u32)(uint32_t *out, size_t blocks, const uint32_t ctr[4], const uint32_t key[2]);
    /* n values of bits bits, 8 or 16, to bytes and back. */
    void (*narrow)(uint8_t *out, const uint32_t *x, size_t n, unsigned bits);
    void (*widen)(uint32_t *out, const uint8_t *x, size_t n, unsigned bits);
    void (*add_mod_u32)(uint32_t *acc, const uint32_t *x, size_t n, uint32_t mask);
    void (*fwht_f32)(float *x, size_t n);
};

extern const struct vec_ops vec_ops_scalar;
#if defined(__x86_64__)
extern const struct vec_ops vec_ops_avx2;
#elif defined(__aarch64__)
extern const struct vec_ops vec_ops_neon;
#endif

/* The lanes of a sum in the one order that every variant uses. */
static inline double vec_fold8(const double lane[8]) {
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

/* The mask of an element of Z_{2^bits}. */
static inline uint32_t vec_mask(unsigned bits) {
    return bits >= 32 ? UINT32_MAX : (UINT32_C(1) << bits) - 1;
}

/* For tests: the scalar variant from now on, or the best one again. Not while another thread
 * computes. */
void vec_force_scalar(bool on);

#endif
