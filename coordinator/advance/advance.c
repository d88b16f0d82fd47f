/* The server step of a round: exact sums to a mean, the strategy, distillation, the gate, the next
 * version. */
#include "advance/advance_int.h"

#include <math.h>
#include <string.h>

#define MERGE_PIECE 4096u

static double seconds_since(uint64_t start_ns) {
    return (double)(clock_mono_ns() - start_ns) / 1e9;
}

void advance_out_deinit(struct advance_out *out) {
    mem_free(out->master);
    mem_free(out->state);
    buf_deinit(&out->package);
    memset(out, 0, sizeof *out);
}

static void out_init(struct advance_out *out) {
    memset(out, 0, sizeof *out);
    buf_init(&out->package, PACKAGE_BYTES_MAX);
    out->test_loss = out->test_accuracy = NAN;
    out->validation_loss = out->validation_accuracy = NAN;
    out->distill_gain = out->train_loss = out->train_accuracy = NAN;
}

void advance_metrics(const struct group_sums *const *groups, uint32_t group_count, double *loss,
                     double *accuracy, uint64_t *examples) {
    double losses = 0.0, correct = 0.0, seen = 0.0;
    for (uint32_t i = 0; i < group_count; i++) {
        losses += accumulator_scalar(&groups[i]->sums, CODEC_LOSS);
        correct += accumulator_scalar(&groups[i]->sums, CODEC_CORRECT);
        seen += accumulator_scalar(&groups[i]->sums, CODEC_SEEN);
    }
    *loss = seen > 0.0 ? losses / seen : NAN;
    *accuracy = seen > 0.0 ? correct / seen : NAN;
    *examples = (uint64_t)seen;
}

/* Sections of an update under the task's strategy. */
static uint32_t section_count(const struct task_config *t) {
    return strategy_get(t->strategy)->algorithm == TRAIN_SCAFFOLD ? 2 : 1;
}

static bool fits(const struct accumulator *a, uint32_t sections, uint32_t n) {
    bool same = a->section_count == sections;
    for (uint32_t s = 0; same && s < sections; s++)
        same = a->counts[s] == n;
    return same;
}

static enum sotto_status check_in(const struct advance_in *in, struct sotto_error *err) {
    if (in->group_count == 0 || in->group_count > ROUND_GROUPS_MAX)
        return SOTTO_FAIL(err, SOTTO_INVALID, "round %u: %u summed groups, 1 to %d are possible",
                          in->round, in->group_count, ROUND_GROUPS_MAX);
    if (!strategy_get(in->task->strategy))
        return SOTTO_FAIL(err, SOTTO_INVALID, "there is no strategy %d", in->task->strategy);
    const struct accumulator *first = &in->groups[0]->sums;
    uint64_t updates = 0;
    for (uint32_t i = 0; i < in->group_count; i++) {
        const struct accumulator *a = &in->groups[i]->sums;
        if (!fits(a, section_count(in->task), in->graph->layout.total) ||
            a->fraction_bits != first->fraction_bits)
            return SOTTO_FAIL(err, SOTTO_INVALID,
                              "round %u: the sums of group %u do not fit the model", in->round, i);
        updates += a->updates;
    }
    if (updates > first->accept_max)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "round %u: %llu updates, the sums were proved for %u",
                          in->round, (unsigned long long)updates, first->accept_max);
    return SOTTO_OK;
}

/* out = the weighted mean of a section over all groups: their integer sums added, then divided
 * once. Piece by piece, so that a further group costs no more than its own sums. */
