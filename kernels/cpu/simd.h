/* Vectors of floats: eight lanes with AVX2, four (SSE2, NEON, or whatever the compiler makes of
 * them) on any processor. Included by one file per instruction set, which says first which one it
 * is (KERN_ISA_AVX2, KERN_ISA_NEON or none); the same kernels are then compiled for each. Vectors
 * are never passed to functions: without AVX that would be another calling convention. */
#ifndef SOTTO_KERN_SIMD_H
#define SOTTO_KERN_SIMD_H

#include "src/kern_int.h"

#ifdef KERN_ISA_AVX2
#define LANES 8
#else
#define LANES 4
#endif
#define VECTOR_BYTES (LANES * 4)

typedef float vf __attribute__((vector_size(VECTOR_BYTES)));
typedef int32_t vi __attribute__((vector_size(VECTOR_BYTES)));
typedef float vf_any __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef int32_t vi_any __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));

#define V_LOAD(p)            ((vf)(*(const vf_any *)(const void *)(p)))
#define V_STORE(p, x)        (*(vf_any *)(void *)(p) = (x))
#define V_SELECT(mask, a, b) ((vf)(((vi)(a) & (mask)) | ((vi)(b) & ~(mask))))

#ifdef KERN_ISA_AVX2
#include <immintrin.h>
#define TARGET                __attribute__((target("avx2,fma")))
#define V_SET(x)              _mm256_set1_ps(x)
#define V_FMA(a, b, c)        _mm256_fmadd_ps(a, b, c)
#define V_MAX(a, b)           _mm256_max_ps(a, b) /* b when either is NaN */
#define V_LOAD_FIRST(p, mask) _mm256_maskload_ps(p, (__m256i)(mask))
#define NAME(x)               x##_avx2
#elif defined(KERN_ISA_NEON)
#include <arm_neon.h>
#define TARGET
#define V_SET(x)       ((vf)vdupq_n_f32(x))
#define V_FMA(a, b, c) ((vf)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b)))
#define V_MAX(a, b)    V_SELECT((a) > (b), a, b)
#define NAME(x)        x##_neon
#else
#define TARGET
#define V_SET(x)                                                                                   \
    __extension__({                                                                                \
        const float s_ = (x);                                                                      \
        (vf){s_, s_, s_, s_};                                                                      \
    })
#define V_FMA(a, b, c) ((a) * (b) + (c))
#define V_MAX(a, b)    V_SELECT((a) > (b), a, b)
#define NAME(x)        x##_portable
#endif

#define INLINE static inline __attribute__((always_inline)) TARGET

/* V_FIRST(n): a mask of the first n lanes, 0 <= n <= LANES. */
#if LANES == 8
static const int32_t lane_masks[2 * LANES] = {-1, -1, -1, -1, -1, -1, -1, -1};
#else
static const int32_t lane_masks[2 * LANES] = {-1, -1, -1, -1};
#endif
#define V_FIRST(n) ((vi)(*(const vi_any *)(const void *)(lane_masks + LANES - (n))))

/* Copies the first n < LANES lanes without touching memory past them. */
INLINE void copy_first(float *dst, const float *src, size_t n) {
    if (n & 4) {
        memcpy(dst, src, 16);
        dst += 4, src += 4;
    }
    if (n & 2) {
        memcpy(dst, src, 8);
        dst += 2, src += 2;
    }
    if (n & 1)
        *dst = *src;
}
#define V_STORE_FIRST(p, x, n)                                                                     \
    do {                                                                                           \
        if ((n) >= LANES) {                                                                        \
            V_STORE(p, x);                                                                         \
        } else {                                                                                   \
            vf stored_ = (x);                                                                      \
            copy_first(p, (const float *)&stored_, n);                                             \
        }                                                                                          \
    } while (0)

#ifndef V_LOAD_FIRST
/* Out of line: this file is for any processor, and small. */
__attribute__((noinline, unused)) static void load_first(vf *to, const float *p, const vi *mask) {
    float lanes[LANES] = {0};
    for (unsigned l = 0; l < LANES && (*mask)[l]; l++)
        lanes[l] = p[l];
    *to = V_LOAD(lanes);
}
#define V_LOAD_FIRST(p, mask)                                                                      \
    __extension__({                                                                                \
        vf loaded_;                                                                                \
        vi mask_of_ = (mask);                                                                      \
        load_first(&loaded_, p, &mask_of_);                                                        \
        loaded_;                                                                                   \
    })
#endif

#endif
