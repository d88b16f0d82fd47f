/* The update under masks: every device of a group codes the same coordinates at the same scale into
 * a ring, so that the sum of codes is the code of the sum. docs/internals/update-codec.md has it
 * stage by stage.
 *
 * Per section: delta + residual -> clip (L2 of each section to clip_norm, then clamp to clip_inf)
 * -> times weight / weight_max -> gather the common support -> randomized Hadamard rotation in
 * blocks of at most 2^rotate_log2 -> clamp to +-range -> conditional stochastic rounding to levels
 * -(2^(bits-1)-1).. with step range / (2^(bits-1)-1) -> + offset, so that a code is in
 * 0..2^bits - 2. The scalars follow as limbs. Nothing of it depends on who else is in the group.
 * Where coordinates are drawn, decoding multiplies them by what each stands for, so that the mean
 * is unbiased; with error feedback it does not: devices send later what was left out. */
#ifndef SOTTO_PROTOCOL_MASKED_H
#define SOTTO_PROTOCOL_MASKED_H

#include "sotto/protocol/codec.h"

/* Coordinates that are summed and decoded at a time: whole rotation blocks, a multiple of
 * SECAGG_BLOCK. */
#define MASKED_BLOCK (1u << 15)

#define MASKED_ROTATE_LOG2 15u /* of tasks that rotate */

/* The range that suits the pipeline's clip_norm, for spec's range where nobody gives one; the
 * pipeline's own range is not read. With rotation a block of m coordinates of norm c has
 * coordinates like N(0, c^2 / m), and MASKED_RANGE_SIGMAS of them are covered for the largest
 * block; without it a coordinate can be as large as clip_inf and clip_norm allow. Always above 0.
 */
#define MASKED_RANGE_SIGMAS 4.5
float masked_range(const struct codec_pipeline *pipeline, const struct layout *layout);
/* The most bits of a level whose codes cannot wrap in sums of members in the ring; 0: not even 2.
 */
unsigned masked_bits_max(unsigned ring_bits, uint32_t members);

/* What the terms fix beside the codec_spec. */
struct masked_terms {
    unsigned ring_bits;   /* 16, 20, 24, 32 */
    uint32_t members_max; /* n_max: members_max * (2^bits - 1) < 2^ring_bits for codes and limbs */
    uint64_t task_seed;
    uint32_t round;
    struct view mask; /* support CODEC_SUPPORT_PUBLISHED: one bit a coordinate of section 0, as the
                         package carries it. What it names is sent, and as many more of each segment
                         as keep says, drawn for the round. Empty: all are drawn (a first round has
                         no aggregate) */
};
/* The common support and the place of everything in the vector, computed once a terms. */
struct masked_plan;
/* INVALID when the pipeline does not compose with masks, with what to use instead; LIMIT when codes
 * could wrap in the ring (says how many bits fit); CORRUPT for a mask that is none. spec's layouts
 * are borrowed. */
enum sotto_status masked_plan_new(const struct codec_spec *spec, const struct masked_terms *terms,
                                  struct masked_plan **out, struct sotto_error *err);
void masked_plan_free(struct masked_plan *p);
uint64_t masked_length(const struct masked_plan *p); /* ring coordinates, padding and limbs too */
uint64_t masked_scalars_at(const struct masked_plan *p); /* the first limb's coordinate */
/* One device's vector: in->values become what the other side decodes of it (before weighting),
 * in->residual the new residual (clipped - decoded: all that is not on the support stays in it).
 * out has masked_length values. rng: stream RNG_ROUNDING, a word for each level of each draw.
 * Errors as codec_encode's. The norm of a section's levels never passes Delta^2 = min((c + sqrt
 * d)^2, c^2 + d/4 + c + sqrt(d)/2), c = clip_norm in steps, d = its ring coordinates (Kairouz, Liu,
 * Steinke 2021, arXiv:2102.06387, conditional rounding, beta = e^(-1/2)): draws that do are drawn
 * again. */
enum sotto_status masked_encode(const struct masked_plan *p, struct codec_input *in,
                                struct rng *rng, uint32_t *out, struct sotto_error *err);
/* Coordinates [first, first + count) of the sum over `members` vectors, already reduced mod
 * 2^ring_bits -> a, which was accumulator_init'ed with the plan's spec. first is a multiple of
 * MASKED_BLOCK, count too but for the last; in any order, each block once, and then finish. The
 * result does not depend on the order: levels turn back as integers, and each coordinate is rounded
 * once. Calls that hold no scalars (below masked_scalars_at) may run at the same time. CORRUPT: a
 * sum that members could not have made (a lying device); a is then no use. */
enum sotto_status masked_sum_take(const struct masked_plan *p, uint32_t members, uint64_t first,
                                  const uint32_t *sum, size_t count, struct accumulator *a,
                                  struct sotto_error *err);
/* After all blocks: scalars are whole; sets a->updates = members. CORRUPT when they are out of
 * range. */
enum sotto_status masked_sum_finish(const struct masked_plan *p, uint32_t members,
                                    struct accumulator *a, struct sotto_error *err);
/* The mask for the next round: half of the keep share of each weight segment, where |mean| is
 * largest, all of a bias; one bit a coordinate, appended. The other half is drawn: a mask of its
 * own last mean alone would never change. */
void masked_support_of(const struct codec_pipeline *pipeline, const struct layout *layout,
                       const float *mean, struct buf *out);
/* Bytes of a device's masked message for this plan, framing excluded. */
uint64_t masked_bytes(const struct masked_plan *p);

#endif
