/* Privacy on plain arrays: clipping. Secure aggregation is secagg.h. No I/O, no clock, no entropy
 * source. */
#ifndef SOTTO_PRIVACY_H
#define SOTTO_PRIVACY_H

#include "sotto/base.h"

/* L2 norm in double, in vec_sum_squares_f32's fixed order. */
double privacy_norm(const float *x, size_t n);
/* x *= min(1, clip_norm / ||x||2); clip_norm 0 does nothing (McMahan et al. 2018, arXiv:1710.06963,
 * section 2). x is finite. Returns the factor, a float rounded down. */
double privacy_clip_norm(float *x, size_t n, double clip_norm);
/* Clamps every value to [-bound, bound]; returns how many changed. bound >= 0; a NaN stays. */
size_t privacy_clamp(float *x, size_t n, float bound);

#endif
