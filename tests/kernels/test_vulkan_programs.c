/* Whole training through Vulkan: the zoo's models against "ref", lanes, a lost device, instructions
 * that fail their self-test, files beside the device. Validation stays silent. */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sotto/base/clock.h"
#include "sotto/base/io.h"
#include "sotto/zoo.h"

#include "vulkan/gpu.h"

/* Closes the device; the next use opens it anew, with or without the self-tests' results of before:
 * to test again takes a second. */
static void restart(bool remember) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    static char folder[512];
    if (!*folder) {
        snprintf(folder, sizeof(folder), "%s/kept", test_tmpdir());
        assert_int_equal(mkdir(folder, 0700), 0);
    }
    gpu_reset();
    ASSERT_OK(kern_device_setup(
        &(struct kern_device_options){.cache_dir = remember ? folder : NULL}, &err));
}

/* A model with drawn examples. */
struct task {
    struct graph graph;
    struct data_schema schema;
    uint8_t *x;
    int32_t *labels;
    struct examples examples;
    float *start;
};

static void task_init(struct task *t, const char *model, uint32_t count) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct rng rng;
    memset(t, 0, sizeof(*t));
    graph_init(&t->graph);
    ASSERT_OK(zoo_build(model, &t->graph, &t->schema, &err));
    size_t bytes = data_schema_example_bytes(&t->schema);
    t->x = mem_array(count, bytes);
    t->labels = mem_array(count, sizeof(*t->labels));
    t->start = mem_array(t->graph.layout.total, sizeof(float));
    assert_true(t->x && t->labels && t->start);
    rng_init(&rng, test_seed(), 0, 0, RNG_GENERATE);
    for (size_t i = 0; i < count * bytes; i++)
        t->x[i] = (uint8_t)rng_u32(&rng);
    for (uint32_t i = 0; i < count; i++)
        t->labels[i] = (int32_t)rng_below(&rng, t->schema.classes);
    t->examples =
        (struct examples){.schema = &t->schema, .x = t->x, .labels = t->labels, .count = count};
    graph_init_params(&t->graph, 1, t->start);
}

static void task_deinit(struct task *t) {
    graph_deinit(&t->graph);
    mem_free(t->x);
    mem_free(t->labels);
    mem_free(t->start);
}

static const struct train_stream stream = {7, 1, 2};

/* Trains from the start; every steps are one advance (0: all). Returns the weights. */
static float *train(struct task *t, const struct train_rule *rule, const char *backend,
                    uint32_t every, struct train_metrics *m, struct kern_device_counts *counts) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct trainer *trainer;
    float *w = mem_array(t->graph.layout.total, sizeof(float));
    bool done = false;
    assert_non_null(w);
    ASSERT_OK(trainer_new(&t->graph, rule, 0, kern_backend_find(backend), &trainer, &err));
    ASSERT_OK(trainer_begin(trainer, t->start, &t->examples, &stream, &err));
    uint64_t calls = mem_call_count();
    while (!done)
        ASSERT_OK(trainer_advance(trainer, every, &done, &err));
    struct kern_device_counts c;
    kern_exec_counts(trainer_exec(trainer), &c);
    if (!c.lost) /* nothing is allocated after prepare */
        assert_true(mem_call_count() == calls);
    if (counts)
        *counts = c;
    assert_true(kern_exec_bytes(trainer_exec(trainer)) >= trainer_program(trainer)->arena_bytes);
    trainer_finish(trainer, w, m);
    trainer_free(trainer);
    return w;
}

/* Weights agree as far as rounding that grows over some steps lets them. */
static void assert_close(const struct task *t, const float *want, const float *got, double bound) {
    double most = 1e-30, gap = 0.0;
    for (uint32_t i = 0; i < t->graph.layout.total; i++) {
        most = fmax(most, fabs((double)want[i] - (double)t->start[i]));
        gap = fmax(gap, fabs((double)want[i] - (double)got[i]));
        assert_true(isfinite(got[i]));
    }
    if (gap > bound * most)
        fail_msg("weights are off by %g; they moved by %g", gap, most);
}

