/* The server step on a small model: averaging, distillation, gate, packages, and the coordinator's
 * own data. */
#include "sotto/coordinator/advance.h"

#include "task_fixture.h"

#include <math.h>
#include <string.h>

#define CLIENTS 4u

struct bed {
    struct task_config t;
    struct graph graph;
    struct data_schema schema;
    struct task_data data;
    struct dataset train;
    const struct kern_backend *backend;
    float *master;
    struct group_sums groups[2];
    const struct group_sums *list[2];
    uint32_t n;
};

static int bed_setup(void **state) {
    static struct bed b;
    struct sotto_error err = SOTTO_ERROR_INIT;
    memset(&b, 0, sizeof b);
    b.t = task_defaults();
    b.t.groups = 2;
    b.t.local_batch = 0;
    b.t.local_lr = 0.5;
    b.t.data_count = 200;
    b.t.data_validation = 150;
    b.t.distill_pool = 300;
    b.t.distill_steps = 60;
    b.t.distill = true;
    b.backend = kern_backend_find("cpu");
    assert_non_null(b.backend);
    uint32_t node;
    graph_init(&b.graph);
    ASSERT_OK(graph_input(&b.graph, 3, (uint32_t[]){28, 28, 1}, &node, &err));
    struct graph_node flatten = {.op = GRAPH_FLATTEN, .inputs = {node}};
    ASSERT_OK(graph_add(&b.graph, &flatten, &node, &err));
    struct graph_node dense = {.op = GRAPH_DENSE, .inputs = {node}, .units = 10, .bias = true};
    ASSERT_OK(graph_add(&b.graph, &dense, &node, &err));
    ASSERT_OK(graph_finish(&b.graph, &err));
    b.n = b.graph.layout.total;
    struct digits_config draw = {.seed = 3, .writer_count = CLIENTS, .per_writer = 60};
    dataset_init(&b.train);
    ASSERT_OK(dataset_draw_digits(&draw, &b.train, &err));
    b.schema = b.train.schema;
    ASSERT_OK(task_data_load(&b.t, &b.schema, NULL, &b.data, &err));
    b.master = mem_array(b.n, sizeof *b.master);
    graph_init_params(&b.graph, 1, b.master);
    struct codec_spec spec;
    task_spec(&b.t, &b.graph.layout, false, &spec);
    for (uint32_t g = 0; g < 2; g++) {
        ASSERT_OK(group_sums_init(&b.groups[g], &spec, &err));
        b.list[g] = &b.groups[g];
    }
    b.t.distill = false;
    *state = &b;
    return 0;
}

static int bed_teardown(void **state) {
    struct bed *b = *state;
    group_sums_deinit(&b->groups[0]);
    group_sums_deinit(&b->groups[1]);
    mem_free(b->master);
    dataset_deinit(&b->train);
    task_data_deinit(&b->data);
    graph_deinit(&b->graph);
    return 0;
}

/* Trains from the master on the examples with index [first, first + count) by steps full-batch
 * steps. */
static void train(struct bed *b, uint32_t first, uint32_t count, uint32_t steps, float *out,
                  struct train_metrics *m) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct trainer *trainer;
    struct train_rule rule;
    bool done = false;
    uint32_t index[CLIENTS * 60];
    for (uint32_t i = 0; i < count; i++)
        index[i] = first + i;
    struct examples e = dataset_examples(&b->train);
    e.index = index;
    e.count = count;
    task_rule(&b->t, &rule);
    rule.epochs = steps;
    struct train_stream stream = {b->t.seed, 1, first};
    ASSERT_OK(trainer_new(&b->graph, &rule, count, b->backend, &trainer, &err));
    ASSERT_OK(trainer_begin(trainer, b->master, &e, &stream, &err));
    ASSERT_OK(trainer_advance(trainer, 0, &done, &err));
    assert_true(done);
    trainer_finish(trainer, out, m);
    trainer_free(trainer);
}

