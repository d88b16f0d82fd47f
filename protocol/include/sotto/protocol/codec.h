/* The update codec: clip, prune, quantize, code in independent blocks; and the exact accumulators
 * that sum them.
 *
 * A coded update is a head and blocks. The head holds the scalars and, per section and segment, the
 * scale; kept counts follow from the terms. Block b of a section covers its coordinates [b * 2^16,
 * (b+1) * 2^16). Head and blocks are byte strings of their own, so that each can be sealed, sent,
 * decoded and added alone. Byte by byte: docs/internals/update-codec.md. */
#ifndef SOTTO_PROTOCOL_CODEC_H
#define SOTTO_PROTOCOL_CODEC_H

#include "sotto/base.h"

#define CODEC_BLOCK            (1u << 16)
#define CODEC_SECTIONS_MAX     4
#define CODEC_WEIGHT_MAX_LIMIT (1u << 24)

/* Which coordinates of a weight segment are sent. */
enum codec_support {
    CODEC_SUPPORT_OWN = 0,       /* each device's largest: plain tasks only */
    CODEC_SUPPORT_ROUND = 1,     /* drawn from (task seed, round): the same for all */
    CODEC_SUPPORT_PUBLISHED = 2, /* a mask that the package carries, of the last aggregate */
};
/* Stages of one update, from the terms (sotto_Pipeline). */
struct codec_pipeline {
    float clip_norm; /* L2 bound of the whole update (section 0); 0: none */
    float clip_inf; /* bound of a coordinate: > 0; larger ones are clamped by the device, refused by
                       the coordinator */
    float keep;     /* (0, 1]: per weight segment, the round(keep * count) largest magnitudes; bias
                       segments stay dense */
    unsigned bits;  /* 2..16: signed levels -(2^(bits-1)-1)..; 32: fp32 values */
    bool stochastic; /* rounding; else to nearest, ties to even */
    bool error_feedback;
    uint32_t residual_rounds_max; /* 0: no limit */
    unsigned fraction_bits;       /* F of the accumulators, 8..40 */
    /* Under masks (sotto/protocol/masked.h); 0 in plain tasks. */
    enum codec_support support;
    unsigned rotate_log2; /* Hadamard blocks of at most 2^this, 3..15; 0: no rotation */
    float range;          /* bound of a coordinate (after rotation): the common scale */
};
#define CODEC_PIPELINE_INIT                                                                        \
    { 0.0f, 16.0f, 1.0f, 32, false, false, 0, 30, CODEC_SUPPORT_OWN, 0, 0.0f }

enum codec_scalar {
    CODEC_WEIGHT = 0,
    CODEC_STEPS,
    CODEC_LOSS,
    CODEC_CORRECT,
    CODEC_SEEN,
    CODEC_WEIGHTED_STEPS, /* weight * normalizer of a local rule that divides by it; else 0 */
    CODEC_SCALARS
};
/* Scalars are only ever summed, as whole numbers of 2^-fraction_bits of at most `most`; with these
 * bounds their sums over CODEC_ACCEPT_MAX_LIMIT updates fit an int64. */
struct codec_scalar_form {
    const char *name;
    unsigned fraction_bits;
    uint64_t most; /* of the whole number */
};
extern const struct codec_scalar_form codec_scalar_forms[CODEC_SCALARS];
#define CODEC_LOSS_MAX           1e8
#define CODEC_LOSS_BITS          16u
#define CODEC_COUNT_MAX          (1u << 31)
#define CODEC_WEIGHTED_STEPS_MAX 4294967296.0
#define CODEC_STEPS_BITS         8u
#define CODEC_ACCEPT_MAX_LIMIT   (1u << 20)
#define CODEC_FIXED_MAX          (1ull << 50) /* of a coordinate in fixed point: exact in a double */

struct codec_section {
    char name[16];               /* "weights" */
    const struct layout *layout; /* borrowed */
};
struct codec_spec {
    struct codec_pipeline pipeline;
    uint32_t section_count; /* 0 for an evaluation: scalars only */
    struct codec_section sections[CODEC_SECTIONS_MAX];
    uint32_t weight_max; /* an update's weight is 1..weight_max */
    uint32_t accept_max; /* updates summed at most, 1..CODEC_ACCEPT_MAX_LIMIT */
};
/* Refuses (INVALID) a pipeline out of range, and accumulators that could overflow: proves
 * accept_max * weight_max * (ceil(clip_inf * 2^F) + 1) < 2^63 and ceil(clip_inf * 2^F) + 1 <=
 * CODEC_FIXED_MAX; with a range (under masks) accept_max * weight_max * (sqrt(m) * range * g * 2^F
 * + 2) < 2^62 for rotation blocks of m and drawn coordinates that stand for at most g. The message
 * says which bound and what to change. Every other function takes a spec that passed. */
enum sotto_status codec_spec_check(const struct codec_spec *spec, struct sotto_error *err);
uint32_t
codec_block_count(const struct codec_spec *spec);      /* all sections' blocks, without the head */
size_t codec_bytes_max(const struct codec_spec *spec); /* of a whole coded update, for limits */
/* Kept coordinates of a segment: max(1, round(keep * count)) for weights, all of a bias. */
uint32_t codec_keep_count(const struct codec_pipeline *pipeline,
                          const struct layout_segment *segment);

/* A coded update in memory: part 0 is the head, then the blocks; part i is bytes [ends[i-1],
 * ends[i]). */
