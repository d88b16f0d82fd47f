/* What the uplink costs in accuracy: federated averaging on drawn digits, each device's update
 * through the plain pipeline or through the one of masks, whose sums are taken in the ring as
 * secure aggregation gives them; masks themselves change nothing.
 *
 * bench_uplink [--json] [--model NAME] [--devices N] [--examples N] [--rounds N] [--seed S] */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sotto/protocol.h"
#include "sotto/zoo.h"

#define TEST_WRITER_FIRST 1000000
#define TEST_WRITERS      200
#define RING_BITS         16u

struct options {
    bool json;
    const char *model;
    uint64_t devices, examples, rounds, seed;
};

static const struct setting {
    const char *name;
    float keep;
    unsigned bits; /* 0: under masks, as many as the group fits into the ring */
    bool feedback;
    enum codec_support support;
    float clip_norm;
    uint32_t weight_factor; /* weight_max over a device's examples */
} settings[] = {
    {"plain fp32", 1.0f, 32, false, CODEC_SUPPORT_OWN, 0.0f, 1},
    {"plain 5% 4 bit", 0.05f, 4, true, CODEC_SUPPORT_OWN, 0.0f, 1},
    {"masked, all", 1.0f, 0, false, CODEC_SUPPORT_OWN, 3.0f, 1},
    {"masked 10%", 0.1f, 0, false, CODEC_SUPPORT_ROUND, 3.0f, 1},
    {"masked 10% published", 0.1f, 0, false, CODEC_SUPPORT_PUBLISHED, 3.0f, 1},
    {"masked 10% feedback", 0.1f, 0, true, CODEC_SUPPORT_ROUND, 10.0f, 1},
    {"masked 10%, clip x 10", 0.1f, 0, false, CODEC_SUPPORT_ROUND, 30.0f, 1},
    {"masked 10%, clip / 3", 0.1f, 0, false, CODEC_SUPPORT_ROUND, 1.0f, 1},
    {"masked 10%, weight / 50", 0.1f, 0, false, CODEC_SUPPORT_ROUND, 3.0f, 50},
};

struct world {
    const struct options *o;
    struct graph graph;
    struct dataset train, test;
    struct trainer *trainer;
    struct evaluator *evaluator;
    float *model, *update, *mean;
    float **residuals; /* of each device */
};

/* One setting's run. */
struct run {
    struct world *w;
    struct codec_spec spec;
    struct accumulator sums;
    struct buf mask;
    struct masked_plan *plan;
    uint32_t *sum, *vector;
    uint64_t bytes; /* a device sends in a round */
    double norm;    /* mean norm of an update, of all rounds */
    struct sotto_error *err;
};

static enum sotto_status world_init(struct world *w, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    const struct options *o = w->o;
    struct data_schema schema;
    struct train_rule rule = TRAIN_RULE_INIT;
    const struct digits_config seen = {
        .seed = 1, .writer_count = (uint32_t)o->devices, .per_writer = (uint32_t)o->examples};
    const struct digits_config unseen = {.seed = 1,
                                         .writer_first = TEST_WRITER_FIRST,
                                         .writer_count = TEST_WRITERS,
                                         .per_writer = 10,
                                         .uniform_classes = true};
    const struct kern_backend *backend = kern_backend_find("cpu");
    graph_init(&w->graph);
    dataset_init(&w->train);
    dataset_init(&w->test);
    TRY(zoo_build(o->model, &w->graph, &schema, err));
    TRY(dataset_draw_digits(&seen, &w->train, err));
    TRY(dataset_draw_digits(&unseen, &w->test, err));
    TRY(trainer_new(&w->graph, &rule, 0, backend, &w->trainer, err));
    TRY(evaluator_new(&w->graph, 50, backend, &w->evaluator, err));
    const size_t n = w->graph.layout.total;
    w->model = mem_array(n, sizeof(float));
    w->update = mem_array(n, sizeof(float));
    w->mean = mem_array(n, sizeof(float));
    w->residuals = mem_array((size_t)o->devices, sizeof *w->residuals);
    if (!w->model || !w->update || !w->mean || !w->residuals)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for the models");
    for (uint64_t d = 0; d < o->devices; d++) {
        w->residuals[d] = mem_array(n, sizeof(float));
        if (!w->residuals[d])
            TRY_FAIL(err, SOTTO_NOMEM, "no memory for the residuals");
    }
out:
    return status;
}

static void world_deinit(struct world *w) {
    for (uint64_t d = 0; w->residuals && d < w->o->devices; d++)
        mem_free(w->residuals[d]);
    mem_free(w->residuals);
    mem_free(w->mean);
    mem_free(w->update);
    mem_free(w->model);
    evaluator_free(w->evaluator);
    trainer_free(w->trainer);
    dataset_deinit(&w->test);
    dataset_deinit(&w->train);
    graph_deinit(&w->graph);
}

