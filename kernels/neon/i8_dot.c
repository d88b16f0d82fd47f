/* Products of int8 by sdot: compiled for, and entered on, processors with dot products only. */
#if defined(__aarch64__)
#include "neon/i8.h"

#define DOTS(r)                                                                                    \
    x##r = vdotq_laneq_s32(x##r, b0, (r) < 4 ? a0 : a1, (r) % 4);                                  \
    y##r = vdotq_laneq_s32(y##r, b1, (r) < 4 ? a0 : a1, (r) % 4);
static void tile_dot(const int8_t *a, const int8_t *b, size_t groups, const struct i8_place *to) {
    ROWS(ZERO)
#pragma GCC unroll 2
    for (; groups; groups--, a += 32, b += 32) {
        const int8x16_t a0 = vld1q_s8(a), a1 = vld1q_s8(a + 16);
        const int8x16_t b0 = vld1q_s8(b), b1 = vld1q_s8(b + 16);
        ROWS(DOTS)
    }
    PUT_TILE(ROWS_AS)
}

static void pack_b_dot(const int8_t *b, size_t ldb, size_t columns, size_t len, int8_t *dst) {
    int8x16_t v[2];
    for (; columns == TILE && len >= 4; len -= 4, b += 4 * ldb, dst += 32) {
        four_rows(b, ldb, v);
        vst1q_s8(dst, v[0]);
        vst1q_s8(dst + 16, v[1]);
    }
    for (size_t k = 0; k < len; k += 4, b += 4 * ldb, dst += 32) {
        some_rows(b, ldb, columns, len - k < 4 ? len - k : 4, v);
        vst1q_s8(dst, v[0]);
        vst1q_s8(dst + 16, v[1]);
    }
}

/* Sixteen bytes of four rows become [group][row][4], groups 32 bytes apart. */
static void turn_four(const int8_t *a, size_t lda, int8_t *dst) {
    const uint32x4_t r0 = vreinterpretq_u32_s8(vld1q_s8(a));
    const uint32x4_t r1 = vreinterpretq_u32_s8(vld1q_s8(a + lda));
    const uint32x4_t r2 = vreinterpretq_u32_s8(vld1q_s8(a + 2 * lda));
    const uint32x4_t r3 = vreinterpretq_u32_s8(vld1q_s8(a + 3 * lda));
    const uint32x4_t low0 = vzip1q_u32(r0, r2), high0 = vzip2q_u32(r0, r2);
    const uint32x4_t low1 = vzip1q_u32(r1, r3), high1 = vzip2q_u32(r1, r3);
    vst1q_s8(dst, vreinterpretq_s8_u32(vzip1q_u32(low0, low1)));
    vst1q_s8(dst + 32, vreinterpretq_s8_u32(vzip2q_u32(low0, low1)));
    vst1q_s8(dst + 64, vreinterpretq_s8_u32(vzip1q_u32(high0, high1)));
    vst1q_s8(dst + 96, vreinterpretq_s8_u32(vzip2q_u32(high0, high1)));
}

static void pack_a_dot(const int8_t *a, size_t lda, size_t rows, size_t len, int8_t *dst) {
    const size_t whole = rows == TILE ? len / 16 * 16 : 0;
    for (size_t k = 0; k < whole; k += 16, dst += 128) {
        turn_four(a + k, lda, dst);
        turn_four(a + 4 * lda + k, lda, dst + 16);
    }
    pack_a_groups(a + whole, lda, rows, len - whole, dst, 4);
}

const struct i8_way neon_i8_dot = {4, 1, tile_dot, pack_a_dot, pack_b_dot};
#else
typedef int kern_neon_i8_dot_is_for_arm;
#endif
