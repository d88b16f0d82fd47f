/* Cases for the tests of updates under masks, and a second, slow implementation of the vector. */
#ifndef SOTTO_TESTS_MASKED_SUPPORT_H
#define SOTTO_TESTS_MASKED_SUPPORT_H

#include <math.h>
#include <stdlib.h>

#include "codec_support.h"
#include "sotto/protocol/masked.h"
#include "sotto/secagg.h"

#define WITNESS_BLOCKS 4096

/* A pipeline of masks with a range that suits. */
static inline void masked_pipeline(struct codec_case *c, float keep, unsigned bits,
                                   unsigned rotate_log2) {
    struct codec_pipeline *p = &c->spec.pipeline;
    p->clip_norm = 2.0f;
    p->clip_inf = 4.0f;
    p->keep = keep;
    p->bits = bits;
    p->stochastic = true;
    p->error_feedback = true;
    p->fraction_bits = 24;
    p->support = keep < 1.0f ? CODEC_SUPPORT_ROUND : CODEC_SUPPORT_OWN;
    p->rotate_log2 = rotate_log2;
    p->range = masked_range(p, &c->layouts[0]);
}

static inline struct masked_terms masked_terms_of(unsigned ring_bits, uint32_t members_max) {
    return (struct masked_terms){
        .ring_bits = ring_bits, .members_max = members_max, .task_seed = 77, .round = 5};
}

/* The vector by its description in docs/internals/update-codec.md, from words that come one by one.
 */
struct witness_block {
    uint32_t section, index, first, count, size;
    uint64_t at;
};
struct witness {
    const struct codec_spec *spec;
    struct masked_terms terms;
    uint32_t *support[CODEC_SECTIONS_MAX], count[CODEC_SECTIONS_MAX];
    double *gain[CODEC_SECTIONS_MAX]; /* beside support */
    struct witness_block blocks[WITNESS_BLOCKS];
    uint32_t block_count;
    uint64_t values; /* coordinates before the limbs */
};

static inline bool witness_named(const struct masked_terms *t, uint32_t section, uint32_t i) {
    return section == 0 && t->mask.n > 0 && (t->mask.p[i / 8] >> (i % 8) & 1) != 0;
}

static inline void witness_support(struct witness *w, uint32_t s) {
    const struct layout *layout = w->spec->sections[s].layout;
    struct rng r;
    rng_init(&r, w->terms.task_seed, w->terms.round, s, RNG_SUPPORT);
    w->support[s] = mem_array(layout->total, sizeof(uint32_t));
    w->gain[s] = mem_array(layout->total, sizeof(double));
    assert_true(w->support[s] != NULL && w->gain[s] != NULL);
    for (uint32_t g = 0; g < layout->segment_count; g++) {
        const struct layout_segment *segment = &layout->segments[g];
        const uint32_t keep = codec_keep_count(&w->spec->pipeline, segment);
        uint32_t named = 0;
        for (uint32_t i = 0; i < segment->count; i++)
            named += witness_named(&w->terms, s, segment->offset + i);
        uint64_t need = keep - named, left = segment->count - named;
        const double drawn =
            need == 0 || w->spec->pipeline.error_feedback ? 1.0 : (double)left / (double)need;
        for (uint32_t i = segment->offset; i < segment->offset + segment->count; i++) {
            bool take = true;
            double gain = 1.0;
            if (keep < segment->count) {
                const uint64_t word = rng_u32(&r);
                take = witness_named(&w->terms, s, i);
                if (!take) {
                    gain = drawn;
                    take = word * left / 4294967296u < need;
                    need -= take;
                    left--;
                }
            }
            if (take) {
                w->gain[s][w->count[s]] = gain;
                w->support[s][w->count[s]++] = i;
            }
        }
    }
}

static inline void witness_cut(struct witness *w, uint32_t s) {
    const unsigned log2 = w->spec->pipeline.rotate_log2;
    const uint32_t whole = log2 > 0 ? 1u << log2 : MASKED_BLOCK;
    uint32_t index = 0;
    for (uint32_t first = 0; first < w->count[s]; index++) {
        const uint32_t left = w->count[s] - first;
        uint32_t size = left < whole ? left : whole;
        if (log2 > 0 && left < whole) {
            uint32_t above = 1;
            while (above < left)
                above *= 2;
            const uint32_t allowed = left / 16 > 64 ? left / 16 : 64;
            size = above - left > allowed ? above / 2 : above;
            if (above - left <= allowed && size < 64)
                size = whole < 64 ? whole : 64;
        }
        assert_true(w->block_count < WITNESS_BLOCKS);
        w->blocks[w->block_count++] =
            (struct witness_block){s, index, first, left < size ? left : size, size, 0};
        first += left < size ? left : size;
    }
}

static inline void witness_init(struct witness *w, const struct codec_spec *spec,
                                const struct masked_terms *terms) {
    *w = (struct witness){.spec = spec, .terms = *terms};
    for (uint32_t s = 0; s < spec->section_count; s++) {
        witness_support(w, s);
        witness_cut(w, s);
    }
    for (uint32_t i = 1; i < w->block_count; i++) /* insertion: larger first, else as they came */
        for (uint32_t j = i; j > 0 && w->blocks[j - 1].size < w->blocks[j].size; j--) {
            const struct witness_block b = w->blocks[j];
            w->blocks[j] = w->blocks[j - 1];
            w->blocks[j - 1] = b;
        }
    for (uint32_t i = 0; i < w->block_count; i++) {
        w->blocks[i].at = w->values;
        w->values += w->blocks[i].size;
    }
}

static inline void witness_deinit(struct witness *w) {
    for (uint32_t s = 0; s < w->spec->section_count; s++) {
        mem_free(w->support[s]);
        mem_free(w->gain[s]);
    }
}

/* Coordinate i of a block of the sum of `members` vectors, as the product with a row of the
 * Hadamard matrix, in units of weight / weight_max. */
static inline double witness_value(const struct witness *w, const struct witness_block *b,
                                   uint32_t i, uint32_t members, const uint32_t *vector) {
    const struct codec_pipeline *p = &w->spec->pipeline;
    const int64_t level_max = (1 << (p->bits - 1)) - 1;
    const double step = (double)p->range / (double)level_max;
    const double gain = w->gain[b->section][b->first + i];
    if (p->rotate_log2 == 0)
        return (double)((int64_t)vector[b->at + i] - (int64_t)members * level_max) * step * gain;
    struct rng r;
    rng_init(&r, w->terms.task_seed, w->terms.round, (uint64_t)b->section << 32 | b->index,
             RNG_ROTATE);
    uint32_t word = 0;
    for (uint32_t j = 0; j <= i / 32; j++)
        word = rng_u32(&r);
    int64_t sum = 0;
    for (uint32_t j = 0; j < b->size; j++) {
        const int64_t level = (int64_t)vector[b->at + j] - (int64_t)members * level_max;
        sum += __builtin_parity(i & j) ? -level : level;
    }
    return (word >> (i % 32) & 1 ? -1.0 : 1.0) * (double)sum * step * gain / sqrt((double)b->size);
}

#endif