/* Adds trained - master with a weight to a group. */
static void add_update(struct bed *b, uint32_t group, const float *trained, double weight,
                       const struct train_metrics *m) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct codec_update u;
    struct rng r;
    float *delta = mem_array(b->n, sizeof *delta);
    vec_sub_f32(delta, trained, b->master, b->n);
    struct codec_input in = {
        .values = {delta},
        .scalars = {weight, (double)m->steps, m->loss, (double)m->correct, (double)m->seen}};
    rng_init(&r, 1, 1, 1, RNG_ROUNDING);
    codec_update_init(&u);
    ASSERT_OK(codec_encode(&b->groups[group].spec, &in, &r, &u, &err));
    ASSERT_OK(update_check(&b->groups[group].spec, &u, &err));
    ASSERT_OK(update_add(&b->groups[group], &u, &err));
    codec_update_deinit(&u);
    mem_free(delta);
}

static struct advance_in input(const struct bed *b) {
    return (struct advance_in){.task = &b->t,
                               .graph = &b->graph,
                               .schema = &b->schema,
                               .data = &b->data,
                               .round = 1,
                               .groups = b->list,
                               .group_count = 2,
                               .master = b->master,
                               .best_loss = NAN,
                               .best_accuracy = NAN,
                               .backend = b->backend,
                               .evaluate = true};
}

/* Two clients a group, each trained well. */
static void add_good_clients(struct bed *b) {
    float *w = mem_array(b->n, sizeof *w);
    struct train_metrics m;
    for (uint32_t c = 0; c < CLIENTS; c++) {
        train(b, 0, CLIENTS * 60, 25, w, &m);
        add_update(b, c / 2, w, 60, &m);
    }
    mem_free(w);
}

/* The mean over two groups is that of their merged sums, to the bit. */
static void test_groups_merge_exactly(void **state) {
    struct bed *b = *state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct advance_out out, merged;
    struct train_metrics m;
    float *w = mem_array(b->n, sizeof *w);
    for (uint32_t c = 0; c < CLIENTS; c++) {
        train(b, c * 60, 60, 2 + c, w, &m);
        add_update(b, c % 2, w, 17 + c, &m);
    }
    struct advance_in in = input(b);
    in.evaluate = false;
    ASSERT_OK(advance_run(&in, &out, &err));
    ASSERT_OK(accumulator_merge(&b->groups[0].sums, &b->groups[1].sums, &err));
    in.group_count = 1;
    ASSERT_OK(advance_run(&in, &merged, &err));
    assert_true(wire_hash_equal(&out.digest, &merged.digest));
    assert_int_equal(out.train_examples, merged.train_examples);
    advance_out_deinit(&out);
    advance_out_deinit(&merged);
    mem_free(w);
}

/* One full-batch step on every client, averaged by example counts, is one step on all examples
 * (McMahan et al. 2017). */
static void test_one_step_equals_centralized(void **state) {
    struct bed *b = *state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    const uint32_t first[] = {0, 50, 60, 140, 240};
    struct train_metrics m, all;
    struct advance_out out;
    float *w = mem_array(b->n, sizeof *w);
    for (uint32_t c = 0; c < CLIENTS; c++) {
        uint32_t count = first[c + 1] - first[c];
        train(b, first[c], count, 1, w, &m);
        add_update(b, c % 2, w, count, &m);
    }
    train(b, 0, 240, 1, w, &all);
    struct advance_in in = input(b);
    ASSERT_OK(advance_run(&in, &out, &err));
    for (uint32_t i = 0; i < b->n; i++)
        assert_true(fabsf(out.master[i] - w[i]) < 2e-6f);
    assert_true(out.published && !out.distilled && isnan(out.distill_gain));
    assert_int_equal(out.train_examples, 240);
    assert_true(fabs(out.train_loss - all.loss / 240.0) < 1e-4);
    assert_null(out.state);
    advance_out_deinit(&out);
    mem_free(w);
}

