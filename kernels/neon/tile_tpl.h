/* The tiles' code, compiled once a kind of core. TILE(name) names it; with TILE_IN_ORDER loads are
 * split so that they pair with arithmetic on A53 and A55 (a 128-bit load holds both of their
 * pipelines for two cycles; a 64-bit one to each register file and an insert hold none), and column
 * tiles have at most 8 rows. */
#include <arm_neon.h>

#include "neon/tile.h"

typedef float32x4_t v4;

#ifdef TILE_IN_ORDER
static inline v4 load4(const float *p) {
    uint64_t high;
    float32x2_t low = vld1_f32(p);
    memcpy(&high, p + 2, sizeof(high));
    __asm__("" : "+r"(high)); /* stays a load to a general register */
    uint64x2_t both = vreinterpretq_u64_f32(vcombine_f32(low, vdup_n_f32(0.0f)));
    return vreinterpretq_f32_u64(vsetq_lane_u64(high, both, 1));
}
#else
#define load4(p) vld1q_f32(p)
#endif
static inline v4 load2(const float *p) {
    return vcombine_f32(vld1_f32(p), vdup_n_f32(0.0f));
}
static inline v4 load1(const float *p) {
    return vsetq_lane_f32(*p, vdupq_n_f32(0.0f), 0);
}
static inline v4 load3(const float *p) {
    return vld1q_lane_f32(p + 2, load2(p), 2);
}
/* The compiler must not turn a walking pointer into many addresses. */
#define WALK(p) __asm__("" : "+r"(p))

#define E_1(X)  X(0)
#define E_2(X)  E_1(X) X(1)
#define E_3(X)  E_2(X) X(2)
#define E_4(X)  E_3(X) X(3)
#define E_5(X)  E_4(X) X(4)
#define E_6(X)  E_5(X) X(5)
#define E_7(X)  E_6(X) X(6)
#define E_8(X)  E_7(X) X(7)
#define E_9(X)  E_8(X) X(8)
#define E_10(X) E_9(X) X(9)
#define E_11(X) E_10(X) X(10)
#define E_12(X) E_11(X) X(11)

/* ---- Ends: x##r (and y##r) hold the sums of row r; row pointers come from ROW. ---- */

#define X_ALPHA(r) x##r = vmulq_f32(x##r, alpha);
#define Y_ALPHA(r) y##r = vmulq_f32(y##r, alpha);
#define X_ADD(r)   x##r = vaddq_f32(x##r, bias0);
#define Y_ADD(r)   y##r = vaddq_f32(y##r, bias1);
#define X_RELU(r)  x##r = vmaxq_f32(x##r, zero);
#define Y_RELU(r)  y##r = vmaxq_f32(y##r, zero);

/* Stores the last 4 - skip lanes. */
static inline void store_last(float *p, v4 v, unsigned skip) {
    if (skip == 0) {
        vst1q_f32(p, v);
    } else if (skip == 1) {
        vst1q_lane_f32(p + 1, v, 1);
        vst1_f32(p + 2, vget_high_f32(v));
    } else if (skip == 2) {
        vst1_f32(p + 2, vget_high_f32(v));
    } else {
        vst1q_lane_f32(p + 3, v, 3);
    }
}

/* ---- Column tiles ---- */

#define A_LOAD_1  q0 = load1(a);
#define A_LOAD_2  q0 = load2(a);
#define A_LOAD_3  q0 = load3(a);
#define A_LOAD_4  q0 = load4(a);
#define A_LOAD_5  A_LOAD_4 q1 = load1(a + 4);
#define A_LOAD_6  A_LOAD_4 q1 = load2(a + 4);
#define A_LOAD_7  A_LOAD_4 q1 = load3(a + 4);
#define A_LOAD_8  A_LOAD_4 q1 = load4(a + 4);
#define A_LOAD_9  A_LOAD_8 q2 = load1(a + 8);
#define A_LOAD_10 A_LOAD_8 q2 = load2(a + 8);
#define A_LOAD_11 A_LOAD_8 q2 = load3(a + 8);
#define A_LOAD_12 A_LOAD_8 q2 = load4(a + 8);
#define A_0       q0
#define A_1       q0
#define A_2       q0
#define A_3       q0
#define A_4       q1
#define A_5       q1
#define A_6       q1
#define A_7       q1
#define A_8       q2
#define A_9       q2
#define A_10      q2
#define A_11      q2

