/* The work that terms ask for: their training rule, their update pipeline, and the end of a
 * training. */
#include "sotto/client/session.h"

#include <string.h>

_Static_assert(TRAIN_SGD == WIRE_ALGORITHM_SGD && TRAIN_NOVA == WIRE_ALGORITHM_NOVA &&
                   TRAIN_SCAFFOLD == WIRE_ALGORITHM_SCAFFOLD,
               "the terms name algorithms as the model room does");

void terms_rule(const sotto_Terms *t, struct train_rule *out) {
    const struct train_rule plain = TRAIN_RULE_INIT;
    *out = plain;
    if (!t->has_rule) /* an evaluation */
        return;
    out->epochs = t->rule.epochs;
    out->batch = t->rule.batch;
    out->steps_max = t->rule.steps_max;
    out->examples_max = t->rule.examples_max;
    out->lr = t->rule.lr;
    out->momentum = t->rule.momentum;
    out->weight_decay = t->rule.weight_decay;
    out->prox_mu = t->rule.prox_mu;
    out->clip_norm = t->rule.clip_norm;
    out->nesterov = t->rule.nesterov;
    out->algorithm = (enum train_algorithm)t->rule.algorithm;
}

void terms_spec(const sotto_Terms *t, const struct layout *layout, struct codec_spec *out) {
    const struct codec_pipeline plain = CODEC_PIPELINE_INIT;
    memset(out, 0, sizeof *out);
    out->pipeline = plain;
    out->weight_max = t->weight_max;
    out->accept_max = t->n_max;
    if (t->has_pipeline) {
        struct codec_pipeline *p = &out->pipeline;
        p->clip_norm = t->pipeline.clip_norm;
        p->clip_inf = t->pipeline.clip_inf;
        p->keep = t->pipeline.keep;
        p->bits = t->pipeline.bits;
        p->stochastic = t->pipeline.stochastic;
        p->error_feedback = t->pipeline.error_feedback;
        p->residual_rounds_max = t->pipeline.residual_rounds_max;
        p->fraction_bits = t->pipeline.fraction_bits;
        p->support = (enum codec_support)t->pipeline.support;
        p->rotate_log2 = t->pipeline.rotate_log2;
        p->range = t->pipeline.range;
    }
    if (t->kind != sotto_Kind_KIND_TRAIN)
        return;
    out->section_count = 1;
    memcpy(out->sections[0].name, "weights", sizeof "weights");
    out->sections[0].layout = layout;
    if (t->rule.algorithm != WIRE_ALGORITHM_SCAFFOLD)
        return;
    out->section_count = 2;
    memcpy(out->sections[1].name, "control", sizeof "control");
    out->sections[1].layout = layout;
}

void terms_drift(const sotto_Terms *t, uint32_t count, const float *global, const float *own,
                 float *drift) {
    for (uint32_t i = 0; i < count; i++)
        drift[i] = t->rule.lr * (own[i] - global[i]);
}

/* Karimireddy et al. 2020 (arXiv:1910.06378), option II: c_i+ - c_i = (x - y) / (K lr) - c, with
 * delta = y - x. */
static void control_change(const sotto_Terms *t, uint32_t count, const float *delta, uint64_t steps,
                           struct terms_control *control) {
    const float scale = (float)(-1.0 / ((double)t->rule.lr * (double)steps));
    for (uint32_t i = 0; i < count; i++)
        control->change[i] = scale * delta[i] - control->global[i];
}

/* The local rule's part of an update: its normalizer, its control variates. */
static enum sotto_status apply_algorithm(const sotto_Terms *t, uint32_t count, uint32_t weight,
                                         uint64_t steps, float *delta,
                                         struct terms_control *control, struct codec_input *in,
                                         struct sotto_error *err) {
    struct train_rule rule;
    terms_rule(t, &rule);
    if (rule.algorithm == TRAIN_NOVA) {
        const double normalizer = train_normalizer(&rule, steps);
        if (!(normalizer > 0.0))
            return SOTTO_FAIL(err, SOTTO_INVALID, "%llu steps of this rule have no normalizer",
                              (unsigned long long)steps);
        const float scale = (float)(1.0 / normalizer);
        for (uint32_t i = 0; i < count; i++)
            delta[i] *= scale;
        in->scalars[CODEC_WEIGHTED_STEPS] = weight * normalizer;
    }
    if (rule.algorithm == TRAIN_SCAFFOLD) {
        if (control == NULL || steps == 0)
            return SOTTO_FAIL(err, SOTTO_INVALID, "an update without its control variates");
        control_change(t, count, delta, steps, control);
        in->values[1] = control->change;
    }
    return SOTTO_OK;
}