/* What is evaluated, hashed and published is what a device decodes. */
static void test_package_is_what_devices_get(void **state) {
    struct bed *b = *state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct advance_out out, again;
    add_good_clients(b);
    struct advance_in in = input(b);
    ASSERT_OK(advance_run(&in, &out, &err));
    struct wire_hash hash = wire_hash_of(WIRE_LABEL_PACKAGE, buf_view(&out.package));
    assert_true(wire_hash_equal(&hash, &out.package_hash));
    struct wire_hash digest = wire_digest(out.master, b->n);
    assert_true(wire_hash_equal(&digest, &out.digest));
    struct package p;
    struct evaluator *e;
    struct train_metrics m;
    struct examples test = dataset_examples(&b->data.test);
    ASSERT_OK(package_decode(buf_view(&out.package), &p, &err));
    ASSERT_OK(evaluator_new(&p.graph, 50, b->backend, &e, &err));
    ASSERT_OK(evaluator_run(e, p.params, &test, &m, &err));
    assert_int_equal(m.seen, 200);
    assert_true(fabs(out.test_accuracy - (double)m.correct / 200.0) < 1e-12);
    assert_true(out.test_accuracy > 0.4);
    evaluator_free(e);
    package_deinit(&p);
    /* The order of groups and a test limit do not change the model. */
    const struct group_sums *swapped[2] = {b->list[1], b->list[0]};
    in.groups = swapped;
    in.test_limit = 50;
    ASSERT_OK(advance_run(&in, &again, &err));
    assert_true(wire_hash_equal(&again.digest, &out.digest));
    advance_out_deinit(&again);
    in.evaluate = false;
    ASSERT_OK(advance_run(&in, &again, &err));
    assert_true(isnan(again.test_loss) && isnan(again.validation_loss));
    advance_out_deinit(&again);
    advance_out_deinit(&out);
}

static void test_distillation_keeps_the_better(void **state) {
    struct bed *b = *state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct advance_out out, again;
    add_good_clients(b);
    /* A timid server step stays near the first weights, the teachers are good: the student gains.
     */
    b->t.server_lr = 0.01;
    b->t.distill = true;
    struct advance_in in = input(b);
    ASSERT_OK(advance_run(&in, &out, &err));
    assert_true(out.distilled && out.distill_gain > 0.1);
    assert_true(out.validation_accuracy > 0.4);
    ASSERT_OK(advance_run(&in, &again, &err));
    assert_true(wire_hash_equal(&again.digest, &out.digest));
    advance_out_deinit(&again);
    advance_out_deinit(&out);
    /* A step so small that nothing changes is a tie, which the average keeps. */
    b->t.server_lr = 1.0;
    b->t.distill_lr = 1e-9;
    ASSERT_OK(advance_run(&in, &out, &err));
    assert_true(!out.distilled && out.distill_gain == 0.0);
    b->t.distill = false;
    ASSERT_OK(advance_run(&in, &again, &err));
    assert_true(wire_hash_equal(&again.digest, &out.digest));
    advance_out_deinit(&again);
    advance_out_deinit(&out);
    /* A student that falls apart is dropped. */
    b->t.distill = true;
    b->t.distill_lr = 1000.0;
    ASSERT_OK(advance_run(&in, &out, &err));
    assert_true(!out.distilled && out.published);
    advance_out_deinit(&out);
    /* Not before its round, not with one teacher. */
    b->t.distill_from_round = 2;
    ASSERT_OK(advance_run(&in, &out, &err));
    assert_true(isnan(out.distill_gain));
    advance_out_deinit(&out);
    b->t.distill_from_round = 1;
    in.group_count = 1;
    ASSERT_OK(advance_run(&in, &out, &err));
    assert_true(isnan(out.distill_gain));
    advance_out_deinit(&out);
}

