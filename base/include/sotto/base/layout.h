/* The parameter layout: named segments of one contiguous array. The lingua franca between rooms. */
#ifndef SOTTO_BASE_LAYOUT_H
#define SOTTO_BASE_LAYOUT_H

#include "sotto/base/buf.h"
#include "sotto/base/status.h"

#define LAYOUT_NAME_MAX     64
#define LAYOUT_RANK_MAX     4
#define LAYOUT_SEGMENTS_MAX 1024
#define LAYOUT_TOTAL_MAX    (1u << 28) /* coordinates in all: 1 GiB of fp32 */

enum layout_kind {
    LAYOUT_WEIGHT = 0, /* matrices and filters: quantized per output channel, pruned */
    LAYOUT_BIAS = 1,   /* biases and norms: stay fp32 on the downlink */
};

struct layout_segment {
    char name[LAYOUT_NAME_MAX]; /* "conv1.weight": printable ASCII, unique */
    enum layout_kind kind;
    uint32_t rank;
    uint32_t dims[LAYOUT_RANK_MAX]; /* row-major; the last dimension is the output channel */
    uint32_t offset;                /* first coordinate */
    uint32_t count;                 /* product of dims */
};

struct layout {
    uint32_t segment_count;
    uint32_t total; /* coordinates */
    struct layout_segment *segments;
};

/* Starts empty; add appends a segment right behind the last. LIMIT and INVALID (duplicate name,
 * zero dimension) refuse. */
void layout_init(struct layout *l);
void layout_deinit(struct layout *l);
enum sotto_status layout_add(struct layout *l, const char *name, enum layout_kind kind,
                             uint32_t rank, const uint32_t *dims, struct sotto_error *err);
/* dst is overwritten (it need not be initialised and must not own segments); empty after an error.
 */
enum sotto_status layout_copy(struct layout *dst, const struct layout *src,
                              struct sotto_error *err);
bool layout_equal(const struct layout *a, const struct layout *b);
/* The segment that holds a coordinate (binary search); NULL when coordinate >= total. */
const struct layout_segment *layout_find(const struct layout *l, uint32_t coordinate);
/* Canonical bytes: what a layout hash covers. Decode checks everything and overwrites l as
 * layout_copy does dst; after an error l is empty and the reader has failed too. */
void layout_encode(const struct layout *l, struct buf *out);
enum sotto_status layout_decode(struct layout *l, struct reader *r, struct sotto_error *err);

#endif