static void one_model(const char *name, uint32_t batch, uint32_t count, uint32_t dispatches_max,
                      uint32_t barriers_max) {
    struct task t;
    struct train_metrics a, b;
    struct kern_device_counts c;
    task_init(&t, name, count);
    struct train_rule rule = TRAIN_RULE_INIT;
    rule.batch = batch, rule.lr = 0.02f;
    float *want = train(&t, &rule, "ref", 0, &a, NULL);
    float *got = train(&t, &rule, "vulkan", 0, &b, &c);
    float *again = train(&t, &rule, "vulkan", 2, &b, NULL);
    assert_close(&t, want, got, 2e-3);
    assert_memory_equal(got, again, t.graph.layout.total * sizeof(float));
    assert_true(a.seen == b.seen && a.steps == b.steps && fabs(a.loss - b.loss) < 1e-3 * a.loss);
    assert_true(c.on_cpu == 0 && !c.lost && c.steps == a.steps && c.submits <= c.steps);
    printf("%s: %u dispatches, %u barriers a step, %llu steps in %llu submissions\n", name,
           c.dispatches, c.barriers, (unsigned long long)c.steps, (unsigned long long)c.submits);
    assert_true(c.dispatches <= dispatches_max && c.barriers <= barriers_max);
    mem_free(want);
    mem_free(got);
    mem_free(again);
    task_deinit(&t);
}

static void test_models(void **state) {
    (void)state;
    one_model("logreg", 10, 95, 6, 6);
    one_model("mnist-2nn", 10, 25, 18, 13);
    one_model("mnist-cnn", 4, 7, 26, 20);
    one_model("cifar-cnn", 2, 2, 34, 26);
}

/* Momentum, decay, a proximal term and clipping: all of the update. */
static void test_update_rules(void **state) {
    (void)state;
    struct task t;
    struct train_metrics a, b;
    task_init(&t, "logreg", 40);
    struct train_rule rule = TRAIN_RULE_INIT;
    rule.epochs = 2, rule.lr = 0.05f, rule.momentum = 0.9f, rule.nesterov = true;
    rule.weight_decay = 0.01f, rule.prox_mu = 0.1f, rule.clip_norm = 0.5f;
    float *want = train(&t, &rule, "ref", 0, &a, NULL);
    float *got = train(&t, &rule, "vulkan", 0, &b, NULL);
    assert_close(&t, want, got, 1e-3);
    mem_free(want);
    mem_free(got);
    task_deinit(&t);
}

/* A checkpoint in the middle reads weights and momentum from the device. */
static void test_resume(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct task t;
    struct train_metrics m;
    struct trainer *trainer;
    struct buf saved;
    task_init(&t, "logreg", 60);
    struct train_rule rule = TRAIN_RULE_INIT;
    rule.epochs = 2, rule.momentum = 0.9f, rule.lr = 0.01f;
    float *want = train(&t, &rule, "vulkan", 0, &m, NULL);
    float *got = mem_array(t.graph.layout.total, sizeof(float));
    buf_init(&saved, (size_t)1 << 20);
    for (unsigned run = 0; run < 2; run++) {
        ASSERT_OK(trainer_new(&t.graph, &rule, 0, kern_backend_find("vulkan"), &trainer, &err));
        ASSERT_OK(trainer_begin(trainer, t.start, &t.examples, &stream, &err));
        if (run == 0) {
            ASSERT_OK(trainer_advance(trainer, 7, NULL, &err));
            trainer_save(trainer, &saved);
        } else {
            ASSERT_OK(trainer_resume(trainer, buf_view(&saved), &err));
            ASSERT_OK(trainer_advance(trainer, 0, NULL, &err));
            trainer_finish(trainer, got, &m);
        }
        trainer_free(trainer);
    }
    assert_memory_equal(want, got, t.graph.layout.total * sizeof(float));
    buf_deinit(&saved);
    mem_free(want);
    mem_free(got);
    task_deinit(&t);
}

/* ---- Lanes ---- */

#define LANES 3
#define STEPS 5

struct lanes_ctx {
    struct kern_exec *e;
    const struct kern_program *p;
    uint32_t first; /* the lane that this exec's lane 0 plays */
};