static void test_gate(void **state) {
    struct bed *b = *state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct advance_out out;
    add_good_clients(b);
    struct advance_in in = input(b);
    b->t.gate_accuracy_drop = 0.05;
    b->t.gate_loss_factor = 1.5;
    ASSERT_OK(advance_run(&in, &out, &err));
    assert_true(out.published); /* there is no best one yet */
    assert_true(out.validation_accuracy > 0.4);
    double accuracy = out.validation_accuracy, loss = out.validation_loss;
    advance_out_deinit(&out);
    const struct {
        double loss, accuracy;
        const char *reason;
    } cases[] = {
        {loss, accuracy, NULL},
        {loss / 1.4, accuracy + 0.04, NULL},
        {loss / 1.6, accuracy, "validation loss"},
        {loss, accuracy + 0.06, "validation accuracy"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        in.best_loss = cases[i].loss;
        in.best_accuracy = cases[i].accuracy;
        ASSERT_OK(advance_run(&in, &out, &err));
        assert_int_equal(out.published, cases[i].reason == NULL);
        if (cases[i].reason)
            assert_non_null(strstr(out.reason, cases[i].reason));
        assert_non_null(out.master);
        advance_out_deinit(&out);
    }
    /* Weights that are not finite never pass, gate or not. */
    b->t.gate_accuracy_drop = b->t.gate_loss_factor = 0.0;
    in.best_loss = in.best_accuracy = NAN;
    b->master[7] = NAN;
    b->t.distill = true;
    ASSERT_OK(advance_run(&in, &out, &err));
    assert_false(out.published);
    assert_non_null(strstr(out.reason, "not finite"));
    assert_int_equal(out.package.len, 0);
    advance_out_deinit(&out);
    ASSERT_FAILS(advance_first(&b->t, &b->graph, &b->schema, &b->data, b->master, b->backend, true,
                               &out, &err),
                 SOTTO_INVALID, "not finite");
    advance_out_deinit(&out);
}

static bool stop_at(void *ctx, const char *what, uint32_t done, uint32_t total) {
    assert_true(done >= 1 && done <= total);
    return strcmp(ctx, what) != 0;
}

static void test_progress_cancels(void **state) {
    struct bed *b = *state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct advance_out out;
    const char *const stages[] = {"distill", "validate", "evaluate"};
    add_good_clients(b);
    b->t.distill = true;
    struct advance_in in = input(b);
    in.progress = stop_at;
    for (size_t i = 0; i < ARRAY_LEN(stages); i++) {
        in.ctx = (void *)(uintptr_t)stages[i];
        ASSERT_STATUS(advance_run(&in, &out, &err), SOTTO_CANCELLED);
        advance_out_deinit(&out);
    }
}

static void test_state_goes_on(void **state) {
    struct bed *b = *state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct advance_out first, second;
    add_good_clients(b);
    b->t.server_momentum = 0.5;
    struct advance_in in = input(b);
    ASSERT_OK(advance_run(&in, &first, &err));
    assert_non_null(first.state);
    in.state = first.state;
    in.master = first.master;
    ASSERT_OK(advance_run(&in, &second, &err));
    /* The same mean update twice: v = d, then 1.5 d. */
    for (uint32_t i = 0; i < b->n; i++) {
        float d = first.master[i] - b->master[i];
        assert_true(fabsf(second.master[i] - first.master[i] - 1.5f * d) < 1e-5f);
    }
    advance_out_deinit(&first);
    advance_out_deinit(&second);
}

/* The support of the next round's masked updates travels with the model: half of what is kept,
 * where the mean is largest, and all biases; not in other tasks, and not with the first version. */
static void test_support_is_published(void **state) {
    struct bed *b = *state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct advance_out first, next;
    struct buf none, mask;
    buf_init(&none, 1 << 16);
    buf_init(&mask, 1 << 16);
    add_good_clients(b);
    b->t.keep = 0.1;
    b->t.clip_norm = 5.0;
    b->t.bits = 8;
    b->t.secure_aggregation = 1;
    b->t.support = CODEC_SUPPORT_PUBLISHED;
    ASSERT_OK(advance_first(&b->t, &b->graph, &b->schema, &b->data, b->master, b->backend, false,
                            &first, &err));
    ASSERT_OK(advance_mask(&b->t, buf_view(&first.package), &none, &err));
    assert_int_equal(none.len, 0);
    struct advance_in in = input(b);
    in.evaluate = false;
    ASSERT_OK(advance_run(&in, &next, &err));
    ASSERT_OK(advance_mask(&b->t, buf_view(&next.package), &mask, &err));
    assert_int_equal(mask.len, (b->n + 7) / 8);
    float least = INFINITY, most = 0.0f;
    uint32_t named = 0;
    for (uint32_t i = 0; i < b->n; i++) {
        const float step = fabsf(next.master[i] - b->master[i]);
        const bool bias = i >= b->n - 10, on = (mask.data[i / 8] >> (i % 8) & 1) != 0;
        assert_true(on || !bias);
        named += on;
        if (!bias && on)
            least = fminf(least, step);
        else if (!bias)
            most = fmaxf(most, step);
    }
    assert_int_equal(named, 7840 / 10 / 2 + 10);
    assert_true(least >= most - 1e-5f); /* the step is the mean, but for the float it is added to */
    /* Both sides plan with it. */
    struct codec_spec spec;
    struct masked_plan *plan;
    task_spec(&b->t, &b->graph.layout, false, &spec);
    const struct masked_terms terms = {
        .ring_bits = 16, .members_max = 20, .round = 2, .mask = buf_view(&mask)};
    ASSERT_OK(masked_plan_new(&spec, &terms, &plan, &err));
    masked_plan_free(plan);
    b->t.support = CODEC_SUPPORT_ROUND;
    ASSERT_OK(advance_mask(&b->t, buf_view(&next.package), &none, &err));
    assert_int_equal(none.len, 0);
    buf_deinit(&none);
    buf_deinit(&mask);
    advance_out_deinit(&first);
    advance_out_deinit(&next);
}

static void test_first_version(void **state) {
    struct bed *b = *state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct advance_out out;
    b->t.gate_accuracy_drop = 0.1;
    ASSERT_OK(advance_first(&b->t, &b->graph, &b->schema, &b->data, b->master, b->backend, true,
                            &out, &err));
    assert_true(out.published && out.package.len > 0);
    assert_memory_equal(out.master, b->master, b->n * sizeof *b->master);
    assert_true(out.test_accuracy >= 0.0 && out.test_accuracy < 0.4);
    assert_true(isfinite(out.validation_loss));
    advance_out_deinit(&out);
}

static void test_sums_that_do_not_fit(void **state) {
    struct bed *b = *state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct advance_out out;
    struct advance_in in = input(b);
    ASSERT_STATUS(advance_run(&in, &out, &err), SOTTO_INVALID); /* no weight at all */
    advance_out_deinit(&out);
    in.group_count = 0;
    ASSERT_STATUS(advance_run(&in, &out, &err), SOTTO_INVALID);
    advance_out_deinit(&out);
    struct group_sums evaluation;
    struct codec_spec spec;
    task_spec(&b->t, &b->graph.layout, true, &spec);
    ASSERT_OK(group_sums_init(&evaluation, &spec, &err));
    const struct group_sums *list[1] = {&evaluation};
    in.groups = list;
    in.group_count = 1;
    ASSERT_FAILS(advance_run(&in, &out, &err), SOTTO_INVALID, "do not fit");
    advance_out_deinit(&out);
    group_sums_deinit(&evaluation);
}

static void test_drawn_data(void **state) {
    struct bed *b = *state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    assert_int_equal(b->data.test.count, 200);
    assert_int_equal(b->data.validation.count, 150);
    assert_int_equal(b->data.pool.count, 300);
    for (uint32_t i = 0; i < 300; i++)
        assert_int_equal(b->data.pool.labels[i], -1);
    size_t bytes = data_schema_example_bytes(&b->schema);
    for (uint32_t i = 0; i < 150; i++)
        for (uint32_t j = 0; j < 200; j++)
            assert_memory_not_equal(dataset_example(&b->data.validation, i),
                                    dataset_example(&b->data.test, j), bytes);
    struct task_data d;
    struct data_schema other = b->schema;
    other.dims[0] = 32;
    ASSERT_FAILS(task_data_load(&b->t, &other, NULL, &d, &err), SOTTO_INVALID, "evaluation.data");
    b->t.data = (char *)(uintptr_t) "mnist";
    ASSERT_FAILS(task_data_load(&b->t, &b->schema, NULL, &d, &err), SOTTO_INVALID,
                 "evaluation.dir");
    ASSERT_FAILS(task_data_load(&b->t, &b->schema, test_tmpdir(), &d, &err), SOTTO_NOT_FOUND, "");
    b->t.data = (char *)(uintptr_t) ",labels";
    ASSERT_FAILS(task_data_load(&b->t, &b->schema, NULL, &d, &err), SOTTO_INVALID, "IMAGES,LABELS");
}

static void test_data_set_is_split(void **state) {
    struct bed *b = *state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    if (!test_data())
        skip();
    struct task_data d;
    b->t.data = (char *)(uintptr_t) "mnist";
    b->t.data_count = 0;
    ASSERT_OK(task_data_load(&b->t, &b->schema, test_data(), &d, &err));
    assert_int_equal(d.test.count, 10000); /* nobody needs a validation part */
    task_data_deinit(&d);
    b->t.gate_loss_factor = 2.0;
    ASSERT_OK(task_data_load(&b->t, &b->schema, test_data(), &d, &err));
    assert_int_equal(d.test.count, 9850);
    assert_int_equal(d.validation.count, 150);
    task_data_deinit(&d);
    b->t.data_count = 2000;
    ASSERT_OK(task_data_load(&b->t, &b->schema, test_data(), &d, &err));
    assert_int_equal(d.test.count, 2000);
    task_data_deinit(&d);
}

static void test_pool_file(void **state) {
    struct bed *b = *state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct task_data d;
    static uint8_t file[16 + 5 * 784] = {0, 0, 8, 3, 0, 0, 0, 5, 0, 0, 0, 28, 0, 0, 0, 28};
    memset(file + 16, 77, sizeof file - 16);
    const char *path = test_path("pool.idx");
    b->t.distill = true;
    b->t.distill_pool_file = (char *)(uintptr_t)path;
    ASSERT_FAILS(task_data_load(&b->t, &b->schema, NULL, &d, &err), SOTTO_NOT_FOUND, "pool.idx");
    ASSERT_OK(io_write_file(path, file, sizeof file, 0600, false, &err));
    ASSERT_OK(task_data_load(&b->t, &b->schema, NULL, &d, &err));
    assert_int_equal(d.pool.count, 5);
    assert_int_equal(d.pool.labels[4], -1);
    task_data_deinit(&d);
    ASSERT_OK(io_write_file(path, file, sizeof file - 1, 0600, false, &err));
    ASSERT_FAILS(task_data_load(&b->t, &b->schema, NULL, &d, &err), SOTTO_CORRUPT, "4 of 5");
    file[11] = 14;
    file[15] = 56;
    ASSERT_OK(io_write_file(path, file, sizeof file, 0600, false, &err));
    ASSERT_FAILS(task_data_load(&b->t, &b->schema, NULL, &d, &err), SOTTO_INVALID,
                 "distill.pool_file");
}

static enum sotto_status oom_advance(void *ctx, struct sotto_error *err) {
    struct bed *b = ctx;
    struct advance_out out;
    struct advance_in in = input(b);
    enum sotto_status status = advance_run(&in, &out, err);
    advance_out_deinit(&out);
    return status;
}

static void test_out_of_memory(void **state) {
    struct bed *b = *state;
    add_good_clients(b);
    b->t.distill = true;
    b->t.distill_steps = 2;
    b->t.server_momentum = 0.5;
    b->data.test.count = b->data.validation.count = b->data.pool.count = 20;
    test_oom_loop(oom_advance, b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bed_setup, bed_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_groups_merge_exactly),
        TEST(test_one_step_equals_centralized),
        TEST(test_package_is_what_devices_get),
        TEST(test_distillation_keeps_the_better),
        TEST(test_gate),
        TEST(test_progress_cancels),
        TEST(test_state_goes_on),
        TEST(test_support_is_published),
        TEST(test_first_version),
        TEST(test_sums_that_do_not_fit),
        TEST(test_drawn_data),
        TEST(test_data_set_is_split),
        TEST(test_pool_file),
        TEST(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
