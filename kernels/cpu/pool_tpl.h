/* Maxima of pooling windows with their places, one vector of channels at a time. */
#ifndef SOTTO_KERN_POOL_TPL_H
#define SOTTO_KERN_POOL_TPL_H

#include "cpu/simd.h"

/* Places in bytes, LANES of them. */
INLINE void places_store(uint8_t *arg, const vi *place) {
#ifdef KERN_ISA_AVX2
    __m128i low = _mm256_castsi256_si128((__m256i)*place);
    __m128i high = _mm256_extracti128_si256((__m256i)*place, 1);
    __m128i words = _mm_packs_epi32(low, high);
    _mm_storel_epi64((__m128i *)(void *)arg, _mm_packus_epi16(words, words));
#else
    for (size_t i = 0; i < LANES; i++)
        arg[i] = (uint8_t)(*place)[i];
#endif
}
INLINE void places_load(vi *place, const uint8_t *arg) {
#ifdef KERN_ISA_AVX2
    *place = (vi)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)arg));
#else
    for (size_t i = 0; i < LANES; i++)
        (*place)[i] = arg[i];
#endif
}

/* Maximum and its place over a window of floats row and col apart, for n <= LANES channels; places
 * count from first, a window row is arg_row of them. */
struct pool_window {
    uint32_t kh, kw, first, arg_row;
    size_t row, col;
};
#define POOL_MAX_LANES(LOAD)                                                                       \
    vf best = LOAD(x);                                                                             \
    vi place = (vi){0} + (int32_t)w->first;                                                        \
    for (uint32_t ky = 0; ky < w->kh; ky++)                                                        \
        for (uint32_t kx = ky == 0 ? 1 : 0; kx < w->kw; kx++) {                                    \
            vf val = LOAD(x + ky * w->row + kx * w->col);                                          \
            vi better = (vi)(val > best) | (vi)(best != best); /* NaN never stays */               \
            vi here = (vi){0} + (int32_t)(w->first + ky * w->arg_row + kx);                        \
            best = V_SELECT(better, val, best);                                                    \
            place = (here & better) | (place & ~better);                                           \
        }
#define POOL_LOAD_REST(p) V_LOAD_FIRST(p, mask)
INLINE void pool_max_lanes(const float *x, const struct pool_window *w, size_t n, float *y,
                           uint8_t *arg) {
    if (n == LANES) {
        POOL_MAX_LANES(V_LOAD)
        V_STORE(y, best);
        places_store(arg, &place);
    } else {
        const vi mask = V_FIRST(n);
        POOL_MAX_LANES(POOL_LOAD_REST)
        V_STORE_FIRST(y, best, n);
        for (size_t i = 0; i < n; i++)
            arg[i] = (uint8_t)place[i];
    }
}
INLINE void pool_max_pixel(const float *x, const struct pool_window *w, size_t channels, float *y,
                           uint8_t *arg) {
    size_t ch = 0;
    for (; ch + LANES <= channels; ch += LANES)
        pool_max_lanes(x + ch, w, LANES, y + ch, arg + ch);
    if (ch < channels)
        pool_max_lanes(x + ch, w, channels - ch, y + ch, arg + ch);
}

TARGET static void NAME(conv_pool_images_max)(const struct kern_conv *v, uint32_t images,
                                              const float *x, float *y, uint8_t *arg) {
    uint32_t ph = v->out_h / v->pool_h, pw = v->out_w / v->pool_w;
    size_t row = (size_t)v->out_w * v->out_c;
    const struct pool_window w = {v->pool_h, v->pool_w, 0, v->pool_w, row, v->out_c};
    for (uint32_t b = 0; b < images; b++, x += v->out_h * row)
        for (uint32_t py = 0; py < ph; py++)
            for (uint32_t px = 0; px < pw; px++, y += v->out_c, arg += v->out_c) {
                const float *from = x + py * v->pool_h * row + (size_t)px * v->pool_w * v->out_c;
                pool_max_pixel(from, &w, v->out_c, y, arg);
            }
}

#endif
