/* What the codec's files share: the form of parts, pieces of segments, the walk over a part, fixed
 * point. */
#ifndef SOTTO_PROTOCOL_CODEC_INT_H
#define SOTTO_PROTOCOL_CODEC_INT_H

#include <math.h>
#include <string.h>

#include "sotto/protocol/codec.h"

#define CODEC_MAGIC   0x5355u /* "US" */
#define CODEC_VERSION 2u
#define CODEC_CHUNK                                                                                \
    512u /* values decoded at a time; a multiple of 8, so that packed chunks start at a byte */
#define CODEC_RICE_MAX   16u  /* a gap is below 2^16 */
#define CODEC_NORM_SLACK 1e-3 /* of the coordinator's norm check */

/* A decoded head. scales has one entry per segment of all sections (unused where values are fp32).
 */
struct codec_head {
    double scalars[CODEC_SCALARS];
    uint32_t weight;
    uint32_t segment_count;
    float scales[];
};

/* Where a part's coordinates lie. */
struct codec_place {
    uint32_t section;
    uint32_t begin, end;    /* coordinates of the section */
    uint32_t segment;       /* the first segment that the block touches */
    uint32_t segments_base; /* segments of the sections before this one */
};
/* part_index counts from 1, as parts do. False when there is no such part. */
bool codec_place_of(const struct codec_spec *spec, uint32_t part_index, struct codec_place *out);
uint32_t codec_segment_total(const struct codec_spec *spec);
/* Under masks without error feedback: the most that a drawn coordinate may stand for. */
double codec_gain_max(const struct codec_spec *spec);

/* The part of one segment that lies in one block. */
struct codec_piece {
    const struct layout_segment *segment;
    uint32_t index;        /* of the segment, over all sections */
    uint32_t begin, count; /* coordinates of the section */
    uint32_t keep;         /* kept coordinates of the whole segment */
    uint32_t expected;     /* kept ones of this piece, if they were spread evenly */
    bool dense;            /* every coordinate is kept: no positions are coded */
};
/* Fills the piece of place's segment-th segment; false when the block ends before it. */
bool codec_piece_of(const struct codec_spec *spec, const struct codec_place *place,
                    uint32_t segment, struct codec_piece *out);

/* A scalar as the whole number that is summed. */
static inline int64_t codec_scalar_whole(int scalar, double value) {
    return llrint(ldexp(value, (int)codec_scalar_forms[scalar].fraction_bits));
}

static inline int32_t codec_level_max(unsigned bits) {
    return (int32_t)((1u << (bits - 1)) - 1u);
}
/* Bytes of n packed values. */
static inline size_t codec_packed_bytes(uint32_t n, unsigned bits) {
    return ((size_t)n * bits + 7) / 8;
}

/* ---- encode.c: stages that updates under masks share ----------------------------------------- */

/* Scalars and values in range and finite: INVALID else, and nothing was touched. */
enum sotto_status codec_input_check(const struct codec_spec *spec, const struct codec_input *in,
                                    struct sotto_error *err);
/* values = clip(values + residual); the residual's place keeps the clipped values. */
enum sotto_status codec_input_clip(const struct codec_spec *spec, struct codec_input *in,
                                   struct sotto_error *err);
/* residual = clipped - decoded, when values are what was decoded. */
void codec_input_residuals(const struct codec_spec *spec, struct codec_input *in);

/* Which magnitudes of a segment are kept: those above threshold, and the first ties at it. */
struct codec_selection {
    uint32_t threshold; /* bits of a non-negative float: they order as the floats do */
    uint32_t ties;
};
struct codec_selection codec_select_top(const float *x, uint32_t n, uint32_t k);
static inline uint32_t codec_magnitude(float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits & 0x7fffffffu;
}
/* Asked for x[0], x[1], ... in order: ties are used up. */
static inline bool codec_selected(struct codec_selection *top, float v) {
    const uint32_t m = codec_magnitude(v);
    if (m != top->threshold)
        return m > top->threshold;
    if (top->ties == 0)
        return false;
    top->ties--;
    return true;
}

/* ---- rice.c: Golomb-Rice codes of gaps ----------------------------------------------------- */

/* Bits for the ascending positions (the first counts from 0) with parameter b: per gap g,
 * (g >> b) ones, a zero, the b low bits of g. */
uint64_t codec_rice_bits(const uint32_t *positions, uint32_t n, unsigned b);
/* The parameter that costs least, found from STC's b*(n / range) downhill: the cost is convex in b.
 */
unsigned codec_rice_best(const uint32_t *positions, uint32_t n, uint32_t range, uint64_t *bits);
/* STC's b* for k of n kept. */
unsigned codec_rice_star(uint32_t k, uint32_t n);
/* out has (codec_rice_bits + 7) / 8 bytes. */
void codec_rice_write(uint8_t *out, const uint32_t *positions, uint32_t n, unsigned b);

struct codec_rice {
    const uint8_t *start, *p, *end;
    uint64_t acc; /* bits not yet used, lowest first; those above fill are a preview of *p */
    unsigned fill;
    unsigned b;
    uint32_t next;  /* the lowest position that may come */
    uint32_t range; /* positions are below it */
};
void codec_rice_init(struct codec_rice *r, struct view bytes, unsigned b, uint32_t range);
/* The next n positions, each offset by base; NULL, or what is wrong. */
const char *codec_rice_read(struct codec_rice *r, uint32_t *positions, uint32_t n, uint32_t base);
/* After the last: the bytes used; checks that the last byte ends in zeros. */
const char *codec_rice_finish(const struct codec_rice *r, size_t *used);

/* ---- draw.c -------------------------------------------------------------------------------- */

/* n words of the stream, as rng_u32 gives them. */
void codec_draw(struct rng *r, uint32_t *out, uint32_t n);

/* ---- walk.c: decodes one part ------------------------------------------------------------- */

struct codec_visitor {
    void *ctx;
    /* Before a piece's values: how many are kept. May refuse. NULL: not asked. */
    enum sotto_status (*piece)(void *ctx, const struct codec_piece *piece, uint32_t kept,
                               struct sotto_error *err);
    /* Values of the coordinates from first on. */
    void (*run)(void *ctx, uint32_t first, const float *values, uint32_t n);
    /* Values of ascending coordinates, none of them twice. */
    void (*scatter)(void *ctx, const uint32_t *coordinates, const float *values, uint32_t n);
};
/* Checks form and every value (finite, |v| <= clip_inf) and shows them in chunks of CODEC_CHUNK at
 * most. */
enum sotto_status codec_walk(const struct codec_spec *spec, const struct codec_head *head,
                             uint32_t part_index, struct view part,
                             const struct codec_visitor *visitor, struct sotto_error *err);

/* ---- fixed.c: values into int64 sums ------------------------------------------------------- */

/* llrint(value * 2^F), for |value| * 2^F <= CODEC_FIXED_MAX. */
int64_t codec_fixed(float value, unsigned fraction_bits);
/* sums[i] += weight * codec_fixed(values[i]). n <= CODEC_CHUNK. */
void codec_fixed_add_run(int64_t *sums, const float *values, uint32_t n, unsigned fraction_bits,
                         uint32_t weight);
/* sums[at[i]] += the same. */
void codec_fixed_add_scatter(int64_t *sums, const uint32_t *at, const float *values, uint32_t n,
                             unsigned fraction_bits, uint32_t weight);

#endif