static bool masked(const struct run *r) {
    return r->spec.pipeline.range > 0.0f;
}

/* The device's update of this round, trained - model, into w->update. */
static enum sotto_status train(struct run *r, uint32_t round, uint32_t device,
                               struct train_metrics *m) {
    enum sotto_status status;
    struct world *w = r->w;
    const uint32_t count = (uint32_t)w->o->examples, n = w->graph.layout.total;
    uint32_t *index = mem_array(count, sizeof *index);
    bool done = false;
    if (!index)
        return SOTTO_FAIL(r->err, SOTTO_NOMEM, "no memory for a device's examples");
    for (uint32_t i = 0; i < count; i++)
        index[i] = device * count + i;
    struct examples e = dataset_examples(&w->train);
    e.index = index;
    e.count = count;
    const struct train_stream stream = {w->o->seed, round, device + 1u};
    TRY(trainer_begin(w->trainer, w->model, &e, &stream, r->err));
    TRY(trainer_advance(w->trainer, 0, &done, r->err));
    trainer_finish(w->trainer, w->update, m);
    vec_sub_f32(w->update, w->update, w->model, n);
    r->norm += sqrt(vec_sum_squares_f32(w->update, n)) / (double)(w->o->devices * w->o->rounds);
out:
    mem_free(index);
    return status;
}

static enum sotto_status add_plain(struct run *r, struct codec_input *in, struct rng *rng) {
    enum sotto_status status;
    struct codec_update u;
    struct codec_head *head = NULL;
    codec_update_init(&u);
    TRY(codec_encode(&r->spec, in, rng, &u, r->err));
    TRY(codec_head_decode(&r->spec, codec_update_part(&u, 0), &head, r->err));
    TRY(accumulator_add_head(&r->sums, &r->spec, head));
    for (uint32_t part = 1; part < u.part_count; part++)
        TRY(accumulator_add_part(&r->sums, &r->spec, head, part, codec_update_part(&u, part),
                                 r->err));
    r->bytes = u.bytes.len;
out:
    codec_head_free(head);
    codec_update_deinit(&u);
    return status;
}

static enum sotto_status add_masked(struct run *r, struct codec_input *in, struct rng *rng) {
    const enum sotto_status status = masked_encode(r->plan, in, rng, r->vector, r->err);
    if (status == SOTTO_OK)
        vec_add_mod_u32(r->sum, r->vector, (size_t)masked_length(r->plan), RING_BITS);
    return status;
}

static enum sotto_status plan(struct run *r, uint32_t round) {
    enum sotto_status status;
    const struct masked_terms terms = {.ring_bits = RING_BITS,
                                       .members_max = (uint32_t)r->w->o->devices,
                                       .task_seed = r->w->o->seed,
                                       .round = round,
                                       .mask = buf_view(&r->mask)};
    TRY(masked_plan_new(&r->spec, &terms, &r->plan, r->err));
    const size_t length = (size_t)masked_length(r->plan);
    r->sum = mem_array(length, sizeof *r->sum);
    r->vector = mem_array(length, sizeof *r->vector);
    if (!r->sum || !r->vector)
        TRY_FAIL(r->err, SOTTO_NOMEM, "no memory for a vector");
    r->bytes = masked_bytes(r->plan);
out:
    return status;
}

static enum sotto_status take(struct run *r) {
    enum sotto_status status = SOTTO_OK;
    const uint32_t members = (uint32_t)r->w->o->devices;
    const uint64_t length = masked_length(r->plan);
    for (uint64_t at = 0; at < length; at += MASKED_BLOCK)
        TRY(masked_sum_take(r->plan, members, at, r->sum + at,
                            (size_t)num_min_u64(MASKED_BLOCK, length - at), &r->sums, r->err));
    TRY(masked_sum_finish(r->plan, members, &r->sums, r->err));
out:
    return status;
}

static void forget_plan(struct run *r) {
    mem_free(r->sum);
    mem_free(r->vector);
    masked_plan_free(r->plan);
    r->sum = r->vector = NULL;
    r->plan = NULL;
}

static enum sotto_status one_round(struct run *r, uint32_t round) {
    enum sotto_status status = SOTTO_OK;
    struct world *w = r->w;
    const uint32_t n = w->graph.layout.total;
    accumulator_clear(&r->sums);
    if (masked(r))
        TRY(plan(r, round));
    for (uint32_t d = 0; d < w->o->devices; d++) {
        struct train_metrics m;
        struct rng rng;
        TRY(train(r, round, d, &m));
        struct codec_input in = {.values = {w->update},
                                 .residual = {w->residuals[d]},
                                 .scalars = {[CODEC_WEIGHT] = (double)w->o->examples,
                                             [CODEC_LOSS] = m.loss,
                                             [CODEC_SEEN] = (double)m.seen}};
        rng_init(&rng, w->o->seed, round, d + 1u, RNG_ROUNDING);
        TRY(masked(r) ? add_masked(r, &in, &rng) : add_plain(r, &in, &rng));
    }
    if (masked(r))
        TRY(take(r));
    TRY(accumulator_mean(&r->sums, &r->spec, 0, w->mean, r->err));
    vec_add_f32(w->model, w->model, w->mean, n);
    buf_reset(&r->mask);
    if (r->spec.pipeline.support == CODEC_SUPPORT_PUBLISHED)
        masked_support_of(&r->spec.pipeline, &w->graph.layout, w->mean, &r->mask);
out:
    forget_plan(r);
    return status;
}