static enum sotto_status mean_of(const struct advance_in *in, uint32_t section, float *out,
                                 struct sotto_error *err) {
    const struct group_sums *first = in->groups[0];
    int64_t piece[MERGE_PIECE];
    struct accumulator all = first->sums; /* a view: only shape and scalars are used of it */
    uint32_t n = in->graph->layout.total;
    enum sotto_status status;
    all.section_count = 1;
    for (uint32_t g = 1; g < in->group_count; g++)
        all.scalars[CODEC_WEIGHT] += in->groups[g]->sums.scalars[CODEC_WEIGHT];
    for (uint32_t at = 0; at < n; at += all.counts[0]) {
        all.counts[0] = n - at < MERGE_PIECE ? n - at : MERGE_PIECE;
        memcpy(piece, first->sums.sums[section] + at, all.counts[0] * sizeof *piece);
        for (uint32_t g = 1; g < in->group_count; g++)
            for (uint32_t i = 0; i < all.counts[0]; i++)
                piece[i] += in->groups[g]->sums.sums[section][at + i];
        all.sums[0] = piece;
        status = accumulator_mean(&all, &first->spec, 0, out + at, err);
        if (status != SOTTO_OK)
            return status;
    }
    return SOTTO_OK;
}

double advance_steps(const struct group_sums *const *groups, uint32_t group_count) {
    double steps = 0.0, weight = 0.0;
    for (uint32_t g = 0; g < group_count; g++) {
        steps += accumulator_scalar(&groups[g]->sums, CODEC_WEIGHTED_STEPS);
        weight += accumulator_scalar(&groups[g]->sums, CODEC_WEIGHT);
    }
    return weight > 0.0 ? steps / weight : 0.0;
}

/* The groups' means as the strategy takes them; delta and control are the caller's memory. */
static enum sotto_status gather_update(const struct advance_in *in, float *delta, float *control,
                                       struct strategy_update *out, struct sotto_error *err) {
    enum sotto_status status;
    uint64_t updates = 0;
    for (uint32_t g = 0; g < in->group_count; g++)
        updates += in->groups[g]->sums.updates;
    *out = (struct strategy_update){
        .delta = delta,
        .control = control,
        .steps = advance_steps(in->groups, in->group_count),
        .share = updates < in->devices ? (double)updates / (double)in->devices : 1.0};
    TRY(mean_of(in, 0, delta, err));
    if (control)
        TRY(mean_of(in, 1, control, err));
out:
    return status;
}

/* *master: the strategy's step from the current one; out->state: its new state; scene->support:
 * what devices send of the next. */
static enum sotto_status server_step(struct scene *scene, const struct advance_in *in,
                                     float **master, struct advance_out *out,
                                     struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct strategy_update update;
    uint32_t n = in->graph->layout.total;
    size_t state_count = (size_t)strategy_state_arrays(in->task) * n;
    const bool controlled = section_count(in->task) > 1;
    float *delta = mem_array(n, sizeof *delta);
    float *control = controlled ? mem_array(n, sizeof *control) : NULL;
    float *next = mem_dup(in->master, n * sizeof *next);
    if (state_count)
        out->state = in->state ? mem_dup(in->state, state_count * sizeof(float))
                               : mem_array(state_count, sizeof(float));
    if (!delta || !next || (controlled && !control) || (state_count && !out->state))
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for the server step of round %u", in->round);
    TRY(gather_update(in, delta, control, &update, err));
    TRY(mask_make(in->task, &in->graph->layout, delta, &scene->support, err));
    strategy_get(in->task->strategy)->step(in->task, n, next, &update, out->state);
    *master = next;
    next = NULL;
out:
    mem_free(delta);
    mem_free(control);
    mem_free(next);
    return status;
}

/* Replaces the average in *best by the distilled model where that is better on the validation part.
 */
static enum sotto_status distill_step(struct scene *scene, const struct advance_in *in,
                                      struct candidate *best, struct advance_out *out,
                                      struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct candidate distilled = {0};
    float *student = NULL;
    uint64_t start = clock_mono_ns();
    TRY(distill_from(scene, in, best->master, &student, err));
    TRY(candidate_init(&distilled, scene, student, err));
    TRY(candidate_validate(best, scene, err));
    TRY(candidate_validate(&distilled, scene, err));
    if (distilled.finite)
        out->distill_gain = distilled.validation_accuracy - best->validation_accuracy;
    out->distilled = distilled.finite && out->distill_gain > 0.0;
    if (out->distilled) {
        struct candidate average = *best;
        *best = distilled;
        distilled = average;
    }
out:
    candidate_deinit(&distilled);
    out->seconds_distill = seconds_since(start);
    return status;
}

