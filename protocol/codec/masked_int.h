/* What the files of updates under masks share: where coordinates lie in the vector, and the
 * rotation. */
#ifndef SOTTO_PROTOCOL_MASKED_INT_H
#define SOTTO_PROTOCOL_MASKED_INT_H

#include "codec_int.h"
#include "sotto/protocol/masked.h"

/* Coordinates of a section's support that are rotated together; without rotation, a run of them. */
struct masked_block {
    uint32_t section;
    uint32_t index; /* among the section's blocks: names the stream of its signs */
    uint32_t first; /* of the section's support */
    uint32_t count; /* of the support */
    uint32_t size;  /* ring coordinates; what count leaves of it is padding */
    uint64_t at;    /* the first ring coordinate */
};

struct masked_plan {
    struct codec_spec spec;
    unsigned ring_bits;
    uint32_t members_max;
    uint64_t task_seed;
    uint32_t round;
    int32_t level_max;
    unsigned limb_bits;
    uint32_t limbs[CODEC_SCALARS]; /* of each scalar */
    uint32_t limb_count;
    uint32_t support_count[CODEC_SECTIONS_MAX];
    uint32_t *support[CODEC_SECTIONS_MAX]; /* coordinates, ascending; NULL: all of them */
    /* Beside support: what its values are worth there. Drawn ones stand for those that were not;
     * NULL: 1, each device makes up for that itself (error feedback), or nothing is left out. */
    float *gain[CODEC_SECTIONS_MAX];
    uint64_t section_size[CODEC_SECTIONS_MAX]; /* ring coordinates of its blocks */
    uint32_t block_count;
    struct masked_block *blocks; /* in the vector's order */
    uint64_t limbs_at;           /* ring coordinates before the limbs */
};

/* The coordinate of the section that the support's i-th place is. */
static inline uint32_t masked_coordinate(const struct masked_plan *p, uint32_t section,
                                         uint32_t i) {
    return p->support[section] == NULL ? i : p->support[section][i];
}
static inline double masked_gain(const struct masked_plan *p, uint32_t section, uint32_t i) {
    return p->gain[section] == NULL ? 1.0 : (double)p->gain[section][i];
}
static inline bool masked_rotates(const struct masked_plan *p) {
    return p->spec.pipeline.rotate_log2 > 0;
}
/* The largest scalar of an update, as it is summed. */
static inline uint64_t masked_scalar_most(const struct masked_plan *p, int scalar) {
    return scalar == CODEC_WEIGHT ? p->spec.weight_max : codec_scalar_forms[scalar].most;
}

/* ---- masked_rotate.c ----------------------------------------------------------------------- */

/* The block's signs, one bit a coordinate: words of (seed, round, section * 2^32 + index,
 * RNG_ROTATE). signs has (size + 31) / 32 words. */
void masked_signs(const struct masked_plan *p, const struct masked_block *b, uint32_t *signs);
static inline bool masked_negative(const uint32_t *signs, uint32_t i) {
    return (signs[i / 32] >> (i % 32) & 1u) != 0;
}
/* x = H x, exactly; n is a power of two. What comes out is at most n * max |x|: that must fit. */
void masked_fwht_i32(int32_t *x, uint32_t n);
void masked_fwht_i64(int64_t *x, uint32_t n);
/* What a level of the block is worth in a coordinate of the update times weight / weight_max, after
 * the rotation. */
double masked_unit(const struct masked_plan *p, const struct masked_block *b);

#endif
