/* Local training: the loop around a training program, its example order, and checkpoints in the
 * middle. */
#include "train/train_int.h"

#include <string.h>

#define TRAIN_BATCH_MAX    65536u
#define TRAIN_EPOCHS_MAX   100000u
#define TRAIN_SAVE_VERSION 1u

struct trainer {
    struct train_engine engine; /* a group's, or our own */
    struct train_group *group;  /* NULL: alone */
    uint32_t lane;
    struct train_rule rule;
    uint32_t batch, input_count, classes, param_count;
    float *x; /* the program's inputs */
    int32_t *labels;
    bool momentum; /* the program has optimizer state */

    struct examples examples;
    struct data_schema schema; /* ours, so that the caller's may go */
    struct train_stream stream;
    uint64_t dropout_seed;
    struct rng shuffle;
    uint32_t *order; /* positions of the examples in use */
    uint32_t order_cap, count;
    uint32_t steps_epoch, steps_total, step;
    bool has_drift; /* of this client; SCAFFOLD's steps need it */
    struct train_metrics metrics;
};

enum sotto_status train_rule_check(const struct train_rule *r, struct sotto_error *err) {
    if (r->epochs < 1 || r->epochs > TRAIN_EPOCHS_MAX)
        return SOTTO_FAIL(err, SOTTO_INVALID, "epochs %u, allowed are 1 to %u", r->epochs,
                          TRAIN_EPOCHS_MAX);
    if (r->batch > TRAIN_BATCH_MAX)
        return SOTTO_FAIL(err, SOTTO_INVALID, "batch %u, allowed are 0 (all) to %u", r->batch,
                          TRAIN_BATCH_MAX);
    if (!(r->lr > 0.0f && r->lr <= 1000.0f))
        return SOTTO_FAIL(err, SOTTO_INVALID, "learning rate %g, allowed are above 0 up to 1000",
                          (double)r->lr);
    if (!(r->momentum >= 0.0f && r->momentum < 1.0f))
        return SOTTO_FAIL(err, SOTTO_INVALID, "momentum %g, allowed are 0 up to below 1",
                          (double)r->momentum);
    if (r->nesterov && r->momentum <= 0.0f)
        return SOTTO_FAIL(err, SOTTO_INVALID, "nesterov needs a momentum");
    if (!(r->weight_decay >= 0.0f && r->weight_decay <= 1000.0f))
        return SOTTO_FAIL(err, SOTTO_INVALID, "weight decay %g, allowed are 0 to 1000",
                          (double)r->weight_decay);
    if (!(r->prox_mu >= 0.0f && r->prox_mu <= 1000.0f))
        return SOTTO_FAIL(err, SOTTO_INVALID, "prox mu %g, allowed are 0 to 1000",
                          (double)r->prox_mu);
    if (!(r->clip_norm >= 0.0f && r->clip_norm <= 1e9f))
        return SOTTO_FAIL(err, SOTTO_INVALID, "clip norm %g, allowed are 0 (none) to 1e9",
                          (double)r->clip_norm);
    if ((unsigned)r->algorithm > TRAIN_SCAFFOLD)
        return SOTTO_FAIL(err, SOTTO_INVALID, "algorithm %u is not known", (unsigned)r->algorithm);
    if (r->algorithm == TRAIN_SCAFFOLD && r->prox_mu > 0.0f)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "control variates do not go with a proximal term; set prox mu to 0");
    return SOTTO_OK;
}

double train_normalizer(const struct train_rule *r, uint64_t steps) {
    const double pull = (double)r->lr * (double)r->prox_mu, momentum = (double)r->momentum;
    double moved = 0.0, velocity = 0.0;
    if (!(pull > 0.0) && !(momentum > 0.0))
        return (double)steps;
    for (uint64_t k = 0; k < steps; k++) {
        const double gradient = 1.0 - pull * moved;
        velocity = momentum * velocity + gradient;
        moved += r->nesterov ? gradient + momentum * velocity : velocity;
    }
    return moved;
}

