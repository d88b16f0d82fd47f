/* Loops over plain arrays, dispatched once to the best instruction set. Every variant gives the
 * same bits. */
#ifndef SOTTO_BASE_VEC_H
#define SOTTO_BASE_VEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

float vec_max_abs_f32(const float *x, size_t n);      /* 0 for n = 0; NaN gives NaN */
double vec_sum_squares_f32(const float *x, size_t n); /* fixed 8-lane order, in double */
bool vec_all_finite_f32(const float *x, size_t n);
void vec_scale_f32(float *x, size_t n, float a);                        /* x = a x */
void vec_sub_f32(float *out, const float *a, const float *b, size_t n); /* out = a - b */
void vec_add_f32(float *out, const float *a, const float *b, size_t n);
void vec_dequant_i8_f32(float *out, const int8_t *q, size_t n, float scale); /* out = scale q */
/* out[i] = scale[i] q[i]: a row of weights with a scale a channel; out may be scale. */
void vec_dequant_row_f32(float *out, const int8_t *q, const float *scale, size_t n);
void vec_u8_f32(float *out, const uint8_t *x, size_t n, float scale,
                float shift); /* scale x + shift */
/* Bit-packing of values < 2^bits, 1 <= bits <= 32, little-endian bit order; packed holds ceil(n
 * bits / 8) bytes. */
void vec_pack_bits(uint8_t *packed, const uint32_t *values, size_t n, unsigned bits);
void vec_unpack_bits(uint32_t *values, const uint8_t *packed, size_t n, unsigned bits);
/* levels = floor(inverse x + draws / 2^32), which is an unbiased rounding when draws are uniform;
 * the nearest integers, ties to even, when draws is NULL. Then into [-most, most]. x is finite. */
void vec_round_levels(int32_t *levels, const float *x, const uint32_t *draws, size_t n,
                      double inverse, int32_t most);
/* 4 words for each of blocks counters, the first is ctr: Philox4x32-10 (rng_philox4x32). ctr[0] +
 * blocks stays below 2^32. */
void vec_philox_u32(uint32_t *out, size_t blocks, const uint32_t ctr[4], const uint32_t key[2]);
/* acc = (acc + x) mod 2^bits, 1 <= bits <= 32; operands may hold more bits than that. */
void vec_add_mod_u32(uint32_t *acc, const uint32_t *x, size_t n, unsigned bits);
/* x = H x in place: the unnormalised Walsh-Hadamard transform in natural order, n a power of two (1
 * too; an assert checks). H H = n I, so n^-1/2 H is its own inverse (scale with vec_scale_f32, or
 * by 1 / n once after both ways). log2 n stages of sums and differences, in an order that is the
 * same in every variant. */
void vec_fwht_f32(float *x, size_t n);
/* The instruction set in use: "scalar", "avx2", "neon". */
const char *vec_isa(void);

#endif
