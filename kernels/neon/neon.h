/* The NEON backend of 64-bit Arm: its table, and what its files share. */
#ifndef SOTTO_KERN_NEON_H
#define SOTTO_KERN_NEON_H

#include "src/kern_int.h"

#if defined(__aarch64__)
/* The template of cpu/ compiled for NEON: pointwise instructions, pooling, losses. */
extern const struct kern_impl kern_ops_neon[KERN_OP_COUNT];
/* Max pooling of unpooled outputs with the windows of a CONV2D_POOL. */
void neon_pool_images(const struct kern_conv *v, uint32_t images, const float *x, float *y,
                      uint8_t *arg);
void neon_act_values(enum kern_act act, float slope, const float *x, float *y, size_t n);
#endif

#endif