struct graph_options train_options(const struct train_rule *r, uint32_t batch) {
    return (struct graph_options){.mode = GRAPH_TRAIN,
                                  .batch = batch,
                                  .momentum = r->momentum,
                                  .weight_decay = r->weight_decay,
                                  .prox_mu = r->prox_mu,
                                  .nesterov = r->nesterov,
                                  .clip_norm = r->clip_norm,
                                  .drift = r->algorithm == TRAIN_SCAFFOLD};
}

enum sotto_status train_rule_options(const struct train_rule *rule, uint32_t batch_max,
                                     struct graph_options *out, struct sotto_error *err) {
    enum sotto_status status = train_rule_check(rule, err);
    if (status != SOTTO_OK)
        return status;
    if (rule->batch == 0 && batch_max == 0)
        return SOTTO_FAIL(err, SOTTO_INVALID, "a full batch needs to know how many rows at most");
    *out = train_options(rule, rule->batch ? rule->batch : batch_max);
    return SOTTO_OK;
}

enum sotto_status trainer_plan(const struct graph *g, const struct train_rule *rule,
                               uint32_t batch_max, const struct kern_backend *backend,
                               uint64_t *bytes, struct sotto_error *err) {
    struct graph_options options;
    struct kern_program *program = NULL;
    enum sotto_status status;
    TRY(train_rule_options(rule, batch_max, &options, err));
    TRY(graph_compile_program(g, &options, &program, err));
    TRY(kern_exec_plan(program, backend, 1, bytes, err));
    *bytes += sizeof(struct trainer);
out:
    graph_program_free(program);
    return status;
}

static void set_up(struct trainer *t, const struct graph *g, const struct train_rule *rule) {
    const struct kern_program *p = t->engine.program;
    t->rule = *rule;
    t->batch = p->batch;
    t->input_count = graph_input_count(g);
    t->classes = graph_classes(g);
    t->param_count = g->layout.total;
    t->x = kern_exec_lane_host(t->engine.exec, t->lane, p->input);
    t->labels = kern_exec_lane_host(t->engine.exec, t->lane, p->labels);
    t->momentum = p->state_count > 0;
}

enum sotto_status trainer_new(const struct graph *g, const struct train_rule *rule,
                              uint32_t batch_max, const struct kern_backend *backend,
                              struct trainer **out, struct sotto_error *err) {
    enum sotto_status status;
    struct graph_options options;
    struct trainer *t = NULL;
    *out = NULL;
    TRY(train_rule_options(rule, batch_max, &options, err));
    t = mem_zalloc(sizeof *t);
    if (!t)
        TRY_FAIL(err, SOTTO_NOMEM, "trainer");
    TRY(train_engine_init(&t->engine, g, &options, backend, err));
    set_up(t, g, rule);
    *out = t;
    t = NULL;
out:
    trainer_free(t);
    return status;
}

enum sotto_status trainer_new_grouped(struct train_group *group, struct trainer **out,
                                      struct sotto_error *err) {
    struct trainer *t = mem_zalloc(sizeof *t);
    *out = NULL;
    if (!t)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "trainer");
    if (!train_group_take(group, &t->lane)) {
        mem_free(t);
        return SOTTO_FAIL(err, SOTTO_FULL, "every lane of the group has a trainer");
    }
    t->group = group;
    t->engine = *train_group_engine(group);
    set_up(t, train_group_graph(group), train_group_rule(group));
    *out = t;
    return SOTTO_OK;
}

void trainer_free(struct trainer *t) {
    if (!t)
        return;
    if (t->group)
        train_group_give(t->group, t->lane);
    else
        train_engine_deinit(&t->engine);
    mem_free(t->order);
    mem_free(t);
}

/* The exec is ours between them, whether others share it or not. */
static void enter(const struct trainer *t) {
    if (t->group)
        train_group_enter(t->group);
}
static void leave(const struct trainer *t) {
    if (t->group)
        train_group_leave(t->group);
}