struct codec_update {
    struct buf bytes;
    uint32_t part_count;
    uint32_t *ends;
};
void codec_update_init(struct codec_update *u);
void codec_update_deinit(struct codec_update *u);
struct view codec_update_part(const struct codec_update *u, uint32_t part);

struct codec_input {
    float *values[CODEC_SECTIONS_MAX];   /* in: the raw update (trained - global), overwritten with
                                            what the other side decodes */
    float *residual[CODEC_SECTIONS_MAX]; /* in: carried residual, out: the new one (clipped -
                                            decoded); NULL: none */
    double scalars[CODEC_SCALARS];
};
/* values + residual -> clip (L2 of section 0, then clamp to clip_inf) -> top-k per weight segment,
 * the lower index of equal magnitudes first -> quantize (scale = largest kept magnitude /
 * (2^(bits-1)-1)) -> code: levels packed, gaps by Golomb-Rice with the cheapest parameter, searched
 * from b* = max(0, 1 + floor(log2(ln(phi-1)/ln(1-p)))) (Sattler et al. 2019, STC, eq. 13-15).
 * Stochastic rounding draws one u32 of rng (stream RNG_ROUNDING) per kept value in coordinate
 * order. Where rounding lifts section 0 over clip_norm, its scales are shrunk to it. Residuals are
 * read and written when pipeline.error_feedback is on, else left alone. Scalars out of range,
 * values or residuals that are not finite: INVALID, and nothing is touched; after another error
 * values and residuals are undefined. out is emptied first. */
enum sotto_status codec_encode(const struct codec_spec *spec, struct codec_input *in,
                               struct rng *rng, struct codec_update *out, struct sotto_error *err);

/* ---- The other side: parts are decoded one by one, all of them twice: check, then add.
 * ------------------------------ */

struct codec_head; /* decoded head of one update */
enum sotto_status codec_head_decode(const struct codec_spec *spec, struct view part,
                                    struct codec_head **out, struct sotto_error *err);
void codec_head_free(struct codec_head *h);
const double *codec_head_scalars(const struct codec_head *h);

/* Running check of one update: form, counts, every coordinate within clip_inf, L2 norm within
 * clip_norm (with 1e-3 slack). */
struct codec_check;
struct codec_check *codec_check_new(const struct codec_spec *spec) SOTTO_NODISCARD;
void codec_check_free(struct codec_check *c);
/* Parts in order 1, 2, ... (STATE past the last); CORRUPT (form) or LIMIT (norm, coordinate) says
 * which part, byte and why. After an error this check is over: only free it. */
enum sotto_status codec_check_part(const struct codec_spec *spec, const struct codec_head *head,
                                   struct codec_check *c, struct view part,
                                   struct sotto_error *err);
/* After the last part: counts complete, norm bound kept. */
enum sotto_status codec_check_finish(const struct codec_spec *spec, const struct codec_head *head,
                                     struct codec_check *c, struct sotto_error *err);

/* Exact sums: int64 fixed point per coordinate (8 bytes each) and per scalar. Addition is
 * associative and commutative, so the bits do not depend on order, threads or shards. */
struct accumulator {
    uint32_t section_count;
    uint32_t counts[CODEC_SECTIONS_MAX];
    int64_t *sums[CODEC_SECTIONS_MAX];
    int64_t scalars[CODEC_SCALARS]; /* loss with 16 fraction bits */
    uint32_t updates;
    uint32_t accept_max;    /* of the spec: no more updates than that */
    uint32_t fraction_bits; /* of the spec */
};
enum sotto_status accumulator_init(struct accumulator *a, const struct codec_spec *spec,
                                   struct sotto_error *err);
void accumulator_deinit(struct accumulator *a);
void accumulator_clear(struct accumulator *a);
/* Adds weight * round(value * 2^F) for every coordinate of a checked part. A part that fails here
 * (it was checked, so the bytes changed since) leaves a partly added: the caller rebuilds the
 * group's sums without this update. */
enum sotto_status accumulator_add_part(struct accumulator *a, const struct codec_spec *spec,
                                       const struct codec_head *head, uint32_t part_index,
                                       struct view part, struct sotto_error *err);
/* Scalars; counts the update. LIMIT, and nothing changed, when accept_max updates are in: call it
 * before the parts. */
enum sotto_status accumulator_add_head(struct accumulator *a, const struct codec_spec *spec,
                                       const struct codec_head *head);
/* a += b (shards, groups); INVALID when the shapes differ, LIMIT when both hold more than
 * accept_max updates: then a is as before. */
enum sotto_status accumulator_merge(struct accumulator *a, const struct accumulator *b,
                                    struct sotto_error *err);
/* out[i] = sums[section][i] / 2^F / weight sum, in double, then rounded to float. INVALID when the
 * weight sum is 0. */
enum sotto_status accumulator_mean(const struct accumulator *a, const struct codec_spec *spec,
                                   uint32_t section, float *out, struct sotto_error *err);
double accumulator_scalar(const struct accumulator *a, enum codec_scalar s);
/* Bytes of the sums with a BLAKE2b checksum, for the store, appended to out (whose status says
 * LIMIT or NOMEM). Load needs an initialised accumulator, checks shape and checksum (CORRUPT) and
 * changes nothing on an error. */
size_t accumulator_save_bytes(const struct accumulator *a);
void accumulator_save(const struct accumulator *a, struct buf *out);
enum sotto_status accumulator_load(struct accumulator *a, struct view bytes,
                                   struct sotto_error *err);

#endif
