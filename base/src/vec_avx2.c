/* AVX2 variants of the vector loops: same operations in the same lane order as the scalar ones, so
 * the same bits. */
#include "vec_int.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2")))

AVX2 static float max_abs_avx2(const float *x, size_t n) {
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i most = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256i v = _mm256_castps_si256(_mm256_loadu_ps(x + i));
        most = _mm256_max_epi32(most, _mm256_and_si256(v, magnitude));
    }
    uint32_t lane[8], all = 0;
    memcpy(lane, &most, sizeof lane);
    for (int k = 0; k < 8; k++)
        all = lane[k] > all ? lane[k] : all;
    for (; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffffu;
        all = bits > all ? bits : all;
    }
    float out;
    memcpy(&out, &all, sizeof out);
    return out;
}

AVX2 static double sum_squares_avx2(const float *x, size_t n) {
    __m256d lo = _mm256_setzero_pd(), hi = _mm256_setzero_pd();
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256d a = _mm256_cvtps_pd(_mm_loadu_ps(x + i));
        const __m256d b = _mm256_cvtps_pd(_mm_loadu_ps(x + i + 4));
        lo = _mm256_add_pd(lo, _mm256_mul_pd(a, a));
        hi = _mm256_add_pd(hi, _mm256_mul_pd(b, b));
    }
    double lane[8];
    _mm256_storeu_pd(lane, lo);
    _mm256_storeu_pd(lane + 4, hi);
    for (size_t k = 0; i < n; i++, k++) {
        const double v = x[i];
        lane[k] += v * v;
    }
    return vec_fold8(lane);
}

AVX2 static bool all_finite_avx2(const float *x, size_t n) {
    const __m256i exponent = _mm256_set1_epi32(0x7f800000);
    __m256i bad = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256i v = _mm256_castps_si256(_mm256_loadu_ps(x + i));
        bad = _mm256_or_si256(bad, _mm256_cmpeq_epi32(_mm256_and_si256(v, exponent), exponent));
    }
    return _mm256_testz_si256(bad, bad) && vec_ops_scalar.all_finite_f32(x + i, n - i);
}

AVX2 static void scale_avx2(float *x, size_t n, float a) {
    const __m256 va = _mm256_set1_ps(a);
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(x + i, _mm256_mul_ps(va, _mm256_loadu_ps(x + i)));
    vec_ops_scalar.scale_f32(x + i, n - i, a);
}

AVX2 static void sub_avx2(float *out, const float *a, const float *b, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, _mm256_sub_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i)));
    vec_ops_scalar.sub_f32(out + i, a + i, b + i, n - i);
}

AVX2 static void add_avx2(float *out, const float *a, const float *b, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, _mm256_add_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i)));
    vec_ops_scalar.add_f32(out + i, a + i, b + i, n - i);
}

AVX2 static __m128i load8(const void *p) {
    __m128i v = _mm_setzero_si128();
    memcpy(&v, p, 8);
    return v;
}

AVX2 static void dequant_avx2(float *out, const int8_t *q, size_t n, float scale) {
    const __m256 vs = _mm256_set1_ps(scale);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256 v = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(load8(q + i)));
        _mm256_storeu_ps(out + i, _mm256_mul_ps(vs, v));
    }
    vec_ops_scalar.dequant_i8_f32(out + i, q + i, n - i, scale);
}

AVX2 static void dequant_row_avx2(float *out, const int8_t *q, const float *scale, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256 v = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(load8(q + i)));
        _mm256_storeu_ps(out + i, _mm256_mul_ps(_mm256_loadu_ps(scale + i), v));
    }
    vec_ops_scalar.dequant_row_f32(out + i, q + i, scale + i, n - i);
}

AVX2 static void u8_avx2(float *out, const uint8_t *x, size_t n, float scale, float shift) {
    const __m256 vs = _mm256_set1_ps(scale), vt = _mm256_set1_ps(shift);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256 v = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(load8(x + i)));
        _mm256_storeu_ps(out + i, _mm256_add_ps(_mm256_mul_ps(vs, v), vt));
    }
    vec_ops_scalar.u8_f32(out + i, x + i, n - i, scale, shift);
}

