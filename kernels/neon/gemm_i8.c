/* Exact products of int8 by NEON: a tile of 8 x 8 sums, in one of three ways by what the processor
 * has. Packed operands, k in groups of G (zeros past its end):
 * - smlal (any processor): both widened to 16 bits, G = 1, one multiplier by lane;
 * - sdot (dot products, A55, A76 and later): G = 4, four products a lane;
 * - smmla (int8 matrix products, A510, A710 and later): G = 8, 2 x 8 by 8 x 2.
 * Sums of 32 bits never overflow (kernels.h), so every way gives the same bits. */
#if defined(__aarch64__)
#include "neon/i8.h"

#define K_BYTES 1024 /* of a packed row at a time: a panel and a strip stay in L1 */
#define M_BLOCK 256

/* ---- smlal ---- */

#define WIDE(r)                                                                                    \
    x##r = vmlal_laneq_s16(x##r, vget_low_s16(vb), va, r);                                         \
    y##r = vmlal_high_laneq_s16(y##r, vb, va, r);
static void tile_wide(const int8_t *a, const int8_t *b, size_t groups, const struct i8_place *to) {
    ROWS(ZERO)
#pragma GCC unroll 4
    for (; groups; groups--, a += 16, b += 16) {
        const int16x8_t va = vreinterpretq_s16_s8(vld1q_s8(a));
        const int16x8_t vb = vreinterpretq_s16_s8(vld1q_s8(b));
        ROWS(WIDE)
    }
    PUT_TILE(ROWS_AS)
}

static void pack_b_wide(const int8_t *b, size_t ldb, size_t columns, size_t len, int8_t *dst) {
#pragma GCC unroll 4
    for (; columns == TILE && len; len--, b += ldb, dst += 16)
        vst1q_s8(dst, vreinterpretq_s8_s16(vmovl_s8(vld1_s8(b))));
    for (; len; len--, b += ldb, dst += 16)
        vst1q_s8(dst, vreinterpretq_s8_s16(vmovl_s8(load_columns(b, columns))));
}

/* Eight bytes of eight rows turned round and widened. */
static void turn_wide(const int8_t *a, size_t lda, int8_t *dst) {
    int8x16_t r[8], s[4], t[4];
    for (size_t i = 0; i < 8; i++)
        r[i] = vcombine_s8(vld1_s8(a + i * lda), vdup_n_s8(0));
    for (size_t i = 0; i < 4; i++)
        s[i] = vzip1q_s8(r[i], r[i + 4]);
    t[0] = vzip1q_s8(s[0], s[2]), t[1] = vzip2q_s8(s[0], s[2]);
    t[2] = vzip1q_s8(s[1], s[3]), t[3] = vzip2q_s8(s[1], s[3]);
    for (size_t i = 0; i < 2; i++, dst += 64) {
        const int8x16_t low = vzip1q_s8(t[i], t[i + 2]), high = vzip2q_s8(t[i], t[i + 2]);
        vst1q_s8(dst, vreinterpretq_s8_s16(vmovl_s8(vget_low_s8(low))));
        vst1q_s8(dst + 16, vreinterpretq_s8_s16(vmovl_high_s8(low)));
        vst1q_s8(dst + 32, vreinterpretq_s8_s16(vmovl_s8(vget_low_s8(high))));
        vst1q_s8(dst + 48, vreinterpretq_s8_s16(vmovl_high_s8(high)));
    }
}

static void pack_a_wide(const int8_t *a, size_t lda, size_t rows, size_t len, int8_t *dst) {
    size_t k = 0;
    for (; rows == TILE && k + 8 <= len; k += 8, dst += 128)
        turn_wide(a + k, lda, dst);
    for (; k < len; k++, dst += 16)
        for (size_t r = 0; r < TILE; r++) {
            const int16_t v = r < rows ? a[r * lda + k] : 0;
            memcpy(dst + 2 * r, &v, 2);
        }
}

void neon_i8_put(const struct i8_place *to, int32_t sums[TILE][TILE]) {
    for (size_t r = 0; r < to->rows; r++)
        for (size_t j = 0; j < to->columns; j++) {
            int32_t *c = &to->c[r * to->ldc + j];
            *c = sums[r][j] + (to->add ? *c : 0);
        }
}

static const struct i8_way by_smlal = {1, 2, tile_wide, pack_a_wide, pack_b_wide};
static const struct i8_way *const ways[] = {
    [NEON_I8_WIDE] = &by_smlal,
    [NEON_I8_DOT] = &neon_i8_dot,
    [NEON_I8_MATRIX] = &neon_i8_matrix,
};

size_t neon_gemm_i8_scratch(const struct kern_instr *in) {
    (void)in;
    return (M_BLOCK + TILE) * (size_t)K_BYTES;
}

void neon_gemm_i8(const struct kern_ctx *ctx, const struct kern_instr *in) {
    const struct kern_gemm *g = &in->u.gemm;
    const int8_t *a = kern_ptr(ctx, in, 0), *b = kern_ptr(ctx, in, 1);
    int32_t *c = kern_ptr(ctx, in, 2);
    const struct i8_way *way = ways[neon_i8_way()];
    int8_t *strip = (int8_t *)ctx->scratch, *panels = strip + (size_t)K_BYTES * TILE;
    const size_t block = K_BYTES / way->bytes;
    for (size_t k0 = 0; k0 < g->k; k0 += block) {
        const size_t len = g->k - k0 < block ? g->k - k0 : block;
        const size_t groups = (len + way->group - 1) / way->group;
        const size_t panel = groups * way->group * TILE * way->bytes;
        for (size_t i0 = 0; i0 < g->m; i0 += M_BLOCK) {
            const size_t rows = g->m - i0 < M_BLOCK ? g->m - i0 : M_BLOCK;
            for (size_t i = 0; i < rows; i += TILE)
                way->pack_a(a + (i0 + i) * g->k + k0, g->k, rows - i < TILE ? rows - i : TILE, len,
                            panels + i / TILE * panel);
            for (size_t j = 0; j < g->n; j += TILE) {
                const size_t columns = g->n - j < TILE ? g->n - j : TILE;
                way->pack_b(b + k0 * g->n + j, g->n, columns, len, strip);
                for (size_t i = 0; i < rows; i += TILE) {
                    const struct i8_place to = {c + (i0 + i) * g->n + j, g->n,
                                                rows - i < TILE ? rows - i : TILE, columns, k0 > 0};
                    way->tile(panels + i / TILE * panel, strip, groups, &to);
                }
            }
        }
    }
}
#else
typedef int kern_neon_gemm_i8_is_for_arm;
#endif