static void fill_lane(void *ctx, uint32_t step, uint32_t lane) {
    struct lanes_ctx *c = ctx;
    struct rng rng;
    float *x = kern_exec_lane_host(c->e, lane, c->p->input);
    int32_t *labels = kern_exec_lane_host(c->e, lane, c->p->labels);
    rng_init(&rng, test_seed(), step, c->first + lane, RNG_GENERATE);
    for (uint32_t i = 0; i < c->p->buffers[c->p->input].count; i++)
        x[i] = rng_f32(&rng);
    for (uint32_t i = 0; i < c->p->batch; i++)
        labels[i] = (int32_t)rng_below(&rng, 10);
}

static void lane_start(const struct graph *g, uint32_t lane, float *w) {
    graph_init_params(g, 5 + lane, w);
}

/* Lanes from first on, in one exec; lane l rests in steps from 2 + l on. */
static void run_lanes(const struct graph *g, const struct kern_program *p, const char *backend,
                      uint32_t first, uint32_t lanes, float *out,
                      double (*metrics)[KERN_METRIC_COUNT]) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct lanes_ctx c = {.p = p, .first = first};
    struct kern_step steps[STEPS * LANES];
    size_t n = g->layout.total;
    ASSERT_OK(kern_exec_new_lanes(p, kern_backend_find(backend), lanes, &c.e, &err));
    assert_true(kern_exec_lanes(c.e) == lanes);
    uint32_t count = lanes > 1 ? STEPS : 2 + first < STEPS ? 2 + first : STEPS;
    for (uint32_t s = 0; s < count; s++)
        for (uint32_t l = 0; l < lanes; l++)
            steps[s * lanes + l] =
                (struct kern_step){.lr = 0.1f,
                                   .rows = s < 2 + first + l ? p->batch - l % 2 : 0,
                                   .seed = l,
                                   .index = s};
    if (lanes == 1)
        for (uint32_t s = 0; s < count; s++)
            steps[s].rows = p->batch - first % 2, steps[s].seed = first;
    for (uint32_t l = 0; l < lanes; l++) {
        lane_start(g, first + l, out + l * n);
        kern_exec_load_lane(c.e, l, out + l * n);
    }
    ASSERT_OK(kern_exec_run_many(c.e, steps, count, fill_lane, &c, NULL, &err));
    for (uint32_t l = 0; l < lanes; l++) {
        kern_exec_store_lane(c.e, l, out + l * n);
        kern_exec_lane_metrics(c.e, l, metrics[l]);
    }
    kern_exec_free(c.e);
}

static void test_lanes(void **state) {
    (void)state;
    static const char *const backends[] = {"cpu", "vulkan"};
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct task t;
    struct kern_program *p;
    task_init(&t, "logreg", 1);
    size_t n = t.graph.layout.total;
    struct graph_options o = {.mode = GRAPH_TRAIN, .batch = 6};
    ASSERT_OK(graph_compile_program(&t.graph, &o, &p, &err));
    float *all = mem_array(LANES * n, sizeof(float)), *one = mem_array(n, sizeof(float));
    assert_true(all && one);
    for (unsigned b = 0; b < ARRAY_LEN(backends); b++) {
        double metrics[LANES][KERN_METRIC_COUNT], single[1][KERN_METRIC_COUNT];
        run_lanes(&t.graph, p, backends[b], 0, LANES, all, metrics);
        for (uint32_t l = 0; l < LANES; l++) {
            run_lanes(&t.graph, p, backends[b], l, 1, one, single);
            assert_memory_equal(one, all + l * n, n * sizeof(float));
            assert_memory_equal(single[0], metrics[l], sizeof(single[0]));
        }
    }
    mem_free(all);
    mem_free(one);
    graph_program_free(p);
    task_deinit(&t);
}

/* ---- Memory ---- */

