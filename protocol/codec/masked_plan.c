/* What the terms fix about an update under masks: ranges, the common support, where everything lies
 * in the vector. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "masked_int.h"
#include "sotto/secagg.h"

#define PADDING_FREE 64u /* a block may be padded by so much, or by 1 / 16 */

float masked_range(const struct codec_pipeline *pipeline, const struct layout *layout) {
    uint64_t kept = 0;
    for (uint32_t i = 0; i < layout->segment_count; i++)
        kept += codec_keep_count(pipeline, &layout->segments[i]);
    float range = pipeline->clip_inf;
    if (pipeline->clip_norm > 0.0f && pipeline->clip_norm < range)
        range = pipeline->clip_norm;
    if (pipeline->rotate_log2 == 0 || !(pipeline->clip_norm > 0.0f))
        return range;
    unsigned log2 = 0;
    while (log2 < pipeline->rotate_log2 && (UINT64_C(2) << log2) <= kept)
        log2++;
    const double sigma = (double)pipeline->clip_norm / sqrt(ldexp(1.0, (int)log2));
    const float rotated = (float)(MASKED_RANGE_SIGMAS * sigma);
    return rotated < pipeline->clip_norm ? rotated : pipeline->clip_norm;
}

static bool fits(unsigned ring_bits, uint32_t members, unsigned bits) {
    return (uint64_t)members * ((UINT64_C(1) << bits) - 1) < UINT64_C(1) << ring_bits;
}

unsigned masked_bits_max(unsigned ring_bits, uint32_t members) {
    unsigned bits = 16;
    while (bits >= 2 && !fits(ring_bits, members, bits))
        bits--;
    return bits >= 2 ? bits : 0;
}

/* ---- Whether it composes ------------------------------------------------------------------- */

static enum sotto_status check_ring(const struct codec_spec *spec, const struct masked_terms *terms,
                                    struct sotto_error *err) {
    const unsigned bits = spec->pipeline.bits;
    if (!secagg_ring_valid(terms->ring_bits))
        return SOTTO_FAIL(err, SOTTO_INVALID, "a ring of %u bits; use 16, 20, 24 or 32",
                          terms->ring_bits);
    if (terms->members_max < 1 || terms->members_max > SECAGG_MEMBERS_MAX)
        return SOTTO_FAIL(err, SOTTO_INVALID, "groups of %" PRIu32 " members; use 1 to %u",
                          terms->members_max, SECAGG_MEMBERS_MAX);
    const unsigned most = masked_bits_max(terms->ring_bits, terms->members_max);
    if (secagg_limb_bits(terms->ring_bits, terms->members_max) < 2 || most == 0)
        return SOTTO_FAIL(err, SOTTO_LIMIT,
                          "sums of %" PRIu32 " members do not fit a ring of %u bits; use smaller "
                          "groups or more ring bits",
                          terms->members_max, terms->ring_bits);
    if (spec->section_count > 0 && bits > most)
        return SOTTO_FAIL(err, SOTTO_LIMIT,
                          "sums of %" PRIu32 " members at %u bits could wrap in a ring of %u bits; "
                          "use %u bits or fewer, smaller groups, or more ring bits",
                          terms->members_max, bits, terms->ring_bits, most);
    return SOTTO_OK;
}

static enum sotto_status check_masked(const struct codec_spec *spec,
                                      const struct masked_terms *terms, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    TRY(codec_spec_check(spec, err));
    if (spec->section_count > 0 && !(spec->pipeline.range > 0.0f))
        TRY_FAIL(err, SOTTO_INVALID, "updates under masks need a range above 0");
    TRY(check_ring(spec, terms, err));
    if (terms->mask.n > 0 && spec->pipeline.support != CODEC_SUPPORT_PUBLISHED)
        TRY_FAIL(err, SOTTO_INVALID, "a published mask goes with a published support only");
out:
    return status;
}

/* ---- The common support -------------------------------------------------------------------- */

static bool mask_has(struct view mask, uint32_t i) {
    return mask.n > 0 && (mask.p[i / 8] >> (i % 8) & 1u) != 0;
}

/* Coordinates of a segment that a mask names: half of what is kept, or all where nothing is pruned.
 */
static uint32_t named_count(const struct codec_pipeline *p, const struct layout_segment *s) {
    const uint32_t keep = codec_keep_count(p, s);
    return keep < s->count ? (keep + 1) / 2 : keep;
}

/* A mask from outside: its size, no bit behind the last coordinate, what it names of each segment.
 */
