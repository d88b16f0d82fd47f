/* The model package: graph, layout, schema and quantized tensors in one content-addressed file;
 * deltas between two. */
#ifndef SOTTO_MODEL_PACKAGE_H
#define SOTTO_MODEL_PACKAGE_H

#include "sotto/model/data.h"
#include "sotto/model/graph.h"

#define PACKAGE_BYTES_MAX ((size_t)512 << 20)

enum package_precision {
    PACKAGE_F32 = 0,
    PACKAGE_I8 =
        1, /* weights int8 per output channel (max-abs/127, nearest, ties to even), biases fp32 */
    PACKAGE_I4 = 2, /* weights int4 in blocks of 32 with an fp16 scale; first and last layer int8 */
};

/* What a strategy or a pipeline sends along beside the weights: an array in the order of the
 * layout, at a precision of its own, under a name. */
#define PACKAGE_EXTRAS_MAX 4
enum package_form {
    PACKAGE_FORM_F32 = 0,
    PACKAGE_FORM_I8 = 1,   /* as the weights of PACKAGE_I8 */
    PACKAGE_FORM_BITS = 2, /* one bit a coordinate */
};
struct package_extra {
    char name[16]; /* "control"; not empty, printable */
    enum package_form form;
    float *values; /* F32, I8: layout.total values; else NULL */
    uint8_t *bits; /* BITS: (layout.total + 7) / 8 bytes, the lowest bit first; else NULL */
};
#define PACKAGE_CONTROL "control" /* SCAFFOLD's server control variate */
#define PACKAGE_SUPPORT "support" /* bits: the coordinates that updates under masks send */

struct package {
    struct graph graph;
    struct data_schema schema;
    enum package_precision precision;
    float *params; /* graph.layout.total values, dequantized: what every device computes with; NULL
                      after package_open */
    struct package_tensors *tensors; /* after package_open: the weights as they lie in the bytes;
                                        else NULL */
    uint32_t extra_count;
    struct package_extra extras[PACKAGE_EXTRAS_MAX];
};

/* Appends the package's bytes to out. params are the fp32 master's; not finite: INVALID. The same
 * input gives the same bytes. */
enum sotto_status package_encode(const struct graph *g, const struct data_schema *schema,
                                 const float *params, enum package_precision precision,
                                 struct buf *out, struct sotto_error *err);
/* The same with extras, in this order; names differ. Values that are not finite and bits past the
 * last coordinate: INVALID. Without any it is package_encode. */
enum sotto_status package_encode_extras(const struct graph *g, const struct data_schema *schema,
                                        const float *params, enum package_precision precision,
                                        const struct package_extra *extras, uint32_t count,
                                        struct buf *out, struct sotto_error *err);
/* NULL: the package has none of that name. */
const struct package_extra *package_extra_find(const struct package *p, const char *name);
/* Checks everything (caps, shapes, finite scales, exact length). out is deinited by the caller,
 * also after an error. */
enum sotto_status package_decode(struct view bytes, struct package *out, struct sotto_error *err);
/* The same without unpacking: params stays NULL, and the weights stay in bytes, which must not
 * change or go before package_drop_weights or package_deinit. What unpacks them later cannot fail.
 */
enum sotto_status package_open(struct view bytes, struct package *out, struct sotto_error *err);
/* Coordinates first to first + count of the layout, dequantized into out: with package_open
 * straight from the bytes. Any part gives the values that package_decode does. */
void package_unpack(const struct package *p, uint32_t first, uint32_t count, float *out);
/* values -= weights, layout.total of them, without a dequantized copy of the weights. */
void package_subtract(const struct package *p, float *values);
/* A segment that lies in an opened package as int8: count codes, in the layout's order, and a scale
 * for each index of its last dimension; weight = scale * code. False for another form. */
bool package_int8(const struct package *p, uint32_t segment, const int8_t **codes,
                  const float **scales);
/* Lets go of weights and bytes; graph, schema and extras stay. */
void package_drop_weights(struct package *p);
void package_deinit(struct package *p);
/* delta makes target from base: byte differences, deflated. Useful when graph and precision are the
 * same; always valid. */
enum sotto_status package_delta_encode(struct view base, struct view target, struct buf *out,
                                       struct sotto_error *err);
/* Appends the target to out; CORRUPT when the delta does not fit base or is broken. The caller
 * checks the target's hash. */
enum sotto_status package_delta_apply(struct view base, struct view delta, struct buf *out,
                                      struct sotto_error *err);

#endif
