/* Eight floats at a time. Included by one file per instruction set, which says first which one it
 * is (KERN_ISA_AVX2 or none); the same kernels are then compiled for each. Vectors are never passed
 * to functions: without AVX that would be another calling convention. */
#ifndef SOTTO_KERN_SIMD_H
#define SOTTO_KERN_SIMD_H

#include "src/kern_int.h"

#define LANES 8

typedef float v8 __attribute__((vector_size(32)));
typedef int32_t v8i __attribute__((vector_size(32)));
typedef float v8_any __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t v8i_any __attribute__((vector_size(32), aligned(4), may_alias));

#define V_LOAD(p)            ((v8)(*(const v8_any *)(const void *)(p)))
#define V_STORE(p, x)        (*(v8_any *)(void *)(p) = (x))
#define V_SELECT(mask, a, b) ((v8)(((v8i)(a) & (mask)) | ((v8i)(b) & ~(mask))))

#ifdef KERN_ISA_AVX2
#include <immintrin.h>
#define TARGET                __attribute__((target("avx2,fma")))
#define V_SET(x)              _mm256_set1_ps(x)
#define V_FMA(a, b, c)        _mm256_fmadd_ps(a, b, c)
#define V_MAX(a, b)           _mm256_max_ps(a, b) /* b when either is NaN */
#define V_LOAD_FIRST(p, mask) _mm256_maskload_ps(p, (__m256i)(mask))
#define NAME(x)               x##_avx2
#else
#define TARGET
#define V_SET(x)                                                                                   \
    __extension__({                                                                                \
        const float s_ = (x);                                                                      \
        (v8){s_, s_, s_, s_, s_, s_, s_, s_};                                                      \
    })
#define V_FMA(a, b, c) ((a) * (b) + (c))
#define V_MAX(a, b)    V_SELECT((a) > (b), a, b)
#define NAME(x)        x##_portable
#endif

#define INLINE static inline __attribute__((always_inline)) TARGET

/* V_FIRST(n): a mask of the first n lanes, 0 <= n <= 8. */
static const int32_t lane_masks[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
#define V_FIRST(n) ((v8i)(*(const v8i_any *)(const void *)(lane_masks + 8 - (n))))

/* Copies the first n of 8 lanes without touching memory past them. */
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
            v8 stored_ = (x);                                                                      \
            copy_first(p, (const float *)&stored_, n);                                             \
        }                                                                                          \
    } while (0)

#ifndef V_LOAD_FIRST
#define V_LOAD_FIRST(p, mask)                                                                      \
    __extension__({                                                                                \
        const float *p_ = (p);                                                                     \
        v8 lanes_ = V_SET(0.0f);                                                                   \
        for (unsigned l_ = 0; l_ < LANES; l_++)                                                    \
            if ((mask)[l_])                                                                        \
                lanes_[l_] = p_[l_];                                                               \
        lanes_;                                                                                    \
    })
#endif

#endif