static enum sotto_status check_mask(const struct masked_plan *p, struct view mask,
                                    struct sotto_error *err) {
    const struct layout *layout = p->spec.sections[0].layout;
    const size_t bytes = ((size_t)layout->total + 7) / 8;
    if (mask.n != bytes)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "a mask of %zu bytes instead of %zu", mask.n, bytes);
    if (layout->total % 8 != 0 && mask.p[bytes - 1] >> (layout->total % 8) != 0)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "a mask with bits behind its last coordinate");
    for (uint32_t i = 0; i < layout->segment_count; i++) {
        const struct layout_segment *s = &layout->segments[i];
        const uint32_t named = named_count(&p->spec.pipeline, s);
        uint32_t set = 0;
        for (uint32_t j = s->offset; j < s->offset + s->count; j++)
            set += mask_has(mask, j);
        if (set != named)
            return SOTTO_FAIL(err, SOTTO_CORRUPT,
                              "a mask with %" PRIu32
                              " coordinates of segment %s instead of %" PRIu32,
                              set, s->name, named);
    }
    return SOTTO_OK;
}

/* A support under construction. */
struct choice {
    struct rng rng;
    uint32_t *at; /* the next place */
    float *gain;  /* beside it, or NULL */
};

static void take(struct choice *c, uint32_t at, float gain) {
    *c->at++ = at;
    if (c->gain != NULL)
        *c->gain++ = gain;
}

/* The keep share of a pruned segment: what the mask names, and as many of the others as are
 * missing, drawn one word a coordinate in order (Knuth, selection sampling): of `left` candidates
 * one is taken when word * left / 2^32 < need. Without error feedback a drawn one stands for left /
 * need, so that the mean is unbiased. */
static void choose(struct choice *c, const struct layout_segment *s, uint32_t keep,
                   struct view mask) {
    uint32_t words[CODEC_CHUNK];
    uint32_t set = 0;
    for (uint32_t i = 0; i < s->count && mask.n > 0; i++)
        set += mask_has(mask, s->offset + i);
    uint32_t need = keep - set, left = s->count - set;
    const float gain = need > 0 ? (float)((double)left / (double)need) : 1.0f;
    for (uint32_t done = 0, n; done < s->count; done += n) {
        n = s->count - done < CODEC_CHUNK ? s->count - done : CODEC_CHUNK;
        codec_draw(&c->rng, words, n);
        for (uint32_t i = 0; i < n; i++) {
            const uint32_t at = s->offset + done + i;
            if (mask_has(mask, at)) {
                take(c, at, 1.0f);
            } else {
                if ((uint64_t)words[i] * left >> 32 < need) {
                    take(c, at, gain);
                    need--;
                }
                left--;
            }
        }
    }
}

static enum sotto_status support_of(struct masked_plan *p, uint32_t section, struct view mask,
                                    struct sotto_error *err) {
    const struct codec_pipeline *pipeline = &p->spec.pipeline;
    const struct layout *layout = p->spec.sections[section].layout;
    uint32_t count = 0;
    for (uint32_t i = 0; i < layout->segment_count; i++)
        count += codec_keep_count(pipeline, &layout->segments[i]);
    p->support_count[section] = count;
    if (count == layout->total)
        return SOTTO_OK;
    p->support[section] = mem_array(count, sizeof(uint32_t));
    if (!pipeline->error_feedback)
        p->gain[section] = mem_array(count, sizeof(float));
    if (p->support[section] == NULL || (!pipeline->error_feedback && p->gain[section] == NULL))
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for a support of %" PRIu32 " coordinates",
                          count);
    struct choice c = {.at = p->support[section], .gain = p->gain[section]};
    rng_init(&c.rng, p->task_seed, p->round, section, RNG_SUPPORT);
    for (uint32_t i = 0; i < layout->segment_count; i++) {
        const struct layout_segment *s = &layout->segments[i];
        const uint32_t keep = codec_keep_count(pipeline, s);
        if (keep < s->count)
            choose(&c, s, keep, mask);
        else
            for (uint32_t j = 0; j < s->count; j++)
                take(&c, s->offset + j, 1.0f);
    }
    return SOTTO_OK;
}

/* ---- Places in the vector ------------------------------------------------------------------ */

static uint32_t power_above(uint32_t n) {
    uint32_t p = 1;
    while (p < n)
        p *= 2;
    return p;
}

/* The next block of a support with `left` coordinates to go: whole blocks, and of what is left a
 * power of two above it if that pads little, else one below it. */
static uint32_t block_size(const struct masked_plan *p, uint32_t left) {
    const uint32_t whole =
        masked_rotates(p) ? 1u << p->spec.pipeline.rotate_log2 : (uint32_t)MASKED_BLOCK;
    if (left >= whole)
        return whole;
    if (!masked_rotates(p))
        return left;
    const uint32_t above = power_above(left);
    const uint32_t padding = left / 16 > PADDING_FREE ? left / 16 : PADDING_FREE;
    if (above - left > padding)
        return above / 2;
    return above > PADDING_FREE ? above : whole < PADDING_FREE ? whole : PADDING_FREE;
}