/* Moves the winner into out, evaluated. */
static enum sotto_status deliver(struct scene *scene, struct candidate *c, bool evaluate,
                                 struct advance_out *out, struct sotto_error *err) {
    out->validation_loss = c->validation_loss;
    out->validation_accuracy = c->validation_accuracy;
    if (evaluate && c->finite) {
        enum sotto_status status =
            scene_evaluate(scene, c->package.params, &scene->data->test, scene->test_limit,
                           "evaluate", &out->test_loss, &out->test_accuracy, err);
        if (status != SOTTO_OK)
            return status;
    }
    out->digest = wire_digest(c->master, scene->graph->layout.total);
    out->package_hash = c->hash;
    buf_deinit(&out->package);
    out->package = c->bytes;
    buf_init(&c->bytes, PACKAGE_BYTES_MAX);
    out->master = c->master;
    c->master = NULL;
    return SOTTO_OK;
}

enum sotto_status advance_run(const struct advance_in *in, struct advance_out *out,
                              struct sotto_error *err) {
    enum sotto_status status;
    const struct task_config *t = in->task;
    struct scene scene = {.task = t,
                          .graph = in->graph,
                          .schema = in->schema,
                          .data = in->data,
                          .backend = in->backend,
                          .test_limit = in->test_limit,
                          .progress = in->progress,
                          .ctx = in->ctx};
    struct candidate best = {0};
    float *master = NULL;
    out_init(out);
    buf_init(&scene.support, PACKAGE_BYTES_MAX);
    TRY(check_in(in, err));
    uint64_t start = clock_mono_ns();
    advance_metrics(in->groups, in->group_count, &out->train_loss, &out->train_accuracy,
                    &out->train_examples);
    TRY(server_step(&scene, in, &master, out, err));
    scene.extra = out->state;
    TRY(candidate_init(&best, &scene, master, err));
    out->seconds_step = seconds_since(start);
    if (t->distill && in->round >= t->distill_from_round && in->group_count > 1 && best.finite)
        TRY(distill_step(&scene, in, &best, out, err));
    start = clock_mono_ns();
    if (task_needs_validation(t))
        TRY(candidate_validate(&best, &scene, err));
    out->published =
        gate_passes(t, &best, in->best_loss, in->best_accuracy, out->reason, sizeof out->reason);
    TRY(deliver(&scene, &best, in->evaluate, out, err));
    out->seconds_evaluate = seconds_since(start);
out:
    candidate_deinit(&best);
    buf_deinit(&scene.support);
    evaluator_free(scene.evaluator);
    return status;
}

enum sotto_status advance_first(const struct task_config *t, const struct graph *g,
                                const struct data_schema *schema, const struct task_data *data,
                                const float *params, const struct kern_backend *backend,
                                bool evaluate, struct advance_out *out, struct sotto_error *err) {
    enum sotto_status status;
    struct scene scene = {
        .task = t, .graph = g, .schema = schema, .data = data, .backend = backend};
    struct candidate c = {0};
    out_init(out);
    float *master = mem_dup(params, g->layout.total * sizeof *params);
    if (!master)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for %u parameters", g->layout.total);
    TRY(candidate_init(&c, &scene, master, err));
    if (!c.finite)
        TRY_FAIL(err, SOTTO_INVALID, "the first weights are not finite");
    uint64_t start = clock_mono_ns();
    if (task_needs_validation(t))
        TRY(candidate_validate(&c, &scene, err));
    out->published = true;
    TRY(deliver(&scene, &c, evaluate, out, err));
    out->seconds_evaluate = seconds_since(start);
out:
    candidate_deinit(&c);
    evaluator_free(scene.evaluator);
    return status;
}