void trainer_profile(struct trainer *t, bool on) {
    enter(t);
    kern_exec_profile(t->engine.exec, on);
    leave(t);
}

const double *trainer_seconds(struct trainer *t) {
    return t->lane == 0 ? kern_exec_profile_seconds(t->engine.exec) : NULL;
}

uint64_t trainer_bytes(const struct trainer *t) {
    return kern_exec_bytes(t->engine.exec) + (uint64_t)t->order_cap * sizeof *t->order + sizeof *t;
}

static enum sotto_status reserve_order(struct trainer *t, uint32_t count, struct sotto_error *err) {
    if (count <= t->order_cap)
        return SOTTO_OK;
    uint32_t *order = mem_resize(t->order, count, sizeof *order);
    if (!order)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "order of %u examples", count);
    t->order = order;
    t->order_cap = count;
    return SOTTO_OK;
}

static void shuffle_epoch(struct trainer *t) {
    rng_shuffle_u32(&t->shuffle, t->order, t->count);
}

/* The order of the examples and the streams: all of a beginning but the weights. */
static enum sotto_status begin(struct trainer *t, const struct examples *examples,
                               const struct train_stream *stream, struct sotto_error *err) {
    enum sotto_status status;
    t->step = t->steps_total = 0; /* nothing to advance after a refusal */
    TRY(train_check_examples(t->input_count, t->classes, examples, err));
    if (!examples->labels)
        TRY_FAIL(err, SOTTO_INVALID, "training needs labels");
    uint32_t max = t->rule.examples_max;
    uint32_t count = max && max < examples->count ? max : examples->count;
    if (t->rule.batch == 0 && count > t->batch)
        TRY_FAIL(err, SOTTO_LIMIT, "%u examples do not fit the full batch of %u", count, t->batch);
    TRY(reserve_order(t, examples->count, err));
    t->examples = *examples;
    t->schema = *examples->schema;
    t->examples.schema = &t->schema;
    t->stream = *stream;
    struct rng dropout;
    rng_init(&dropout, stream->seed, stream->round, stream->serial, RNG_DROPOUT);
    t->dropout_seed = rng_u64(&dropout);
    rng_init(&t->shuffle, stream->seed, stream->round, stream->serial, RNG_SHUFFLE);
    for (uint32_t i = 0; i < examples->count; i++)
        t->order[i] = i;
    if (count < examples->count) /* the drawn subset: the head of a shuffle of all */
        rng_shuffle_u32(&t->shuffle, t->order, examples->count);
    t->count = count;
    t->steps_epoch = (count - 1) / t->batch + 1;
    uint64_t total = (uint64_t)t->steps_epoch * t->rule.epochs;
    if (t->rule.steps_max && total > t->rule.steps_max)
        total = t->rule.steps_max;
    if (total > UINT32_MAX)
        TRY_FAIL(err, SOTTO_LIMIT, "training takes more than %u steps", UINT32_MAX);
    t->steps_total = (uint32_t)total;
    t->metrics = (struct train_metrics){0};
    shuffle_epoch(t);
    t->has_drift = t->rule.algorithm != TRAIN_SCAFFOLD;
out:
    return status;
}

enum sotto_status trainer_begin(struct trainer *t, const float *params,
                                const struct examples *examples, const struct train_stream *stream,
                                struct sotto_error *err) {
    const enum sotto_status status = begin(t, examples, stream, err);
    if (status != SOTTO_OK)
        return status;
    enter(t);
    kern_exec_load_lane(t->engine.exec, t->lane,
                        params); /* and as the anchor; a drift comes later */
    leave(t);
    return SOTTO_OK;
}

