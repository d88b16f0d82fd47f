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
uint32_t quant_channels(const struct layout_segment *s); /* the last dimension: scales of int8 */

/* A segment as it lies in a package's bytes, at any address. */
struct quant_tensor {
    enum quant_form form;
    const uint8_t *bytes; /* values or codes; of int4 blocks with their scales */
    const float *scales;  /* of int8: one a channel */
};
/* Reads quant_bytes and checks every value; a broken one fails the reader, which names it. Of int8
 * the scales are written to scales[channels]; out points at them and into the reader's bytes. */
void quant_check(const struct layout_segment *s, enum quant_form form, struct reader *r,
                 float *scales, struct quant_tensor *out);
/* Values first to first + count of a checked tensor into w. w may be its scales when
 * first is 0 and count one row at most. */
void quant_unpack(const struct layout_segment *s, const struct quant_tensor *t, uint32_t first,
                  uint32_t count, float *w);
/* Both at once: quant_bytes into w. */
void quant_get(const struct layout_segment *s, enum quant_form form, struct reader *r, float *w);

/* The tensors of an opened package, one a segment. */
struct package_tensors {
    float *scales; /* of all int8 segments, side by side */
    struct quant_tensor of[];
};

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
