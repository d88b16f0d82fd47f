/* Clipping: the L2 bound of a whole update and the bound of a coordinate. */
#include <math.h>

#include "sotto/privacy.h"

double privacy_norm(const float *x, size_t n) {
    return sqrt(vec_sum_squares_f32(x, n));
}

double privacy_clip_norm(float *x, size_t n, double clip_norm) {
    if (clip_norm <= 0.0)
        return 1.0;
    const double norm = privacy_norm(x, n);
    if (!(norm > clip_norm))
        return 1.0;
    /* The factor is rounded down to a float, so that rounding cannot push the norm over the bound
     * by more than the roundings of the products do. */
    float factor = (float)(clip_norm / norm);
    if ((double)factor > clip_norm / norm)
        factor = nextafterf(factor, 0.0f);
    vec_scale_f32(x, n, factor);
    return (double)factor;
}

size_t privacy_clamp(float *x, size_t n, float bound) {
    if (vec_max_abs_f32(x, n) <= bound)
        return 0;
    size_t changed = 0;
    for (size_t i = 0; i < n; i++)
        if (fabsf(x[i]) > bound) {
            x[i] = copysignf(bound, x[i]);
            changed++;
        }
    return changed;
}