enum sotto_status trainer_begin_package(struct trainer *t, const struct package *p,
                                        const struct examples *examples,
                                        const struct train_stream *stream,
                                        struct sotto_error *err) {
    enum sotto_status status = begin(t, examples, stream, err);
    if (status != SOTTO_OK)
        return status;
    enter(t);
    status = train_engine_load(&t->engine, t->lane, p, err);
    leave(t);
    if (status != SOTTO_OK)
        t->steps_total = 0; /* nothing to advance after a refusal */
    return status;
}

void trainer_drift(struct trainer *t, const float *drift) {
    enter(t);
    kern_exec_load_lane_anchor(t->engine.exec, t->lane, drift);
    leave(t);
    t->has_drift = true;
}

static uint32_t rows_of(const struct trainer *t, uint32_t step) {
    uint32_t left = t->count - step % t->steps_epoch * t->batch;
    return left < t->batch ? left : t->batch;
}

/* kern_fill_fn: the examples of step t->step + i, in order of i. */
static void fill_step(void *ctx, uint32_t i, uint32_t lane) {
    struct trainer *t = ctx;
    uint32_t step = t->step + i, in_epoch = step % t->steps_epoch;
    (void)lane;
    if (in_epoch == 0 && step > 0)
        shuffle_epoch(t);
    train_gather(&t->examples, t->order + in_epoch * t->batch, rows_of(t, step), t->batch, t->x,
                 t->labels);
}

/* Each step's sums are added by themselves, so that a resumed run adds the same numbers in the same
 * order. */
static void add_metrics(struct trainer *t, const double m[KERN_METRIC_COUNT]) {
    t->metrics.loss += m[KERN_METRIC_LOSS];
    t->metrics.correct += (uint64_t)m[KERN_METRIC_CORRECT];
    t->metrics.seen += (uint64_t)m[KERN_METRIC_SEEN];
    t->metrics.steps++;
}

static enum sotto_status run_steps(struct trainer *t, uint32_t count, struct sotto_error *err) {
    struct kern_step steps[TRAIN_CHUNK];
    double m[TRAIN_CHUNK][KERN_METRIC_COUNT];
    for (uint32_t i = 0; i < count; i++)
        steps[i] = (struct kern_step){.lr = t->rule.lr,
                                      .rows = rows_of(t, t->step + i),
                                      .seed = t->dropout_seed,
                                      .index = t->step + i};
    enum sotto_status status =
        t->group ? train_group_run(t->group, t->lane, steps, count, fill_step, t, m, err)
                 : kern_exec_run_many(t->engine.exec, steps, count, fill_step, t, m, err);
    for (uint32_t i = 0; i < count && status == SOTTO_OK; i++)
        add_metrics(t, m[i]);
    if (status == SOTTO_OK)
        t->step += count;
    return status;
}

enum sotto_status trainer_advance(struct trainer *t, uint32_t steps_max, bool *done,
                                  struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    if (!t->has_drift)
        return SOTTO_FAIL(err, SOTTO_STATE, "this rule trains with control variates: none are set");
    uint32_t left = t->steps_total - t->step;
    if (steps_max && steps_max < left)
        left = steps_max;
    const bool joined = t->group && left > 0;
    if (joined)
        train_group_join(t->group, true);
    while (left > 0 && status == SOTTO_OK) {
        uint32_t count = left < TRAIN_CHUNK ? left : TRAIN_CHUNK;
        status = run_steps(t, count, err);
        left -= count;
    }
    if (joined)
        train_group_join(t->group, false);
    if (done)
        *done = t->step >= t->steps_total;
    return status;
}

uint32_t trainer_steps_total(const struct trainer *t) {
    return t->steps_total;
}

uint32_t trainer_steps_done(const struct trainer *t) {
    return t->step;
}

void trainer_finish(struct trainer *t, float *params, struct train_metrics *metrics) {
    enter(t);
    if (params)
        kern_exec_store_lane(t->engine.exec, t->lane, params);
    leave(t);
    if (metrics)
        *metrics = t->metrics;
    t->examples = (struct examples){0};
    t->steps_total = t->step;
}

