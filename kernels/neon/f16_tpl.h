/* The tiles for products of halves, compiled once a kind of core by a file that says which:
 * - F16_FHM: FMLAL multiplies halves and adds in fp32, one rounding;
 * - else both operands are widened (FCVTL, on every 64-bit Arm) and FMLA does the same. With
 *   F16_IN_ORDER loads are of 64 bits, which A53 and A55 pair with arithmetic, and tiles have at
 *   most 8 rows. */
#include "neon/f16.h"

typedef float32x4_t v4;

#define E_4(X)  X(0) X(1) X(2) X(3)
#define E_8(X)  E_4(X) X(4) X(5) X(6) X(7)
#define E_12(X) E_8(X) X(8) X(9) X(10) X(11)

#ifdef F16_FHM
/* ah: halves of rows 0 to 7, al: of the last four. */
#define A_4    const float16x4_t al = vld1_f16(a);
#define A_8    const float16x8_t ah = vld1q_f16(a);
#define A_12   A_8 const float16x4_t al = vld1_f16(a + 8);
#define B_BOTH const float16x8_t b0 = vld1q_f16(b);
#define F_ON(r, LANES, q)                                                                          \
    x##r = vfmlalq_##LANES##_low_f16(x##r, b0, q, (r) % 8);                                        \
    y##r = vfmlalq_##LANES##_high_f16(y##r, b0, q, (r) % 8);
#define ROWS_4                                                                                     \
    F_ON(0, lane, al)                                                                              \
    F_ON(1, lane, al)                                                                              \
    F_ON(2, lane, al)                                                                              \
    F_ON(3, lane, al)
#define ROWS_8                                                                                     \
    F_ON(0, laneq, ah)                                                                             \
    F_ON(1, laneq, ah)                                                                             \
    F_ON(2, laneq, ah)                                                                             \
    F_ON(3, laneq, ah)                                                                             \
    F_ON(4, laneq, ah)                                                                             \
    F_ON(5, laneq, ah)                                                                             \
    F_ON(6, laneq, ah)                                                                             \
    F_ON(7, laneq, ah)
#define ROWS_12                                                                                    \
    ROWS_8                                                                                         \
    F_ON(8, lane, al)                                                                              \
    F_ON(9, lane, al)                                                                              \
    F_ON(10, lane, al)                                                                             \
    F_ON(11, lane, al)
#else
#ifdef F16_IN_ORDER
#define WIDEN(lo, hi, p)                                                                           \
    const v4 lo = vcvt_f32_f16(vld1_f16(p)), hi = vcvt_f32_f16(vld1_f16((p) + 4));
#else
#define WIDEN(lo, hi, p)                                                                           \
    const float16x8_t lo##h = vld1q_f16(p);                                                        \
    const v4 lo = vcvt_f32_f16(vget_low_f16(lo##h)), hi = vcvt_high_f32_f16(lo##h);
#endif
#define A_4    const v4 q0 = vcvt_f32_f16(vld1_f16(a));
#define A_8    WIDEN(q0, q1, a)
#define A_12   A_8 const v4 q2 = vcvt_f32_f16(vld1_f16(a + 8));
#define B_BOTH WIDEN(b0, b1, b)
#define F_ON(r, q)                                                                                 \
    x##r = vfmaq_laneq_f32(x##r, b0, q, (r) % 4);                                                  \
    y##r = vfmaq_laneq_f32(y##r, b1, q, (r) % 4);
#define ROWS_4                                                                                     \
    F_ON(0, q0)                                                                                    \
    F_ON(1, q0)                                                                                    \
    F_ON(2, q0)                                                                                    \
    F_ON(3, q0)
#define ROWS_8                                                                                     \
    ROWS_4                                                                                         \
    F_ON(4, q1)                                                                                    \
    F_ON(5, q1)                                                                                    \
    F_ON(6, q1)                                                                                    \
    F_ON(7, q1)
#define ROWS_12                                                                                    \
    ROWS_8                                                                                         \
    F_ON(8, q2)                                                                                    \
    F_ON(9, q2)                                                                                    \
    F_ON(10, q2)                                                                                   \
    F_ON(11, q2)
#endif

#define ZERO(r) v4 x##r = vdupq_n_f32(0.0f), y##r = x##r;
/* Whole tiles are stored from their registers, others by way of memory. */
#define PUT(r)                                                                                     \
    vst1q_f32(c, x##r);                                                                            \
    vst1q_f32(c + 4, y##r);                                                                        \
    c += t->ldc;
#define PUT_ADD(r)                                                                                 \
    x##r = vaddq_f32(x##r, vld1q_f32(c));                                                          \
    y##r = vaddq_f32(y##r, vld1q_f32(c + 4));                                                      \
    PUT(r)
#define KEEP(r)                                                                                    \
    vst1q_f32(sums[r], x##r);                                                                      \
    vst1q_f32(sums[r] + 4, y##r);

/* Four steps of k a turn, one after another: loads of several at once would want more registers
 * than there are. */
#if defined(F16_IN_ORDER) || defined(F16_FHM)
#define IN_TURN
#else
#define IN_TURN __asm__ volatile("" : "+r"(a), "+r"(b) : : "memory");
#endif
#define STEP(count)                                                                                \
    {                                                                                              \
        A_##count B_BOTH ROWS_##count a += (count);                                                \
        b += F16_COLUMNS;                                                                          \
        IN_TURN                                                                                    \
    }
#define F16_TILE(count)                                                                            \
    static void TILE(tile_##count)(const struct f16_tile *t) {                                     \
        const float16_t *a = t->a, *b = t->b;                                                      \
        float *c = t->c;                                                                           \
        size_t k = t->len;                                                                         \
        E_##count(ZERO) for (; k >= 4; k -= 4) {                                                   \
            STEP(count)                                                                            \
            STEP(count)                                                                            \
            STEP(count)                                                                            \
            STEP(count)                                                                            \
        }                                                                                          \
        for (; k; k--)                                                                             \
            STEP(count)                                                                            \
        if (t->columns < F16_COLUMNS || t->rows < (count)) {                                       \
            float sums[count][F16_COLUMNS];                                                        \
            E_##count(KEEP) neon_f16_put(t, sums);                                                 \
        } else if (t->add) {                                                                       \
            E_##count(PUT_ADD)                                                                     \
        } else {                                                                                   \
            E_##count(PUT)                                                                         \
        }                                                                                          \
    }

F16_TILE(4)
F16_TILE(8)
#ifndef F16_IN_ORDER
F16_TILE(12)
#endif

const struct f16_way TILE(neon_f16) = {{NULL, TILE(tile_4), TILE(tile_8),
#ifndef F16_IN_ORDER
                                        TILE(tile_12)
#endif
}};