/* What the host's allocator and vkAllocateMemory gave, beside the plan: within 1%. */
static void test_memory_is_the_plan(void **state) {
    (void)state;
    static const struct {
        const char *model;
        uint32_t lanes, batch;
    } cases[] = {{"logreg", 1, 10}, {"mnist-2nn", 1, 10}, {"mnist-2nn", 5, 10}};
    const struct kern_backend *b = kern_backend_find("vulkan");
    struct sotto_error err = SOTTO_ERROR_INIT;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct task t;
        struct kern_program *p;
        struct kern_exec *e = NULL;
        uint64_t planned = 0;
        task_init(&t, cases[i].model, 1);
        struct graph_options o = {.mode = GRAPH_TRAIN, .batch = cases[i].batch};
        o.momentum = i == 1 ? 0.9f : 0.0f;
        ASSERT_OK(graph_compile_program(&t.graph, &o, &p, &err));
        ASSERT_OK(kern_exec_plan(p, b, cases[i].lanes, &planned, &err));
        uint64_t before = atomic_load(&gpu_hooks.device_bytes);
        test_count_bytes();
        enum sotto_status made = kern_exec_new_lanes(p, b, cases[i].lanes, &e, &err);
        const size_t most = test_count_bytes_off();
        assert_int_equal(made, SOTTO_OK);
        double device = (double)(atomic_load(&gpu_hooks.device_bytes) - before);
        double taken = device + (double)most, plan = (double)planned;
        printf("%s, %u lanes: planned %.0f bytes, taken %.0f, of them %.0f on the device\n",
               cases[i].model, cases[i].lanes, plan, taken, device);
        assert_true(fabs(taken - plan) <= 0.01 * plan);
        assert_true(fabs((double)kern_exec_bytes(e) - taken) <= 0.01 * plan);
        kern_exec_free(e);
        assert_true(atomic_load(&gpu_hooks.device_bytes) == before);
        graph_program_free(p);
        task_deinit(&t);
    }
}

/* ---- Trouble ---- */

/* The device goes at the first, second, third submission of the training: nothing is lost. */
static void test_lost_device(void **state) {
    (void)state;
    struct task t;
    struct train_metrics a, b;
    struct kern_device_counts c;
    struct gpu *g;
    struct sotto_error err = SOTTO_ERROR_INIT;
    task_init(&t, "logreg", 75);
    struct train_rule rule = TRAIN_RULE_INIT;
    rule.momentum = 0.5f, rule.prox_mu = 0.1f, rule.lr = 0.05f;
    float *want = train(&t, &rule, "ref", 0, &a, NULL);
    for (uint32_t n = 1; n <= 3; n++) {
        ASSERT_OK(gpu_get(&g, &err));
        float *first = train(&t, &rule, "vulkan", 0, &b, NULL); /* the self-test is behind us */
        mem_free(first);
        gpu_hooks.lose_submit = n;
        float *got = train(&t, &rule, "vulkan", 0, &b, &c);
        assert_true(c.lost && gpu_hooks.lose_submit == 0);
        assert_true(a.seen == b.seen && a.steps == b.steps);
        assert_close(&t, want, got, 1e-3);
        mem_free(got);
        ASSERT_FAILS(gpu_get(&g, &err), SOTTO_UNSUPPORTED, "lost");
        assert_false(kern_backend_available(kern_backend_find("vulkan")));
        got = train(&t, &rule, "vulkan", 0, &b, &c); /* new programs go on on the host too */
        assert_true(c.lost);
        assert_close(&t, want, got, 1e-3);
        mem_free(got);
        restart(true);
    }
    mem_free(want);
    task_deinit(&t);
}

/* Lanes with momentum in two calls; between them one becomes a new client and another's state
 * is written. lose: the submission of the second call that loses the device (0: none); elsewhere:
 * another program lost it after the second. Returns weights and metrics of all lanes. */
static float *run_lossy(const struct graph *g, const struct kern_program *p, const char *backend,
                        uint32_t lose, bool elsewhere, double (*metrics)[KERN_METRIC_COUNT]) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct lanes_ctx c = {.p = p};
    struct kern_step steps[STEPS * LANES];
    struct kern_device_counts counts;
    size_t n = g->layout.total;
    float *w = mem_array(LANES * n, sizeof(float));
    assert_non_null(w);
    ASSERT_OK(kern_exec_new_lanes(p, kern_backend_find(backend), LANES, &c.e, &err));
    for (uint32_t i = 0; i < STEPS * LANES; i++)
        steps[i] = (struct kern_step){
            .lr = 0.05f, .rows = i % 7 == 3 ? 0 : p->batch - i % 2, .seed = i, .index = i / LANES};
    for (uint32_t l = 0; l < LANES; l++) {
        lane_start(g, l, w + l * n);
        kern_exec_load_lane(c.e, l, w + l * n);
    }
    ASSERT_OK(kern_exec_run_many(c.e, steps, STEPS, fill_lane, &c, metrics, &err));
    for (uint32_t i = 0; i < p->state_count; i++)
        w[i] = 0.01f * (float)(i % 5);
    kern_exec_load_lane_state(c.e, 2, w);
    kern_exec_load_lane(c.e, 1, w + n);
    gpu_hooks.lose_submit = lose;
    ASSERT_OK(kern_exec_run_many(c.e, steps, STEPS, fill_lane, &c, metrics + STEPS * LANES, &err));
    if (elsewhere) {
        struct gpu *gpu;
        ASSERT_OK(gpu_get(&gpu, &err));
        atomic_store(&gpu->lost, true);
    }
    assert_int_equal(gpu_hooks.lose_submit, 0);
    for (uint32_t l = 0; l < LANES; l++)
        kern_exec_store_lane(c.e, l, w + l * n);
    kern_exec_counts(c.e, &counts);
    assert_true(counts.lost == (lose > 0 || elsewhere));
    assert_true(counts.steps == (strcmp(backend, "vulkan") == 0 ? 2 * STEPS : 0));
    kern_exec_free(c.e);
    return w;
}