static enum sotto_status run_setting(struct world *w, const struct setting *s,
                                     struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct run r = {.w = w, .err = err};
    struct train_metrics m = {0};
    struct codec_pipeline *p = &r.spec.pipeline;
    const uint32_t n = w->graph.layout.total;
    const uint32_t devices = (uint32_t)w->o->devices;
    r.spec = (struct codec_spec){.pipeline = CODEC_PIPELINE_INIT,
                                 .section_count = 1,
                                 .sections = {{"weights", &w->graph.layout}},
                                 .weight_max = (uint32_t)w->o->examples * s->weight_factor,
                                 .accept_max = devices};
    p->keep = s->keep;
    p->bits = s->bits > 0 ? s->bits : masked_bits_max(RING_BITS, devices);
    p->stochastic = p->bits != 32;
    p->error_feedback = s->feedback;
    p->clip_norm = s->clip_norm;
    p->support = s->support;
    if (s->bits == 0) {
        p->rotate_log2 = MASKED_ROTATE_LOG2;
        p->range = masked_range(p, &w->graph.layout);
    }
    buf_init(&r.mask, LAYOUT_TOTAL_MAX / 8);
    for (uint32_t d = 0; d < devices; d++)
        memset(w->residuals[d], 0, (size_t)n * sizeof(float));
    graph_init_params(&w->graph, w->o->seed, w->model);
    TRY(accumulator_init(&r.sums, &r.spec, err));
    for (uint32_t round = 1; round <= w->o->rounds; round++)
        TRY(one_round(&r, round));
    const struct examples test = dataset_examples(&w->test);
    TRY(evaluator_run(w->evaluator, w->model, &test, &m, err));
    printf(w->o->json ? "{\"bench\":\"uplink\",\"case\":\"%s\",\"bits\":%u,\"bytes\":%llu,"
                        "\"norm\":%.3f,\"accuracy\":%.4f,\"loss\":%.4f}\n"
                      : "%-24s %4u %9llu %6.2f %9.4f %8.4f\n",
           s->name, p->bits, (unsigned long long)r.bytes, r.norm,
           (double)m.correct / (double)m.seen, m.loss / (double)m.seen);
    fflush(stdout);
out:
    buf_deinit(&r.mask);
    accumulator_deinit(&r.sums);
    return status;
}

static bool number(int argc, char **argv, int *i, const char *name, double most, uint64_t *out) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    double value;
    if (strcmp(argv[*i], name) != 0 || *i + 1 >= argc ||
        num_parse_f64(argv[*i + 1], 1.0, most, &value, &err) != SOTTO_OK)
        return false;
    *out = (uint64_t)value;
    ++*i;
    return true;
}

int main(int argc, char **argv) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    enum sotto_status status;
    struct options o = {
        .model = "mnist-2nn", .devices = 20, .examples = 180, .rounds = 14, .seed = 20};
    struct world w = {.o = &o};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            o.json = true;
        } else if (strcmp(argv[i], "--model") == 0 && i + 1 < argc) {
            o.model = argv[++i];
        } else if (!number(argc, argv, &i, "--devices", 1000.0, &o.devices) &&
                   !number(argc, argv, &i, "--examples", 1000.0, &o.examples) &&
                   !number(argc, argv, &i, "--rounds", 1000.0, &o.rounds) &&
                   !number(argc, argv, &i, "--seed", 1e9, &o.seed)) {
            fprintf(stderr, "usage: bench_uplink [--json] [--model NAME] [--devices N] "
                            "[--examples N] [--rounds N] [--seed S]\n");
            return 2;
        }
    }
    TRY(id_setup(&err));
    TRY(world_init(&w, &err));
    if (!o.json)
        printf("%s, %llu writers of %llu digits, all in each of %llu rounds\n%-24s %4s %9s %6s %9s "
               "%8s\n",
               o.model, (unsigned long long)o.devices, (unsigned long long)o.examples,
               (unsigned long long)o.rounds, "uplink", "bits", "bytes", "norm", "accuracy", "loss");
    for (size_t i = 0; i < ARRAY_LEN(settings); i++)
        TRY(run_setting(&w, &settings[i], &err));
out:
    world_deinit(&w);
    if (status != SOTTO_OK)
        fprintf(stderr, "bench_uplink: %s\n", err.message);
    return sotto_status_exit(status);
}
