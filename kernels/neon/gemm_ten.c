/* Forward products with ten columns, the classes of most models here: two vectors and a half. The
 * first eight columns are summed as by a row tile, rows of A by lane; the last two along k, four
 * partial sums each, added up at the end. Up to five rows at a time, 10 and 10 sums, nothing of A
 * is copied; the two last columns of B are, once for all rows. */
#if defined(__aarch64__)
#include <arm_neon.h>

#include "neon/product.h"

#define TEN     10
#define K_BLOCK 512 /* two columns of it take 4 KiB of scratch */

typedef float32x4_t v4;

/* last[2][K_BLOCK]: columns 8 and 9 of B's rows, whole fours of them; the rest is read from B. */
static void turn_columns(const float *b, size_t len, float *last) {
    for (size_t k = 0; k + 4 <= len; k += 4, b += 4 * TEN) {
        const v4 low = vcombine_f32(vld1_f32(b + 8), vld1_f32(b + TEN + 8));
        const v4 high = vcombine_f32(vld1_f32(b + 2 * TEN + 8), vld1_f32(b + 3 * TEN + 8));
        vst1q_f32(last + k, vuzp1q_f32(low, high));
        vst1q_f32(last + K_BLOCK + k, vuzp2q_f32(low, high));
    }
}

struct ten {
    const float *a, *b, *last;
    size_t lda, len;
    float *c;
    struct neon_end end;
};

#define LANE(i)                                                                                    \
    b0 = vld1q_f32(b), b1 = vld1q_f32(b + 4);                                                      \
    b += TEN;                                                                                      \
    for (size_t r = 0; r < rows; r++) {                                                            \
        x[r] = vfmaq_laneq_f32(x[r], b0, s[r], i);                                                 \
        y[r] = vfmaq_laneq_f32(y[r], b1, s[r], i);                                                 \
    }
static inline __attribute__((always_inline)) void ten_rows(const struct ten *t, size_t rows) {
    const float *b = t->b, *last = t->last, *a[5];
    v4 x[5], y[5], u[5], w[5], s[5], b0, b1;
    float rest[5][2] = {{0}};
    size_t k = t->len;
    for (size_t r = 0; r < rows; r++) {
        a[r] = t->a + r * t->lda;
        x[r] = y[r] = u[r] = w[r] = vdupq_n_f32(0.0f);
    }
    for (; k >= 4; k -= 4, last += 4) {
        const v4 l0 = vld1q_f32(last), l1 = vld1q_f32(last + K_BLOCK);
        for (size_t r = 0; r < rows; r++) {
            s[r] = vld1q_f32(a[r]);
            a[r] += 4;
            u[r] = vfmaq_f32(u[r], s[r], l0);
            w[r] = vfmaq_f32(w[r], s[r], l1);
        }
        LANE(0)
        LANE(1)
        LANE(2)
        LANE(3)
    }
    for (; k; k--, b += TEN)
        for (size_t r = 0; r < rows; r++) {
            const float v = *a[r]++;
            x[r] = vfmaq_n_f32(x[r], vld1q_f32(b), v);
            y[r] = vfmaq_n_f32(y[r], vld1q_f32(b + 4), v);
            rest[r][0] += v * b[8];
            rest[r][1] += v * b[9];
        }
    for (size_t r = 0; r < rows; r++) {
        float *c = t->c + r * TEN;
        const float32x2_t along = vpadd_f32(vadd_f32(vget_low_f32(u[r]), vget_high_f32(u[r])),
                                            vadd_f32(vget_low_f32(w[r]), vget_high_f32(w[r])));
        v4 z = vcombine_f32(vadd_f32(along, vld1_f32(rest[r])), vdup_n_f32(0.0f));
        v4 p = vmulq_n_f32(x[r], t->end.alpha), q = vmulq_n_f32(y[r], t->end.alpha);
        z = vmulq_n_f32(z, t->end.alpha);
        if (t->end.add) {
            p = vaddq_f32(p, vld1q_f32(c)), q = vaddq_f32(q, vld1q_f32(c + 4));
            z = vaddq_f32(z, vcombine_f32(vld1_f32(c + 8), vdup_n_f32(0.0f)));
        }
        if (t->end.bias) {
            p = vaddq_f32(p, vld1q_f32(t->end.bias)), q = vaddq_f32(q, vld1q_f32(t->end.bias + 4));
            z = vaddq_f32(z, vcombine_f32(vld1_f32(t->end.bias + 8), vdup_n_f32(0.0f)));
        }
        if (t->end.act == KERN_ACT_RELU) {
            const v4 zero = vdupq_n_f32(0.0f);
            p = vmaxq_f32(p, zero), q = vmaxq_f32(q, zero), z = vmaxq_f32(z, zero);
        }
        vst1q_f32(c, p);
        vst1q_f32(c + 4, q);
        vst1_f32(c + 8, vget_low_f32(z));
    }
}
static void ten_5(const struct ten *t) {
    ten_rows(t, 5);
}
static void ten_2(const struct ten *t) {
    ten_rows(t, 2);
}
static void ten_1(const struct ten *t) {
    ten_rows(t, 1);
}

bool neon_gemm_is_ten(const struct kern_gemm *g) {
    return g->n == TEN && !g->trans_a && !g->trans_b;
}

void neon_gemm_ten(const struct neon_product *g, float *last) {
    for (size_t k0 = 0; k0 < g->k; k0 += K_BLOCK) {
        struct ten t = {.b = g->b + k0 * TEN, .last = last, .lda = g->k};
        t.len = g->k - k0 < K_BLOCK ? g->k - k0 : K_BLOCK;
        neon_end_of(g, k0, t.len, &t.end);
        turn_columns(t.b, t.len, last);
        for (size_t i = 0, rows; i < g->m; i += rows) {
            rows = g->m - i >= 5 ? 5 : g->m - i >= 2 ? 2 : 1;
            t.a = g->a + i * g->k + k0;
            t.c = g->c + i * TEN;
            if (rows == 5)
                ten_5(&t);
            else if (rows == 2)
                ten_2(&t);
            else
                ten_1(&t);
        }
    }
}
#else
typedef int kern_neon_gemm_ten_is_for_arm;
#endif