#define X_MUL(r) v4 x##r = vmulq_laneq_f32(b0, A_##r, (r) % 4);
#define Y_MUL(r) v4 y##r = vmulq_laneq_f32(b1, A_##r, (r) % 4);
#define X_FMA(r) x##r = vfmaq_laneq_f32(x##r, b0, A_##r, (r) % 4);
#define Y_FMA(r) y##r = vfmaq_laneq_f32(y##r, b1, A_##r, (r) % 4);

#define B_LOAD_2                                                                                   \
    b0 = load4(b);                                                                                 \
    b1 = load4(b + 4);
#define B_LOAD_1 b0 = load4(b);

/* The first product sets the sums; then the rest of the first run, and the other runs. */
#define K_STEP(LOADS, FMAS)                                                                        \
    a += a_step, b += b_step;                                                                      \
    WALK(a);                                                                                       \
    WALK(b);                                                                                       \
    LOADS FMAS
#ifdef TILE_IN_ORDER /* two at a time, for the compiler to load one while it adds the other */
#define K_RUN(LOADS, FMAS)                                                                         \
    if (n & 1) {                                                                                   \
        K_STEP(LOADS, FMAS)                                                                        \
    }                                                                                              \
    for (n >>= 1; n; n--) {                                                                        \
        K_STEP(LOADS, FMAS)                                                                        \
        K_STEP(LOADS, FMAS)                                                                        \
    }
#else /* unrolled, the compiler would run out of registers */
#define K_RUN(LOADS, FMAS)                                                                         \
    if (n) {                                                                                       \
        do {                                                                                       \
            K_STEP(LOADS, FMAS)                                                                    \
        } while (--n);                                                                             \
    }
#endif
#define K_LOOP(LOADS, FMAS)                                                                        \
    for (size_t run = runs, n = len - 1;;) {                                                       \
        K_RUN(LOADS, FMAS)                                                                         \
        if (--run == 0)                                                                            \
            break;                                                                                 \
        a_first += a_run, b_first += b_run;                                                        \
        a = a_first - a_step, b = b_first - b_step;                                                \
        n = len;                                                                                   \
    }

#define C_NEXT                                                                                     \
    c += ldc;                                                                                      \
    WALK(c);
