/* One device's vector under masks. Stages in order, each a function. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "masked_int.h"
#include "sotto/secagg.h"

#define DRAWS_MAX 32 /* of a section, before its levels are rounded towards zero */

struct encoder {
    const struct masked_plan *p;
    struct codec_input *in;
    struct rng *rng;
    uint32_t *out;
    float factor;    /* weight / weight_max */
    float *scaled;   /* levels of the largest section before rounding, block behind block */
    int32_t *levels; /* one block's levels */
    uint32_t signs[MASKED_BLOCK / 32];
};

/* ---- Stages: weight, gather, rotate, clamp ------------------------------------------------- */

/* The block in levels, not yet rounded. */
static void scale_block(struct encoder *e, const struct masked_block *b, const float *values,
                        float *to) {
    const struct masked_plan *p = e->p;
    const float most = (float)p->level_max;
    const bool rotates = masked_rotates(p);
    for (uint32_t i = 0; i < b->count; i++)
        to[i] = e->factor * values[masked_coordinate(p, b->section, b->first + i)];
    memset(to + b->count, 0, (size_t)(b->size - b->count) * sizeof *to);
    if (rotates) {
        masked_signs(p, b, e->signs);
        for (uint32_t i = 0; i < b->count; i++)
            to[i] = masked_negative(e->signs, i) ? -to[i] : to[i];
        vec_fwht_f32(to, b->size);
    }
    const double step = (double)p->spec.pipeline.range / (double)p->level_max;
    const float scale = (float)(rotates ? 1.0 / (step * sqrt((double)b->size)) : 1.0 / step);
    for (uint32_t i = 0; i < b->size; i++) {
        const float level = to[i] * scale;
        to[i] = level > most ? most : level < -most ? -most : level;
    }
}

/* ---- Stage: conditional stochastic rounding ------------------------------------------------ */

/* The square of the norm that rounded levels of a vector of norm c in d coordinates may have
 * (Kairouz, Liu, Steinke 2021, arXiv:2102.06387, conditional rounding with beta = e^(-1/2)). */
static double norm_bound(double c, double d) {
    const double always = (c + sqrt(d)) * (c + sqrt(d));
    const double likely = c * c + d / 4.0 + (c + sqrt(d) / 2.0); /* sqrt(2 ln(1 / beta)) = 1 */
    return always < likely ? always : likely;
}

/* Levels of a block by floor(x + u); returns the sum of their squares. */
static uint64_t round_stochastic(struct encoder *e, const float *x, uint32_t n, int32_t *levels) {
    uint32_t draws[CODEC_CHUNK];
    uint64_t squares = 0;
    for (uint32_t done = 0, m; done < n; done += m) {
        m = n - done < CODEC_CHUNK ? n - done : CODEC_CHUNK;
        codec_draw(e->rng, draws, m);
        for (uint32_t i = 0; i < m; i++) {
            const double shifted = (double)x[done + i] + (double)draws[i] * 0x1p-32;
            int32_t level = (int32_t)shifted;
            level -= (double)level > shifted; /* floor */
            levels[done + i] = level;
            squares += (uint64_t)((int64_t)level * level);
        }
    }
    return squares;
}

static uint64_t round_fixed(const float *x, uint32_t n, int32_t *levels, bool nearest) {
    uint64_t squares = 0;
    for (uint32_t i = 0; i < n; i++) {
        levels[i] = nearest ? (int32_t)lrintf(x[i]) : (int32_t)x[i];
        squares += (uint64_t)((int64_t)levels[i] * levels[i]);
    }
    return squares;
}

static void put_codes(struct encoder *e, const struct masked_block *b) {
    for (uint32_t i = 0; i < b->size; i++)
        e->out[b->at + i] = (uint32_t)(e->levels[i] + e->p->level_max);
}

/* One attempt at the whole section; the square of its norm. */
enum rounding { ROUND_STOCHASTIC, ROUND_NEAREST, ROUND_TO_ZERO };
static double round_section(struct encoder *e, uint32_t section, enum rounding how) {
    const struct masked_plan *p = e->p;
    uint64_t squares = 0;
    const float *x = e->scaled;
    for (uint32_t i = 0; i < p->block_count; i++) {
        const struct masked_block *b = &p->blocks[i];
        if (b->section != section)
            continue;
        squares += how == ROUND_STOCHASTIC
                       ? round_stochastic(e, x, b->size, e->levels)
                       : round_fixed(x, b->size, e->levels, how == ROUND_NEAREST);
        put_codes(e, b);
        x += b->size;
    }
    return (double)squares;
}

