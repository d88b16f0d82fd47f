/* Many words of a Philox stream at once: what rng_u32 would give one by one. */
#include "codec_int.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define DRAW_GROUPS 4 /* independent chains, so that the multiplier never waits */
#define DRAW_BLOCKS (4 * DRAW_GROUPS)

/* Philox4x32-10 (Salmon et al., SC'11) of DRAW_BLOCKS counters from ctr on, which do not carry out
 * of ctr[0]. A lane is 64 bits wide and only its low half counts: the product's high half is then
 * one shift away. */
__attribute__((target("avx2"))) static void blocks_avx2(uint32_t *out, const uint32_t ctr[4],
                                                        const uint32_t key[2]) {
    const __m256i m0 = _mm256_set1_epi64x(0xd2511f53), m1 = _mm256_set1_epi64x(0xcd9e8d57);
    __m256i c0[DRAW_GROUPS], c1[DRAW_GROUPS], c2[DRAW_GROUPS], c3[DRAW_GROUPS];
    uint32_t k0 = key[0], k1 = key[1];
    for (int g = 0; g < DRAW_GROUPS; g++) {
        const int64_t first = (int64_t)ctr[0] + 4 * g;
        c0[g] = _mm256_set_epi64x(first + 3, first + 2, first + 1, first);
        c1[g] = _mm256_set1_epi64x((int64_t)ctr[1]);
        c2[g] = _mm256_set1_epi64x((int64_t)ctr[2]);
        c3[g] = _mm256_set1_epi64x((int64_t)ctr[3]);
    }
    for (int round = 0; round < 10; round++) {
        const __m256i key0 = _mm256_set1_epi64x((int64_t)k0);
        const __m256i key1 = _mm256_set1_epi64x((int64_t)k1);
        for (int g = 0; g < DRAW_GROUPS; g++) {
            const __m256i p0 = _mm256_mul_epu32(m0, c0[g]);
            const __m256i p1 = _mm256_mul_epu32(m1, c2[g]);
            c0[g] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p1, 32), c1[g]), key0);
            c2[g] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p0, 32), c3[g]), key1);
            c1[g] = p1;
            c3[g] = p0;
        }
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    const __m256i low = _mm256_set1_epi64x(0xffffffff);
    for (int g = 0; g < DRAW_GROUPS; g++) {
        /* Words 0 and 1, then 2 and 3 of each block; two blocks to each half of a register. */
        const __m256i a =
            _mm256_or_si256(_mm256_and_si256(c0[g], low), _mm256_slli_epi64(c1[g], 32));
        const __m256i b =
            _mm256_or_si256(_mm256_and_si256(c2[g], low), _mm256_slli_epi64(c3[g], 32));
        const __m256i even = _mm256_unpacklo_epi64(a, b), odd = _mm256_unpackhi_epi64(a, b);
        uint32_t *to = out + 16 * g;
        _mm256_storeu_si256((void *)to, _mm256_permute2x128_si256(even, odd, 0x20));
        _mm256_storeu_si256((void *)(to + 8), _mm256_permute2x128_si256(even, odd, 0x31));
    }
}

/* Whole blocks while the counter's low word does not carry; the number of words drawn. */
static uint32_t draw_blocks(struct rng *r, uint32_t *out, uint32_t n) {
    uint32_t done = 0;
    if (!__builtin_cpu_supports("avx2"))
        return 0;
    while (n - done >= 4 * DRAW_BLOCKS && r->ctr[0] < UINT32_MAX - DRAW_BLOCKS) {
        blocks_avx2(out + done, r->ctr, r->key);
        r->ctr[0] += DRAW_BLOCKS;
        done += 4 * DRAW_BLOCKS;
    }
    return done;
}
#else
static uint32_t draw_blocks(struct rng *r, uint32_t *out, uint32_t n) {
    const uint32_t blocks = n / 4;
    if (blocks >= UINT32_MAX - r->ctr[0])
        return 0;
    vec_philox_u32(out, blocks, r->ctr, r->key);
    r->ctr[0] += blocks;
    return 4 * blocks;
}
#endif

void codec_draw(struct rng *r, uint32_t *out, uint32_t n) {
    uint32_t i = 0;
    for (; i < n && r->used < 4; i++) /* what the last block has left */
        out[i] = rng_u32(r);
    i += draw_blocks(r, out + i, n - i);
    for (; i < n; i++)
        out[i] = rng_u32(r);
}
