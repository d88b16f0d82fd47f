/* Private to package/: tensors as bytes in each precision. */
#ifndef SOTTO_PACKAGE_INT_H
#define SOTTO_PACKAGE_INT_H

#include "sotto/model/package.h"

#define QUANT_BLOCK 32u /* weights that share a scale in int4 */

enum quant_form { QUANT_F32, QUANT_I8, QUANT_I4 };

/* How a segment of the layout is stored: biases always fp32, the first and the last weight int8
 * even in int4 packages. */
enum quant_form quant_form_of(const struct layout *l, uint32_t segment,
                              enum package_precision precision);
/* Exact bytes of a segment in a form. */
uint64_t quant_bytes(const struct layout_segment *s, enum quant_form form);
/* Appends the segment's values w (count, finite) to out. INVALID when a value is too large for the
 * form. */
enum sotto_status quant_put(const struct layout_segment *s, enum quant_form form, const float *w,
                            struct buf *out, struct sotto_error *err);
/* Reads quant_bytes into w; a broken value fails the reader, which names it. */
void quant_get(const struct layout_segment *s, enum quant_form form, struct reader *r, float *w);

/* extra.c: the extras behind the tensors, count first. */
enum sotto_status extras_put(const struct layout *l, const struct package_extra *extras,
                             uint32_t count, struct buf *out, struct sotto_error *err);
/* Into p->extras; p owns what was read, also after an error. */
enum sotto_status extras_get(struct package *p, struct reader *r, struct sotto_error *err);
void extras_deinit(struct package *p);

/* IEEE half precision, nearest, ties to even; overflow gives infinity. */
uint16_t quant_half_from(float v);
float quant_half_to(uint16_t h);

#endif
