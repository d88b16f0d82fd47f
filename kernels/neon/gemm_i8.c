/* Exact products of int8 by NEON: a tile of 8 x 8 sums, in one of three ways by what the processor
 * has. Packed operands, k in groups of G (zeros past its end):
 * - smlal (any processor): both widened to 16 bits, G = 1, one multiplier by lane;
 * - sdot (dot products, A55, A76 and later): G = 4, four products a lane;
 * - smmla (int8 matrix products, A510, A710 and later): G = 8, 2 x 8 by 8 x 2.
 * Sums of 32 bits never overflow (kernels.h), so every way gives the same bits. */
#if defined(__aarch64__)
#include "neon/i8.h"

#define K_BLOCK 512
#define M_BLOCK 128

/* ---- smlal ---- */

#define WIDE(r)                                                                                    \
    x##r = vmlal_laneq_s16(x##r, vget_low_s16(vb), va, r);                                         \
    y##r = vmlal_high_laneq_s16(y##r, vb, va, r);
static void tile_wide(const int8_t *a, const int8_t *b, size_t groups, int32_t sums[TILE][TILE]) {
    ROWS(ZERO)
#pragma GCC unroll 2
    for (; groups; groups--, a += 16, b += 16) {
        const int16x8_t va = vreinterpretq_s16_s8(vld1q_s8(a));
        const int16x8_t vb = vreinterpretq_s16_s8(vld1q_s8(b));
        ROWS(WIDE)
    }
    ROWS(STORE)
}

static void pack_b_wide(const int8_t *b, size_t ldb, size_t columns, size_t len, int8_t *dst) {
    for (; len; len--, b += ldb, dst += 16)
        vst1q_s8(dst, vreinterpretq_s8_s16(vmovl_s8(load_columns(b, columns))));
}

static void pack_a_wide(const int8_t *a, size_t lda, size_t rows, size_t len, int8_t *dst) {
    for (size_t k = 0; k < len; k++, dst += 16)
        for (size_t r = 0; r < TILE; r++) {
            const int16_t v = r < rows ? a[r * lda + k] : 0;
            memcpy(dst + 2 * r, &v, 2);
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
    return (M_BLOCK + TILE) * (size_t)K_BLOCK * 2;
}

static void put_sums(int32_t sums[TILE][TILE], size_t rows, size_t columns, bool add, int32_t *c,
                     size_t ldc) {
    for (size_t r = 0; r < rows; r++, c += ldc) {
        if (columns == TILE) {
            int32x4_t x = vld1q_s32(sums[r]), y = vld1q_s32(sums[r] + 4);
            if (add)
                x = vaddq_s32(x, vld1q_s32(c)), y = vaddq_s32(y, vld1q_s32(c + 4));
            vst1q_s32(c, x);
            vst1q_s32(c + 4, y);
            continue;
        }
        for (size_t j = 0; j < columns; j++)
            c[j] = sums[r][j] + (add ? c[j] : 0);
    }
}

void neon_gemm_i8(const struct kern_ctx *ctx, const struct kern_instr *in) {
    const struct kern_gemm *g = &in->u.gemm;
    const int8_t *a = kern_ptr(ctx, in, 0), *b = kern_ptr(ctx, in, 1);
    int32_t *c = kern_ptr(ctx, in, 2);
    const struct i8_way *way = ways[neon_i8_way()];
    int8_t *strip = (int8_t *)ctx->scratch, *panels = strip + (size_t)K_BLOCK * TILE * 2;
    for (size_t k0 = 0; k0 < g->k; k0 += K_BLOCK) {
        const size_t len = g->k - k0 < K_BLOCK ? g->k - k0 : K_BLOCK;
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
                    int32_t sums[TILE][TILE];
                    way->tile(panels + i / TILE * panel, strip, groups, sums);
                    put_sums(sums, rows - i < TILE ? rows - i : TILE, columns, k0 > 0,
                             c + (i0 + i) * g->n + j, g->n);
                }
            }
        }
    }
}
#else
typedef int kern_neon_gemm_i8_is_for_arm;
#endif