AVX2 static void round_levels_avx2(int32_t *levels, const float *x, const uint32_t *draws, size_t n,
                                   double inverse, int32_t most) {
    const __m256d factor = _mm256_set1_pd(inverse), step = _mm256_set1_pd(0x1p-32);
    const __m256d high = _mm256_set1_pd(most), low = _mm256_set1_pd(-most);
    const __m128i flip = _mm_set1_epi32(INT32_MIN);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        __m256d v = _mm256_mul_pd(_mm256_cvtps_pd(_mm_loadu_ps(x + i)), factor);
        if (draws) {
            /* Unsigned words by way of signed ones: both steps are exact. */
            const __m128i word = _mm_loadu_si128((const __m128i *)(const void *)(draws + i));
            const __m256d d = _mm256_add_pd(_mm256_cvtepi32_pd(_mm_xor_si128(word, flip)),
                                            _mm256_set1_pd(0x1p31));
            v = _mm256_floor_pd(_mm256_add_pd(v, _mm256_mul_pd(d, step)));
        } else {
            v = _mm256_round_pd(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        }
        v = _mm256_max_pd(_mm256_min_pd(v, high), low);
        _mm_storeu_si128((__m128i *)(void *)(levels + i), _mm256_cvtpd_epi32(v));
    }
    vec_ops_scalar.round_levels(levels + i, x + i, draws ? draws + i : NULL, n - i, inverse, most);
}

/* Eight words; packing interleaves the halves, the permutation undoes it. */
AVX2 static void narrow_avx2(uint8_t *out, const uint32_t *x, size_t n, unsigned bits) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(x + i));
        const __m256i two = _mm256_permute4x64_epi64(_mm256_packus_epi32(v, v), 0xd8);
        __m128i words = _mm256_castsi256_si128(two);
        if (bits == 16) {
            _mm_storeu_si128((__m128i *)(void *)(out + 2 * i), words);
        } else {
            words = _mm_packus_epi16(words, words);
            memcpy(out + i, &words, 8);
        }
    }
    vec_ops_scalar.narrow(out + i * bits / 8, x + i, n - i, bits);
}

AVX2 static void widen_avx2(uint32_t *out, const uint8_t *x, size_t n, unsigned bits) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256i v = bits == 8 ? _mm256_cvtepu8_epi32(load8(x + i))
                                    : _mm256_cvtepu16_epi32(_mm_loadu_si128(
                                          (const __m128i *)(const void *)(x + 2 * i)));
        _mm256_storeu_si256((__m256i *)(void *)(out + i), v);
    }
    vec_ops_scalar.widen(out + i, x + i * bits / 8, n - i, bits);
}

#define PHILOX_MUL(x, m, hi, lo)                                                                   \
    do {                                                                                           \
        const __m256i even_ = _mm256_mul_epu32(x, m);                                              \
        const __m256i odd_ = _mm256_mul_epu32(_mm256_srli_epi64(x, 32), m);                        \
        lo = _mm256_blend_epi32(even_, _mm256_slli_epi64(odd_, 32), 0xaa);                         \
        hi = _mm256_blend_epi32(_mm256_srli_epi64(even_, 32), odd_, 0xaa);                         \
    } while (0)

/* Eight counters, a word of each to a lane. */
AVX2 static void philox_avx2(uint32_t *out, size_t blocks, const uint32_t ctr[4],
                             const uint32_t key[2]) {
    const __m256i m0 = _mm256_set1_epi64x(0xd2511f53), m1 = _mm256_set1_epi64x(0xcd9e8d57);
    size_t i = 0;
    for (; i + 8 <= blocks; i += 8) {
        __m256i c0 = _mm256_add_epi32(_mm256_set1_epi32((int)(ctr[0] + (uint32_t)i)),
                                      _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
        __m256i c1 = _mm256_set1_epi32((int)ctr[1]), c2 = _mm256_set1_epi32((int)ctr[2]);
        __m256i c3 = _mm256_set1_epi32((int)ctr[3]);
        uint32_t k0 = key[0], k1 = key[1];
        for (int round = 0; round < 10; round++, k0 += 0x9e3779b9u, k1 += 0xbb67ae85u) {
            __m256i hi0, lo0, hi1, lo1;
            PHILOX_MUL(c0, m0, hi0, lo0);
            PHILOX_MUL(c2, m1, hi1, lo1);
            c0 = _mm256_xor_si256(_mm256_xor_si256(hi1, c1), _mm256_set1_epi32((int)k0));
            c2 = _mm256_xor_si256(_mm256_xor_si256(hi0, c3), _mm256_set1_epi32((int)k1));
            c1 = lo1;
            c3 = lo0;
        }
        /* From word by word to block by block. */
        const __m256i a = _mm256_unpacklo_epi32(c0, c1), b = _mm256_unpackhi_epi32(c0, c1);
        const __m256i c = _mm256_unpacklo_epi32(c2, c3), d = _mm256_unpackhi_epi32(c2, c3);
        const __m256i b04 = _mm256_unpacklo_epi64(a, c), b15 = _mm256_unpackhi_epi64(a, c);
        const __m256i b26 = _mm256_unpacklo_epi64(b, d), b37 = _mm256_unpackhi_epi64(b, d);
        __m256i *to = (__m256i *)(void *)(out + 4 * i);
        _mm256_storeu_si256(to, _mm256_permute2x128_si256(b04, b15, 0x20));
        _mm256_storeu_si256(to + 1, _mm256_permute2x128_si256(b26, b37, 0x20));
        _mm256_storeu_si256(to + 2, _mm256_permute2x128_si256(b04, b15, 0x31));
        _mm256_storeu_si256(to + 3, _mm256_permute2x128_si256(b26, b37, 0x31));
    }
    const uint32_t rest[4] = {ctr[0] + (uint32_t)i, ctr[1], ctr[2], ctr[3]};
    vec_ops_scalar.philox_u32(out + 4 * i, blocks - i, rest, key);
}

AVX2 static void add_mod_avx2(uint32_t *acc, const uint32_t *x, size_t n, uint32_t mask) {
    const __m256i m = _mm256_set1_epi32((int)mask);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256i *at = (__m256i *)(void *)(acc + i);
        const __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(x + i));
        const __m256i sum = _mm256_add_epi32(_mm256_loadu_si256(at), b);
        _mm256_storeu_si256(at, _mm256_and_si256(sum, m));
    }
    vec_ops_scalar.add_mod_u32(acc + i, x + i, n - i, mask);
}