/* Large inputs make the journal short: it is emptied on the way. */
static void test_lost_lanes(void **state) {
    (void)state;
    static double want_m[2 * STEPS * LANES][KERN_METRIC_COUNT];
    static double got_m[2 * STEPS * LANES][KERN_METRIC_COUNT];
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct task t;
    struct kern_program *p;
    task_init(&t, "logreg", 1);
    struct graph_options o = {.mode = GRAPH_TRAIN, .batch = 80, .momentum = 0.5f};
    ASSERT_OK(graph_compile_program(&t.graph, &o, &p, &err));
    float *want = run_lossy(&t.graph, p, "cpu", 0, false, want_m);
    for (uint32_t lose = 0; lose <= 4; lose++) {
        restart(true);
        float *got = run_lossy(&t.graph, p, "vulkan", lose % 4, lose == 4, got_m);
        for (size_t i = 0; i < LANES * t.graph.layout.total; i++)
            if (!(fabs((double)want[i] - (double)got[i]) < 1e-4))
                fail_msg("loss %u: weight %zu is %g, not %g", lose, i, (double)got[i],
                         (double)want[i]);
        for (size_t i = 0; i < ARRAY_LEN(want_m); i++) {
            assert_true(want_m[i][KERN_METRIC_SEEN] == got_m[i][KERN_METRIC_SEEN]);
            assert_true(fabs(want_m[i][KERN_METRIC_LOSS] - got_m[i][KERN_METRIC_LOSS]) <
                        1e-3 * (1.0 + want_m[i][KERN_METRIC_LOSS]));
        }
        mem_free(got);
    }
    restart(true);
    mem_free(want);
    graph_program_free(p);
    task_deinit(&t);
}

/* What fails its self-test runs on the host, in the middle of a step. */
static void test_failed_self_test(void **state) {
    (void)state;
    struct task t;
    struct train_metrics a, b;
    struct kern_device_counts c;
    task_init(&t, "mnist-2nn", 25);
    struct train_rule rule = TRAIN_RULE_INIT;
    rule.lr = 0.02f;
    restart(false);
    gpu_hooks.fail[KERN_ACT_DX] = gpu_hooks.fail[KERN_SOFTMAX_XENT] = true;
    float *want = train(&t, &rule, "ref", 0, &a, NULL);
    float *got = train(&t, &rule, "vulkan", 0, &b, &c);
    assert_true(c.on_cpu == 3 && !c.lost);
    assert_false(kern_backend_has(kern_backend_find("vulkan"), KERN_ACT_DX));
    assert_true(a.seen == b.seen && fabs(a.loss - b.loss) < 1e-3 * a.loss);
    assert_close(&t, want, got, 1e-3);
    memset(gpu_hooks.fail, 0, sizeof(gpu_hooks.fail));
    restart(true);
    mem_free(want);
    mem_free(got);
    task_deinit(&t);
}

