/* A task's settings in the words of the other rooms: training rule, codec spec, terms. */
#include "sotto/coordinator/task_options.h"

#include <string.h>

static enum train_algorithm algorithm(const struct task_config *t) {
    const struct strategy *s = strategy_get(t->strategy);
    return s ? s->algorithm : TRAIN_SGD;
}

void task_rule(const struct task_config *t, struct train_rule *out) {
    *out = (struct train_rule){
        .epochs = (uint32_t)t->local_epochs,
        .batch = (uint32_t)t->local_batch,
        .steps_max = (uint32_t)t->local_steps_max,
        .examples_max = (uint32_t)t->local_examples_max,
        .lr = (float)t->local_lr,
        .momentum = (float)t->local_momentum,
        .weight_decay = (float)t->local_weight_decay,
        .prox_mu = (float)t->local_prox_mu,
        .clip_norm = (float)t->local_clip_norm,
        .nesterov = t->local_nesterov,
        .algorithm = algorithm(t),
    };
}

bool task_secure(const struct task_config *t) {
    return t->secure_aggregation != 0;
}

static uint32_t accept_max(const struct task_config *t, bool evaluate) {
    return (uint32_t)(evaluate && t->evaluate_cohort ? t->evaluate_cohort : t->cohort);
}

uint32_t task_group_max(const struct task_config *t, bool evaluate) {
    const uint64_t reports = accept_max(t, evaluate);
    return (uint32_t)(t->group_max < reports ? t->group_max : reports);
}

void task_spec(const struct task_config *t, const struct layout *layout, bool evaluate,
               struct codec_spec *out) {
    memset(out, 0, sizeof *out);
    out->pipeline = (struct codec_pipeline){
        .clip_norm = (float)t->clip_norm,
        .clip_inf = (float)t->clip_inf,
        .keep = (float)t->keep,
        .bits = (unsigned)t->bits,
        .stochastic = t->stochastic,
        .error_feedback = t->error_feedback,
        .residual_rounds_max = (uint32_t)t->residual_rounds_max,
        .fraction_bits = (unsigned)t->fraction_bits,
    };
    if (task_secure(t)) {
        struct codec_pipeline *p = &out->pipeline;
        p->support = (enum codec_support)t->support;
        p->rotate_log2 = t->rotate ? MASKED_ROTATE_LOG2 : 0;
        p->range = t->range > 0.0 ? (float)t->range : masked_range(p, layout);
    }
    if (!evaluate) {
        out->section_count = 1;
        memcpy(out->sections[0].name, "weights", sizeof "weights");
        out->sections[0].layout = layout;
    }
    if (!evaluate && algorithm(t) == TRAIN_SCAFFOLD) {
        out->section_count = 2;
        memcpy(out->sections[1].name, "control", sizeof "control");
        out->sections[1].layout = layout;
    }
    out->weight_max = (uint32_t)t->weight_max;
    out->accept_max = accept_max(t, evaluate);
}

static void privacy_terms(const struct task_config *t, sotto_PrivacyTerms *out) {
    if (!task_secure(t))
        return;
    *out = (sotto_PrivacyTerms){.secure_aggregation = SECURE_REQUIRED,
                                .minimum_group = (uint32_t)t->minimum_group,
                                .ring_bits = (uint32_t)t->ring_bits,
                                .exchange_ms = t->exchange_ms,
                                .adversary = (uint32_t)t->adversary + 1,
                                .adversarial = (float)t->adversarial,
                                .dropout = (float)t->dropout};
}

void task_terms(const struct task_config *t, const struct layout *layout, const uint8_t task_id[16],
                uint32_t round, bool evaluate, sotto_Terms *out) {
    *out = (sotto_Terms)sotto_Terms_init_zero;
    WIRE_SET_TEXT(out->task, t->name);
    WIRE_SET_TEXT(out->collection, t->collection);
    out->task_id.size = WIRE_TASK_ID;
    memcpy(out->task_id.bytes, task_id, WIRE_TASK_ID);
    out->round = round;
    out->kind = evaluate ? sotto_Kind_KIND_EVALUATE : sotto_Kind_KIND_TRAIN;
    struct train_rule rule;
    task_rule(t, &rule);
    out->has_rule = true;
    out->rule = (sotto_LocalRule){
        .epochs = rule.epochs,
        .batch = rule.batch,
        .steps_max = rule.steps_max,
        .examples_max = rule.examples_max,
        .lr = rule.lr,
        .momentum = rule.momentum,
        .weight_decay = rule.weight_decay,
        .prox_mu = rule.prox_mu,
        .clip_norm = rule.clip_norm,
        .nesterov = rule.nesterov,
        .algorithm = (uint32_t)rule.algorithm,
    };
    struct codec_spec spec;
    task_spec(t, layout, evaluate, &spec);
    const struct codec_pipeline *p = &spec.pipeline;
    out->has_pipeline = true;
    out->pipeline = (sotto_Pipeline){
        .clip_norm = p->clip_norm,
        .clip_inf = p->clip_inf,
        .keep = p->keep,
        .bits = p->bits,
        .stochastic = p->stochastic,
        .error_feedback = p->error_feedback,
        .residual_rounds_max = p->residual_rounds_max,
        .fraction_bits = p->fraction_bits,
        .support = (uint32_t)p->support,
        .rotate_log2 = p->rotate_log2,
        .range = p->range,
    };
    out->has_privacy = true;
    privacy_terms(t, &out->privacy);
    out->weight_max = spec.weight_max;
    out->n_max = task_secure(t) ? task_group_max(t, evaluate) : accept_max(t, evaluate);
    out->task_seed = t->seed;
    out->train_ms = t->deadline_ms;
    out->heartbeat_ms = t->heartbeat_ms;
    out->examples_min = (uint32_t)t->examples_min;
}