enum sotto_status terms_input(const sotto_Terms *t, const struct layout *layout,
                              const float *global, float *trained, float *residual,
                              struct terms_control *control, const struct train_metrics *metrics,
                              uint32_t examples, struct codec_input *out, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    memset(out, 0, sizeof *out);
    uint32_t weight = examples < t->weight_max ? examples : t->weight_max;
    if (t->kind == sotto_Kind_KIND_TRAIN && t->rule.examples_max > 0 &&
        weight > t->rule.examples_max)
        weight = t->rule.examples_max;
    weight = weight > 0 ? weight : 1;
    if (t->kind == sotto_Kind_KIND_TRAIN) {
        if (global != NULL)
            vec_sub_f32(trained, trained, global, layout->total);
        out->values[0] = trained;
        out->residual[0] = t->has_pipeline && t->pipeline.error_feedback ? residual : NULL;
        status =
            apply_algorithm(t, layout->total, weight, metrics->steps, trained, control, out, err);
    }
    out->scalars[CODEC_WEIGHT] = weight;
    out->scalars[CODEC_STEPS] = (double)metrics->steps;
    out->scalars[CODEC_LOSS] = metrics->loss > CODEC_LOSS_MAX ? CODEC_LOSS_MAX : metrics->loss;
    out->scalars[CODEC_CORRECT] = (double)metrics->correct;
    out->scalars[CODEC_SEEN] = (double)metrics->seen;
    return status;
}

enum sotto_status terms_encode_update(const sotto_Terms *t, const struct layout *layout,
                                      uint64_t serial, const float *global, float *trained,
                                      float *residual, struct terms_control *control,
                                      const struct train_metrics *metrics, uint32_t examples,
                                      struct codec_update *out, struct sotto_error *err) {
    enum sotto_status status;
    struct codec_spec spec;
    struct codec_input in;
    struct rng rng;
    terms_spec(t, layout, &spec);
    TRY(terms_input(t, layout, global, trained, residual, control, metrics, examples, &in, err));
    rng_init(&rng, t->task_seed, t->round, serial, RNG_ROUNDING);
    TRY(codec_encode(&spec, &in, &rng, out, err));
    if (in.values[1] != NULL)
        vec_add_f32(control->own, control->own, control->change, layout->total);
out:
    return status;
}

enum sotto_status terms_masked_plan(const sotto_Terms *t, const struct layout *layout,
                                    struct view support, struct masked_plan **out,
                                    struct sotto_error *err) {
    struct codec_spec spec;
    const struct masked_terms terms = {.ring_bits = t->privacy.ring_bits,
                                       .members_max = t->n_max,
                                       .task_seed = t->task_seed,
                                       .round = t->round,
                                       .mask = support};
    terms_spec(t, layout, &spec);
    return masked_plan_new(&spec, &terms, out, err);
}

enum sotto_status terms_encode_masked(const sotto_Terms *t, const struct masked_plan *plan,
                                      const struct layout *layout, uint64_t serial,
                                      const float *global, float *trained, float *residual,
                                      struct terms_control *control,
                                      const struct train_metrics *metrics, uint32_t examples,
                                      uint32_t *codes, struct sotto_error *err) {
    enum sotto_status status;
    struct codec_input in;
    struct rng rng;
    TRY(terms_input(t, layout, global, trained, residual, control, metrics, examples, &in, err));
    rng_init(&rng, t->task_seed, t->round, serial, RNG_ROUNDING);
    TRY(masked_encode(plan, &in, &rng, codes, err));
    if (in.values[1] != NULL)
        vec_add_f32(control->own, control->own, control->change, layout->total);
out:
    return status;
}
