/* What the tiles for products of halves share: their shape and how operands are packed. */
#ifndef SOTTO_KERN_NEON_F16_H
#define SOTTO_KERN_NEON_F16_H

#include "neon/product.h"

#if defined(__aarch64__)
#include <arm_neon.h>

#define F16_COLUMNS 8
#define F16_ROWS    12 /* of a tile, at most */

/* rows <= the tile's rows of A ([k][tile's rows]) by columns <= 8 of B ([k][8]); stored, or added
 * to c. */
struct f16_tile {
    const float16_t *a, *b;
    size_t len, rows, columns;
    float *c;
    size_t ldc;
    bool add;
};
typedef void f16_tile_fn(const struct f16_tile *t);

/* By rows of the tile: 4, 8 and perhaps 12. Every way converts what is exact and then multiplies
 * and adds in one rounding of fp32, in the order of k: the same bits. */
struct f16_way {
    f16_tile_fn *tile[F16_ROWS / 4 + 1];
};
/* The sums of a tile at an edge. */
void neon_f16_put(const struct f16_tile *t, float sums[][F16_COLUMNS]);
extern const struct f16_way neon_f16_wide, neon_f16_small, neon_f16_fhm;
/* This processor's. */
const struct f16_way *neon_f16_way(void);

#endif
#endif
