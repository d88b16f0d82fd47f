/* Products of int8 by smmla: compiled for, and entered on, processors with int8 matrix products
 * only. */
#if defined(__aarch64__)
#include "neon/i8.h"

#define MATRIX(r)                                                                                  \
    m##r##0 = vmmlaq_s32(m##r##0, a##r, b0);                                                       \
    m##r##1 = vmmlaq_s32(m##r##1, a##r, b1);                                                       \
    m##r##2 = vmmlaq_s32(m##r##2, a##r, b2);                                                       \
    m##r##3 = vmmlaq_s32(m##r##3, a##r, b3);
#define MATRIX_ZERO(r)                                                                             \
    int32x4_t m##r##0 = vdupq_n_s32(0), m##r##1 = m##r##0, m##r##2 = m##r##0, m##r##3 = m##r##0;
/* A 2 x 2 result is [row 0: two columns][row 1: two columns]. */
#define LOWS(p, q)  vcombine_s32(vget_low_s32(p), vget_low_s32(q))
#define HIGHS(p, q) vcombine_s32(vget_high_s32(p), vget_high_s32(q))
#define PAIRS_AS(DO)                                                                               \
    DO(0, LOWS(m00, m01), LOWS(m02, m03))                                                          \
    DO(1, HIGHS(m00, m01), HIGHS(m02, m03))                                                        \
    DO(2, LOWS(m10, m11), LOWS(m12, m13))                                                          \
    DO(3, HIGHS(m10, m11), HIGHS(m12, m13))                                                        \
    DO(4, LOWS(m20, m21), LOWS(m22, m23))                                                          \
    DO(5, HIGHS(m20, m21), HIGHS(m22, m23))                                                        \
    DO(6, LOWS(m30, m31), LOWS(m32, m33))                                                          \
    DO(7, HIGHS(m30, m31), HIGHS(m32, m33))
#define PAIRS(X) X(0) X(1) X(2) X(3)
static void tile_matrix(const int8_t *a, const int8_t *b, size_t groups,
                        const struct i8_place *to) {
    PAIRS(MATRIX_ZERO)
#pragma GCC unroll 4
    for (; groups; groups--, a += 64, b += 64) {
        const int8x16_t a0 = vld1q_s8(a), a1 = vld1q_s8(a + 16), a2 = vld1q_s8(a + 32);
        const int8x16_t a3 = vld1q_s8(a + 48), b0 = vld1q_s8(b), b1 = vld1q_s8(b + 16);
        const int8x16_t b2 = vld1q_s8(b + 32), b3 = vld1q_s8(b + 48);
        PAIRS(MATRIX)
    }
    PUT_TILE(PAIRS_AS)
}

/* Eight rows of eight columns become [column][8]. */
static inline void put_groups(const int8x16_t low[2], const int8x16_t high[2], int8_t *dst) {
    for (int h = 0; h < 2; h++) {
        const int32x4_t l = vreinterpretq_s32_s8(low[h]), u = vreinterpretq_s32_s8(high[h]);
        vst1q_s8(dst + 32 * h, vreinterpretq_s8_s32(vzip1q_s32(l, u)));
        vst1q_s8(dst + 32 * h + 16, vreinterpretq_s8_s32(vzip2q_s32(l, u)));
    }
}

static void pack_b_matrix(const int8_t *b, size_t ldb, size_t columns, size_t len, int8_t *dst) {
    int8x16_t low[2], high[2];
    for (; columns == TILE && len >= 8; len -= 8, b += 8 * ldb, dst += 64) {
        four_rows(b, ldb, low);
        four_rows(b + 4 * ldb, ldb, high);
        put_groups(low, high, dst);
    }
    for (size_t k = 0; k < len; k += 8, b += 8 * ldb, dst += 64) {
        const size_t rows = len - k < 8 ? len - k : 8;
        some_rows(b, ldb, columns, rows < 4 ? rows : 4, low);
        some_rows(b + 4 * ldb, ldb, columns, rows < 4 ? 0 : rows - 4, high);
        put_groups(low, high, dst);
    }
}

static void pack_a_matrix(const int8_t *a, size_t lda, size_t rows, size_t len, int8_t *dst) {
    const size_t whole = rows == TILE ? len / 8 * 8 : 0;
    const int8_t *a2 = a + 2 * lda, *a4 = a + 4 * lda, *a6 = a + 6 * lda;
    const int8_t *a1 = a + lda, *a3 = a2 + lda, *a5 = a4 + lda, *a7 = a6 + lda;
    for (size_t k = 0; k < whole; k += 8, dst += 64) {
        vst1_s8(dst, vld1_s8(a + k));
        vst1_s8(dst + 8, vld1_s8(a1 + k));
        vst1_s8(dst + 16, vld1_s8(a2 + k));
        vst1_s8(dst + 24, vld1_s8(a3 + k));
        vst1_s8(dst + 32, vld1_s8(a4 + k));
        vst1_s8(dst + 40, vld1_s8(a5 + k));
        vst1_s8(dst + 48, vld1_s8(a6 + k));
        vst1_s8(dst + 56, vld1_s8(a7 + k));
    }
    pack_a_groups(a + whole, lda, rows, len - whole, dst, 8);
}

const struct i8_way neon_i8_matrix = {8, 1, tile_matrix, pack_a_matrix, pack_b_matrix};
#else
typedef int kern_neon_i8_matrix_is_for_arm;
#endif
