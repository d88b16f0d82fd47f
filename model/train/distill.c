/* Ensemble distillation: a student learns the mean of its teachers' softened predictions on an
 * unlabelled pool. */
#include "train/train_int.h"

#include <string.h>

#define DISTILL_STEPS_MAX  1000000u
#define DISTILL_EVAL_BATCH 64u

static enum sotto_status check_config(const struct distill_config *c, uint32_t teacher_count,
                                      struct sotto_error *err) {
    if (teacher_count == 0)
        return SOTTO_FAIL(err, SOTTO_INVALID, "distillation needs a teacher");
    if (c->steps < 1 || c->steps > DISTILL_STEPS_MAX || c->batch < 1 || c->batch > 65536)
        return SOTTO_FAIL(
            err, SOTTO_INVALID,
            "distillation of %u steps with batch %u: 1 to %u and 1 to 65536 are allowed", c->steps,
            c->batch, DISTILL_STEPS_MAX);
    if (!(c->lr > 0.0f && c->lr <= 1000.0f) || !(c->momentum >= 0.0f && c->momentum < 1.0f) ||
        !(c->temperature > 0.0f && c->temperature <= 1000.0f))
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "distillation: learning rate, momentum or temperature out of range");
    return SOTTO_OK;
}

/* targets (zeros) += mean over the teachers of softmax(logits / temperature); one teacher at a time
 * through one program. */
static enum sotto_status mean_targets(const struct graph *g, const struct distill_config *config,
                                      const float *const *teachers, uint32_t teacher_count,
                                      const struct examples *pool,
                                      const struct kern_backend *backend, float *targets,
                                      struct sotto_error *err) {
    struct evaluator *e = NULL;
    struct train_soften how = {config->temperature, 1.0f / (float)teacher_count};
    enum sotto_status status = evaluator_new(g, DISTILL_EVAL_BATCH, backend, &e, err);
    for (uint32_t k = 0; k < teacher_count && status == SOTTO_OK; k++)
        status = train_run_batches(e, teachers[k], pool, &how, targets, err);
    evaluator_free(e);
    return status;
}

/* The student's run through the pool, in a new random order at every pass. */
struct student {
    struct train_engine engine;
    const struct examples *pool;
    const float *targets;
    uint32_t *order;
    uint32_t at, batch, classes;
    struct rng rng;
    float *x, *wanted;
};

static enum sotto_status student_step(struct student *s, const struct distill_config *config,
                                      uint32_t index, double *loss, struct sotto_error *err) {
    double m[KERN_METRIC_COUNT];
    if (s->at >= s->pool->count) {
        rng_shuffle_u32(&s->rng, s->order, s->pool->count);
        s->at = 0;
    }
    uint32_t left = s->pool->count - s->at, rows = left < s->batch ? left : s->batch;
    train_gather(s->pool, s->order + s->at, rows, s->batch, s->x, NULL);
    for (uint32_t r = 0; r < rows; r++)
        memcpy(s->wanted + (size_t)r * s->classes,
               s->targets + (size_t)s->order[s->at + r] * s->classes, s->classes * sizeof(float));
    memset(s->wanted + (size_t)rows * s->classes, 0,
           (size_t)(s->batch - rows) * s->classes * sizeof(float));
    s->at += rows;
    struct kern_step step = {.lr = config->lr, .rows = rows, .seed = config->seed, .index = index};
    enum sotto_status status = kern_exec_run(s->engine.exec, &step, err);
    kern_exec_metrics(s->engine.exec, m);
    kern_exec_clear_metrics(s->engine.exec);
    *loss = m[KERN_METRIC_LOSS] / rows;
    return status;
}

static enum sotto_status train_student(const struct graph *g, const struct distill_config *config,
                                       const struct examples *pool, const float *targets,
                                       const struct kern_backend *backend, float *params,
                                       distill_progress *progress, void *ctx,
                                       struct sotto_error *err) {
    enum sotto_status status;
    struct student s = {.pool = pool, .targets = targets, .classes = graph_classes(g)};
    s.batch = config->batch < pool->count ? config->batch : pool->count;
    struct graph_options options = {.mode = GRAPH_DISTILL,
                                    .batch = s.batch,
                                    .momentum = config->momentum,
                                    .temperature = config->temperature};
    TRY(train_engine_init(&s.engine, g, &options, backend, err));
    s.order = mem_array(pool->count, sizeof *s.order);
    if (!s.order)
        TRY_FAIL(err, SOTTO_NOMEM, "order of %u examples", pool->count);
    for (uint32_t i = 0; i < pool->count; i++)
        s.order[i] = i;
    s.at = pool->count; /* the first step shuffles */
    rng_init(&s.rng, config->seed, config->round, 0, RNG_DISTILL);
    s.x = kern_exec_host(s.engine.exec, s.engine.program->input);
    s.wanted = kern_exec_host(s.engine.exec, s.engine.program->targets);
    kern_exec_load_params(s.engine.exec, params);
    kern_exec_clear_metrics(s.engine.exec);
    for (uint32_t i = 0; i < config->steps; i++) {
        double loss;
        TRY(student_step(&s, config, i, &loss, err));
        if (progress && !progress(ctx, i + 1, config->steps, loss))
            TRY_FAIL(err, SOTTO_CANCELLED, "distillation was stopped at step %u", i + 1);
    }
    kern_exec_store_params(s.engine.exec, params);
out:
    mem_free(s.order);
    train_engine_deinit(&s.engine);
    return status;
}

enum sotto_status distill_run(const struct graph *g, const struct distill_config *config,
                              const float *const *teachers, uint32_t teacher_count,
                              const struct examples *pool, const struct kern_backend *backend,
                              float *student, distill_progress *progress, void *ctx,
                              struct sotto_error *err) {
    enum sotto_status status;
    float *targets = NULL;
    TRY(check_config(config, teacher_count, err));
    TRY(train_check_examples(graph_input_count(g), graph_classes(g), pool, err));
    targets = mem_array((size_t)pool->count * graph_classes(g), sizeof *targets);
    if (!targets)
        TRY_FAIL(err, SOTTO_NOMEM, "targets of %u examples", pool->count);
    TRY(mean_targets(g, config, teachers, teacher_count, pool, backend, targets, err));
    TRY(train_student(g, config, pool, targets, backend, student, progress, ctx, err));
out:
    mem_free(targets);
    return status;
}
