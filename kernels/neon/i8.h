/* What the ways to multiply int8 share: the tile's shape and how its operands are packed. */
#ifndef SOTTO_KERN_NEON_I8_H
#define SOTTO_KERN_NEON_I8_H

#include "neon/product.h"

#if defined(__aarch64__)
#include <arm_neon.h>

#define TILE 8

/* Where the sums of a tile go: rows rows and columns columns of c, ldc integers apart, stored or
 * added. */
struct i8_place {
    int32_t *c;
    size_t ldc, rows, columns;
    bool add;
};
/* The sums over groups of k. */
typedef void i8_tile_fn(const int8_t *a, const int8_t *b, size_t groups, const struct i8_place *to);
/* Eight columns of len rows of B, ldb bytes apart (columns < 8: zeros past them). */
typedef void i8_pack_b_fn(const int8_t *b, size_t ldb, size_t columns, size_t len, int8_t *dst);
/* Up to 8 rows of A, lda bytes apart. */
typedef void i8_pack_a_fn(const int8_t *a, size_t lda, size_t rows, size_t len, int8_t *dst);

struct i8_way {
    size_t group;
    size_t bytes; /* of a packed element */
    i8_tile_fn *tile;
    i8_pack_a_fn *pack_a;
    i8_pack_b_fn *pack_b;
};

#define ROWS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define ZERO(r) int32x4_t x##r = vdupq_n_s32(0), y##r = x##r;
/* Whole tiles are stored from their registers, others by way of memory: put_some. X and Y give a
 * row's first and last four columns. */
#define PUT(r, X, Y)                                                                               \
    vst1q_s32(c, X);                                                                               \
    vst1q_s32(c + 4, Y);                                                                           \
    c += to->ldc;
#define PUT_ADD(r, X, Y) PUT(r, vaddq_s32(X, vld1q_s32(c)), vaddq_s32(Y, vld1q_s32(c + 4)))
#define KEEP(r, X, Y)                                                                              \
    vst1q_s32(sums[r], X);                                                                         \
    vst1q_s32(sums[r] + 4, Y);
#define PUT_TILE(EACH)                                                                             \
    {                                                                                              \
        int32_t *c = to->c;                                                                        \
        if (to->rows < TILE || to->columns < TILE) {                                               \
            int32_t sums[TILE][TILE];                                                              \
            EACH(KEEP) neon_i8_put(to, sums);                                                      \
        } else if (to->add) {                                                                      \
            EACH(PUT_ADD)                                                                          \
        } else {                                                                                   \
            EACH(PUT)                                                                              \
        }                                                                                          \
    }
void neon_i8_put(const struct i8_place *to, int32_t sums[TILE][TILE]);
/* Rows in x##r and y##r. */
#define ROWS_AS(DO)                                                                                \
    DO(0, x0, y0)                                                                                  \
    DO(1, x1, y1)                                                                                  \
    DO(2, x2, y2)                                                                                  \
    DO(3, x3, y3)                                                                                  \
    DO(4, x4, y4)                                                                                  \
    DO(5, x5, y5)                                                                                  \
    DO(6, x6, y6)                                                                                  \
    DO(7, x7, y7)

static inline int8x8_t load_columns(const int8_t *b, size_t columns) {
    int8_t some[TILE] = {0};
    if (columns == TILE)
        return vld1_s8(b);
    memcpy(some, b, columns);
    return vld1_s8(some);
}

/* Four rows of eight columns become [column][4]. */
static inline void zip_rows(int8x8_t r0, int8x8_t r1, int8x8_t r2, int8x8_t r3, int8x16_t out[2]) {
    const int8x8_t none = vdup_n_s8(0);
    const int16x8_t low =
        vreinterpretq_s16_s8(vzip1q_s8(vcombine_s8(r0, none), vcombine_s8(r1, none)));
    const int16x8_t high =
        vreinterpretq_s16_s8(vzip1q_s8(vcombine_s8(r2, none), vcombine_s8(r3, none)));
    out[0] = vreinterpretq_s8_s16(vzip1q_s16(low, high));
    out[1] = vreinterpretq_s8_s16(vzip2q_s16(low, high));
}
static inline void four_rows(const int8_t *b, size_t ldb, int8x16_t out[2]) {
    zip_rows(vld1_s8(b), vld1_s8(b + ldb), vld1_s8(b + 2 * ldb), vld1_s8(b + 3 * ldb), out);
}
/* The same at an edge: zeros past the columns and rows there are. */
static inline void some_rows(const int8_t *b, size_t ldb, size_t columns, size_t rows,
                             int8x16_t out[2]) {
    int8x8_t r[4];
    for (size_t i = 0; i < 4; i++)
        r[i] = i < rows ? load_columns(b + i * ldb, columns) : vdup_n_s8(0);
    zip_rows(r[0], r[1], r[2], r[3], out);
}

/* [group][row][group bytes], for groups of 4 and of 8. */
static inline void pack_a_groups(const int8_t *a, size_t lda, size_t rows, size_t len, int8_t *dst,
                                 size_t group) {
    for (size_t k = 0; k < len; k += group) {
        const size_t n = len - k < group ? len - k : group;
        for (size_t r = 0; r < TILE; r++, dst += group) {
            memset(dst, 0, group);
            if (r < rows)
                memcpy(dst, a + r * lda + k, n);
        }
    }
}

extern const struct i8_way neon_i8_dot, neon_i8_matrix;

#endif
#endif