#define C_STORE2(r)                                                                                \
    vst1q_f32(c, x##r);                                                                            \
    vst1q_f32(c + 4, y##r);                                                                        \
    C_NEXT
#define C_MIX2(r)                                                                                  \
    x##r = vfmaq_f32(vld1q_f32(c), x##r, alpha);                                                   \
    y##r = vfmaq_f32(vld1q_f32(c + 4), y##r, alpha);                                               \
    C_NEXT
#define C_INTO2(r)                                                                                 \
    {                                                                                              \
        v4 c0 = vld1q_f32(c), c1 = vld1q_f32(c + 4);                                               \
        c0 = vfmaq_f32(c0, x##r, alpha);                                                           \
        c1 = vfmaq_f32(c1, y##r, alpha);                                                           \
        vst1q_f32(c, c0);                                                                          \
        vst1q_f32(c + 4, c1);                                                                      \
    }                                                                                              \
    C_NEXT
#define C_STORE1(r)                                                                                \
    store_last(c, x##r, t->skip);                                                                  \
    C_NEXT
#define C_MIX1(r)                                                                                  \
    x##r = vfmaq_f32(vld1q_f32(c), x##r, alpha);                                                   \
    C_NEXT

/* Copies: through the pointer they would be read again after every store to C. */
#define C_LOCALS                                                                                   \
    const size_t a_step = t->a_step, b_step = t->b_step, ldc = t->ldc, a_run = t->a_run;           \
    const size_t b_run = t->b_run, runs = t->runs, len = t->len;                                   \
    const float *const a_at = t->a, *const bias_at = t->end.bias;                                  \
    const bool add = t->end.add, scaled = t->end.alpha != 1.0f;                                    \
    const enum kern_act act = t->end.act;                                                          \
    const bool into = add && !bias_at && act == KERN_ACT_NONE;                                     \
    (void)into;                                                                                    \
    const v4 alpha = vdupq_n_f32(t->end.alpha);
/* What becomes of a strip's sums; NEXT goes on to the next strip. */
#define C_END2(rows, NEXT)                                                                         \
    if (into) {                                                                                    \
        E_##rows(C_INTO2) NEXT continue;                                                           \
    }                                                                                              \
    if (add) {                                                                                     \
        E_##rows(C_MIX2) c = c_strip;                                                              \
    } else if (scaled) {                                                                           \
        E_##rows(X_ALPHA) E_##rows(Y_ALPHA)                                                        \
    }                                                                                              \
    if (bias) {                                                                                    \
        const v4 bias0 = vld1q_f32(bias), bias1 = vld1q_f32(bias + 4);                             \
        E_##rows(X_ADD) E_##rows(Y_ADD) bias += STRIP;                                             \
    }                                                                                              \
    const v4 zero = vdupq_n_f32(0.0f);                                                             \
    if (act == KERN_ACT_RELU) {                                                                    \
        E_##rows(X_RELU) E_##rows(Y_RELU)                                                          \
    }                                                                                              \
    E_##rows(C_STORE2) NEXT

#define CTILE(rows)                                                                                \
    static void TILE(ctile_##rows)(const struct neon_ctile *t) {                                   \
        C_LOCALS                                                                                   \
        const float *b_strip = t->b;                                                               \
        float *c_strip = t->c;                                                                     \
        const float *bias = bias_at;                                                               \
        for (size_t strips = t->strips; strips;                                                    \
             strips--, b_strip += t->b_strip, c_strip += STRIP) {                                  \
            const float *a_first = a_at, *b_first = b_strip, *a = a_first, *b = b_first;           \
            float *c = c_strip;                                                                    \
            v4 q0, q1, q2, b0, b1;                                                                 \
            q1 = q2 = vdupq_n_f32(0.0f);                                                           \
            (void)q1, (void)q2;                                                                    \
            A_LOAD_##rows B_LOAD_2 E_##rows(X_MUL) E_##rows(Y_MUL)                                 \
                K_LOOP(A_LOAD_##rows B_LOAD_2, E_##rows(X_FMA) E_##rows(Y_FMA)) C_END2(rows, )     \
        }                                                                                          \
    }                                                                                              \
    static void TILE(qtile_##rows)(const struct neon_ctile *t) {                                   \
        C_LOCALS                                                                                   \
        const float *a_first = a_at, *b_first = t->b, *a = a_first, *b = b_first;                  \
        float *c = t->c;                                                                           \
        v4 q0, q1, q2, b0;                                                                         \
        q1 = q2 = vdupq_n_f32(0.0f);                                                               \
        (void)q1, (void)q2;                                                                        \
        A_LOAD_##rows B_LOAD_1 E_##rows(X_MUL)                                                     \
            K_LOOP(A_LOAD_##rows B_LOAD_1, E_##rows(X_FMA)) if (add) {                             \
                                                                                                   \
            E_##rows(C_MIX1) c = t->c;                                                             \
        }                                                                                          \
        else if (scaled) {                                                                         \
            E_##rows(X_ALPHA)                                                                      \
        }                                                                                          \
        if (bias_at) {                                                                             \
            const v4 bias0 = vld1q_f32(bias_at);                                                   \
            E_##rows(X_ADD)                                                                        \
        }                                                                                          \
        const v4 zero = vdupq_n_f32(0.0f);                                                         \
        if (act == KERN_ACT_RELU) {                                                                \
            E_##rows(X_RELU)                                                                       \
        }                                                                                          \
        E_##rows(C_STORE1)                                                                         \
    }

CTILE(1)
CTILE(2)
CTILE(3)
CTILE(4)
CTILE(5)
CTILE(6)
CTILE(8)
#ifndef TILE_IN_ORDER
CTILE(10)
CTILE(12)
#endif

/* ---- Panel tiles: loads walk on by themselves ---- */

#ifdef TILE_IN_ORDER
#define LOAD_PAIR(low, high, p)                                                                    \
    low = load4(p), high = load4(p + 4);                                                           \
    p += 8;
#define LOAD_ONE(v, p)                                                                             \
    v = load4(p);                                                                                  \
    p += 4;
#define P_RUN(LOADS, FMAS)                                                                         \
    if (n & 1) {                                                                                   \
        LOADS FMAS                                                                                 \
    }                                                                                              \
    for (n >>= 1; n; n--) {                                                                        \
        LOADS FMAS LOADS FMAS WALK(a);                                                             \
        WALK(b);                                                                                   \
    }
#else
/* Volatile, or the compiler wants all of a step's at once. */
#define LOAD_PAIR(low, high, p)                                                                    \
    __asm__ volatile("ldp %q0, %q1, [%2], #32"                                                     \
                     : "=w"(low), "=w"(high), "+r"(p)                                              \
                     : "m"(*(const float(*)[8])(p)));
#define LOAD_ONE(v, p)                                                                             \
    __asm__ volatile("ldr %q0, [%1], #16" : "=w"(v), "+r"(p) : "m"(*(const float(*)[4])(p)));
#define P_RUN(LOADS, FMAS)                                                                         \
    if (n) {                                                                                       \
        do {                                                                                       \
            LOADS FMAS                                                                             \
        } while (--n);                                                                             \
    }
#endif
#define P_LOAD_4  LOAD_ONE(q0, a) LOAD_PAIR(b0, b1, b)
#define P_LOAD_5  LOAD_PAIR(q0, q1, a) LOAD_PAIR(b0, b1, b)
#define P_LOAD_6  P_LOAD_5
#define P_LOAD_8  P_LOAD_5
#define P_LOAD_10 LOAD_PAIR(q0, q1, a) LOAD_ONE(q2, a) LOAD_PAIR(b0, b1, b)
#define P_LOAD_12 P_LOAD_10

/* An update: rows of a panel lie one after the other. */
#ifdef TILE_IN_ORDER
#define P_INTO2(r)                                                                                 \
    {                                                                                              \
        v4 c0 = vld1q_f32(c + 8 * (r)), c1 = vld1q_f32(c + 8 * (r) + 4);                           \
        c0 = vfmaq_f32(c0, x##r, alpha);                                                           \
        c1 = vfmaq_f32(c1, y##r, alpha);                                                           \
        vst1q_f32(c + 8 * (r), c0);                                                                \
        vst1q_f32(c + 8 * (r) + 4, c1);                                                            \
    }
#else /* by pairs, which the compiler would break up */
#define P_INTO2(r)                                                                                 \
    {                                                                                              \
        v4 c0, c1;                                                                                 \
        __asm__ volatile("ldp %q0, %q1, [%2]"                                                      \
                         : "=w"(c0), "=w"(c1)                                                      \
                         : "r"(c), "m"(*(const float(*)[8])c));                                    \
        c0 = vfmaq_f32(c0, x##r, alpha);                                                           \
        c1 = vfmaq_f32(c1, y##r, alpha);                                                           \
        __asm__ volatile("stp %q1, %q2, [%0], #32" : "+r"(c) : "w"(c0), "w"(c1) : "memory");       \
    }
#endif
#define P_NEXT b_strip += t->b_strip, c_strip += t->c_strip;

#define PTILE(rows)                                                                                \
    static void TILE(ptile_##rows)(const struct neon_ctile *t) {                                   \
        const size_t b_jump = t->b_run - t->len * STRIP, ldc = t->ldc, len = t->len;               \
        const bool add = t->end.add, scaled = t->end.alpha != 1.0f;                                \
        const enum kern_act act = t->end.act;                                                      \
        const float *b_strip = t->b, *bias = t->end.bias;                                          \
        const bool into = add && !bias && act == KERN_ACT_NONE;                                    \
        const v4 alpha = vdupq_n_f32(t->end.alpha);                                                \
        float *c_strip = t->c;                                                                     \
        for (size_t strips = t->strips; strips; strips--) {                                        \
            const float *a = t->a, *b = b_strip;                                                   \
            float *c = c_strip;                                                                    \
            v4 q0, q1, q2, b0, b1;                                                                 \
            q1 = q2 = vdupq_n_f32(0.0f);                                                           \
            (void)q1, (void)q2;                                                                    \
            P_LOAD_##rows E_##rows(X_MUL)                                                          \
                E_##rows(Y_MUL) for (size_t run = t->runs, n = len - 1;;) {                        \
                P_RUN(P_LOAD_##rows, E_##rows(X_FMA) E_##rows(Y_FMA)) if (--run == 0) break;       \
                b += b_jump;                                                                       \
                n = len;                                                                           \
            }                                                                                      \
            if (into && ldc == STRIP) {                                                            \
                E_##rows(P_INTO2) P_NEXT continue;                                                 \
            }                                                                                      \
            C_END2(rows, P_NEXT)                                                                   \
        }                                                                                          \
    }

PTILE(4)
PTILE(5)
PTILE(6)
PTILE(8)
#ifndef TILE_IN_ORDER
PTILE(10)
PTILE(12)
#endif

/* ---- Row tiles ---- */

#define R_A(r)     const float *a##r = t->a[r];
#define R_ZERO2(r) v4 x##r = zero, y##r = zero;
#define R_ZERO1(r) v4 x##r = zero;
#define R_LOAD(r)  const v4 s##r = load4(a##r + at);
#define R_ONE2(r)                                                                                  \
    s = vld1q_dup_f32(a##r + at);                                                                  \
    x##r = vfmaq_f32(x##r, b0, s);                                                                 \
    y##r = vfmaq_f32(y##r, b1, s);
#define R_ONE1(r)                                                                                  \
    s = vld1q_dup_f32(a##r + at);                                                                  \
    x##r = vfmaq_f32(x##r, b0, s);
#define R_STORE2(r)                                                                                \
    vst1q_f32(t->c[r] + j, x##r);                                                                  \
    vst1q_f32(t->c[r] + j + 4, y##r);
#define R_STORE1(r) store_last(t->c[r], x##r, t->skip);

#define R_LOOP(rows, B_LOAD, FMA0, FMA1, FMA2, FMA3, ONE)                                          \
    for (size_t run = 0; run < t->runs; run++) {                                                   \
        const float *b = b_strip + run * t->b_run;                                                 \
        size_t at = run * t->a_run, n = t->len;                                                    \
        for (; n >= 4; n -= 4) {                                                                   \
            E_##rows(R_LOAD) at += 4;                                                              \
            B_LOAD b += b_step;                                                                    \
            E_##rows(FMA0) B_LOAD b += b_step;                                                     \
            E_##rows(FMA1) B_LOAD b += b_step;                                                     \
            E_##rows(FMA2) B_LOAD b += b_step;                                                     \
            E_##rows(FMA3)                                                                         \
        }                                                                                          \
        for (; n; n--, at++) {                                                                     \
            v4 s;                                                                                  \
            B_LOAD b += b_step;                                                                    \
            E_##rows(ONE)                                                                          \
        }                                                                                          \
    }
#define R_LANES2(r, lane)                                                                          \
    x##r = vfmaq_laneq_f32(x##r, b0, s##r, lane);                                                  \
    y##r = vfmaq_laneq_f32(y##r, b1, s##r, lane);
#define R_LANES1(r, lane) x##r = vfmaq_laneq_f32(x##r, b0, s##r, lane);
#define R_FMA2_0(r)       R_LANES2(r, 0)
#define R_FMA2_1(r)       R_LANES2(r, 1)
#define R_FMA2_2(r)       R_LANES2(r, 2)
#define R_FMA2_3(r)       R_LANES2(r, 3)
#define R_FMA1_0(r)       R_LANES1(r, 0)
#define R_FMA1_1(r)       R_LANES1(r, 1)
#define R_FMA1_2(r)       R_LANES1(r, 2)
#define R_FMA1_3(r)       R_LANES1(r, 3)

#define RTILE(rows)                                                                                \
    static void TILE(rtile_##rows)(const struct neon_rtile *t) {                                   \
        const size_t b_step = t->b_step;                                                           \
        const float *b_strip = t->b, *bias = t->end.bias;                                          \
        const v4 zero = vdupq_n_f32(0.0f);                                                         \
        E_##rows(R_A) for (size_t j = 0; j < t->strips * STRIP; j += STRIP, b_strip += STRIP) {    \
            v4 b0, b1;                                                                             \
            E_##rows(R_ZERO2)                                                                      \
                R_LOOP(rows, B_LOAD_2, R_FMA2_0, R_FMA2_1, R_FMA2_2, R_FMA2_3, R_ONE2) if (bias) { \
                const v4 bias0 = vld1q_f32(bias + j), bias1 = vld1q_f32(bias + j + 4);             \
                E_##rows(X_ADD) E_##rows(Y_ADD)                                                    \
            }                                                                                      \
            if (t->end.act == KERN_ACT_RELU) {                                                     \
                E_##rows(X_RELU) E_##rows(Y_RELU)                                                  \
            }                                                                                      \
            E_##rows(R_STORE2)                                                                     \
        }                                                                                          \
    }                                                                                              \
    static void TILE(rquarter_##rows)(const struct neon_rtile *t) {                                \
        const size_t b_step = t->b_step;                                                           \
        const float *b_strip = t->b;                                                               \
        const v4 zero = vdupq_n_f32(0.0f);                                                         \
        v4 b0;                                                                                     \
        E_##rows(R_A) E_##rows(R_ZERO1) R_LOOP(rows, B_LOAD_1, R_FMA1_0, R_FMA1_1, R_FMA1_2,       \
                                               R_FMA1_3, R_ONE1) if (t->end.bias) {                \
            const v4 bias0 = vld1q_f32(t->end.bias);                                               \
            E_##rows(X_ADD)                                                                        \
        }                                                                                          \
        if (t->end.act == KERN_ACT_RELU) {                                                         \
            E_##rows(X_RELU)                                                                       \
        }                                                                                          \
        E_##rows(R_STORE1)                                                                         \
    }

RTILE(1)
RTILE(2)
RTILE(4)
RTILE(8)

/* ---- Dot tiles ---- */

static inline v4 load_rest(const float *p, size_t n) {
    return n == 1 ? load1(p) : n == 2 ? load2(p) : load3(p);
}
#define D_A(i)    const float *a##i = t->a + (i)*t->lda;
#define D_ZERO(i) v4 s##i##0 = zero, s##i##1 = zero, s##i##2 = zero, s##i##3 = zero;
#define D_ROW(i, x, w0, w1, w2, w3)                                                                \
    s##i##0 = vfmaq_f32(s##i##0, x, w0);                                                           \
    s##i##1 = vfmaq_f32(s##i##1, x, w1);                                                           \
    s##i##2 = vfmaq_f32(s##i##2, x, w2);                                                           \
    s##i##3 = vfmaq_f32(s##i##3, x, w3);
/* Eight floats along k of four rows that follow each other in a panel. */
#ifdef TILE_IN_ORDER
#define D_PANEL_VECTORS v4 w0, w1, w2, w3, u0, u1, u2, u3;
#define D_PANEL                                                                                    \
    w0 = load4(panel), u0 = load4(panel + 4), w1 = load4(panel + 8), u1 = load4(panel + 12);       \
    w2 = load4(panel + 16), u2 = load4(panel + 20), w3 = load4(panel + 24);                        \
    u3 = load4(panel + 28);                                                                        \
    panel += panel_step;
#else /* one instruction for four vectors, which have to be neighbours */
#define D_PANEL_VECTORS                                                                            \
    register v4 w0 __asm__("v16");                                                                 \
    register v4 u0 __asm__("v17");                                                                 \
    register v4 w1 __asm__("v18");                                                                 \
    register v4 u1 __asm__("v19");                                                                 \
    register v4 w2 __asm__("v20");                                                                 \
    register v4 u2 __asm__("v21");                                                                 \
    register v4 w3 __asm__("v22");                                                                 \
    register v4 u3 __asm__("v23");
#define D_PANEL                                                                                    \
    __asm__ volatile("ld1 {%0.4s, %1.4s, %2.4s, %3.4s}, [%4], #64"                                 \
                     : "=w"(w0), "=w"(u0), "=w"(w1), "=w"(u1), "+r"(panel)                         \
                     : "m"(*(const float(*)[16])panel));                                           \
    __asm__ volatile("ld1 {%0.4s, %1.4s, %2.4s, %3.4s}, [%4], %5"                                  \
                     : "=w"(w2), "=w"(u2), "=w"(w3), "=w"(u3), "+r"(panel)                         \
                     : "r"(panel_jump), "m"(*(const float(*)[16])panel));
#endif
#define D_TWO(i)                                                                                   \
    LOAD_PAIR(x, z, a##i)                                                                          \
    D_ROW(i, x, w0, w1, w2, w3)                                                                    \
    D_ROW(i, z, u0, u1, u2, u3)
#define D_ONE(i)                                                                                   \
    x = load4(a##i);                                                                               \
    a##i += 4;                                                                                     \
    D_ROW(i, x, w0, w1, w2, w3)
#define D_REST(i)                                                                                  \
    x = load_rest(a##i, k);                                                                        \
    D_ROW(i, x, w0, w1, w2, w3)
#define D_END(i)                                                                                   \
    x = vpaddq_f32(vpaddq_f32(s##i##0, s##i##1), vpaddq_f32(s##i##2, s##i##3));                    \
    x = vmulq_f32(x, alpha);                                                                       \
    if (t->add)                                                                                    \
        x = vaddq_f32(x, vld1q_f32(c));                                                            \
    store_last(c, x, t->skip);                                                                     \
    c += t->ldc;

#define DTILE(rows)                                                                                \
    static void TILE(dot_##rows)(const struct neon_dtile *t) {                                     \
        const size_t panel_step = t->panel_step;                                                   \
        const size_t panel_jump = (panel_step - 16) * sizeof(float);                               \
        (void)panel_jump;                                                                          \
        const float *panel = t->panel;                                                             \
        const v4 zero = vdupq_n_f32(0.0f);                                                         \
        v4 x, z;                                                                                   \
        size_t k = t->len;                                                                         \
        E_##rows(D_A) E_##rows(D_ZERO) for (size_t panels = t->panels; panels; panels--) {         \
            D_PANEL_VECTORS                                                                        \
            D_PANEL E_##rows(D_TWO)                                                                \
        }                                                                                          \
        const float *b0 = t->b, *b1 = b0 + t->ldb, *b2 = b1 + t->ldb, *b3 = b2 + t->ldb;           \
        for (; k >= 8; k -= 8) {                                                                   \
            v4 w0, w1, w2, w3, u0, u1, u2, u3;                                                     \
            LOAD_PAIR(w0, u0, b0)                                                                  \
            LOAD_PAIR(w1, u1, b1)                                                                  \
            LOAD_PAIR(w2, u2, b2)                                                                  \
            LOAD_PAIR(w3, u3, b3)                                                                  \
            E_##rows(D_TWO)                                                                        \
        }                                                                                          \
        if (k >= 4) {                                                                              \
            const v4 w0 = load4(b0), w1 = load4(b1), w2 = load4(b2), w3 = load4(b3);               \
            b0 += 4, b1 += 4, b2 += 4, b3 += 4;                                                    \
            k -= 4;                                                                                \
            E_##rows(D_ONE)                                                                        \
        }                                                                                          \
        if (k) {                                                                                   \
            const v4 w0 = load_rest(b0, k), w1 = load_rest(b1, k), w2 = load_rest(b2, k),          \
                     w3 = load_rest(b3, k);                                                        \
            E_##rows(D_REST)                                                                       \
        }                                                                                          \
        const v4 alpha = vdupq_n_f32(t->alpha);                                                    \
        float *c = t->c;                                                                           \
        E_##rows(D_END)(void) z;                                                                   \
    }

DTILE(1)
DTILE(2)
DTILE(4)
DTILE(5)

const struct neon_tiles TILE(neon_tiles) = {
    .strip = {[1] = TILE(ctile_1),
              [2] = TILE(ctile_2),
              [3] = TILE(ctile_3),
              [4] = TILE(ctile_4),
              [5] = TILE(ctile_5),
              [6] = TILE(ctile_6),
              [8] = TILE(ctile_8),
#ifndef TILE_IN_ORDER
              [10] = TILE(ctile_10),
              [12] = TILE(ctile_12)
#endif
    },
    .panel = {[4] = TILE(ptile_4),
              [5] = TILE(ptile_5),
              [6] = TILE(ptile_6),
              [8] = TILE(ptile_8),
#ifndef TILE_IN_ORDER
              [10] = TILE(ptile_10),
              [12] = TILE(ptile_12)
#endif
    },
    .quarter = {[1] = TILE(qtile_1),
                [2] = TILE(qtile_2),
                [3] = TILE(qtile_3),
                [4] = TILE(qtile_4),
                [5] = TILE(qtile_5),
                [6] = TILE(qtile_6),
                [8] = TILE(qtile_8),
#ifndef TILE_IN_ORDER
                [10] = TILE(qtile_10),
                [12] = TILE(qtile_12)
#endif
    },
    .rows_strip =
        {[1] = TILE(rtile_1), [2] = TILE(rtile_2), [4] = TILE(rtile_4), [8] = TILE(rtile_8)},
    .rows_quarter = {[1] = TILE(rquarter_1),
                     [2] = TILE(rquarter_2),
                     [4] = TILE(rquarter_4),
                     [8] = TILE(rquarter_8)},
    .dot = {[1] = TILE(dot_1), [2] = TILE(dot_2), [4] = TILE(dot_4), [5] = TILE(dot_5)},
};
