/* What the terms fix about an update under masks: ranges, the common support, where everything lies
 * in the vector. */
#include <math.h>

#include "codec_int.h"
#include "sotto/protocol/masked.h"

float masked_range(const struct codec_pipeline *pipeline, const struct layout *layout) {
    uint64_t kept = 0;
    for (uint32_t i = 0; i < layout->segment_count; i++)
        kept += codec_keep_count(pipeline, &layout->segments[i]);
    float range = pipeline->clip_inf;
    if (pipeline->clip_norm > 0.0f && pipeline->clip_norm < range)
        range = pipeline->clip_norm;
    if (pipeline->rotate_log2 == 0 || !(pipeline->clip_norm > 0.0f))
        return range;
    unsigned log2 = 0;
    while (log2 < pipeline->rotate_log2 && (UINT64_C(2) << log2) <= kept)
        log2++;
    const double sigma = (double)pipeline->clip_norm / sqrt(ldexp(1.0, (int)log2));
    const float rotated = (float)(MASKED_RANGE_SIGMAS * sigma);
    return rotated < pipeline->clip_norm ? rotated : pipeline->clip_norm;
}

unsigned masked_bits_max(unsigned ring_bits, uint32_t members) {
    unsigned bits = 16;
    while (bits >= 2 && (uint64_t)members * ((UINT64_C(1) << bits) - 1) >= UINT64_C(1) << ring_bits)
        bits--;
    return bits >= 2 ? bits : 0;
}
