/* Random layouts, pipelines and updates for the tests of the codec, and the other side in one call.
 */
#ifndef SOTTO_TESTS_CODEC_SUPPORT_H
#define SOTTO_TESTS_CODEC_SUPPORT_H

#include <stdio.h>
#include <string.h>

#include "sotto/protocol/codec.h"
#include "support.h"

struct codec_case {
    struct layout layouts[CODEC_SECTIONS_MAX];
    struct codec_spec spec;
    struct codec_input in;
    struct codec_update update;
};

/* Adds a segment of count coordinates; aborts the test when the layout refuses it. */
static inline void case_segment(struct layout *l, enum layout_kind kind, uint32_t count) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    char name[LAYOUT_NAME_MAX];
    snprintf(name, sizeof name, "s%u", (unsigned)l->segment_count);
    ASSERT_OK(layout_add(l, name, kind, 1, &count, &err));
}

/* One section "weights" of the layout that the caller has put into c->layouts[0..sections). */
static inline void case_init(struct codec_case *c, uint32_t sections) {
    memset(c, 0, sizeof *c);
    for (uint32_t s = 0; s < sections; s++)
        layout_init(&c->layouts[s]);
    c->spec = (struct codec_spec){.pipeline = CODEC_PIPELINE_INIT,
                                  .section_count = sections,
                                  .weight_max = 1000,
                                  .accept_max = 100};
    for (uint32_t s = 0; s < sections; s++) {
        snprintf(c->spec.sections[s].name, sizeof c->spec.sections[s].name, "section%u",
                 (unsigned)s);
        c->spec.sections[s].layout = &c->layouts[s];
    }
    codec_update_init(&c->update);
}

/* Arrays for the layouts, zero; with residuals when the pipeline wants them. */
static inline void case_arrays(struct codec_case *c) {
    for (uint32_t s = 0; s < c->spec.section_count; s++) {
        c->in.values[s] = mem_array(c->layouts[s].total, sizeof(float));
        c->in.residual[s] = mem_array(c->layouts[s].total, sizeof(float));
        assert_non_null(c->in.values[s]);
        assert_non_null(c->in.residual[s]);
    }
    c->in.scalars[CODEC_WEIGHT] = 10;
}

static inline void case_deinit(struct codec_case *c) {
    for (uint32_t s = 0; s < c->spec.section_count; s++) {
        mem_free(c->in.values[s]);
        mem_free(c->in.residual[s]);
        layout_deinit(&c->layouts[s]);
    }
    codec_update_deinit(&c->update);
}

/* Values as an update has them: normal, some zero, some equal, some large. */
static inline void case_fill(struct codec_case *c, struct rng *r) {
    for (uint32_t s = 0; s < c->spec.section_count; s++) {
        const float scale = (float)(0.001 + rng_f64(r));
        for (uint32_t i = 0; i < c->layouts[s].total; i++) {
            const uint32_t kind = rng_below(r, 16);
            float v = (float)rng_normal(r) * scale;
            if (kind == 0)
                v = 0.0f;
            else if (kind == 1)
                v = i % 2 != 0 ? scale : -scale;
            else if (kind == 2 && rng_below(r, 100) == 0)
                v *= 1000.0f;
            c->in.values[s][i] = v;
            c->in.residual[s][i] = (float)rng_normal(r) * scale * 0.1f;
        }
    }
    c->in.scalars[CODEC_WEIGHT] = 1 + rng_below(r, c->spec.weight_max);
    c->in.scalars[CODEC_STEPS] = rng_below(r, 1000);
    c->in.scalars[CODEC_LOSS] = rng_f64(r) * 1000.0;
    c->in.scalars[CODEC_SEEN] = rng_below(r, 1000);
    c->in.scalars[CODEC_WEIGHTED_STEPS] = 0.25 * rng_below(r, 100000);
    c->in.scalars[CODEC_CORRECT] = rng_below(r, 1000);
}

/* A random spec: 1 to 3 sections, segments of all sizes, all kinds of pipelines. */
static inline void case_random(struct codec_case *c, struct rng *r) {
    static const unsigned bits[] = {2, 3, 4, 5, 8, 11, 16, 32};
    static const float keeps[] = {1.0f, 0.5f, 0.25f, 0.1f, 0.04f, 0.01f, 0.0001f};
    case_init(c, 1 + rng_below(r, 3));
    for (uint32_t s = 0; s < c->spec.section_count; s++) {
        const uint32_t segments = 1 + rng_below(r, 4);
        for (uint32_t i = 0; i < segments; i++) {
            const uint32_t size = rng_below(r, 8);
            const uint32_t most = size == 0 ? 150000 : size < 4 ? 5000 : 40;
            case_segment(&c->layouts[s], rng_below(r, 3) == 0 ? LAYOUT_BIAS : LAYOUT_WEIGHT,
                         1 + rng_below(r, most));
        }
    }
    c->spec.pipeline.bits = bits[rng_below(r, ARRAY_LEN(bits))];
    c->spec.pipeline.keep = keeps[rng_below(r, ARRAY_LEN(keeps))];
    c->spec.pipeline.stochastic = rng_below(r, 2) != 0;
    c->spec.pipeline.error_feedback = rng_below(r, 2) != 0;
    c->spec.pipeline.clip_norm = rng_below(r, 2) != 0 ? 0.1f + 10.0f * rng_f32(r) : 0.0f;
    c->spec.pipeline.clip_inf = 0.05f + 2.0f * rng_f32(r);
    c->spec.pipeline.fraction_bits = 20 + rng_below(r, 16);
    case_arrays(c);
    case_fill(c, r);
}

/* Checks the whole update as the coordinator does. */
static inline enum sotto_status case_check(const struct codec_spec *spec,
                                           const struct codec_update *u, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct codec_head *head = NULL;
    struct codec_check *check = codec_check_new(spec);
    if (check == NULL)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for a check");
    TRY(codec_head_decode(spec, codec_update_part(u, 0), &head, err));
    for (uint32_t part = 1; part < u->part_count; part++)
        TRY(codec_check_part(spec, head, check, codec_update_part(u, part), err));
    TRY(codec_check_finish(spec, head, check, err));
out:
    codec_check_free(check);
    codec_head_free(head);
    return status;
}

/* Adds a checked update. */
static inline enum sotto_status case_add(struct accumulator *a, const struct codec_spec *spec,
                                         const struct codec_update *u, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct codec_head *head = NULL;
    TRY(codec_head_decode(spec, codec_update_part(u, 0), &head, err));
    TRY(accumulator_add_head(a, spec, head));
    for (uint32_t part = 1; part < u->part_count; part++)
        TRY(accumulator_add_part(a, spec, head, part, codec_update_part(u, part), err));
out:
    codec_head_free(head);
    return status;
}

/* The same bits in two sums. */
static inline void case_same_sums(const struct accumulator *a, const struct accumulator *b) {
    assert_int_equal(a->updates, b->updates);
    assert_memory_equal(a->scalars, b->scalars, sizeof a->scalars);
    for (uint32_t s = 0; s < a->section_count; s++)
        assert_memory_equal(a->sums[s], b->sums[s], a->counts[s] * sizeof *a->sums[s]);
}

#endif