/* Every instruction's seconds, by the device's clock or the host's, and the same bits. */
static void one_profile(struct task *t, const struct train_rule *rule, bool lose) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct trainer *trainer;
    struct train_metrics m;
    struct gpu *g;
    size_t n = t->graph.layout.total;
    float *want = train(t, rule, "vulkan", 0, &m, NULL), *got = mem_array(n, sizeof(float));
    ASSERT_OK(gpu_get(&g, &err));
    ASSERT_OK(trainer_new(&t->graph, rule, 0, kern_backend_find("vulkan"), &trainer, &err));
    ASSERT_OK(trainer_begin(trainer, t->start, &t->examples, &stream, &err));
    ASSERT_OK(trainer_advance(trainer, 1, NULL, &err));
    const double *seconds = trainer_seconds(trainer);
    uint32_t count = trainer_program(trainer)->instr_count;
    for (uint32_t i = 0; i < count; i++)
        assert_true(seconds[i] == 0.0); /* off */
    trainer_profile(trainer, true);
    gpu_hooks.lose_submit = lose ? 1 : 0;
    uint64_t start = clock_mono_ns();
    ASSERT_OK(trainer_advance(trainer, 2, NULL, &err));
    double wall = (double)(clock_mono_ns() - start) * 1e-9, sum = 0.0;
    for (uint32_t i = 0; i < count; i++) {
        assert_true(seconds[i] > 0.0 || g->timestamp_bits == 0);
        sum += seconds[i];
    }
    assert_true(sum <= wall);
    trainer_profile(trainer, false);
    ASSERT_OK(trainer_advance(trainer, 0, NULL, &err));
    for (uint32_t i = 0; i < count; i++)
        sum -= seconds[i];
    assert_true(fabs(sum) < 1e-9 + 1e-9 * wall);
    trainer_finish(trainer, got, &m);
    if (lose)
        assert_close(t, want, got, 1e-3);
    else
        assert_memory_equal(want, got, n * sizeof(float));
    trainer_free(trainer);
    mem_free(want);
    mem_free(got);
}

static void test_profile(void **state) {
    (void)state;
    struct task t;
    task_init(&t, "logreg", 70);
    struct train_rule rule = TRAIN_RULE_INIT;
    rule.lr = 0.02f;
    restart(true);
    one_profile(&t, &rule, false);
    gpu_hooks.fail[KERN_SOFTMAX_XENT] = true;
    restart(false);
    one_profile(&t, &rule, false);
    gpu_hooks.fail[KERN_SOFTMAX_XENT] = false;
    restart(true);
    one_profile(&t, &rule, true);
    restart(true);
    task_deinit(&t);
}

/* ---- Files ---- */

static void damage(const char *path) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf file;
    buf_init(&file, GPU_FILE_MAX);
    ASSERT_OK(io_read_file(path, GPU_FILE_MAX, &file, &err));
    file.data[file.len - 1] ^= 1;
    ASSERT_OK(io_write_file(path, file.data, file.len, 0600, false, &err));
    buf_deinit(&file);
}

static void test_files(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct kern_device_options o = {.cache_dir = test_tmpdir()};
    struct task t;
    struct train_metrics m;
    struct gpu *g;
    char tests[1024], pipelines[1024];
    task_init(&t, "logreg", 10);
    struct train_rule rule = TRAIN_RULE_INIT;
    gpu_reset();
    ASSERT_OK(kern_device_setup(&o, &err));
    mem_free(train(&t, &rule, "vulkan", 0, &m, NULL));
    ASSERT_FAILS(kern_device_setup(&o, &err), SOTTO_STATE, "in use");
    ASSERT_OK(gpu_get(&g, &err));
    assert_true(gpu_file_path(g, GPU_FILE_TESTS, tests, sizeof(tests)));
    assert_true(gpu_file_path(g, GPU_FILE_PIPELINES, pipelines, sizeof(pipelines)));
    assert_true(io_exists(tests) && io_exists(pipelines));
    gpu_reset();
    ASSERT_OK(gpu_get(&g, &err));
    assert_true(g->tests[KERN_GEMM] == KERN_TEST_PASSED); /* remembered */
    assert_true(g->tests[KERN_DROPOUT] == KERN_TEST_LATER);
    gpu_reset();
    damage(tests);
    damage(pipelines);
    ASSERT_OK(gpu_get(&g, &err));
    assert_true(g->tests[KERN_GEMM] == KERN_TEST_LATER);
    mem_free(train(&t, &rule, "vulkan", 0, &m, NULL)); /* and written anew */
    gpu_reset();
    ASSERT_OK(gpu_get(&g, &err));
    assert_true(g->tests[KERN_GEMM] == KERN_TEST_PASSED);
    task_deinit(&t);
}