/* Larger blocks first, so that each starts at a multiple of its size and none straddles
 * MASKED_BLOCK. */
static int by_size(const void *a, const void *b) {
    const struct masked_block *x = a, *y = b;
    if (x->size != y->size)
        return x->size < y->size ? 1 : -1;
    if (x->section != y->section)
        return x->section > y->section ? 1 : -1;
    return x->index > y->index ? 1 : x->index < y->index ? -1 : 0;
}

static uint32_t cut(const struct masked_plan *p, uint32_t section, struct masked_block *out) {
    uint32_t n = 0;
    for (uint32_t first = 0; first < p->support_count[section]; n++) {
        const uint32_t left = p->support_count[section] - first;
        const uint32_t size = block_size(p, left);
        const uint32_t count = left < size ? left : size;
        if (out != NULL)
            out[n] = (struct masked_block){
                .section = section, .index = n, .first = first, .count = count, .size = size};
        first += count;
    }
    return n;
}

static enum sotto_status place(struct masked_plan *p, struct sotto_error *err) {
    for (uint32_t s = 0; s < p->spec.section_count; s++)
        p->block_count += cut(p, s, NULL);
    p->blocks = mem_array((size_t)p->block_count + 1, sizeof *p->blocks);
    if (p->blocks == NULL)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for %" PRIu32 " blocks", p->block_count);
    struct masked_block *to = p->blocks;
    for (uint32_t s = 0; s < p->spec.section_count; s++)
        to += cut(p, s, to);
    qsort(p->blocks, p->block_count, sizeof *p->blocks, by_size);
    for (uint32_t i = 0; i < p->block_count; i++) {
        struct masked_block *b = &p->blocks[i];
        b->at = p->limbs_at;
        p->limbs_at += b->size;
        p->section_size[b->section] += b->size;
    }
    for (int i = 0; i < CODEC_SCALARS; i++) {
        const uint64_t most = masked_scalar_most(p, i);
        unsigned bits = 0;
        while (bits < 64 && most >> bits != 0)
            bits++;
        p->limbs[i] = (bits + p->limb_bits - 1) / p->limb_bits;
        p->limb_count += p->limbs[i];
    }
    return SOTTO_OK;
}

enum sotto_status masked_plan_new(const struct codec_spec *spec, const struct masked_terms *terms,
                                  struct masked_plan **out, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct masked_plan *p = NULL;
    *out = NULL;
    TRY(check_masked(spec, terms, err));
    p = mem_zalloc(sizeof *p);
    if (p == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for the plan of masked updates");
    p->spec = *spec;
    p->ring_bits = terms->ring_bits;
    p->members_max = terms->members_max;
    p->task_seed = terms->task_seed;
    p->round = terms->round;
    p->level_max = spec->section_count > 0 ? codec_level_max(spec->pipeline.bits) : 0;
    p->limb_bits = secagg_limb_bits(terms->ring_bits, terms->members_max);
    if (terms->mask.n > 0 && spec->section_count > 0)
        TRY(check_mask(p, terms->mask, err));
    for (uint32_t s = 0; s < spec->section_count; s++)
        TRY(support_of(p, s, s == 0 ? terms->mask : view_of(NULL, 0), err));
    TRY(place(p, err));
    *out = p;
    p = NULL;
out:
    masked_plan_free(p);
    return status;
}

void masked_plan_free(struct masked_plan *p) {
    if (p == NULL)
        return;
    for (uint32_t s = 0; s < CODEC_SECTIONS_MAX; s++) {
        mem_free(p->support[s]);
        mem_free(p->gain[s]);
    }
    mem_free(p->blocks);
    mem_free(p);
}

uint64_t masked_length(const struct masked_plan *p) {
    return p->limbs_at + p->limb_count;
}

uint64_t masked_scalars_at(const struct masked_plan *p) {
    return p->limbs_at;
}

uint64_t masked_bytes(const struct masked_plan *p) {
    return SECAGG_MASKED_HEAD + secagg_ring_bytes(p->ring_bits, masked_length(p));
}

void masked_support_of(const struct codec_pipeline *pipeline, const struct layout *layout,
                       const float *mean, struct buf *out) {
    uint8_t *bits = buf_grow(out, ((size_t)layout->total + 7) / 8);
    if (bits == NULL)
        return;
    memset(bits, 0, ((size_t)layout->total + 7) / 8);
    for (uint32_t i = 0; i < layout->segment_count; i++) {
        const struct layout_segment *s = &layout->segments[i];
        struct codec_selection top =
            codec_select_top(mean + s->offset, s->count, named_count(pipeline, s));
        for (uint32_t j = s->offset; j < s->offset + s->count; j++)
            if (codec_selected(&top, mean[j]))
                bits[j / 8] = (uint8_t)(bits[j / 8] | 1u << (j % 8));
    }
}