/* Redraws until the norm fits. An attempt succeeds with probability 1 - beta or more; when none of
 * DRAWS_MAX does (about one section in 10^7 at worst), levels are rounded towards zero, which never
 * lifts a norm. */
static void round_until(struct encoder *e, uint32_t section) {
    const struct codec_pipeline *pipeline = &e->p->spec.pipeline;
    const double c =
        (double)pipeline->clip_norm * (double)e->p->level_max / (double)pipeline->range;
    const double bound = norm_bound(c, (double)e->p->section_size[section]);
    const int attempts = pipeline->stochastic ? DRAWS_MAX : 1;
    for (int i = 0; i < attempts; i++)
        if (round_section(e, section, pipeline->stochastic ? ROUND_STOCHASTIC : ROUND_NEAREST) <=
            bound)
            return;
    (void)round_section(e, section, ROUND_TO_ZERO);
}

/* ---- Stage: what the other side decodes ---------------------------------------------------- */

static void decode_block(struct encoder *e, const struct masked_block *b, float *values) {
    const struct masked_plan *p = e->p;
    const double unit = masked_unit(p, b) / (double)e->factor;
    for (uint32_t i = 0; i < b->size; i++)
        e->levels[i] = (int32_t)e->out[b->at + i] - p->level_max;
    if (masked_rotates(p)) {
        masked_signs(p, b, e->signs);
        masked_fwht_i32(e->levels, b->size); /* at most 2^15 * 2^15 */
        for (uint32_t i = 0; i < b->count; i++)
            e->levels[i] = masked_negative(e->signs, i) ? -e->levels[i] : e->levels[i];
    }
    for (uint32_t i = 0; i < b->count; i++)
        values[masked_coordinate(p, b->section, b->first + i)] =
            (float)((double)e->levels[i] * unit * masked_gain(p, b->section, b->first + i));
}

static void encode_section(struct encoder *e, uint32_t section) {
    const struct masked_plan *p = e->p;
    float *values = e->in->values[section];
    float *to = e->scaled;
    for (uint32_t i = 0; i < p->block_count; i++)
        if (p->blocks[i].section == section) {
            scale_block(e, &p->blocks[i], values, to);
            to += p->blocks[i].size;
        }
    round_until(e, section);
    if (p->support[section] != NULL)
        memset(values, 0, (size_t)p->spec.sections[section].layout->total * sizeof *values);
    for (uint32_t i = 0; i < p->block_count; i++)
        if (p->blocks[i].section == section)
            decode_block(e, &p->blocks[i], values);
}

static void put_limbs(const struct encoder *e) {
    const struct masked_plan *p = e->p;
    uint32_t *to = e->out + p->limbs_at;
    for (int i = 0; i < CODEC_SCALARS; i++) {
        secagg_limbs_split((uint64_t)codec_scalar_whole(i, e->in->scalars[i]), p->limb_bits,
                           p->limbs[i], to);
        to += p->limbs[i];
    }
}

static enum sotto_status encoder_init(struct encoder *e, struct sotto_error *err) {
    const struct masked_plan *p = e->p;
    uint64_t most = 0;
    for (uint32_t s = 0; s < p->spec.section_count; s++)
        most = num_max_u64(most, p->section_size[s]);
    if (most == 0)
        return SOTTO_OK;
    const size_t block = p->blocks[0].size; /* the largest */
    e->scaled = mem_array((size_t)most, sizeof *e->scaled);
    e->levels = mem_array(block, sizeof *e->levels);
    if (e->scaled == NULL || e->levels == NULL)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory to code an update");
    return SOTTO_OK;
}

enum sotto_status masked_encode(const struct masked_plan *p, struct codec_input *in,
                                struct rng *rng, uint32_t *out, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct encoder e = {.p = p, .in = in, .rng = rng, .out = out};
    TRY(codec_input_check(&p->spec, in, err));
    TRY(encoder_init(&e, err));
    e.factor = (float)(in->scalars[CODEC_WEIGHT] / (double)p->spec.weight_max);
    TRY(codec_input_clip(&p->spec, in, err));
    for (uint32_t s = 0; s < p->spec.section_count; s++)
        encode_section(&e, s);
    put_limbs(&e);
    codec_input_residuals(&p->spec, in);
out:
    mem_free(e.levels);
    mem_free(e.scaled);
    return status;
}