/* The header alone: each way of being wrong. */
static void test_file_header(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct gpu_file_key key = {GPU_FILE_TESTS, 1, 2, 3, {4}, 5}, other = key;
    uint8_t tests[KERN_OP_COUNT] = {KERN_TEST_PASSED, 200}, back[KERN_OP_COUNT];
    struct view payload;
    struct buf file;
    buf_init(&file, 4096);
    gpu_file_encode(&key, tests, sizeof(tests), &file);
    ASSERT_OK(gpu_file_decode(buf_view(&file), &key, &payload, &err));
    ASSERT_OK(gpu_tests_decode(payload, back, &err));
    assert_true(back[0] == KERN_TEST_PASSED && back[1] == KERN_TEST_LATER);
    payload.n--;
    ASSERT_STATUS(gpu_tests_decode(payload, back, &err), SOTTO_CORRUPT);
    other.driver++;
    ASSERT_STATUS(gpu_file_decode(buf_view(&file), &other, &payload, &err), SOTTO_STATE);
    for (size_t i = 0; i < file.len; i++) { /* every byte counts */
        file.data[i] ^= 0x40;
        assert_true(gpu_file_decode(buf_view(&file), &key, &payload, &err) != SOTTO_OK);
        file.data[i] ^= 0x40;
        assert_true(gpu_file_decode(view_of(file.data, i), &key, &payload, &err) != SOTTO_OK);
    }
    buf_deinit(&file);
}

static void test_no_device(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    const struct kern_backend *b = kern_backend_find("vulkan");
    struct kern_device_info list[2];
    const char *before = getenv("SOTTO_VULKAN_DISABLE");
    char *kept = before ? mem_strdup(before) : NULL, reason[128];
    struct task t;
    struct trainer *trainer;
    task_init(&t, "logreg", 10);
    gpu_reset();
    setenv("SOTTO_VULKAN_DISABLE", "all", 1);
    assert_non_null(b);
    assert_false(kern_backend_available(b));
    assert_false(kern_backend_has(b, KERN_GEMM));
    struct train_rule rule = TRAIN_RULE_INIT;
    ASSERT_FAILS(trainer_new(&t.graph, &rule, 0, b, &trainer, &err), SOTTO_UNSUPPORTED, "switches");
    assert_true(kern_device_list(list, 2, reason, sizeof(reason)) == 0);
    assert_non_null(strstr(reason, "switches"));
    assert_true(kern_device_test(&err) == SOTTO_UNSUPPORTED);
    gpu_reset();
    if (kept)
        setenv("SOTTO_VULKAN_DISABLE", kept, 1);
    else
        unsetenv("SOTTO_VULKAN_DISABLE");
    mem_free(kept);
    assert_true(kern_device_list(list, 2, reason, sizeof(reason)) >= 1);
    assert_true(list[0].name[0] && list[0].push_bytes >= 128 && *reason == 0);
    task_deinit(&t);
}

static int no_messages(void **state) {
    (void)state;
    return gpu_hooks.messages == 0 ? 0 : -1;
}

int main(void) {
    struct gpu *g;
    struct sotto_error err = SOTTO_ERROR_INIT;
    setenv("SOTTO_VULKAN_VALIDATE", "1", 0);
    if (gpu_get(&g, &err) != SOTTO_OK) {
        printf("skipped: %s\n", err.message);
        return 77;
    }
    if (!gpu_hooks.validated)
        return 1;
    restart(true);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_models, no_messages),
        cmocka_unit_test_teardown(test_update_rules, no_messages),
        cmocka_unit_test_teardown(test_resume, no_messages),
        cmocka_unit_test_teardown(test_lanes, no_messages),
        cmocka_unit_test_teardown(test_memory_is_the_plan, no_messages),
        cmocka_unit_test_teardown(test_lost_device, no_messages),
        cmocka_unit_test_teardown(test_lost_lanes, no_messages),
        cmocka_unit_test_teardown(test_failed_self_test, no_messages),
        cmocka_unit_test_teardown(test_profile, no_messages),
        cmocka_unit_test_teardown(test_files, no_messages),
        cmocka_unit_test_teardown(test_file_header, no_messages),
        cmocka_unit_test_teardown(test_no_device, no_messages),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    gpu_reset();
    return failed ? failed : gpu_hooks.messages > 0;
}
