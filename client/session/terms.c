/* The work that terms ask for: their training rule, their update pipeline, and the end of a
 * training. */
#include "sotto/client/session.h"

#include <string.h>

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
}

enum sotto_status terms_encode_update(const sotto_Terms *t, const struct layout *layout,
                                      uint64_t serial, const float *global, float *trained,
                                      float *residual, const struct train_metrics *metrics,
                                      uint32_t examples, struct codec_update *out,
                                      struct sotto_error *err) {
    struct codec_spec spec;
    struct codec_input in;
    struct rng rng;
    terms_spec(t, layout, &spec);
    memset(&in, 0, sizeof in);
    if (spec.section_count > 0) {
        vec_sub_f32(trained, trained, global, layout->total);
        in.values[0] = trained;
        in.residual[0] = spec.pipeline.error_feedback ? residual : NULL;
    }
    uint32_t weight = examples < t->weight_max ? examples : t->weight_max;
    if (t->kind == sotto_Kind_KIND_TRAIN && t->rule.examples_max > 0 &&
        weight > t->rule.examples_max)
        weight = t->rule.examples_max;
    in.scalars[CODEC_WEIGHT] = weight > 0 ? weight : 1;
    in.scalars[CODEC_STEPS] = (double)metrics->steps;
    in.scalars[CODEC_LOSS] = metrics->loss > CODEC_LOSS_MAX ? CODEC_LOSS_MAX : metrics->loss;
    in.scalars[CODEC_CORRECT] = (double)metrics->correct;
    in.scalars[CODEC_SEEN] = (double)metrics->seen;
    rng_init(&rng, t->task_seed, t->round, serial, RNG_ROUNDING);
    return codec_encode(&spec, &in, &rng, out, err);
}
