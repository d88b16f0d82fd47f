/* What the products of the NEON backend share. */
#ifndef SOTTO_KERN_NEON_PRODUCT_H
#define SOTTO_KERN_NEON_PRODUCT_H

#include "neon/tile.h"

#if defined(__aarch64__)

/* A product as the loops see it: B is [k][n] (or [n][k] for dot tiles), beta is 0 or 1 (add). */
struct neon_product {
    const float *a, *b, *bias;
    float *c;
    size_t m, n, k;
    bool trans_a, add;
    float alpha;
    enum kern_act act;
    float slope;
};

/* How many of left rows the next column tile takes. */
unsigned neon_rows(const struct neon_tiles *tiles, size_t left);
/* rows rows times n >= 4 columns: whole strips, then quarters. Sets strips, b_strip, skip. */
void neon_columns(const struct neon_tiles *tiles, const struct neon_ctile *whole, unsigned rows,
                  size_t n);
/* How many of left rows the next dot tile takes. */
unsigned neon_dot_rows(size_t left);
/* [len][step] from rows rows of A (row r at a + r lda), step a multiple of 4; lanes past the rows
 * hold the last row again. */
void neon_pack_rows(const float *a, size_t lda, unsigned rows, size_t len, float *dst, size_t step);
/* Even parts of whole, none longer than most. */
size_t neon_even_part(size_t whole, size_t most);
/* What becomes of the sums over k in [k0, k0 + len) of a product. */
void neon_end_of(const struct neon_product *g, size_t k0, size_t len, struct neon_end *end);

/* Products with weights in panels (src/panels.h): B of a plain product, B of one that is
 * transposed (without bias and activation), C of one without either. */
void neon_panels_forward(const struct neon_product *g, float *scratch);
void neon_panels_dots(const struct neon_product *g);
void neon_panels_update(const struct neon_product *g, float *scratch);
size_t neon_panels_update_scratch(void); /* the largest of them */

/* c[m][n] = act(c + bias), bias may be NULL: the end of products whose tiles make plain sums. */
void neon_add_bias_act(const struct kern_gemm *g, const float *bias, float *c);

/* How this processor multiplies integers. */
enum neon_i8 { NEON_I8_WIDE, NEON_I8_DOT, NEON_I8_MATRIX };
enum neon_i8 neon_i8_way(void);
/* More than half of the elements are 0. */
bool neon_mostly_zero(const float *x, size_t n);

kern_fn neon_gemm, neon_gemm_w8, neon_gemm_i8, neon_gemm_bf16, neon_gemm_f16;
kern_scratch_fn neon_gemm_scratch, neon_gemm_w8_scratch, neon_gemm_i8_scratch,
    neon_gemm_bf16_scratch, neon_gemm_f16_scratch;
/* Forward products with ten columns: 4 KiB of scratch. The pass of neon_act_pass is the caller's.
 */
bool neon_gemm_is_ten(const struct kern_gemm *g);
void neon_gemm_ten(const struct neon_product *g, float *scratch);
/* Convolutions in groups: forward of images, at least 4 output channels, act NONE or RELU; both
 * backwards with scratches; dw = scale sum + beta dw. */
void neon_groups_forward(const struct kern_conv *v, uint32_t images, const float *x, const float *w,
                         const float *bias, enum kern_act act, float *y);
size_t neon_groups_dx_scratch(const struct kern_conv *v);
void neon_groups_dx(const struct kern_conv *v, const float *dy, const float *w, float *dx,
                    float *turned);
void neon_groups_dw(const struct kern_conv *v, const float *x, const float *dy, float scale,
                    float beta, float *dw, float *sums);
size_t neon_groups_dw_scratch(const struct kern_conv *v);

kern_fn neon_conv2d, neon_conv2d_pool, neon_conv2d_dx, neon_conv2d_dw;
kern_scratch_fn neon_conv2d_scratch, neon_conv2d_pool_scratch, neon_conv2d_dx_scratch,
    neon_conv2d_dw_scratch;

#endif
#endif