static uint64_t f64_bits(double v) {
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

/* Bytes: version, what it belongs to (stream, sizes), position, metrics, weights, momentum. Floats
 * as in memory (little-endian, as the arena's hosts are). */
void trainer_save(const struct trainer *t, struct buf *out) {
    buf_put_u8(out, TRAIN_SAVE_VERSION);
    buf_put_u64(out, t->stream.seed);
    buf_put_u32(out, t->stream.round);
    buf_put_u64(out, t->stream.serial);
    buf_put_u32(out, t->examples.count);
    buf_put_u32(out, t->steps_total);
    buf_put_u32(out, t->param_count);
    buf_put_u8(out, t->momentum);
    buf_put_u32(out, t->step);
    buf_put_u64(out, f64_bits(t->metrics.loss));
    buf_put_u64(out, t->metrics.correct);
    buf_put_u64(out, t->metrics.seen);
    size_t bytes = t->param_count * sizeof(float);
    uint8_t *to = buf_grow(out, bytes);
    enter(t);
    if (to)
        kern_exec_store_lane(t->engine.exec, t->lane, (float *)(void *)to);
    to = t->momentum ? buf_grow(out, bytes) : NULL;
    if (to)
        kern_exec_store_lane_state(t->engine.exec, t->lane, (float *)(void *)to);
    leave(t);
}

/* Whether the header belongs to the training that was begun. */
static bool saved_fits(const struct trainer *t, struct reader *r) {
    bool fits = reader_u64(r, "seed") == t->stream.seed;
    fits &= reader_u32(r, "round") == t->stream.round;
    fits &= reader_u64(r, "serial") == t->stream.serial;
    fits &= reader_u32(r, "example count") == t->examples.count;
    fits &= reader_u32(r, "step count") == t->steps_total;
    fits &= reader_u32(r, "parameter count") == t->param_count;
    fits &= reader_u8(r, "momentum") == t->momentum;
    return fits;
}

enum sotto_status trainer_resume(struct trainer *t, struct view saved, struct sotto_error *err) {
    struct reader r;
    struct train_metrics m = {0};
    size_t bytes = t->param_count * sizeof(float);
    reader_init(&r, saved);
    if (reader_u8(&r, "version") != TRAIN_SAVE_VERSION)
        reader_fail(&r, SOTTO_VERSION, "version");
    bool fits = saved_fits(t, &r);
    uint32_t step = reader_u32(&r, "step");
    uint64_t loss = reader_u64(&r, "loss");
    memcpy(&m.loss, &loss, sizeof m.loss);
    m.correct = reader_u64(&r, "correct");
    m.seen = reader_u64(&r, "seen");
    m.steps = step;
    if (r.status == SOTTO_OK && (!fits || step > t->steps_total || t->step != 0))
        return SOTTO_FAIL(err, SOTTO_STATE, "the saved training state belongs to another training");
    struct view params = reader_bytes(&r, bytes, "weights");
    struct view state = reader_bytes(&r, t->momentum ? bytes : 0, "momentum");
    enum sotto_status status = reader_finish(&r, true, "saved training state", err);
    if (status != SOTTO_OK)
        return status;
    enter(t);
    kern_exec_load_lane_params(t->engine.exec, t->lane, (const float *)(const void *)params.p);
    if (t->momentum)
        kern_exec_load_lane_state(t->engine.exec, t->lane, (const float *)(const void *)state.p);
    leave(t);
    t->metrics = m;
    t->step = step;
    /* The orders of the epochs behind us; the one of an epoch that begins with the next step is
     * drawn by that step. */
    for (uint32_t e = 1; step > 0 && e <= (step - 1) / t->steps_epoch; e++)
        shuffle_epoch(t);
    return SOTTO_OK;
}

struct kern_exec *trainer_exec(struct trainer *t) {
    return t->engine.exec;
}

const struct kern_program *trainer_program(const struct trainer *t) {
    return t->engine.program;
}