/* The stages within a vector: each lane meets the lane whose place differs in one bit; the upper of
 * the two takes the difference. */
AVX2 static __m256 fwht8(__m256 v) {
    __m256 w = _mm256_permute_ps(v, 0xb1);
    v = _mm256_blend_ps(_mm256_add_ps(v, w), _mm256_sub_ps(w, v), 0xaa);
    w = _mm256_permute_ps(v, 0x4e);
    v = _mm256_blend_ps(_mm256_add_ps(v, w), _mm256_sub_ps(w, v), 0xcc);
    w = _mm256_permute2f128_ps(v, v, 1);
    return _mm256_blend_ps(_mm256_add_ps(v, w), _mm256_sub_ps(w, v), 0xf0);
}

/* Two stages a pass, h and 2 h apart, so that memory is walked half as often. */
AVX2 static void fwht_avx2(float *x, size_t n) {
    if (n < 8) {
        vec_ops_scalar.fwht_f32(x, n);
        return;
    }
    for (size_t i = 0; i < n; i += 8)
        _mm256_storeu_ps(x + i, fwht8(_mm256_loadu_ps(x + i)));
    size_t h = 8;
    for (; 2 * h < n; h *= 4)
        for (size_t i = 0; i < n; i += 4 * h)
            for (float *p = x + i, *end = p + h; p < end; p += 8) {
                const __m256 a = _mm256_loadu_ps(p), b = _mm256_loadu_ps(p + h);
                const __m256 c = _mm256_loadu_ps(p + 2 * h), d = _mm256_loadu_ps(p + 3 * h);
                const __m256 ab = _mm256_add_ps(a, b), a_b = _mm256_sub_ps(a, b);
                const __m256 cd = _mm256_add_ps(c, d), c_d = _mm256_sub_ps(c, d);
                _mm256_storeu_ps(p, _mm256_add_ps(ab, cd));
                _mm256_storeu_ps(p + h, _mm256_add_ps(a_b, c_d));
                _mm256_storeu_ps(p + 2 * h, _mm256_sub_ps(ab, cd));
                _mm256_storeu_ps(p + 3 * h, _mm256_sub_ps(a_b, c_d));
            }
    if (h < n)
        for (float *p = x, *end = p + h; p < end; p += 8) {
            const __m256 a = _mm256_loadu_ps(p), b = _mm256_loadu_ps(p + h);
            _mm256_storeu_ps(p, _mm256_add_ps(a, b));
            _mm256_storeu_ps(p + h, _mm256_sub_ps(a, b));
        }
}

const struct vec_ops vec_ops_avx2 = {
    .isa = "avx2",
    .max_abs_f32 = max_abs_avx2,
    .sum_squares_f32 = sum_squares_avx2,
    .all_finite_f32 = all_finite_avx2,
    .scale_f32 = scale_avx2,
    .sub_f32 = sub_avx2,
    .add_f32 = add_avx2,
    .dequant_i8_f32 = dequant_avx2,
    .dequant_row_f32 = dequant_row_avx2,
    .u8_f32 = u8_avx2,
    .round_levels = round_levels_avx2,
    .philox_u32 = philox_avx2,
    .narrow = narrow_avx2,
    .widen = widen_avx2,
    .add_mod_u32 = add_mod_avx2,
    .fwht_f32 = fwht_avx2,
};
#endif
