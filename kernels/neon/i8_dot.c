/* Products of int8 by sdot: compiled for, and entered on, processors with dot products only. */
#if defined(__aarch64__)
#include "neon/i8.h"

#define DOTS(r)                                                                                    \
    x##r = vdotq_laneq_s32(x##r, b0, (r) < 4 ? a0 : a1, (r) % 4);                                  \
    y##r = vdotq_laneq_s32(y##r, b1, (r) < 4 ? a0 : a1, (r) % 4);
static void tile_dot(const int8_t *a, const int8_t *b, size_t groups, int32_t sums[TILE][TILE]) {
    ROWS(ZERO)
#pragma GCC unroll 2
    for (; groups; groups--, a += 32, b += 32) {
        const int8x16_t a0 = vld1q_s8(a), a1 = vld1q_s8(a + 16);
        const int8x16_t b0 = vld1q_s8(b), b1 = vld1q_s8(b + 16);
        ROWS(DOTS)
    }
    ROWS(STORE)
}

static void pack_b_dot(const int8_t *b, size_t ldb, size_t columns, size_t len, int8_t *dst) {
    int8x16_t v[2];
    for (size_t k = 0; k < len; k += 4, b += 4 * ldb, dst += 32) {
        if (columns == TILE && len - k >= 4)
            four_rows(b, ldb, v);
        else
            some_rows(b, ldb, columns, len - k < 4 ? len - k : 4, v);
        vst1q_s8(dst, v[0]);
        vst1q_s8(dst + 16, v[1]);
    }
}

static void pack_a_dot(const int8_t *a, size_t lda, size_t rows, size_t len, int8_t *dst) {
    const size_t whole = rows == TILE ? len / 4 * 4 : 0;
    for (size_t k = 0; k < whole; k += 4)
        for (size_t r = 0; r < TILE; r++, dst += 4)
            memcpy(dst, a + r * lda + k, 4);
    pack_a_groups(a + whole, lda, rows, len - whole, dst, 4);
}

const struct i8_way neon_i8_dot = {4, 1, tile_dot, pack_a_dot, pack_b_dot};
#else
typedef int kern_neon_i8_dot_is_for_arm;
#endif
